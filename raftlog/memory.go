package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// memory is the end of the log that raft reads from: entries that are durable here and either not yet applied or
// recent. It is compacted in steps, once it holds twice what is kept, because each compaction copies what remains.
// Only the raft goroutine uses it, once the node has started.
type memory struct {
	*raft.MemoryStorage
	entriesMax, bytesMax int

	first, last uint64 // entries held: [first, last]
	bytes       int    // their payloads
}

// What memory keeps of the applied entries. A lone voter reads none of them; a peer that lags by no more than this
// is served without touching the disk.
const (
	memoryEntriesMax = 4096
	memoryBytesMax   = 16 << 20
)

func newMemory(r *Recovered) (*memory, error) {
	m := &memory{
		MemoryStorage: raft.NewMemoryStorage(),
		entriesMax:    memoryEntriesMax, bytesMax: memoryBytesMax,
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
		m.bytes -= payloadBytes(replaced)
	}
	m.bytes += payloadBytes(entries)
	m.last = entries[len(entries)-1].GetIndex()
	return m.Append(entries)
}

// compact forgets applied entries if there are too many.
func (m *memory) compact(applied uint64) error {
	if m.bytes <= 2*m.bytesMax && m.last+1-m.first <= uint64(2*m.entriesMax) || applied < m.first {
		return nil
	}
	entries, err := m.Entries(m.first, applied+1, raftNoLimit)
	if err != nil {
		return fmt.Errorf("raftlog: compact to %d: %w", applied, err)
	}
	for _, e := range entries {
		if m.bytes <= m.bytesMax && m.last+1-m.first <= uint64(m.entriesMax) {
			break
		}
		m.bytes -= len(e.GetData())
		m.first = e.GetIndex() + 1
	}
	return m.Compact(m.first - 1)
}

const raftNoLimit = ^uint64(0)

func payloadBytes(entries []*raftpb.Entry) int {
	n := 0
	for _, e := range entries {
		n += len(e.GetData())
	}
	return n
}
