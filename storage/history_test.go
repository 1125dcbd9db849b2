package storage

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// version is one change of a key, as the history model keeps it.
type version struct {
	revision int64
	sub      int32
	key      string
	deleted  bool
	value    string
}

// timeline is what the history should show: every change ever made, in order.
type timeline []version

// change makes one random change of the shared space, as the state machine would: one revision, several keys, at times
// one key more than once.
func (tl *timeline) change(rng *rand.Rand, b *Batch, keys int) {
	state := b.State()
	state.AppliedIndex++
	state.Revision++
	for sub := range int32(1 + rng.IntN(3)) {
		key := fmt.Sprintf("key\x00%02d", rng.IntN(keys))
		c := version{revision: state.Revision, sub: sub, key: key, value: fmt.Sprintf("%d.%d", state.Revision, sub)}
		if rng.IntN(4) == 0 { // around the size from which on a value is apart, and above
			c.value += strings.Repeat("x", apartBytesMin-8+rng.IntN(16)+rng.IntN(2)*4000)
		}
		e := Event{Type: EventPut, Key: []byte(key), Revision: c.revision, Sub: sub}
		if _, present := b.Get(CurrentKey(nil, 0, []byte(key))); present && rng.IntN(3) == 0 {
			c.deleted, c.value = true, ""
			e.Type, e.Record = EventDelete, Record{ModRevision: c.revision}
			b.Delete(CurrentKey(nil, 0, []byte(key)))
		} else {
			e.Record = Record{Kind: KindBytes, ModRevision: c.revision, Version: 1, Value: []byte(c.value)}
		}
		b.AppendEvent(&e)
		if !c.deleted {
			b.SetLogged(CurrentKey(nil, 0, []byte(key)), &e)
		}
		*tl = append(*tl, c)
	}
}

// at gives the values of all keys at a revision.
func (tl timeline) at(revision int64) map[string]string {
	values := map[string]string{}
	for _, c := range tl {
		switch {
		case c.revision > revision:
			return values
		case c.deleted:
			delete(values, c.key)
		default:
			values[c.key] = c.value
		}
	}
	return values
}

// until is the timeline up to a revision.
func (tl timeline) until(revision int64) timeline {
	n := len(tl)
	for n > 0 && tl[n-1].revision > revision {
		n--
	}
	return slices.Clone(tl[:n])
}

// kept are the changes that a purge at a revision must leave.
func (tl timeline) kept(compacted int64) timeline {
	newest := map[string]version{}
	for _, c := range tl {
		if c.revision <= compacted {
			newest[c.key] = c
		}
	}
	return slices.DeleteFunc(slices.Clone(tl), func(c version) bool {
		return c.revision < compacted && (c != newest[c.key] || c.deleted)
	})
}

// historyReader is a View or a Batch.
type historyReader interface {
	Reader
	RecordAt(key []byte, revision int64) (Record, bool)
	ScanAt(lower, upper []byte, revision int64) *HistoryIterator
}

// checkHistory compares every read at and above a revision with the timeline.
func checkHistory(t *testing.T, r historyReader, tl timeline, from, to int64, keys int) {
	t.Helper()
	for revision := from; revision <= to; revision++ {
		want := tl.at(revision)
		got := map[string]string{}
		it := r.ScanAt(nil, nil, revision)
		var order []string
		for it.Next() {
			record, ok := it.Record()
			if !ok || it.ModRevision() != record.ModRevision {
				t.Fatalf("revision %d: %q has no record: %v", revision, it.Key(), r.Err())
			}
			order = append(order, string(it.Key()))
			got[string(it.Key())] = string(record.Value)
		}
		it.Close()
		if !maps.Equal(got, want) || !slices.IsSorted(order) || len(order) != len(want) {
			t.Fatalf("scan at %d: got %v in order %q, want %v", revision, got, order, want)
		}
		for i := range keys {
			key := fmt.Sprintf("key\x00%02d", i)
			record, ok := r.RecordAt([]byte(key), revision)
			if value, wanted := want[key]; ok != wanted || string(record.Value) != value {
				t.Fatalf("%q at %d: got %q %v, want %q", key, revision, record.Value, ok, value)
			}
		}
	}
	if to >= r.State().Revision {
		checkHeld(t, r, tl.at(r.State().Revision))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

// checkHeld compares what keys hold now, read in every way, with and without what is apart.
func checkHeld(t *testing.T, r Reader, want map[string]string) {
	t.Helper()
	for _, options := range [][]ScanOption{nil, {Reverse}} {
		lower, upper := CurrentBounds(0)
		it := r.Scan(lower, upper, options...)
		found := 0
		for ; it.Next(); found++ {
			_, key, _ := SplitCurrent(it.Key())
			head, headErr := DecodeRecord(it.Head())
			record, err := DecodeRecord(it.Value())
			if err != nil || headErr != nil || string(record.Value) != want[string(key)] {
				t.Fatalf("%q holds %.40q, %v, %v, want %.40q", key, record.Value, err, headErr, want[string(key)])
			}
			checkHead(t, head, record)
		}
		it.Close()
		if found != len(want) {
			t.Fatalf("%d keys, want %d", found, len(want))
		}
	}
	for key, value := range want {
		row, _ := r.Get(CurrentKey(nil, 0, []byte(key)))
		headRow, _ := r.Head(CurrentKey(nil, 0, []byte(key)))
		record, err := DecodeRecord(row)
		head, headErr := DecodeRecord(headRow)
		if err != nil || headErr != nil || string(record.Value) != value {
			t.Fatalf("%q holds %.40q, %v, %v, want %.40q", key, record.Value, err, headErr, value)
		}
		checkHead(t, head, record)
	}
}

func checkHead(t *testing.T, head, whole Record) {
	t.Helper()
	if (head.Apart > 0) != (len(whole.Value) >= apartBytesMin) || head.Size() != len(whole.Value) || whole.Apart != 0 {
		t.Fatalf("a value of %d bytes: apart %d, size %d", len(whole.Value), head.Apart, head.Size())
	}
	head.Apart, head.sub, head.Value = 0, 0, whole.Value
	if !reflect.DeepEqual(head, whole) {
		t.Fatalf("the head is %+v, the record %+v", head, whole)
	}
}

func events(t *testing.T, v *View, from int64) timeline {
	t.Helper()
	var got timeline
	it := v.Events(from)
	defer it.Close()
	for it.Next() {
		e := it.Event()
		got = append(got, version{e.Revision, e.Sub, string(e.Key), e.Type == EventDelete, string(e.Record.Value)})
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestHistoryShowsEveryRevision(t *testing.T) {
	rng := newRand(t)
	db := open(t, Options{MemtableBytes: 256 << 10})
	var tl timeline
	for range 30 {
		b := db.NewBatch()
		for range 1 + rng.IntN(5) {
			tl.change(rng, b, 12)
			undone := slices.Clone(tl)
			mark := b.Mark()
			undone.change(rng, b, 12)
			checkHeld(t, b, undone.at(b.State().Revision))
			b.Undo(mark)
			b.Keep(mark)
		}
		checkHistory(t, b, tl, b.State().Revision-3, b.State().Revision+1, 12)
		commit(t, b)
	}
	v := db.View()
	defer v.Release()
	checkHistory(t, v, tl, 0, v.State().Revision, 12)
	if got := events(t, v, 0); !reflect.DeepEqual(got, tl) {
		t.Errorf("events %v, want %v", got, tl)
	}

	last := map[string]*version{}
	for i, c := range tl {
		prev := v.PrevOf([]byte(c.key), c.revision, c.sub)
		want := last[c.key]
		if (prev == nil) != (want == nil || want.deleted) || prev != nil && string(prev.Value) != want.value {
			t.Errorf("before %v: got %v, want %v", c, prev, want)
		}
		last[c.key] = &tl[i]
	}

	it := v.ScanAt([]byte("key\x0003"), []byte("key\x0006"), v.State().Revision)
	defer it.Close()
	for it.Next() {
		if k := string(it.Key()); k < "key\x0003" || k >= "key\x0006" {
			t.Errorf("a bounded scan shows %q", k)
		}
	}
}

// stopsAfter is a context that ends after so many looks at it.
type stopsAfter struct {
	context.Context
	looks int
}

func (c *stopsAfter) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestPurgeLeavesWhatReadsNeed makes random history and purges it at random revisions, at times interrupted. After each
// purge, reads at every revision from there on are as if nothing had been purged, and nothing else is left.
func TestPurgeLeavesWhatReadsNeed(t *testing.T) {
	for round := range rounds(12) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			rng := newRand(t)
			db := open(t, Options{MemtableBytes: 256 << 10})
			keys := []int{1, 3, 20, 90}[round%4]
			var tl timeline
			for range 5 {
				for range 1 + rng.IntN(8) {
					b := db.NewBatch()
					for range rng.IntN(200) {
						tl.change(rng, b, keys)
					}
					commit(t, b)
				}
				b := db.NewBatch()
				compacted := b.State().Compacted
				compacted += rng.Int64N(b.State().Revision - compacted + 1)
				b.State().Compacted = compacted
				commit(t, b)
				for db.PurgeHistory(&stopsAfter{t.Context(), rng.IntN(3)}, compacted) != nil {
					if rng.IntN(2) == 0 {
						break // never finished: the next purge goes on from there
					}
				}
				checkPurged(t, db, tl, keys, false)
				if rng.IntN(2) == 0 {
					if err := db.PurgeHistory(t.Context(), compacted); err != nil {
						t.Fatal(err)
					}
					checkPurged(t, db, tl, keys, true)
				}
			}
		})
	}
}

func checkPurged(t *testing.T, db *DB, tl timeline, keys int, complete bool) {
	t.Helper()
	v := db.View()
	defer v.Release()
	compacted, revision := v.State().Compacted, v.State().Revision
	if revision-compacted > 40 { // every revision would take too long: the edges matter
		checkHistory(t, v, tl, compacted, compacted+20, keys)
		checkHistory(t, v, tl, revision-20, revision, keys)
	} else {
		checkHistory(t, v, tl, compacted, revision, keys)
	}
	want := slices.DeleteFunc(slices.Clone(tl), func(c version) bool { return c.revision < compacted })
	if got := events(t, v, compacted); !slices.Equal(got, want) {
		t.Fatalf("events from %d: got %d, want %d", compacted, len(got), len(want))
	}
	if !complete {
		return
	}
	if got, want := events(t, v, 0), tl.kept(compacted); !slices.Equal(got, want) {
		t.Fatalf("after a purge at %d the log holds %v, want %v", compacted, got, want)
	}
	var rows int
	var bytes int64
	for _, bounds := range [][2][]byte{pair(LogBounds(0)), pair(HistoryBounds(nil, nil))} {
		it := v.Scan(bounds[0], bounds[1])
		for it.Next() {
			rows++
			bytes += int64(len(it.Key()) + len(it.Value()))
		}
		it.Close()
	}
	if rows != 2*len(tl.kept(compacted)) {
		t.Fatalf("%d rows are left, want %d", rows, 2*len(tl.kept(compacted)))
	}
	if got := db.HistoryBytes(); got != bytes {
		t.Errorf("the history is said to take %d bytes, and takes %d", got, bytes)
	}
}

func pair(lower, upper []byte) [2][]byte { return [2][]byte{lower, upper} }

func TestPurgeBelowWhatIsCompactedOnly(t *testing.T) {
	db := open(t, Options{})
	if err := db.PurgeHistory(t.Context(), 5); err == nil {
		t.Error("a purge above State.Compacted is not refused")
	}
}

// TestPurgeRunsBesideCommits purges again and again while commits go on. Run with -race.
func TestPurgeRunsBesideCommits(t *testing.T) {
	rng := newRand(t)
	db := open(t, Options{MemtableBytes: 256 << 10})
	purges := make(chan int64, 1)
	purged := make(chan error, 1)
	go func() {
		for revision := range purges {
			if err := db.PurgeHistory(context.Background(), revision); err != nil {
				purged <- err
				return
			}
		}
		purged <- nil
	}()
	var tl timeline
	for range 300 {
		b := db.NewBatch()
		for range 10 {
			tl.change(rng, b, 30)
		}
		b.State().Compacted = max(1, b.State().Revision-30)
		compacted := b.State().Compacted
		checkBatchRead(t, b, tl)
		commit(t, b)
		select {
		case purges <- compacted:
		default:
		}
	}
	close(purges)
	if err := <-purged; err != nil {
		t.Fatal(err)
	}
	v := db.View()
	compacted := v.State().Compacted
	v.Release()
	if err := db.PurgeHistory(t.Context(), compacted); err != nil {
		t.Fatal(err)
	}
	checkPurged(t, db, tl, 30, true)
}

// checkBatchRead reads at the compacted revision through a batch, which holds no snapshot.
func checkBatchRead(t *testing.T, b *Batch, tl timeline) {
	t.Helper()
	checkHistory(t, b, tl, b.State().Compacted, b.State().Compacted, 30)
}
