package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// SnapshotMeta says which state a snapshot is.
type SnapshotMeta struct {
	Index, Term uint64 // of the last entry that is in it
	Conf        []byte // State.Conf as of Index
}

// SnapshotFile is one of the files that a snapshot consists of.
type SnapshotFile struct {
	Name     string // without a directory
	Bytes    int64
	Checksum uint32 // CRC-32C of the content
}

// ChecksumTable is for the checksums of snapshot files.
var ChecksumTable = crc32.MakeTable(crc32.Castagnoli)

// manifest is what a snapshot on its way in will consist of. It is written before the first of its files, so that after
// a cut or a crash it is known what those that are there belong to.
type manifest struct {
	meta  SnapshotMeta
	files []SnapshotFile
}

const (
	manifestLayout = 1
	// A store of 1 TB in files of 2 MB, and then some.
	snapshotFilesMax = 1 << 20
	snapshotNameMax  = 128
)

// append appends the stored form, with a checksum at its end.
func (m *manifest) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, manifestLayout)
	dst = binary.AppendUvarint(dst, m.meta.Index)
	dst = binary.AppendUvarint(dst, m.meta.Term)
	dst = appendBytes(dst, m.meta.Conf)
	dst = binary.AppendUvarint(dst, uint64(len(m.files)))
	for _, f := range m.files {
		dst = appendBytes(dst, []byte(f.Name))
		dst = binary.AppendUvarint(dst, uint64(f.Bytes))
		dst = binary.LittleEndian.AppendUint32(dst, f.Checksum)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], ChecksumTable))
}

// decodeManifest reads a stored manifest. Malformed input is ErrCorrupt.
func decodeManifest(b []byte) (manifest, error) {
	end := len(b) - 4
	if end < 0 || crc32.Checksum(b[:end], ChecksumTable) != binary.LittleEndian.Uint32(b[end:]) {
		return manifest{}, fmt.Errorf("%w: snapshot manifest: checksum", ErrCorrupt)
	}
	d := decoder{rest: b[:end]}
	if d.byte() != manifestLayout {
		d.bad = true
	}
	m := manifest{meta: SnapshotMeta{Index: d.uvarint(), Term: d.uvarint()}}
	if conf := d.bytes(); len(conf) > 0 {
		m.meta.Conf = bytes.Clone(conf)
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		f := SnapshotFile{Name: string(d.bytes())}
		size := d.uvarint()
		f.Bytes = int64(size)
		if size > math.MaxInt64 || len(d.rest) < 4 {
			d.bad = true
			break
		}
		f.Checksum = binary.LittleEndian.Uint32(d.rest)
		d.rest = d.rest[4:]
		m.files = append(m.files, f)
	}
	if len(d.rest) != 0 {
		d.bad = true
	}
	if err := d.failure("snapshot manifest"); err != nil {
		return manifest{}, err
	}
	return m, m.validate()
}

// validate refuses lists that no export gives: the names become names of files here.
func (m *manifest) validate() error {
	if m.meta.Index == 0 || len(m.files) == 0 || len(m.files) > snapshotFilesMax {
		return fmt.Errorf("%w: a snapshot of %d files at index %d", ErrCorrupt, len(m.files), m.meta.Index)
	}
	seen := make(map[string]struct{}, len(m.files))
	total := int64(0)
	for _, f := range m.files {
		if !isSnapshotName(f.Name) {
			return fmt.Errorf("%w: a snapshot file cannot be named %q", ErrCorrupt, f.Name)
		}
		if _, twice := seen[f.Name]; twice {
			return fmt.Errorf("%w: snapshot file %s is listed twice", ErrCorrupt, f.Name)
		}
		seen[f.Name] = struct{}{}
		if f.Bytes < 0 || total > math.MaxInt64-f.Bytes {
			return fmt.Errorf("%w: snapshot file %s of %d bytes", ErrCorrupt, f.Name, f.Bytes)
		}
		total += f.Bytes
	}
	return nil
}

// isSnapshotName reports whether a name is one that Pebble, or we, would give to a file of an engine directory: letters,
// digits and a few signs, so that it is the same name on every file system and leads nowhere else.
func isSnapshotName(name string) bool {
	if len(name) == 0 || len(name) > snapshotNameMax || name[0] == '.' {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// dirName is where the snapshot is received.
func (m *manifest) dirName() string {
	return fmt.Sprintf("%s%d-%d", incomingPrefix, m.meta.Index, m.meta.Term)
}
