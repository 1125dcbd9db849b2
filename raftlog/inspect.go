package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// inspected is what the first reading of a log finds.
type inspected struct {
	replay
	metadata []byte
	marker   *walpb.Snapshot // the last one
	crc      uint32          // of everything up to here
}

// inspect reads all segments, and makes the log one that etcd's reader accepts if that loses nothing that was synced.
//
// A record that cannot be read ends the log. In any segment but the last that is damage, because a segment is synced
// before the next begins. In the last one it is either the write that a crash interrupted, of which any part may be
// missing, or damage. The two are told apart by what comes after: see survivors. etcd's own repair goes by the shape of
// the unreadable record instead, and would cut off synced entries after a flipped bit in a length.
func inspect(dir string, logger *slog.Logger) (*inspected, error) {
	segments, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	in := &inspected{marker: &walpb.Snapshot{Index: new(uint64(0)), Term: new(uint64(0))}}
	in.state = &raftpb.HardState{}
	for i, s := range segments {
		end, damage, err := in.read(s, i == 0)
		if err != nil {
			return nil, err
		}
		if i == len(segments)-1 {
			if err := in.finish(s, end, damage, logger); err != nil {
				return nil, err
			}
		} else if damage != nil {
			return nil, fmt.Errorf("%w: %s at offset %d: %w", ErrCorrupt, s.path, end, damage)
		}
	}
	if first := segments[0].index; first > in.marker.GetIndex() {
		return nil, fmt.Errorf("%w: the first segment begins at entry %d, the marker is at %d", ErrCorrupt, first, in.marker.GetIndex())
	}
	return in, nil
}

// headRecords is how many records every segment begins with: the running checksum and the identity.
const headRecords = 2

// read goes through a segment's records. damage is why it could not go on from the offset end; nil if what follows
// there is empty space or the end of the file.
func (in *inspected) read(s segment, first bool) (end int64, damage, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, nil, fmt.Errorf("raftlog: open segment: %w", err)
	}
	defer f.Close()
	d := wal.NewDecoder(fileutil.NewFileReader(f))
	var rec walpb.Record
	for n := 0; ; n++ {
		at := d.LastOffset()
		err := d.Decode(&rec)
		var pathErr *os.PathError
		switch {
		case errors.As(err, &pathErr): // the disk cannot be read: neither torn nor known to be damaged
			return at, nil, fmt.Errorf("raftlog: read segment: %w", err)
		case err == nil && d.LastOffset()%8 != 0: // the padding is in the length, which no checksum covers
			err = errors.New("record of an impossible length")
		case err == nil:
			err = in.record(&rec, d, n, first)
		}
		if err == nil {
			continue
		}
		if n < headRecords { // they are synced before the segment gets its name
			return at, nil, fmt.Errorf("%w: %s has no head: %w", ErrCorrupt, s.path, err)
		}
		if errors.Is(err, io.EOF) {
			in.crc, err = d.LastCRC(), nil
		}
		return at, err, nil
	}
}

// record takes what is needed from a segment's n-th record, whose checksum is right.
func (in *inspected) record(rec *walpb.Record, d wal.Decoder, n int, firstSegment bool) error {
	if n == 0 != (rec.GetType() == wal.CrcType) || n == 1 && rec.GetType() != wal.MetadataType {
		return fmt.Errorf("record type %d is out of place", rec.GetType())
	}
	switch rec.GetType() {
	case wal.CrcType: // the checksum runs through all segments
		if !firstSegment && rec.GetCrc() != in.crc {
			return fmt.Errorf("checksum %08x does not continue that of the segment before, %08x", rec.GetCrc(), in.crc)
		}
		d.UpdateCRC(rec.GetCrc())
	case wal.MetadataType:
		if in.metadata != nil && string(in.metadata) != string(rec.Data) {
			return errors.New("segments of different logs")
		}
		in.metadata = append([]byte{}, rec.Data...)
	case wal.EntryType:
		return in.entry(rec.Data)
	case wal.StateType:
		return in.hardState(rec.Data)
	case wal.SnapshotType:
		return in.mark(rec.Data)
	default:
		return fmt.Errorf("unknown record type %d", rec.GetType())
	}
	return nil
}

func (in *inspected) entry(data []byte) error {
	var e raftpb.Entry
	if err := proto.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("entry: %w", err)
	}
	return in.replay.entry(e.GetIndex(), e.GetTerm())
}

func (in *inspected) hardState(data []byte) error {
	s := &raftpb.HardState{}
	if err := proto.Unmarshal(data, s); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return in.replay.hardState(s)
}

func (in *inspected) mark(data []byte) error {
	m := &walpb.Snapshot{}
	if err := proto.Unmarshal(data, m); err != nil {
		return fmt.Errorf("marker: %w", err)
	}
	in.marker = m
	return in.replay.mark(m.GetIndex(), m.GetTerm())
}

// finish decides what to do about the last segment, which was read up to end.
func (in *inspected) finish(s segment, end int64, damage error, logger *slog.Logger) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("raftlog: read segment: %w", err)
	}
	tail := data[end:]
	used := len(tail)
	for used > 0 && tail[used-1] == 0 {
		used--
	}
	if damage == nil && used == 0 {
		return nil
	}
	if damage == nil {
		damage = errors.New("empty space before the end")
	}
	last := max(in.last, in.marker.GetIndex())
	switch synced, followed := survivors(tail); {
	case synced > last:
		return fmt.Errorf("%w: %s at offset %d: %w; entries %d to %d were synced and cannot be read",
			ErrCorrupt, s.path, end, damage, last+1, synced)
	case followed:
		return fmt.Errorf("%w: %s at offset %d: %w; what follows was synced", ErrCorrupt, s.path, end, damage)
	}
	logger.Warn("torn write at the end of the log, repaired; nothing in it was acknowledged",
		"segment", s.path, "offset", end, "bytes", used, "last_entry", last, "reason", damage)
	return zeroFrom(s.path, end, int64(len(data)+7)/8*8)
}

// survivors looks through the bytes after an unreadable record for readable ones, and returns the highest index that
// they say had been synced before they were written: that of a commit or of a marker. There is one in all but the
// first write of a run, so if a synced entry is damaged, some later write tells of it. What a single interrupted write
// leaves behind tells of nothing but the entries before it.
//
// That index says little when the entries in question replaced others that can still be read. But a commit index is less
// than any entry in the same write. If one covers an entry that survived before it, then that entry's write was followed by
// another, and so was synced, as was all before it.
//
// Records begin at multiples of 8. Each carries the running checksum, so a pair of neighbours proves itself: the
// second's checksum is the first's continued by the second's data.
func survivors(tail []byte) (synced uint64, followed bool) {
	entry := raftNoLimit // the lowest that survived so far
	for at := 0; at+8 <= len(tail); at += 8 {
		prev, next := recordAt(tail, at)
		for prev != nil {
			rec, after := recordAt(tail, next)
			if rec == nil || crc32.Update(prev.GetCrc(), castagnoli, rec.Data) != rec.GetCrc() {
				break
			}
			switch rec.GetType() {
			case wal.EntryType:
				var e raftpb.Entry
				if proto.Unmarshal(rec.Data, &e) == nil && e.GetIndex() > 0 {
					entry = min(entry, e.GetIndex())
				}
			case wal.StateType:
				var state raftpb.HardState
				if proto.Unmarshal(rec.Data, &state) == nil {
					synced = max(synced, state.GetCommit())
					followed = followed || state.GetCommit() >= entry
				}
			case wal.SnapshotType:
				var marker walpb.Snapshot
				if proto.Unmarshal(rec.Data, &marker) == nil {
					synced = max(synced, marker.GetIndex())
				}
			}
			at = next
			prev, next = rec, after
		}
	}
	return synced, followed
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordAt decodes what may be a record at an offset, without checking its checksum, and says where the next would be.
// A record is a length, whose top byte is 0x80 plus the padding if there is any, the record itself and the padding.
func recordAt(b []byte, at int) (rec *walpb.Record, next int) {
	if at+8 >= len(b) || b[at+8] != 0x08 { // every record begins with the tag of its type
		return nil, 0
	}
	length := binary.LittleEndian.Uint64(b[at:])
	size, padding := length&(1<<56-1), uint64(0)
	if length>>63 == 1 {
		padding = length >> 56 & 7
	}
	if size == 0 || (size+padding)%8 != 0 || size+padding > uint64(len(b)-at-8) {
		return nil, 0
	}
	rec = &walpb.Record{}
	if err := proto.Unmarshal(b[at+8:at+8+int(size)], rec); err != nil || rec.Type == nil || rec.Crc == nil {
		return nil, 0
	}
	return rec, at + 8 + int(size+padding)
}

// zeroFrom makes a file empty from an offset on and keeps its size.
func zeroFrom(path string, from, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("raftlog: repair segment: %w", err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(from), f.Truncate(size), f.Sync()); err != nil {
		return fmt.Errorf("raftlog: repair segment: %w", err)
	}
	return nil
}
