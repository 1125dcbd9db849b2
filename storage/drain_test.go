package storage

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// Keys that many clients add in order make layers of which each overlaps with the one before.
func TestLayersThatOverlapWithTheirNeighboursAreDrained(t *testing.T) {
	db := open(t, Options{MemtableBytes: 64 << 10})
	value := make([]byte, 900)
	for step := range 6000 {
		b := db.NewBatch()
		for _, key := range []int{step, step + 40} {
			b.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "%06d", key)), value)
		}
		commit(t, b)
	}
	drains := db.current.Load().engine.pebble.Metrics().Ingest.Count
	if drains < 100 {
		t.Errorf("%d layers: the test does not test", drains)
	}
}

// The log's tables get to the last level at once, and no compaction moves them, whatever becomes of the rest.
func TestTheLogIsNotCompacted(t *testing.T) {
	rng := newRand(t)
	const layer = 128 << 10
	db := open(t, Options{MemtableBytes: layer})
	for step := range 3000 {
		if step == 1000 {
			if err := db.Defragment(t.Context()); err != nil { // everything goes through one compaction
				t.Fatal(err)
			}
		}
		b := db.NewBatch()
		b.State().Revision++
		state := b.State().Revision
		key := fmt.Appendf(nil, "%06d", rng.IntN(2000))
		e := &Event{Type: EventPut, Key: key, Revision: state, Record: Record{
			Kind: KindBytes, CreateRevision: state, ModRevision: state, Version: 1, Value: make([]byte, 200+rng.IntN(1500)),
		}}
		b.AppendEvent(e)
		b.SetLogged(CurrentKey(nil, 0, key), e)
		b.Set(ElementKey(nil, 1, key), make([]byte, 100))
		commit(t, b)
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	levels, err := db.current.Load().engine.pebble.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	for level, tables := range levels {
		for _, table := range tables {
			first, last := groupOf(string(table.Smallest.UserKey)), groupOf(string(table.Largest.UserKey))
			if first != last && level > 0 {
				t.Errorf("a table of level %d goes from group %d to %d", level, first, last)
			}
			// A layer that is not full goes through a memtable, when it is flushed.
			if first == groupLog && level != lastLevel && table.Size > layer/ingestFraction {
				t.Errorf("a table of the log with %d bytes is in level %d", table.Size, level)
			}
		}
	}
	if m := db.current.Load().engine.pebble.Metrics(); m.Compact.Count < 10 {
		t.Errorf("%d compactions: the test does not test", m.Compact.Count)
	}
}

func TestGroupsFollowOneAnother(t *testing.T) {
	if !slices.IsSortedFunc(groups[:], slices.Compare) || groups[groupLog][0] != tableLog {
		t.Error("the groups are not in order")
	}
	at := []byte{tableMeta}
	for group := range groups {
		if groupOf(string(at)) != group {
			t.Errorf("%x is in group %d, not %d", at, groupOf(string(at)), group)
		}
		policy, end, err := groupOfKey(append(at, "key"...))
		if policy != (pebble.SpanPolicy{}) || err != nil || (end == nil) != (group == len(groups)-1) {
			t.Errorf("group %d ends at %x, %v", group, end, err)
		}
		at = end
	}
}
