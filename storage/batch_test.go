package storage

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// model is what a batch should show: a plain map.
type model map[string]string

func (m model) rows(lower, upper string, reverse bool) []string {
	var rows []string
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if key >= lower && key < upper {
			rows = append(rows, key+"="+m[key])
		}
	}
	if reverse {
		slices.Reverse(rows)
	}
	return rows
}

// TestBatchBehavesAsAMap runs random operations on a batch and on a map, and compares all that a reader can see: of the
// batch, of the state after it, and of states before, whatever has been written and drained since.
func TestBatchBehavesAsAMap(t *testing.T) {
	rounds := 24
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) { batchAgainstModel(t, newRand(t)) })
	}
}

func batchAgainstModel(t *testing.T, rng *rand.Rand) {
	options := Options{MemtableBytes: 16 << 10, RowCacheBytes: []int64{-1, 64 << 10, 1 << 20}[rng.IntN(3)]}
	db := open(t, options)
	keys := 20 + rng.IntN(400) // above pointDeletesMax, so that both ways of deleting a range are met
	randomUserKey := func() string { return fmt.Sprintf("k%03d", rng.IntN(keys)) }
	stored := func(key string) []byte { return CurrentKey(nil, 0, []byte(key)) }

	committed := model{}
	type moment struct {
		view  *View
		model model
	}
	var held []moment
	defer func() {
		for _, m := range held {
			m.view.Release()
		}
	}()
	checkHeld := func() {
		for _, m := range held {
			for range 10 {
				key := randomUserKey()
				value, ok := m.view.Get(stored(key))
				if want, wanted := m.model[key]; ok != wanted || string(value) != want {
					t.Fatalf("an old view: get %s: %q %v, want %q %v", key, value, ok, want, wanted)
				}
			}
			checkScan(t, m.view, m.model, randomUserKey(), randomUserKey(), rng)
		}
	}
	for range 30 {
		b := db.NewBatch()
		now := maps.Clone(committed)
		type marked struct {
			id    int
			model model
			state State
		}
		var marks []marked
		for step := range 30 + rng.IntN(100) {
			switch op := rng.IntN(100); {
			case op < 35:
				key, value := randomUserKey(), fmt.Sprint(step)
				if _, there := now[key]; there {
					b.Set(stored(key), []byte(value))
				} else {
					b.Add(stored(key), []byte(value))
				}
				now[key] = value
			case op < 45:
				for i := range rng.IntN(keys) {
					key, value := randomUserKey(), fmt.Sprint(step, ".", i)
					b.Set(stored(key), []byte(value))
					now[key] = value
				}
			case op < 55:
				key := randomUserKey()
				b.Delete(stored(key))
				delete(now, key)
			case op < 65:
				lower, upper := randomUserKey(), randomUserKey()
				b.DeleteRange(stored(lower), stored(upper))
				maps.DeleteFunc(now, func(key, _ string) bool { return key >= lower && key < upper })
			case op < 72:
				b.State().Revision += rng.Int64N(5)
				marks = append(marks, marked{b.Mark(), maps.Clone(now), *b.State()})
			case op < 74 && len(marks) > 0:
				i := rng.IntN(len(marks))
				b.Keep(marks[i].id)
				marks = marks[:i]
			case op < 80 && len(marks) > 0:
				i := rng.IntN(len(marks))
				m := marks[i]
				marks = marks[:i+1]
				b.Undo(m.id)
				now = maps.Clone(m.model)
				if !reflect.DeepEqual(*b.State(), m.state) {
					t.Fatal("undo left the state changed")
				}
			case op < 90:
				key := randomUserKey()
				value, ok := b.Get(stored(key))
				if want, wanted := now[key]; ok != wanted || string(value) != want {
					t.Fatalf("get %s: %q %v, want %q %v", key, value, ok, want, wanted)
				}
			default:
				checkScan(t, b, now, randomUserKey(), randomUserKey(), rng)
			}
		}
		checkScan(t, b, now, "", "z", rng)
		if rng.IntN(4) == 0 {
			b.Discard()
			continue
		}
		commit(t, b)
		committed = now
		v := db.View()
		checkScan(t, v, committed, "", "z", rng)
		checkScan(t, v, committed, randomUserKey(), randomUserKey(), rng)
		held = append(held, moment{v, committed})
		switch rng.IntN(6) {
		case 0, 1:
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		case 2:
			if err := db.current.Load().engine.freeze(); err != nil { // commits go on while it is drained
				t.Fatal(err)
			}
		}
		checkHeld()
		for len(held) > 0 && rng.IntN(2) == 0 {
			i := rng.IntN(len(held))
			held[i].view.Release()
			held = slices.Delete(held, i, i+1)
		}
	}
}

// checkScan compares a scan in each direction, and one that seeks back and forth.
func checkScan(t *testing.T, r Reader, m model, lower, upper string, rng *rand.Rand) {
	t.Helper()
	lowerKey, upperKey := CurrentKey(nil, 0, []byte(lower)), CurrentKey(nil, 0, []byte(upper))
	row := func(it *Iterator) string {
		_, key, _ := SplitCurrent(it.Key())
		return fmt.Sprintf("%s=%s", key, it.Value())
	}
	for _, reverse := range []bool{false, true} {
		var options []ScanOption
		if reverse {
			options = append(options, Reverse)
		}
		it := r.Scan(lowerKey, upperKey, options...)
		var got []string
		for it.Next() {
			got = append(got, row(it))
		}
		if it.Next() {
			t.Fatal("an iterator goes on after its end")
		}
		it.Close()
		want := m.rows(lower, upper, reverse)
		if !slices.Equal(got, want) {
			t.Fatalf("scan [%s, %s) reverse %v:\n got %q\nwant %q", lower, upper, reverse, got, want)
		}

		it = r.Scan(lowerKey, upperKey, options...)
		for range 5 {
			at := fmt.Sprintf("k%03d", rng.IntN(420))
			var found bool
			var rest []string
			if reverse {
				found, rest = it.SeekLT(CurrentKey(nil, 0, []byte(at))), m.rows(lower, min(at, upper), true)
			} else {
				found, rest = it.SeekGE(CurrentKey(nil, 0, []byte(at))), m.rows(max(at, lower), upper, false)
			}
			for i := 0; i < 3; i++ {
				if found != (i < len(rest)) || found && row(it) != rest[i] {
					t.Fatalf("seek %s in [%s, %s) reverse %v: found %v after %d, want %q", at, lower, upper, reverse, found, i, rest)
				}
				if !found {
					break
				}
				found = it.Next()
			}
		}
		it.Close()
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestCommitWritesRangeDeletionsBelowLaterSets(t *testing.T) {
	db := open(t, Options{})
	b := db.NewBatch()
	for i := range 3 * pointDeletesMax {
		b.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "k%03d", i)), []byte("old"))
	}
	commit(t, b)
	b = db.NewBatch()
	b.Set(CurrentKey(nil, 0, []byte("k002")), []byte("lost"))
	b.DeleteRange(CurrentBounds(0))
	b.Set(CurrentKey(nil, 0, []byte("k001")), []byte("new"))
	if b.intervals.Len() != 1 {
		t.Fatal("the test means to delete an interval")
	}
	commit(t, b)
	v := db.View()
	defer v.Release()
	if got := dump(t, v); !slices.Equal(got, []string{"k001=new"}) {
		t.Fatalf("got %q", got)
	}
}

func TestSmallRangesAreDeletedKeyByKey(t *testing.T) {
	db := open(t, Options{})
	set(t, db, "a", "1")
	set(t, db, "b", "2")
	b := db.NewBatch()
	b.DeleteRange(CurrentBounds(0))
	if b.intervals.Len() != 0 {
		t.Error("a range of two keys became a range tombstone")
	}
	commit(t, b)
	v := db.View()
	defer v.Release()
	if got := dump(t, v); got != nil {
		t.Fatalf("got %q", got)
	}
}

func TestEndedBatchRefusesEverything(t *testing.T) {
	db := open(t, Options{})
	set(t, db, "a", "1")
	b := db.NewBatch()
	b.Discard()
	if _, ok := b.Get(CurrentKey(nil, 0, []byte("a"))); ok || b.Err() == nil {
		t.Error("a discarded batch still reads")
	}
	if err := b.Commit(); err == nil {
		t.Error("a discarded batch commits")
	}
}

func TestBatchKeepsItsOwnKeys(t *testing.T) {
	db := open(t, Options{})
	set(t, db, "gone", "x")
	b := db.NewBatch()
	scratch := CurrentKey(nil, 0, []byte("gone"))
	b.Get(scratch)
	b.Delete(scratch)
	copy(scratch, bytes.Repeat([]byte{0xee}, len(scratch)))
	if _, ok := get(t, b, "gone"); ok {
		t.Error("the batch lost a deletion when the caller reused the key")
	}
	commit(t, b)
	v := db.View()
	defer v.Release()
	if _, ok := get(t, v, "gone"); ok {
		t.Error("the deletion was not committed")
	}
}
