package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestCrashLeavesAPrefix commits, flushes and purges at random on a file system that forgets what was not synced, and
// takes crash after crash. What is found must be the state after some commit, whole, no older than what was said to be
// durable; replay from there must give the same again. Every other life runs with the engine's own log.
func TestCrashLeavesAPrefix(t *testing.T) {
	for round := range rounds(15) {
		t.Run(fmt.Sprint(round), func(t *testing.T) { crashAgainAndAgain(t, newRand(t), round%3 == 0) })
	}
}

// rounds is a third less in short runs, which are those of the race detector: Pebble, which then looks for its own
// mistakes too, takes ten times as long.
func rounds(n int) int {
	if testing.Short() {
		return n - n/3
	}
	return n
}

func crashAgainAndAgain(t *testing.T, rng *rand.Rand, withWAL bool) {
	const keys = 15
	fsys := vfs.NewCrashableMem()
	var tl timeline                       // all that was ever committed, lost ends cut off
	revisions := map[uint64]int64{0: 1}   // after each commit, by applied index
	compactions := map[uint64]int64{0: 0} // likewise
	applied, durable, lost := uint64(0), uint64(0), 0
	for life := range 8 {
		db, err := Open(Options{Dir: "a/b/db", FS: fsys, MemtableBytes: 64 << 10, EngineWAL: withWAL && life%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		v := db.View()
		found := v.State().AppliedIndex
		if found < durable || found > applied {
			t.Fatalf("life %d: found index %d, of %d durable and %d applied", life, found, durable, applied)
		}
		if applied > found {
			lost++
		}
		if v.State().Revision != revisions[found] || v.State().Compacted != compactions[found] {
			t.Fatalf("life %d: at index %d revision %d compacted %d, want %d and %d", life, found,
				v.State().Revision, v.State().Compacted, revisions[found], compactions[found])
		}
		tl = tl.until(v.State().Revision)
		checkCurrent(t, v, tl)
		checkHistory(t, v, tl, v.State().Compacted, v.State().Revision, keys)
		v.Release()
		applied = found
		checkPurged(t, db, tl, keys, false)

		for range 10 + rng.IntN(60) {
			b := db.NewBatch()
			before := b.State().AppliedIndex
			for range 1 + rng.IntN(8) {
				tl.change(rng, b, keys)
			}
			if rng.IntN(5) == 0 {
				b.State().Compacted = max(b.State().Compacted, b.State().Revision-rng.Int64N(20))
			}
			b.Set(ElementKey(nil, 1, nil), make([]byte, rng.IntN(4000))) // fills memtables
			b.State().AppliedIndex = before + 1
			applied = b.State().AppliedIndex
			revisions[applied], compactions[applied] = b.State().Revision, b.State().Compacted
			commit(t, b)
			switch rng.IntN(12) {
			case 0:
				if _, err := db.current.Load().engine.pebble.AsyncFlush(); err != nil {
					t.Fatal(err)
				}
			case 1:
				if err := db.Flush(); err != nil {
					t.Fatal(err)
				}
				if n, err := db.DurableApplied(); err != nil || n != applied {
					t.Fatalf("after a flush at %d: durable %d, %v", applied, n, err)
				}
			case 2, 3:
				if err := db.PurgeHistory(t.Context(), compactions[applied]); err != nil {
					t.Fatal(err)
				}
			}
		}
		if rng.IntN(8) == 0 {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			durable = applied
			fsys = fsys.CrashClone(vfs.CrashCloneCfg{})
			continue
		}
		if durable, err = db.DurableApplied(); err != nil {
			t.Fatal(err)
		}
		// Some crashes let a part of what was not synced reach the disk, in any order. With the engine's log that could
		// also tear the log, which is Pebble's to test.
		config := vfs.CrashCloneCfg{}
		if !withWAL && rng.IntN(2) == 0 {
			config = vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}
		}
		crashed := fsys.CrashClone(config)
		_ = db.Close()
		fsys = crashed
	}
	if lost == 0 && !withWAL {
		t.Error("no crash lost anything: the test does not test")
	}
}

// checkCurrent compares the current table with the timeline's end.
func checkCurrent(t *testing.T, v *View, tl timeline) {
	t.Helper()
	want := tl.at(v.State().Revision)
	it := v.Scan(CurrentBounds(0))
	defer it.Close()
	n := 0
	for it.Next() {
		_, key, _ := SplitCurrent(it.Key())
		record, err := DecodeRecord(it.Value())
		if err != nil || string(record.Value) != want[string(key)] {
			t.Fatalf("%q holds %q (%v), want %q", key, record.Value, err, want[string(key)])
		}
		n++
	}
	if n != len(want) || v.Err() != nil {
		t.Fatalf("%d keys, want %d; %v", n, len(want), v.Err())
	}
}

func TestCleanRestartHasNothingToReplay(t *testing.T) {
	fsys := vfs.NewCrashableMem()
	db := open(t, Options{FS: fsys})
	for range 100 {
		set(t, db, "a", "1")
	}
	if n, err := db.DurableApplied(); err != nil || n != 0 {
		t.Fatalf("before a flush %d is durable, %v", n, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Options{FS: fsys.CrashClone(vfs.CrashCloneCfg{})})
	if n, err := db.DurableApplied(); err != nil || n != 100 {
		t.Fatalf("after a clean restart %d is durable, %v", n, err)
	}
}

func TestFlushesAreReported(t *testing.T) {
	flushed := make(chan struct{}, 8)
	db := open(t, Options{OnFlush: func() { flushed <- struct{}{} }})
	set(t, db, "a", "1")
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	<-flushed
	if n, err := db.DurableApplied(); err != nil || n != 1 {
		t.Fatalf("durable %d, %v", n, err)
	}
}

// failing injects write errors from the moment it is switched on, into files whose name holds a word.
func failing(inner vfs.FS, word string) (vfs.FS, *errorfs.Toggle) {
	toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, word) {
			return errors.New("injected disk error")
		}
		return nil
	})}
	return errorfs.Wrap(inner, toggle), toggle
}

// TestWriteErrorsEndCommits lets the disk fail under the tables, and under the manifest. Commit must come back with the
// error although Pebble would retry for ever, nothing may be called durable any more, reads go on, and what was durable
// before is found after a restart.
func TestWriteErrorsEndCommits(t *testing.T) {
	for _, word := range []string{".sst", "MANIFEST"} {
		t.Run(word, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			fsys, disaster := failing(disk, word)
			db, err := Open(Options{Dir: "db", FS: fsys, MemtableBytes: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			set(t, db, "a", "1")
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
			held := db.View()
			disaster.On()
			value := []byte(strings.Repeat("x", 2000))
			for range 1_000_000 {
				b := db.NewBatch()
				b.State().AppliedIndex++
				b.Set(CurrentKey(nil, 0, []byte("b")), slices.Clone(value))
				if err = b.Commit(); err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), "injected disk error") {
				t.Fatalf("commits on a failed disk: %v", err)
			}
			<-db.Failed()
			if again := db.NewBatch().Commit(); again == nil {
				t.Error("a failed database takes another commit")
			}
			disaster.Off()
			if _, err := db.DurableApplied(); err == nil {
				t.Error("a failed database says what is durable")
			}
			if err := db.Flush(); err == nil {
				t.Error("a failed database says it flushed")
			}
			wantValue(t, held, "a", "1")
			held.Release()
			crashed := disk.CrashClone(vfs.CrashCloneCfg{})
			if err := db.Close(); err == nil {
				t.Error("a failed database closes without a word")
			}

			db = open(t, Options{FS: crashed})
			v := db.View()
			defer v.Release()
			wantValue(t, v, "a", "1")
		})
	}
}

func TestReadErrorsLatch(t *testing.T) {
	broken := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead && strings.Contains(op.Path, ".sst") {
			return errors.New("injected disk error")
		}
		return nil
	})}
	fsys := errorfs.Wrap(vfs.NewMem(), broken)
	db, err := Open(Options{Dir: "db", FS: fsys, CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	b := db.NewBatch()
	for i := range 1000 {
		b.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "k%03d", i)), make([]byte, 500))
	}
	commit(t, b)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(Options{Dir: "db", FS: fsys, CacheBytes: 1}); err != nil {
		t.Fatal(err)
	}
	// Pebble reads in the background too, and may be the first to meet the error: then Close tells.
	defer db.Close()
	broken.On()
	defer broken.Off()
	v := db.View()
	defer v.Release()
	if _, ok := v.Get(CurrentKey(nil, 0, []byte("k500"))); ok || v.Err() == nil {
		t.Errorf("reading a broken disk: found %v, error %v", ok, v.Err())
	}
	w := db.View()
	defer w.Release()
	it := w.Scan(CurrentBounds(0))
	n := 0
	for it.Next() {
		n++
	}
	it.Close()
	if n == 1000 || w.Err() == nil {
		t.Errorf("scanning a broken disk: %d rows, error %v", n, w.Err())
	}
	b = db.NewBatch()
	if _, ok := b.Get(CurrentKey(nil, 0, []byte("k700"))); ok || b.Err() == nil {
		t.Errorf("reading a broken disk through a batch: found %v, error %v", ok, b.Err())
	}
	if err := b.Commit(); err == nil {
		t.Error("a batch that could not read commits")
	}
}
