package storage

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

func TestViewNeverChanges(t *testing.T) {
	db := open(t, Options{MemtableBytes: 256 << 10})
	var views []*View
	var dumps [][]string
	for i := range 30 {
		b := db.NewBatch()
		b.State().AppliedIndex = uint64(i)
		for j := range 5 {
			b.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "k%d", (i+j)%17)), fmt.Append(nil, i))
		}
		b.Delete(CurrentKey(nil, 0, fmt.Appendf(nil, "k%d", i%7)))
		lease := Lease{ID: int64(i + 1)}
		b.Set(LeaseKey(nil, lease.ID), lease.Append(nil))
		b.Delete(LeaseKey(nil, int64(i-1)))
		commit(t, b)
		if i%10 == 0 {
			if err := db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		v := db.View()
		views, dumps = append(views, v), append(dumps, dump(t, v))
	}
	for i, v := range views {
		if v.State().AppliedIndex != uint64(i) {
			t.Errorf("view %d shows state %d", i, v.State().AppliedIndex)
		}
		if got := dump(t, v); !slices.Equal(got, dumps[i]) {
			t.Errorf("view %d changed from %q to %q", i, dumps[i], got)
		}
		var ids []int64
		for l := range v.Leases().All() {
			ids = append(ids, l.ID)
		}
		if want := []int64{int64(i), int64(i + 1)}; i > 0 && !slices.Equal(ids, want) {
			t.Errorf("view %d shows leases %v, want %v", i, ids, want)
		}
		v.Release()
	}
}

func TestViewShowsTheLastCommit(t *testing.T) {
	db := open(t, Options{})
	b := db.NewBatch()
	b.Set(CurrentKey(nil, 0, []byte("a")), []byte("1"))
	v := db.View()
	if _, ok := get(t, v, "a"); ok {
		t.Error("a view shows what is not committed")
	}
	v.Release()
	commit(t, b)
	v = db.View()
	defer v.Release()
	wantValue(t, v, "a", "1")
}

func TestSnapshotsAreClosedWithTheirLastView(t *testing.T) {
	db := open(t, Options{})
	v := db.View()
	again := v.Clone()
	pin := v.pinned
	set(t, db, "a", "1")
	v.Release()
	if pin.refs.Load() != 1 {
		t.Fatalf("%d references are held, want the clone's", pin.refs.Load())
	}
	if _, ok := get(t, again, "a"); ok {
		t.Error("the clone shows a later state")
	}
	again.Release()
	if n := db.current.Load().engine.pebble.Metrics().Snapshots.Count; n != 1 {
		t.Errorf("%d snapshots are open, want the current one", n)
	}
}

// TestViewsRaceWithCommits takes and releases views on several goroutines while commits replace them. Every view must
// show one commit as a whole. Run with -race.
func TestViewsRaceWithCommits(t *testing.T) {
	db := open(t, Options{})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := db.View()
				a, _ := v.Get([]byte("\x02\x00a"))
				z, _ := v.Get([]byte("\x02\x00z"))
				want := fmt.Sprint(v.State().AppliedIndex)
				if v.State().AppliedIndex > 0 && (string(a) != want || string(z) != want) {
					t.Errorf("view at %s shows a=%s z=%s", want, a, z)
				}
				c := v.Clone()
				v.Release()
				c.Release()
			}
		}()
	}
	for i := range 500 {
		b := db.NewBatch()
		b.State().AppliedIndex = uint64(i + 1)
		b.Set(CurrentKey(nil, 0, []byte("a")), fmt.Append(nil, i+1))
		b.Set(CurrentKey(nil, 0, []byte("z")), fmt.Append(nil, i+1))
		commit(t, b)
	}
	close(stop)
	readers.Wait()
	if n := db.current.Load().engine.pebble.Metrics().Snapshots.Count; n != 1 {
		t.Errorf("%d snapshots are open, want 1", n)
	}
}

func TestClosedDatabaseAnswersErrClosed(t *testing.T) {
	db := open(t, Options{})
	set(t, db, "a", "1")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	v := db.View()
	defer v.Release()
	if _, ok := v.Get([]byte("a")); ok || !errors.Is(v.Err(), ErrClosed) {
		t.Errorf("a view of a closed database: %v", v.Err())
	}
	it := v.Scan(CurrentBounds(0))
	if it.Next() || it.SeekGE(nil) {
		t.Error("a closed database has rows")
	}
	it.Close()
	if err := db.NewBatch().Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	if _, err := db.DurableApplied(); !errors.Is(err, ErrClosed) {
		t.Errorf("durable: %v", err)
	}
	if _, err := db.Export(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("export: %v", err)
	}
	if _, err := db.Receive(SnapshotMeta{Index: 9}, []SnapshotFile{{Name: "a"}}); !errors.Is(err, ErrClosed) {
		t.Errorf("receive: %v", err)
	}
	if err := db.Install(SnapshotMeta{Index: 9}); !errors.Is(err, ErrClosed) {
		t.Errorf("install: %v", err)
	}
	if err := db.PurgeHistory(t.Context(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("purge: %v", err)
	}
	if err := db.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second close: %v", err)
	}
	db.Metrics()
}

func TestLeasesFollowTheLeaseTable(t *testing.T) {
	db := open(t, Options{})
	put := func(b *Batch, l Lease) { b.Set(LeaseKey(nil, l.ID), l.Append(nil)) }
	b := db.NewBatch()
	for i := range int64(200) {
		l := Lease{ID: i - 100, TTLMillis: 1000 + i}
		if i%2 == 0 {
			l.Password = []byte("secret")
		}
		put(b, l)
	}
	commit(t, b)
	count := func() (all, sessions int) {
		for range db.Leases().All() {
			all++
		}
		for l := range db.Leases().Sessions() {
			if !l.IsSession() {
				t.Error("a lease is listed as a session")
			}
			sessions++
		}
		return
	}
	if all, sessions := count(); all != 200 || sessions != 100 {
		t.Fatalf("%d leases and %d sessions", all, sessions)
	}
	if l, ok := db.Leases().Get(-100); !ok || l.TTLMillis != 1000 || string(l.Password) != "secret" {
		t.Errorf("lease -100 is %+v %v", l, ok)
	}
	b = db.NewBatch()
	b.DeleteRange(LeaseBounds())
	put(b, Lease{ID: 7, TTLMillis: 5})
	commit(t, b)
	if all, sessions := count(); all != 1 || sessions != 0 {
		t.Fatalf("%d leases and %d sessions after all but one went", all, sessions)
	}
	b = db.NewBatch()
	b.Delete(LeaseKey(nil, 7))
	put(b, Lease{ID: 8, Password: []byte("p")})
	commit(t, b)
	if _, ok := db.Leases().Get(7); ok {
		t.Error("a deleted lease is still there")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, Options{FS: db.options.FS})
	if all, sessions := count(); all != 1 || sessions != 1 {
		t.Errorf("%d leases and %d sessions after a restart", all, sessions)
	}
}

func TestStatesThatNobodyLooksAtAreForgotten(t *testing.T) {
	db := open(t, Options{MemtableBytes: 64 << 10})
	set(t, db, "k", "first")
	held := db.View()
	defer held.Release()
	for i := range 2000 {
		set(t, db, "k", fmt.Sprint(i))
	}
	if n := len(db.holds.all); n > 2*holdsMin {
		t.Errorf("%d states are remembered, and one is looked at", n)
	}
	if value, ok := get(t, held, "k"); !ok || value != "first" {
		t.Errorf("the old view shows %q", value)
	}
}
