package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestRowCacheTellsWhatACommitLeft writes, reads and clears at random, and compares every answer with the history of the
// row. A cache may not know; it may not tell anything else than what the reader's view shows.
func TestRowCacheTellsWhatACommitLeft(t *testing.T) {
	rng := newRand(t)
	c := newRowCache(256 << 10)
	type version struct {
		commit  uint64
		value   string
		present bool
	}
	history := map[string][]version{}
	at := func(key string, commit uint64) version {
		var found version
		for _, v := range history[key] {
			if v.commit <= commit {
				found = v
			}
		}
		return found
	}
	key := func() string {
		return string(CurrentKey(nil, 0, fmt.Appendf(nil, "k%d", rng.IntN(2000))))
	}
	commit, known := uint64(1), 0
	for range 60_000 {
		switch op := rng.IntN(100); {
		case op < 30:
			commit++
			for range 1 + rng.IntN(5) {
				k := key()
				v := version{commit, fmt.Sprintf("%0*d", rng.IntN(100), commit), rng.IntN(5) > 0}
				if n := len(history[k]); n > 0 && history[k][n-1].commit == commit {
					history[k] = history[k][:n-1]
				}
				history[k] = append(history[k], v)
				c.wrote([]byte(k), commit, []byte(v.value), v.present)
			}
		case op == 99 && rng.IntN(50) == 0:
			commit++
			c.clear(tableCurrent, commit)
			for k := range history {
				history[k] = append(history[k], version{commit: commit})
			}
		default:
			k, view := key(), commit-uint64(rng.IntN(4))
			want := at(k, view)
			value, present, ok := c.get([]byte(k), view)
			if !ok {
				c.found([]byte(k), view, []byte(want.value), want.present)
				continue
			}
			known++
			if present != want.present || present && string(value) != want.value {
				t.Fatalf("%q at %d: %q %v, want %q %v of commit %d", k, view, value, present, want.value, want.present, want.commit)
			}
		}
	}
	if known < 10_000 {
		t.Errorf("the cache knew %d times only", known)
	}
	for i := range c.shards {
		checkRing(t, &c.shards[i].rows)
	}
}

// checkRing walks over a ring and compares what lies there with the index.
func checkRing(t *testing.T, g *rowRing) {
	t.Helper()
	if len(g.bytes) > g.limit || g.next > g.oldest && g.oldest != g.end || g.next > len(g.bytes) || g.end > len(g.bytes) {
		t.Fatalf("a ring of %d bytes, at most %d: next %d, oldest %d, end %d", len(g.bytes), g.limit, g.next, g.oldest, g.end)
	}
	live, useless := 0, 0
	walk := func(from, to int) {
		for ; from < to; from += row(g.bytes[from:]).size() {
			r := row(g.bytes[from:])
			if r.useless() {
				useless += r.size()
			}
			if r.flags()&rowDead != 0 {
				continue
			}
			live++
			if found := g.find(r.hash(), r.key()); found == nil || &found[0] != &r[0] {
				t.Fatalf("the row %q at %d is not the one that is found", r.key(), from)
			}
		}
	}
	walk(0, g.next)
	walk(g.oldest, g.end)
	if g.index.used != live {
		t.Fatalf("the index has %d rows, the ring %d", g.index.used, live)
	}
	if g.useless != useless {
		t.Fatalf("the ring counts %d bytes of rows that are of no use, there are %d", g.useless, useless)
	}
}

// TestRowsThatComeAndGoTakeLittleMemory creates and deletes rows, each once, among others that stay.
func TestRowsThatComeAndGoTakeLittleMemory(t *testing.T) {
	c := newRowCache(32 << 20)
	key := func(kind string, i int) []byte { return CurrentKey(nil, 0, fmt.Appendf(nil, "%s%d", kind, i)) }
	const staying, passing, there = 5000, 200_000, 1000
	for i := range staying {
		c.wrote(key("staying", i), 1, make([]byte, 100), true)
	}
	for i := range passing {
		c.wrote(key("passing", i), 1, make([]byte, 100), true)
		if i >= there {
			gone := key("passing", i-there)
			if _, present, known := c.get(gone, 1); !present || !known {
				t.Fatalf("the row of %s is not known when it goes", gone)
			}
			c.wrote(gone, 1, nil, false)
		}
	}
	for i := range staying {
		if _, present, known := c.get(key("staying", i), 1); !present || !known {
			t.Fatalf("row %d of those that stay is not known any more", i)
		}
	}
	bytes := 0
	for i := range c.shards {
		checkRing(t, &c.shards[i].rows)
		bytes += len(c.shards[i].rows.bytes)
	}
	if rows := (staying + there) * 160; bytes > 4*rows {
		t.Errorf("%d KiB for rows of %d KiB", bytes>>10, rows>>10)
	}
}

func TestTheRowCacheKeepsWhatIsAskedFor(t *testing.T) {
	c := newRowCache(1 << 20)
	key := func(kind string, i int) []byte { return CurrentKey(nil, 0, fmt.Appendf(nil, "%s%d", kind, i)) }
	const popular = 1000
	for i := range popular {
		c.wrote(key("popular", i), 1, make([]byte, 100), true)
	}
	for i := range 100_000 { // ten times what there is room for
		c.wrote(key("once", i), 1, make([]byte, 100), true)
		c.get(key("popular", i%popular), 1)
	}
	kept := 0
	for i := range popular {
		if _, _, known := c.get(key("popular", i), 1); known {
			kept++
		}
	}
	if kept < popular*99/100 {
		t.Errorf("of %d rows that are asked for all the time the cache has %d", popular, kept)
	}
	if _, _, known := c.get(key("once", 0), 1); known {
		t.Error("the cache still has the first of the rows that nobody asked for")
	}
}

func TestALargeRowIsNotKept(t *testing.T) {
	c := newRowCache(1 << 20)
	key := CurrentKey(nil, 0, []byte("k"))
	c.wrote(key, 1, []byte("small"), true)
	c.wrote(key, 2, make([]byte, 4<<10), true)
	if _, _, known := c.get(key, 2); known {
		t.Error("a row that takes a quarter of its shard was kept, or the one before it")
	}
}

func BenchmarkRowCache(b *testing.B) {
	c := newRowCache(32 << 20)
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, 100_000)
	for i := range keys {
		keys[i] = CurrentKey(nil, 0, benchKey(i))
		c.wrote(keys[i], 1, make([]byte, 64), true)
	}
	b.ReportAllocs()
	for b.Loop() {
		key := keys[rng.IntN(len(keys))]
		if _, present, known := c.get(key, 2); known && !present {
			b.Fatal("lost")
		}
		c.wrote(key, 1, make([]byte, 64), true)
	}
}

func TestAnArenaGivesApartPieces(t *testing.T) {
	var a arena
	var pieces [][]byte
	rng := newRand(t)
	for i := range 2000 {
		n := rng.IntN(200)
		piece := a.take(n + 10)
		for range n {
			piece = append(piece, byte(i))
		}
		pieces = append(pieces, a.keep(piece))
		if i%100 == 0 {
			a.copy(make([]byte, rng.IntN(2<<20)))
		}
	}
	for i, piece := range pieces {
		for _, b := range piece {
			if b != byte(i) {
				t.Fatalf("piece %d was written over", i)
			}
		}
	}
}
