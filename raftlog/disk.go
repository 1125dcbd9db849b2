package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
)

// segmentBytes is the size that a segment file is given in advance. etcd's 64 MB, taken twice because the next segment
// is prepared beside the current one, is much for a node that is otherwise small, and it is the grain in which space
// is given back; smaller than a few entries of the largest size would mean cutting segments all the time.
var segmentBytes int64 = 16 << 20

// etcd's log takes the size from a variable of its package.
var setSegmentSize = sync.OnceFunc(func() { wal.SegmentSizeBytes = segmentBytes })

// diskLog is etcd's segmented, preallocated, checksummed log.
//
//	Dir/LOCK                         held while the log is open
//	Dir/wal/<sequence>-<index>.wal   segments; index is that of the first entry written to it
type diskLog struct {
	dir  string
	lock *fileutil.LockedFile
	wal  *wal.WAL
}

// OpenDisk opens the log in o.Dir, or creates it. It reads the log twice: once to find the marker and to tell a torn
// tail, which it repairs, from damage, which it refuses with ErrCorrupt; and once from the marker on.
func OpenDisk(o LogOptions) (Log, *Recovered, error) {
	setSegmentSize()
	dir := filepath.Join(o.Dir, "wal")
	if o.MustExist && !wal.Exist(dir) {
		return nil, nil, fmt.Errorf("%w: there is no log in %s", ErrMissing, dir)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("raftlog: create log directory: %w", err)
	}
	lock, err := fileutil.TryLockFile(filepath.Join(o.Dir, "LOCK"), os.O_RDWR|os.O_CREATE, fileutil.PrivateFileMode)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, nil, fmt.Errorf("%w: %s", ErrLocked, o.Dir)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("raftlog: lock %s: %w", o.Dir, err)
	}
	l := &diskLog{dir: dir, lock: lock}
	recovered := &Recovered{}
	if wal.Exist(dir) {
		recovered, err = l.open(o)
	} else {
		err = l.create(o)
	}
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	if o.NoSync {
		l.wal.SetUnsafeNoFsync()
	}
	return l, recovered, nil
}

// create is atomic: etcd prepares the directory under another name and renames it.
func (l *diskLog) create(o LogOptions) (err error) {
	if l.wal, err = wal.Create(newZap(o.Logger), l.dir, identity(o)); err != nil {
		return fmt.Errorf("raftlog: create log: %w", err)
	}
	return nil
}

func (l *diskLog) open(o LogOptions) (*Recovered, error) {
	if err := l.removeTemporary(); err != nil {
		return nil, err
	}
	found, err := inspect(l.dir, o.Logger)
	if err != nil {
		return nil, err
	}
	if err := checkIdentity(found.metadata, o); err != nil {
		return nil, err
	}
	l.wal, err = wal.Open(newZap(o.Logger), l.dir, found.marker)
	if err != nil {
		return nil, fmt.Errorf("raftlog: open log: %w", err)
	}
	state, entries, err := readAll(l.wal)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	// Every segment begins with the state last saved since the log was opened. Without this one, a segment cut before
	// the next state would begin with none, and purging those before it would lose it.
	if err := l.wal.Save(state, nil); err != nil {
		return nil, fmt.Errorf("raftlog: write state: %w", err)
	}
	// What an installed snapshot discarded is still in the file, unless something has replaced it since.
	kept := int(max(found.last, found.marker.GetIndex()) - found.marker.GetIndex())
	if len(entries) < kept {
		return nil, fmt.Errorf("%w: %d entries after the marker, then %d", ErrCorrupt, kept, len(entries))
	}
	entries = entries[:kept:kept]
	return &Recovered{
		Marker:  Marker{Index: found.marker.GetIndex(), Term: found.marker.GetTerm(), Conf: found.marker.GetConfState()},
		State:   state,
		Entries: entries,
	}, nil
}

// readAll is wal.ReadAll without its panics: checksums do not cover a record's type, so one that passes them may still
// not be what it says.
func readAll(w *wal.WAL) (state *raftpb.HardState, entries []*raftpb.Entry, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("unreadable record: %v", r)
		}
	}()
	_, state, entries, err = w.ReadAll()
	return state, entries, err
}

// removeTemporary deletes what a crash left of a segment in preparation. etcd would take the file as it is, and what
// is in it could later be mistaken for the records of a torn write.
func (l *diskLog) removeTemporary() error {
	names, err := fileutil.ReadDir(l.dir, fileutil.WithExt(".tmp"))
	if err != nil {
		return fmt.Errorf("raftlog: list log: %w", err)
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil {
			return fmt.Errorf("raftlog: remove leftover: %w", err)
		}
	}
	return nil
}

// Append is one write; etcd's log syncs it if there are entries or a new term or vote.
func (l *diskLog) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	return l.wal.Save(state, entries)
}

func (l *diskLog) Mark(m Marker) error {
	return l.wal.SaveSnapshot(&walpb.Snapshot{Index: new(m.Index), Term: new(m.Term), ConfState: m.Conf})
}

// Purge deletes the segments before the one that index may be in. The oldest go first, so that what a crash leaves is
// without gaps.
func (l *diskLog) Purge(index uint64) error {
	segments, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	keep := len(segments) - 1
	for keep > 0 && segments[keep].index >= index {
		keep--
	}
	if keep <= 0 {
		return nil
	}
	if err := l.wal.ReleaseLockTo(index); err != nil {
		return err
	}
	for _, s := range segments[:keep] {
		if err := os.Remove(s.path); err != nil {
			return err
		}
	}
	return nil
}

func (l *diskLog) Close() error {
	var err error
	if l.wal != nil {
		err = l.wal.Close()
	}
	return errors.Join(err, l.lock.Close())
}

// The identity stands at the head of every segment: a format byte, the node's id and the cluster's.
const identityFormat = 1

func identity(o LogOptions) []byte {
	b := []byte{identityFormat}
	b = binary.BigEndian.AppendUint64(b, o.NodeID)
	return binary.BigEndian.AppendUint64(b, o.ClusterID)
}

func checkIdentity(b []byte, o LogOptions) error {
	if len(b) != 17 || b[0] != identityFormat {
		return fmt.Errorf("%w: unknown identity %x", ErrWrongIdentity, b)
	}
	node, cluster := binary.BigEndian.Uint64(b[1:]), binary.BigEndian.Uint64(b[9:])
	if node != o.NodeID || cluster != o.ClusterID {
		return fmt.Errorf("%w: it is of node %x in cluster %x, this is node %x in cluster %x",
			ErrWrongIdentity, node, cluster, o.NodeID, o.ClusterID)
	}
	return nil
}

// segment is a file of the log.
type segment struct {
	path            string
	sequence, index uint64
}

// listSegments returns the segments in order, from the last gap in their numbers on. Before a gap there can only be
// files that were being purged.
func listSegments(dir string) ([]segment, error) {
	names, err := fileutil.ReadDir(dir, fileutil.WithExt(".wal"))
	if err != nil {
		return nil, fmt.Errorf("raftlog: list log: %w", err)
	}
	var segments []segment
	for _, name := range names {
		s := segment{path: filepath.Join(dir, name)}
		if _, err := fmt.Sscanf(strings.TrimSuffix(name, ".wal"), "%016x-%016x", &s.sequence, &s.index); err != nil {
			return nil, fmt.Errorf("%w: %s is not the name of a segment", ErrCorrupt, s.path)
		}
		if n := len(segments); n > 0 && segments[n-1].sequence+1 != s.sequence {
			segments = segments[:0]
		}
		segments = append(segments, s)
	}
	return segments, nil
}
