package raftlog

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// replica is a Machine whose state is what it was given. It flushes only when it is told to, and on Install.
type replica struct {
	mu        sync.Mutex
	changed   sync.Cond
	state     replicaState
	flushed   replicaState
	staged    map[string][]byte
	stagedFor SnapshotMeta
	refuse    func(Entry) bool // changes that do not stand
	violated  error
	installs  int
	creates   int
	noCreate  bool
	refused   error         // what Receive answers
	before    func()        // Install calls it first
	slow      chan struct{} // not nil: Apply waits until it is closed
	snapshots []*testSnapshot
}

func (r *replica) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *replica) setNoCreate(no bool)       { r.set(func() { r.noCreate = no }) }
func (r *replica) setRefuse(err error)       { r.set(func() { r.refused = err }) }
func (r *replica) setBeforeInstall(f func()) { r.set(func() { r.before = f }) }
func (r *replica) setSlow(c chan struct{})   { r.set(func() { r.slow = c }) }
func (r *replica) installed() (n int)        { r.set(func() { n = r.installs }); return n }

type replicaState struct {
	Index, Term uint64
	Stamp       int64
	Conf        []byte
	Seqs        []replicaSeq
	Installed   *SnapshotMeta
}

type replicaSeq struct{ Origin, Seq uint64 }

func newReplica() *replica {
	r := &replica{}
	r.changed.L = &r.mu
	return r
}

func (r *replica) Apply(entries []Entry) error {
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	if slow != nil {
		<-slow
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		r.take(e)
	}
	r.changed.Broadcast()
	return r.violated
}

func (r *replica) take(e Entry) {
	if e.Index != r.state.Index+1 || e.Term < r.state.Term {
		r.violated = fmt.Errorf("entry %d of term %d after %d of term %d", e.Index, e.Term, r.state.Index, r.state.Term)
	}
	if e.StampMillis < r.state.Stamp && len(e.Proposals) > 0 {
		r.violated = fmt.Errorf("entry %d has stamp %d after %d", e.Index, e.StampMillis, r.state.Stamp)
	}
	r.state.Index, r.state.Term, r.state.Stamp = e.Index, e.Term, max(r.state.Stamp, e.StampMillis)
	for _, p := range e.Proposals {
		if p.Origin != 0 {
			r.state.Seqs = append(r.state.Seqs, replicaSeq{p.Origin, p.Seq})
		}
	}
}

func (r *replica) ApplyChange(e Entry, conf []byte) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.take(e)
	stands := r.refuse == nil || len(e.Proposals) == 0 || !r.refuse(e)
	if stands {
		r.state.Conf = conf
	}
	r.changed.Broadcast()
	return stands, r.violated
}

func (r *replica) Install(meta SnapshotMeta) error {
	if r.before != nil {
		r.before()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stagedFor.Index != meta.Index || !bytes.Equal(r.stagedFor.Conf, meta.Conf) {
		return fmt.Errorf("asked to install %d, received %d", meta.Index, r.stagedFor.Index)
	}
	if meta.Index <= r.state.Index {
		return fmt.Errorf("asked to install %d over %d", meta.Index, r.state.Index)
	}
	var s replicaState
	if err := gob.NewDecoder(bytes.NewReader(r.staged["state"])).Decode(&s); err != nil {
		return err
	}
	s.Installed = &meta
	r.state, r.flushed = s, s
	r.installs++
	r.changed.Broadcast()
	return nil
}

func (r *replica) flush() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flushed = r.state
	r.flushed.Seqs = slices.Clone(r.state.Seqs)
	return r.flushed.Index
}

// crash falls back to what was flushed.
func (r *replica) crash() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = r.flushed
	r.state.Seqs = slices.Clone(r.flushed.Seqs)
}

func (r *replica) seqs() []replicaSeq {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.state.Seqs)
}

func (r *replica) conf() *raftpb.ConfState {
	r.mu.Lock()
	defer r.mu.Unlock()
	conf, err := decodeConf(r.state.Conf)
	if err != nil {
		panic(err)
	}
	return conf
}

// Create gives the present state, in one file.
func (r *replica) Create(_ context.Context, atLeast uint64) (Snapshot, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.noCreate {
		return nil, errors.New("no space left on device")
	}
	if r.state.Index < atLeast {
		return nil, fmt.Errorf("asked for %d at %d", atLeast, r.state.Index)
	}
	r.creates++
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(r.state); err != nil {
		return nil, err
	}
	s := &testSnapshot{meta: SnapshotMeta{Index: r.state.Index, Term: r.state.Term, Conf: r.state.Conf}, data: b.Bytes()}
	r.snapshots = append(r.snapshots, s)
	return s, nil
}

func (r *replica) Receive(meta SnapshotMeta, files []SnapshotFile) (Incoming, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refused != nil {
		return nil, r.refused
	}
	if r.stagedFor.Index != meta.Index || r.staged == nil {
		r.stagedFor, r.staged = meta, map[string][]byte{}
	}
	return &testIncoming{r: r, files: files}, nil
}

type testSnapshot struct {
	meta     SnapshotMeta
	data     []byte
	released bool
}

func (s *testSnapshot) Meta() SnapshotMeta { return s.meta }
func (s *testSnapshot) Files() []SnapshotFile {
	return []SnapshotFile{{Name: "state", Bytes: int64(len(s.data)), Checksum: crc32.Checksum(s.data, castagnoli)}}
}
func (s *testSnapshot) Open(string) (SnapshotReader, error) {
	if s.released {
		return nil, errors.New("released")
	}
	return struct {
		io.ReaderAt
		io.Closer
	}{bytes.NewReader(s.data), io.NopCloser(nil)}, nil
}
func (s *testSnapshot) Release() {
	if s.released {
		panic("released twice")
	}
	s.released = true
}

type testIncoming struct {
	r     *replica
	files []SnapshotFile
}

func (i *testIncoming) Have(name string) int64 {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	return int64(len(i.r.staged[name]))
}

func (i *testIncoming) Write(name string, _ int64, data []byte) error {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.staged[name] = append(i.r.staged[name], data...)
	return nil
}

func (i *testIncoming) Finish() error {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	for _, f := range i.files {
		if crc32.Checksum(i.r.staged[f.Name], castagnoli) != f.Checksum {
			return errors.New("checksum")
		}
	}
	return nil
}

func (i *testIncoming) Close() error { return nil }
