package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

func TestMemoryForgetsOldAppliedEntriesAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct{ entriesMax, bytesMax int }{
		"by number": {10, 1 << 30},
		"by size":   {1 << 30, 10 * (100 + entryOverheadBytes)},
	} {
		m, err := newMemory(&Recovered{Marker: Marker{Index: 5, Term: 1}, State: &raftpb.HardState{}}, nil, 64<<20)
		if err != nil {
			t.Fatal(err)
		}
		m.limits = limits{entries: c.entriesMax, bytes: c.bytesMax, moreEntries: c.entriesMax, moreBytes: c.bytesMax}
		for i := uint64(6); i <= 500; i++ {
			if err := m.append([]*raftpb.Entry{{Index: new(i), Term: new(uint64(1)), Data: make([]byte, 100)}}); err != nil {
				t.Fatal(err)
			}
			applied := max(i-3, 5)
			if err := m.compact(applied, raftNoLimit); err != nil {
				t.Fatal(err)
			}
			first, _ := m.FirstIndex()
			last, _ := m.LastIndex()
			if first != m.first || last != m.last || last != i || first > applied+1 {
				t.Fatalf("%s: holds %d to %d, believes %d to %d", name, first, last, m.first, m.last)
			}
			if held := last + 1 - first; held > 22 || i > 100 && held < 10 || m.bytes != int(held)*(100+entryOverheadBytes) {
				t.Fatalf("%s: holds %d entries and counts %d bytes", name, held, m.bytes)
			}
		}
	}
}

func TestMemoryCountsEntriesThatAreReplaced(t *testing.T) {
	m, err := newMemory(&Recovered{Marker: Marker{Index: 5, Term: 1}, State: &raftpb.HardState{}}, nil, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(index, term uint64, size int) *raftpb.Entry {
		return &raftpb.Entry{Index: new(index), Term: new(term), Data: make([]byte, size)}
	}
	if err := m.append([]*raftpb.Entry{entry(6, 1, 100), entry(7, 1, 100), entry(8, 1, 100)}); err != nil {
		t.Fatal(err)
	}
	if err := m.append([]*raftpb.Entry{entry(7, 2, 10)}); err != nil {
		t.Fatal(err)
	}
	if m.bytes != 110+2*entryOverheadBytes || m.last != 7 {
		t.Fatalf("%d bytes up to %d", m.bytes, m.last)
	}
}

func TestMemoryForgetsNothingUntilTheLastSnapshotHasTakenItsPlace(t *testing.T) {
	m, err := newMemory(&Recovered{Marker: Marker{Index: 5, Term: 1}, State: &raftpb.HardState{}}, nil, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	m.limits = limits{entries: 1, bytes: 1, moreEntries: 1, moreBytes: 1}
	snapshot := func(index uint64) *raftpb.Snapshot {
		return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(index), Term: new(uint64(1)), ConfState: &raftpb.ConfState{}}}
	}
	m.ending = 2 // the state is of entry 95 already, but of the log only the snapshot before it is written
	if err := m.restart(snapshot(81)); err != nil {
		t.Fatal(err)
	}
	for i := uint64(82); i <= 86; i++ {
		if err := m.append([]*raftpb.Entry{{Index: new(i), Term: new(uint64(1)), Data: make([]byte, 100)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.compact(95, raftNoLimit); err != nil {
		t.Fatal(err)
	}
	if m.first != 82 || m.last != 86 {
		t.Fatalf("holds %d to %d", m.first, m.last)
	}
	if err := m.restart(snapshot(95)); err != nil {
		t.Fatal(err)
	}
	if m.first != 96 || m.last != 95 || m.ending != 0 {
		t.Fatalf("holds %d to %d, %d still to come", m.first, m.last, m.ending)
	}
}
