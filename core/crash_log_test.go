package core

import (
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

// logDisk is what a raft log has made durable, in memory. A crash takes a copy of it.
type logDisk struct {
	marking sync.RWMutex // held against Mark while state and log are copied together

	mu      sync.Mutex // guards the fields below
	marker  raftlog.Marker
	state   *raftpb.HardState
	entries []*raftpb.Entry // from the first ever, however far the marker is
}

// first is the index of the first entry ever written.
func (d *logDisk) first() uint64 {
	if len(d.entries) == 0 {
		return d.marker.Index + 1
	}
	return d.entries[0].GetIndex()
}

// crash copies what is durable. whole gives a log that still begins at its first entry.
func (d *logDisk) crash() *logDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &logDisk{marker: d.marker, state: d.state, entries: slices.Clone(d.entries)}
}

// rewind makes the log look as if nothing had ever been flushed: a replay begins at the first entry.
func (d *logDisk) rewind() {
	d.marker.Index, d.marker.Term = d.first()-1, 1
}

// holds says whether the log has the marker's entry, or begins with it.
func (d *logDisk) holds(m raftlog.Marker) bool {
	if len(d.entries) == 0 || m.Index < d.first() {
		return true
	}
	at := m.Index - d.first()
	return at < uint64(len(d.entries)) && d.entries[at].GetTerm() == m.Term
}

func (d *logDisk) open(raftlog.LogOptions) (raftlog.Log, *raftlog.Recovered, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	recovered := &raftlog.Recovered{Marker: d.marker, State: d.state}
	for _, e := range d.entries {
		if e.GetIndex() > d.marker.Index {
			recovered.Entries = append(recovered.Entries, e)
		}
	}
	return durableLog{d}, recovered, nil
}

// durableLog is the way to a logDisk.
type durableLog struct{ disk *logDisk }

func (l durableLog) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	d := l.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(entries) > 0 && len(d.entries) > 0 {
		d.entries = d.entries[:entries[0].GetIndex()-d.entries[0].GetIndex()]
	}
	d.entries = append(d.entries, entries...)
	if state != nil {
		d.state = state
	}
	return nil
}

func (l durableLog) Mark(marker raftlog.Marker) error {
	d := l.disk
	d.marking.RLock()
	defer d.marking.RUnlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.holds(marker) { // an installed snapshot takes the log's place
		d.entries = nil
	}
	d.marker = marker
	return nil
}

func (durableLog) Purge(uint64) error { return nil }

func (durableLog) Close() error { return nil }
