package storage

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestHistoryIsReadWhileItIsGathered makes history that Pebble has rows of the log for, but not all that point to them: reads, in
// both directions, do not notice, and neither do those after a crash. What has to be in Pebble for others is there.
func TestHistoryIsReadWhileItIsGathered(t *testing.T) {
	rng := newRand(t)
	const keys = 20
	fsys := vfs.NewCrashableMem()
	db := open(t, Options{MemtableBytes: 64 << 10, FS: fsys})
	var tl timeline
	wait := 0 // layers whose history is gathered, and is not being filed
	for round := 0; round < 40 || wait < 3; round++ {
		for range 10 + rng.IntN(20) {
			b := db.NewBatch()
			tl.change(rng, b, keys)
			b.Set(ElementKey(nil, 1, nil), make([]byte, 2000)) // a layer is large enough to be tables
			commit(t, b)
		}
		e := db.current.Load().engine
		if err := db.guarded(func() error {
			if err := e.freeze(); err != nil {
				return err
			}
			db.committing.Lock()
			defer db.committing.Unlock()
			if err := e.awaitDrained(); err != nil {
				return err
			}
			if wait = len(e.gathered); e.filed != nil {
				wait = 0
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		v := db.View()
		checkHistory(t, v, tl, v.State().Revision-4, v.State().Revision, keys)
		checkBothWays(t, v, rng.IntN(4) == 0)
		v.Release()
	}

	crashed := open(t, Options{MemtableBytes: 64 << 10, FS: fsys.CrashClone(vfs.CrashCloneCfg{})})
	v := crashed.View()
	if len(v.pinned.gathered) == 0 {
		t.Error("nothing was made of the log again: the test does not test")
	}
	tl = tl.until(v.State().Revision)
	checkHistory(t, v, tl, 0, v.State().Revision, keys)
	checkBothWays(t, v, true)
	v.Release()

	if err := crashed.Flush(); err != nil {
		t.Fatal(err)
	}
	v = crashed.View()
	defer v.Release()
	if n := len(v.pinned.gathered); n > 0 {
		t.Errorf("after a flush the history of %d layers is not in its table", n)
	}
	checkHistory(t, v, tl, 0, v.State().Revision, keys)
}

// TestAStartDoesNotMakeHistoryOfADamagedLog damages a row of the log whose history row a start would make.
func TestAStartDoesNotMakeHistoryOfADamagedLog(t *testing.T) {
	fsys := vfs.NewCrashableMem()
	db := open(t, Options{MemtableBytes: 64 << 10, FS: fsys})
	var tl timeline
	b := db.NewBatch()
	tl.change(newRand(t), b, 1)
	b.Set(ElementKey(nil, 1, nil), make([]byte, 32<<10)) // the layer is large enough to be tables
	commit(t, b)
	e := db.current.Load().engine
	if err := db.guarded(func() error {
		db.committing.Lock()
		defer db.committing.Unlock()
		return errors.Join(e.freezeLocked(), e.awaitDrained())
	}); err != nil {
		t.Fatal(err)
	}
	crash := func() error {
		crashed, err := Open(Options{Dir: "db", FS: fsys.CrashClone(vfs.CrashCloneCfg{}), noTableStats: true})
		if err == nil {
			err = crashed.Close()
		}
		return err
	}
	if err := crash(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.pebble.Set(LogKey(nil, tl[0].revision, tl[0].sub), []byte{0xff}, pebble.NoSync), e.pebble.Flush()); err != nil {
		t.Fatal(err)
	}
	if err := crash(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a start over a damaged log: %v", err)
	}
}

// checkBothWays compares scans of the history upwards and downwards, and with single also reads of each row.
func checkBothWays(t *testing.T, v *View, single bool) {
	t.Helper()
	rows := func(options ...ScanOption) (keys [][]byte) {
		it := v.Scan([]byte{tableHistory}, []byte{tableHistory + 1}, options...)
		defer it.Close()
		for it.Next() {
			keys = append(keys, bytes.Clone(it.Key()))
			if value, ok := v.Get(it.Key()); single && (!ok || !bytes.Equal(value, it.Value())) {
				t.Fatalf("row %x is %x by itself, and %x in a scan", it.Key(), value, it.Value())
			}
		}
		return keys
	}
	up, down := rows(), rows(Reverse)
	slices.Reverse(down)
	if !slices.EqualFunc(up, down, bytes.Equal) {
		t.Fatalf("%d history rows upwards, %d downwards, not the same", len(up), len(down))
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
}
