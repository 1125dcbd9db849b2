package storage

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
)

// standing is how many iterators stand ready over a ground.
func standing(g *ground) int {
	g.lookups.mu.Lock()
	defer g.lookups.mu.Unlock()
	return len(slices.Concat(g.lookups.free[:]...))
}

func TestALookupFindsWhatIsThereAndNothingElse(t *testing.T) {
	db := open(t, Options{RowCacheBytes: -1})
	for round := range 3 { // of which each becomes tables of its own
		for i := range 300 {
			set(t, db, fmt.Sprintf("%03d", i*2), fmt.Sprint(round, i))
		}
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	b := db.NewBatch()
	b.Delete(CurrentKey(nil, 0, []byte("100")))
	b.Set(CurrentKey(nil, 1, []byte("102")), []byte("of another space"))
	b.Set(TreeKey(nil, []byte("104")), []byte("of another table"))
	commit(t, b)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	defer v.Release()
	for i := range 300 {
		key := fmt.Sprintf("%03d", i*2)
		if i == 50 {
			if value, ok := get(t, v, key); ok {
				t.Errorf("%s was deleted and has %q", key, value)
			}
		} else {
			wantValue(t, v, key, fmt.Sprint(2, i))
		}
		for _, absent := range []string{fmt.Sprintf("%03d", i*2+1), key + "0", key[:2]} {
			if value, ok := get(t, v, absent); ok {
				t.Errorf("%s has %q", absent, value)
			}
		}
	}
	if value, ok := v.Get(CurrentKey(nil, 1, []byte("102"))); !ok || string(value) != "of another space" {
		t.Errorf("%q, %v", value, ok)
	}
	if value, ok := v.Get(TreeKey(nil, []byte("104"))); !ok || string(value) != "of another table" {
		t.Errorf("%q, %v", value, ok)
	}
	// What a flush makes known late may take away what stands there.
	for standing(v.pinned.ground) != 2 { // one for each group that one goroutine reads
		get(t, v, "000")
		v.Get(TreeKey(nil, []byte("104")))
	}
}

// What stands ready for lookups must not keep files that compactions have replaced.
func TestLookupsKeepNoFiles(t *testing.T) {
	db := open(t, Options{RowCacheBytes: -1})
	for i := range 3 {
		set(t, db, "k", fmt.Sprint(i))
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	zombies := func() int64 { return db.current.Load().engine.pebble.Metrics().Table.ZombieCount }
	v := db.View()
	ground := v.pinned.ground
	for standing(ground) == 0 { // what a flush makes known late may take it away
		wantValue(t, v, "k", "2")
	}
	inUse, err := ground.lookup(CurrentKey(nil, 0, []byte("k")))
	if err != nil {
		t.Fatal(err)
	}
	wantValue(t, v, "k", "2") // another one, since that is in use
	v.Release()

	if err := db.Defragment(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := standing(ground); n != 0 {
		t.Errorf("%d iterators still stand ready after a compaction", n)
	}
	if zombies() == 0 {
		t.Error("an iterator in use keeps no files: this test would not see it")
	}
	if err := ground.leave(inUse); err != nil {
		t.Fatal(err)
	}
	if n := standing(ground); n != 0 {
		t.Error("an iterator of before the compaction stands ready again")
	}
	if n := zombies(); n != 0 {
		t.Errorf("%d files are kept", n)
	}
}

func TestNothingStandsReadyOverAGroundThatWasReplaced(t *testing.T) {
	db := open(t, Options{RowCacheBytes: -1})
	set(t, db, "k", "old")
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	defer v.Release()
	wantValue(t, v, "k", "old")
	set(t, db, "k", "new")
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	for standing(v.pinned.ground) != 0 { // it goes on a goroutine of its own
		runtime.Gosched()
	}
	wantValue(t, v, "k", "old")
	if n := standing(v.pinned.ground); n != 0 {
		t.Errorf("%d iterators after another lookup", n)
	}
	now := db.View()
	defer now.Release()
	wantValue(t, now, "k", "new")
}

// A scan goes over what an earlier one opened, with bounds of its own.
func TestScansThatStandReadyHaveTheBoundsOfTheNext(t *testing.T) {
	db := open(t, Options{RowCacheBytes: -1})
	for i := range 10 {
		set(t, db, fmt.Sprint(i), "v")
	}
	b := db.NewBatch()
	b.State().AppliedIndex++
	b.Set(TreeKey(nil, []byte("5")), []byte("of another group"))
	commit(t, b)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	defer v.Release()
	scan := func(from, to int, options ...ScanOption) (keys string) {
		it := v.Scan(CurrentKey(nil, 0, fmt.Append(nil, from)), CurrentKey(nil, 0, fmt.Append(nil, to)), options...)
		defer it.Close()
		for it.Next() {
			_, key, _ := SplitCurrent(it.Key())
			keys += string(key)
		}
		return keys
	}
	for standing(v.pinned.ground) == 0 { // what a flush makes known late may take it away
		scan(0, 1)
	}
	for _, c := range []struct {
		from, to int
		want     string
	}{{2, 5, "234"}, {0, 3, "012"}, {7, 8, "7"}, {4, 4, ""}, {3, 9, "345678"}} {
		if got := scan(c.from, c.to); got != c.want {
			t.Errorf("from %d to %d: %q, want %q", c.from, c.to, got, c.want)
		}
		down := []byte(c.want)
		slices.Reverse(down)
		if got := scan(c.from, c.to, Reverse); got != string(down) {
			t.Errorf("from %d down: %q, want %q", c.to, got, down)
		}
	}
	all := v.Scan([]byte{tableCurrent}, nil)
	n := 0
	for all.Next() {
		n++
	}
	all.Close()
	if n != 11 {
		t.Errorf("over all groups: %d rows, want 11", n)
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
}
