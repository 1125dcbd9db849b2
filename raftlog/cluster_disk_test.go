package raftlog

import (
	"fmt"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// testDisk is a log in memory that survives its node. It holds what was written to what OpenDisk holds to, and checks
// that what is written keeps the rules.
type testDisk struct {
	mu      sync.Mutex
	replay  replay
	conf    *raftpb.ConfState
	entries map[uint64]*raftpb.Entry
	broken  error
	fail    error         // returned by the next Mark
	hold    chan struct{} // not nil: Append waits until it is closed
}

func newTestDisk() *testDisk {
	return &testDisk{replay: replay{state: &raftpb.HardState{}}, entries: map[uint64]*raftpb.Entry{}}
}

func (d *testDisk) open(LogOptions) (Log, *Recovered, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &Recovered{State: d.replay.state, Marker: Marker{Index: d.replay.marker.index, Term: d.replay.marker.term, Conf: d.conf}}
	for i := r.Marker.Index + 1; i <= d.replay.last; i++ {
		r.Entries = append(r.Entries, d.entries[i])
	}
	return d, r, nil
}

func (d *testDisk) setFail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

// setHold makes writes wait until the channel is closed; nil ends that.
func (d *testDisk) setHold(hold chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if hold == nil {
		close(d.hold)
	}
	d.hold = hold
}

func (d *testDisk) violated(err error) {
	if err != nil && d.broken == nil {
		d.broken = err
	}
}

func (d *testDisk) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	d.mu.Lock()
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	synced := max(d.replay.last, d.replay.marker.index)
	for i, e := range entries {
		if i == 0 {
			synced = min(synced, e.GetIndex()-1)
		} else if e.GetIndex() != entries[i-1].GetIndex()+1 {
			d.violated(fmt.Errorf("entry %d after %d in one write", e.GetIndex(), entries[i-1].GetIndex()))
		}
		d.violated(d.replay.entry(e.GetIndex(), e.GetTerm()))
		d.entries[e.GetIndex()] = e
	}
	if state != nil {
		d.violated(d.replay.hardState(state))
		if state.GetCommit() > synced {
			d.violated(fmt.Errorf("commit %d written while only %d is synced", state.GetCommit(), synced))
		}
	}
	return d.broken
}

func (d *testDisk) Mark(m Marker) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		return d.fail
	}
	d.violated(d.replay.mark(m.Index, m.Term))
	d.conf = m.Conf
	return d.broken
}

func (d *testDisk) Purge(uint64) error { return nil }
func (d *testDisk) Close() error       { return nil }
