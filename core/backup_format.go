package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"time"

	"github.com/triglot/triglot/storage"
)

// A backup is one file:
//
//	magic     8 bytes "triglot" and the format's version
//	length    4 bytes, little endian: of the header
//	header    JSON: BackupInfo
//	checksum  4 bytes, little endian: CRC-32C of all before
//	files     one after the other, in the header's order
//	padding   zeros, up to a multiple of 512
//	digest    32 bytes: SHA-256 of all before
//
// The end is that of an etcd snapshot file: etcdctl takes for whole what has 32 bytes more than a multiple of 512.
const (
	backupFormat    = 1
	backupPage      = 512
	backupHeaderMax = 256 << 20 // of a million files, and then some
	backupFixed     = len(backupMagic) + 1 + 4
)

const backupMagic = "triglot"

// BackupInfo is the header of a backup: what it is of, and what is in it.
type BackupInfo struct {
	ClusterID uint64         `json:"cluster_id"`
	MemberID  uint64         `json:"member_id"` // that wrote it
	Members   []BackupMember `json:"members"`   // of the cluster then
	Index     uint64         `json:"index"`     // of the last entry that is in it
	Term      uint64         `json:"term"`
	Conf      []byte         `json:"conf"` // who replicated the log then, in its own encoding
	Revision  int64          `json:"revision"`
	Compacted int64          `json:"compacted"`
	Keys      int64          `json:"keys"` // in all spaces
	Created   time.Time      `json:"created"`
	Version   string         `json:"version,omitempty"` // of the program
	Files     []BackupFile   `json:"files"`

	// TotalBytes is the size of the backup, and Digest its last bytes in hexadecimal.
	TotalBytes int64  `json:"-"`
	Digest     string `json:"-"`
}

// BackupMember is a member as a backup's header lists it.
type BackupMember struct {
	ID       uint64   `json:"id"`
	Name     string   `json:"name"`
	PeerURLs []string `json:"peer_urls"`
	Learner  bool     `json:"learner,omitempty"`
}

// BackupFile is one of the files that the state consists of.
type BackupFile struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	Checksum uint32 `json:"crc32c"`
}

var (
	// ErrNotABackup means that the file is something else.
	ErrNotABackup = errors.New("core: this is no backup of Triglot's")
	// ErrNewerBackup means that a newer version of the program wrote it.
	ErrNewerBackup = errors.New("core: the backup was written by a newer version of Triglot")
	// ErrDamagedBackup means that it is not as it was written; the text says where.
	ErrDamagedBackup = errors.New("core: the backup is damaged")
)

// headBytes gives everything before the files.
func (b *BackupInfo) headBytes() ([]byte, error) {
	header, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if len(header) > backupHeaderMax {
		return nil, fmt.Errorf("core: a backup's header of %d bytes", len(header))
	}
	head := append([]byte(backupMagic), backupFormat)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(header)))
	head = append(head, header...)
	return binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, storage.ChecksumTable)), nil
}

// layOut says how many bytes of padding follow the files, and how long the whole is, given the bytes before the files.
func (b *BackupInfo) layOut(headBytes int) (padding int, total int64, err error) {
	total = int64(headBytes)
	for _, f := range b.Files {
		if f.Bytes < 0 || f.Bytes > math.MaxInt64-total-backupPage-sha256.Size {
			return 0, 0, fmt.Errorf("file %s has %d bytes", f.Name, f.Bytes)
		}
		total += f.Bytes
	}
	padding = int(-total & (backupPage - 1))
	return padding, total + int64(padding) + sha256.Size, nil
}

// backupReader reads a backup from beginning to end, and believes nothing that it has not checked.
type backupReader struct {
	info     BackupInfo
	from     io.Reader
	digest   hash.Hash
	padding  int
	done     int64
	progress func(done, total int64)
}

// openBackup reads a backup's header. progress may be nil; it is called with the bytes read so far and in all.
func openBackup(from io.Reader, progress func(done, total int64)) (*backupReader, error) {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	r := &backupReader{from: from, digest: sha256.New(), progress: progress}
	head := make([]byte, backupFixed, backupFixed+4096)
	if _, err := io.ReadFull(from, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("%w: it is shorter than a header", ErrNotABackup)
		}
		return nil, fmt.Errorf("core: reading the backup: %w", err)
	}
	if !bytes.HasPrefix(head, []byte(backupMagic)) {
		return nil, ErrNotABackup
	}
	if format := head[len(backupMagic)]; format > backupFormat {
		return nil, fmt.Errorf("%w: its format is %d, this version reads %d", ErrNewerBackup, format, backupFormat)
	} else if format == 0 {
		return nil, fmt.Errorf("%w: its format is 0", ErrDamagedBackup)
	}
	length := binary.LittleEndian.Uint32(head[backupFixed-4:])
	if length > backupHeaderMax {
		return nil, fmt.Errorf("%w: its header is said to have %d bytes", ErrDamagedBackup, length)
	}
	// What is said to come is not allocated before it is there.
	rest := bytes.NewBuffer(head)
	if n, err := io.CopyN(rest, from, int64(length)+4); err != nil {
		return nil, r.broken(err, "the header", n, int64(length)+4)
	}
	head = rest.Bytes()
	header := head[backupFixed : len(head)-4]
	if crc32.Checksum(head[:len(head)-4], storage.ChecksumTable) != binary.LittleEndian.Uint32(head[len(head)-4:]) {
		return nil, fmt.Errorf("%w: its header's checksum is wrong", ErrDamagedBackup)
	}
	if err := json.Unmarshal(header, &r.info); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamagedBackup, err)
	}
	var err error
	if r.padding, r.info.TotalBytes, err = r.info.layOut(len(head)); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamagedBackup, err)
	}
	r.digest.Write(head)
	r.done = int64(len(head))
	r.progress(r.done, r.info.TotalBytes)
	return r, nil
}

// broken says why there is nothing more to read.
func (r *backupReader) broken(err error, what string, got, of int64) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within %s, after %d of %d bytes", ErrDamagedBackup, what, got, of)
	}
	return fmt.Errorf("core: reading the backup: %w", err)
}

// backupPiece is how much is read and handed on at a time.
const backupPiece = 256 << 10

// each hands over the files, in order, in pieces, and checks everything up to the end of the backup. What was handed over
// of a file is right only if each goes on to the next one, and the whole only when it returns nil.
func (r *backupReader) each(visit func(file int, offset int64, data []byte) error) error {
	buffer := make([]byte, backupPiece)
	for i, f := range r.info.Files {
		sum := uint32(0)
		for at := int64(0); at < f.Bytes; {
			piece := buffer[:min(int64(len(buffer)), f.Bytes-at)]
			if n, err := io.ReadFull(r.from, piece); err != nil {
				return r.broken(err, "file "+f.Name, at+int64(n), f.Bytes)
			}
			r.digest.Write(piece)
			sum = crc32.Update(sum, storage.ChecksumTable, piece)
			r.done += int64(len(piece))
			n := int64(len(piece))
			if err := visit(i, at, piece); err != nil {
				return err
			}
			at += n
			r.progress(r.done, r.info.TotalBytes)
		}
		if sum != f.Checksum {
			return fmt.Errorf("%w: file %s in it has the checksum %08x instead of %08x", ErrDamagedBackup, f.Name, sum, f.Checksum)
		}
	}
	return r.end()
}

// end checks what follows the files.
func (r *backupReader) end() error {
	tail := make([]byte, r.padding+sha256.Size)
	if n, err := io.ReadFull(r.from, tail); err != nil {
		return r.broken(err, "its end", int64(n), int64(len(tail)))
	}
	padding, digest := tail[:r.padding], tail[r.padding:]
	if len(bytes.TrimLeft(padding, "\x00")) > 0 {
		return fmt.Errorf("%w: there is something between its files and its digest", ErrDamagedBackup)
	}
	r.digest.Write(padding)
	if !bytes.Equal(r.digest.Sum(nil), digest) {
		return fmt.Errorf("%w: its SHA-256 digest is wrong", ErrDamagedBackup)
	}
	r.info.Digest = fmt.Sprintf("%x", digest)
	switch n, err := io.ReadFull(r.from, make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%w: there is more behind its end", ErrDamagedBackup)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("core: reading the backup: %w", err)
	}
	r.done = r.info.TotalBytes
	r.progress(r.done, r.info.TotalBytes)
	return nil
}

// InspectBackup reads a backup through, checks everything in it, and says what it is. progress may be nil.
func InspectBackup(from io.Reader, progress func(done, total int64)) (BackupInfo, error) {
	r, err := openBackup(from, progress)
	if err != nil {
		return BackupInfo{}, err
	}
	if err := r.each(func(int, int64, []byte) error { return nil }); err != nil {
		return r.info, err
	}
	return r.info, nil
}
