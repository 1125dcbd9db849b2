package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// memory is the end of the log that raft reads from: entries that are durable here and either not yet applied or
// recent. It is compacted in steps, because each compaction copies what remains. Only the raft goroutine uses it, once the
// node has started.
type memory struct {
	*raft.MemoryStorage
	conf     *raftpb.ConfState // as of what was applied at the start
	prepared func() (*raftpb.Snapshot, error)

	limits       limits
	catchUpBytes int
	first, last  uint64 // entries held: [first, last]
	// ending counts the snapshots on their way to take the place of all this: a slow disk may have one to do when the
	// next comes. Until all have, what is applied may be of one.
	ending int
	bytes  int // what they take
}

// limits say how much of what is applied is kept, and how much more gathers before it is compacted to that.
type limits struct{ entries, bytes, moreEntries, moreBytes int }

// What a lone member keeps. It needs none of it.
var aloneLimits = limits{entries: 256, bytes: 1 << 20, moreEntries: 256, moreBytes: 1 << 20}

// entryOverheadBytes is what an entry takes beside its payload.
const entryOverheadBytes = 128

func newMemory(r *Recovered, conf *raftpb.ConfState, catchUpBytes int64) (*memory, error) {
	m := &memory{
		MemoryStorage: raft.NewMemoryStorage(), conf: conf, limits: aloneLimits, catchUpBytes: int(catchUpBytes),
		first: r.Marker.Index + 1, last: r.Marker.Index,
	}
	start := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(r.Marker.Index), Term: new(r.Marker.Term), ConfState: r.Marker.Conf,
	}}
	if err := m.ApplySnapshot(start); err != nil {
		return nil, fmt.Errorf("raftlog: start from marker: %w", err)
	}
	if err := m.SetHardState(r.State); err != nil {
		return nil, fmt.Errorf("raftlog: start from hard state: %w", err)
	}
	return m, m.append(r.Entries)
}

// InitialState gives the configuration as of what is applied, not as of the marker: raft is told of no change before that.
func (m *memory) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	state, _, err := m.MemoryStorage.InitialState()
	return state, m.conf, err
}

// Snapshot is asked for by raft when it needs entries that are not here.
func (m *memory) Snapshot() (*raftpb.Snapshot, error) { return m.prepared() }

// alone says whether this node is the only member.
func (m *memory) alone(alone bool) {
	m.limits = aloneLimits
	if !alone {
		m.limits = limits{entries: maxInt / 2, bytes: m.catchUpBytes, moreBytes: m.catchUpBytes / 4}
	}
}

// restart forgets all that was before a snapshot.
func (m *memory) restart(s *raftpb.Snapshot) error {
	if err := m.ApplySnapshot(s); err != nil {
		return fmt.Errorf("raftlog: begin after a snapshot: %w", err)
	}
	m.last, m.bytes = s.GetMetadata().GetIndex(), 0
	m.first = m.last + 1
	m.ending--
	return nil
}

// append adds entries that have become durable.
func (m *memory) append(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if from := entries[0].GetIndex(); from <= m.last {
		replaced, err := m.Entries(from, m.last+1, raftNoLimit)
		if err != nil {
			return fmt.Errorf("raftlog: replace entries from %d: %w", from, err)
		}
		m.bytes -= entriesBytes(replaced)
	}
	m.bytes += entriesBytes(entries)
	m.last = entries[len(entries)-1].GetIndex()
	return m.Append(entries)
}

// compact forgets applied entries if there are too many. Those after floor are needed by members that receive a snapshot
// and are kept for longer, but not without bound.
func (m *memory) compact(applied, floor uint64) error {
	if m.ending > 0 {
		return nil
	}
	l := m.limits
	if m.bytes <= l.bytes+l.moreBytes && m.last+1-m.first <= uint64(l.entries+l.moreEntries) || applied < m.first {
		return nil
	}
	entries, err := m.Entries(m.first, applied+1, raftNoLimit)
	if err != nil {
		return fmt.Errorf("raftlog: compact to %d: %w", applied, err)
	}
	first := m.first
	for _, e := range entries {
		if m.bytes <= l.bytes && m.last+1-m.first <= uint64(l.entries) || m.first > floor && m.bytes <= 4*m.catchUpBytes {
			break
		}
		m.bytes -= entryBytes(e)
		m.first = e.GetIndex() + 1
	}
	if m.first == first {
		return nil
	}
	return m.Compact(m.first - 1)
}

const raftNoLimit = ^uint64(0)

func entryBytes(e *raftpb.Entry) int { return entryOverheadBytes + len(e.GetData()) }

func entriesBytes(entries []*raftpb.Entry) (n int) {
	for _, e := range entries {
		n += entryBytes(e)
	}
	return n
}

func payloadBytes(entries []*raftpb.Entry) (n int) {
	for _, e := range entries {
		n += len(e.GetData())
	}
	return n
}
