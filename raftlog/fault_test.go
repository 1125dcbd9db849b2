package raftlog

import (
	"context"
	"errors"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// failingLog fails one write of entries, the one after which left is 0, and counts what is called after that.
type failingLog struct {
	Log
	mu         sync.Mutex
	left       int
	writeFirst bool // the write arrives and only the sync fails
	mark       bool // fail the next marker instead
	err        error
	failed     bool
	callsAfter int
}

func (l *failingLog) step(counts bool, do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		l.callsAfter++
		return l.err
	}
	if counts {
		l.left--
	}
	if l.left != 0 || !counts {
		return do()
	}
	l.failed = true
	if l.writeFirst {
		if err := do(); err != nil {
			return err
		}
	}
	return l.err
}

func (l *failingLog) Append(s *raftpb.HardState, e []*raftpb.Entry) error {
	return l.step(!l.mark && len(e) > 0, func() error { return l.Log.Append(s, e) })
}
func (l *failingLog) Mark(m Marker) error {
	return l.step(l.mark, func() error { return l.Log.Mark(m) })
}

func TestAFailedWriteOrSyncStopsTheNodeAndAcknowledgesNothingMore(t *testing.T) {
	for name, writeFirst := range map[string]bool{"write": false, "sync": true} {
		t.Run(name, func(t *testing.T) {
			for _, writes := range []int{1, 2, 3, 10} { // the first is the leader's empty entry
				dir := t.TempDir()
				broken := &failingLog{left: writes, writeFirst: writeFirst, err: errors.New("input/output error")}
				m := newRecorder(0)
				cfg := testConfig(t, dir, m)
				cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
					l, r, err := OpenDisk(o)
					broken.Log = l
					return broken, r, err
				}
				fatal := make(chan error, 2)
				cfg.OnFatal = func(err error) { fatal <- err }
				n, err := Start(cfg)
				if err != nil {
					t.Fatal(err)
				}
				go func() { <-n.Done(); m.release() }()
				for seq := uint64(1); ; seq++ {
					if err := n.Propose(context.Background(), seq, payload(seq)); err != nil {
						if !errors.Is(err, ErrStopped) || !errors.Is(err, broken.err) {
							t.Fatalf("Propose: %v", err)
						}
						break
					}
					m.waitSeqs(int(seq))
				}
				if err := <-fatal; !errors.Is(err, broken.err) {
					t.Fatal(err)
				}
				if err := n.Stop(); !errors.Is(err, broken.err) {
					t.Fatal(err)
				}
				if len(fatal) != 0 {
					t.Fatal("OnFatal was called twice")
				}
				acknowledged := m.applied()
				if broken.callsAfter != 0 || len(acknowledged) > writes-1 {
					t.Fatalf("write %d failed: %d proposals acknowledged, %d further calls", writes, len(acknowledged), broken.callsAfter)
				}
				if _, err := n.ReadIndex(context.Background()); !errors.Is(err, broken.err) {
					t.Fatalf("ReadIndex: %v", err)
				}

				again := newRecorder(0)
				mustStop(t, mustStart(t, testConfig(t, dir, again)))
				checkSeqs(t, again.applied(), uint64(len(acknowledged)))
			}
		})
	}
}

func TestAFailedMarkerStopsTheNode(t *testing.T) {
	broken := &failingLog{left: 2, mark: true, err: errors.New("no space left on device")} // the first is the bootstrap's
	m := newRecorder(0)
	cfg := testConfig(t, t.TempDir(), m)
	cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
		l, r, err := OpenDisk(o)
		broken.Log = l
		return broken, r, err
	}
	n := mustStart(t, cfg)
	mustPropose(t, n, 1, 10)
	m.waitSeqs(10)
	if err := n.Truncate(n.Status().Applied); !errors.Is(err, broken.err) {
		t.Fatal(err)
	}
	<-n.Done()
	if !errors.Is(n.Err(), broken.err) {
		t.Fatal(n.Err())
	}
}

func TestAMachineThatWaitsForATruncationDoesNotHoldUpAFailure(t *testing.T) {
	broken := &failingLog{left: 20, err: errors.New("input/output error")}
	m := &flushingMachine{recorder: newRecorder(0), node: make(chan *Node, 1)}
	cfg := testConfig(t, t.TempDir(), m)
	cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
		l, r, err := OpenDisk(o)
		broken.Log = l
		return broken, r, err
	}
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.node <- n
	go func() { <-n.Done(); m.release() }()
	for seq := uint64(1); n.Propose(t.Context(), seq, payload(seq)) == nil; seq++ {
		m.waitSeqs(int(seq))
	}
	<-n.Done()
	if !errors.Is(n.Err(), broken.err) {
		t.Fatal(n.Err())
	}
}

func TestABootstrapThatCannotBeWrittenDoesNotStart(t *testing.T) {
	broken := &failingLog{left: 1, mark: true, err: errors.New("no space left on device")}
	cfg := testConfig(t, t.TempDir(), newRecorder(0))
	cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
		l, r, err := OpenDisk(o)
		broken.Log = l
		return broken, r, err
	}
	if _, err := Start(cfg); !errors.Is(err, broken.err) {
		t.Fatal(err)
	}
	mustStop(t, mustStart(t, testConfig(t, cfg.Dir, newRecorder(0)))) // it has let go of the directory
}

// purgeFailsLog cannot delete files.
type purgeFailsLog struct {
	Log
	err error
}

func (l purgeFailsLog) Purge(uint64) error { return l.err }

func TestSpaceThatCannotBeGivenBackIsNotFatal(t *testing.T) {
	m := newRecorder(0)
	dir := t.TempDir()
	failure := errors.New("operation not permitted")
	cfg := testConfig(t, dir, m)
	cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
		l, r, err := OpenDisk(o)
		return purgeFailsLog{l, failure}, r, err
	}
	n := mustStart(t, cfg)
	mustPropose(t, n, 1, 10)
	m.waitSeqs(10)
	if err := n.Truncate(n.Status().Applied); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	mustPropose(t, n, 11, 20)
	checkSeqs(t, m.waitSeqs(20), 20)
	mustStop(t, n)
}
