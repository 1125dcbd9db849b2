package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
)

// crashNode is a store on a filesystem that forgets what was not synced, and on a log that keeps what it said it kept.
type crashNode struct {
	fs   *vfs.MemFS
	disk *logDisk
}

func (n crashNode) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Config{
		Dir: "data", Name: "crash", FS: n.fs, OpenLog: n.disk.open,
		MemtableBytes: 256 << 10, // flushes, and with them truncations of the log, come often
		HistoryAge:    -1, HistoryBytes: -1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// crash gives what a loss of power at this moment leaves. The log may be later than the state, as on two disks; never
// earlier, and the log's marker never later than the state.
func (n crashNode) crash(rng *rand.Rand) crashNode {
	n.disk.marking.Lock()
	defer n.disk.marking.Unlock()
	cfg := vfs.CrashCloneCfg{}
	if rng.IntN(2) == 0 {
		cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}
	}
	fs := n.fs.CrashClone(cfg)
	return crashNode{fs, n.disk.crash()}
}

// writer writes without end to keys of its own, always higher numbers, and knows what was acknowledged.
type writer struct {
	id       int
	acked    atomic.Int64
	tried    atomic.Int64
	revision atomic.Int64
}

func (w *writer) key(name string) []byte { return fmt.Appendf(nil, "/w%d/%s", w.id, name) }

// run writes a number to two keys, a list and a counter, in one Txn each time, until the store stops.
func (w *writer) run(s *Store) {
	for {
		n := w.tried.Add(1)
		value := fmt.Appendf(nil, "%d %0*d", n, n%300, 0)
		txn := &corepb.Txn{AbortOnError: true, Then: []*corepb.Op{
			{Op: &corepb.Op_Put{Put: &corepb.Put{Key: w.key("a"), Value: value}}},
			{Op: &corepb.Op_Put{Put: &corepb.Put{Key: w.key("b"), Value: value}}},
			{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: w.key("list"), Values: [][]byte{value}}}},
			{Op: &corepb.Op_Add{Add: &corepb.Add{Space: 3, Key: w.key("count"), Delta: 1}}},
		}}
		if n%7 == 0 {
			txn.Then = append(txn.Then, &corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: w.key("list"), AnyKind: true}}})
		}
		result, err := s.Do(context.Background(), txn)
		if err != nil {
			return
		}
		w.acked.Store(n)
		w.revision.Store(result.Revision)
	}
}

// check looks for everything acknowledged by the time of the crash, and for halves of what was not. It returns the
// number that the store holds, for the writer to go on from.
func (w *writer) check(t *testing.T, s *Store, acked, revision int64) int64 {
	t.Helper()
	view, err := s.View(context.Background(), Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if view.Revision() < revision {
		t.Errorf("the revision went back from %d to %d", revision, view.Revision())
	}
	a, b, count := view.Get(0, w.key("a")), view.Get(0, w.key("b")), view.Get(3, w.key("count"))
	if a == nil {
		if acked > 0 {
			t.Errorf("writer %d: %d writes were acknowledged, none is there", w.id, acked)
		}
		return 0
	}
	var n, total int64
	fmt.Sscan(string(a.Value), &n)
	fmt.Sscan(string(count.Value), &total)
	if n < acked {
		t.Errorf("writer %d: write %d was acknowledged, %d is there", w.id, acked, n)
	}
	if b == nil || string(a.Value) != string(b.Value) || a.ModRevision != b.ModRevision {
		t.Errorf("writer %d: half a Txn is there: %s and %v", w.id, a.Value, b)
	}
	list, length := view.Get(0, w.key("list")), int64(0)
	if list != nil {
		length = list.Count
	}
	if n%7 == 0 && length != 0 || n%7 != 0 && (list == nil || list.ModRevision != a.ModRevision) {
		t.Errorf("writer %d: after write %d the list has %d elements", w.id, n, length)
	}
	if total != a.Version {
		t.Errorf("writer %d: the counter says %d, the version %d", w.id, total, a.Version)
	}
	return n
}

// stateRows are a dump without what differs by the number of restarts.
func stateRows(t *testing.T, s *Store) string {
	var rows []string
	for row := range strings.Lines(dump(t, s.db)) {
		if !strings.HasPrefix(row, `"\x01`) { // the state and the progress of purges
			rows = append(rows, row)
		}
	}
	return strings.Join(rows, "")
}

func TestNoCrashLosesWhatWasAcknowledged(t *testing.T) {
	const rounds, writers = 25, 4
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	node := crashNode{vfs.NewCrashableMem(), &logDisk{}}
	ws := make([]*writer, writers)
	for i := range ws {
		ws[i] = &writer{id: i}
	}
	for round := range rounds {
		store := node.open(t)
		var running sync.WaitGroup
		for _, w := range ws {
			running.Go(func() { w.run(store) })
		}
		target := ws[0].acked.Load() + int64(rng.IntN(200)) + 1
		for ws[0].acked.Load() < target { // a moment of the load's own choosing
			store.views.mu.Lock()
			if store.views.next == nil {
				store.views.next = make(chan struct{})
			}
			next := store.views.next
			store.views.mu.Unlock()
			<-next
		}
		type promise struct{ acked, revision int64 }
		promises := make([]promise, writers)
		for i, w := range ws {
			promises[i] = promise{acked: w.acked.Load(), revision: w.revision.Load()}
		}
		crashed := node.crash(rng)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		running.Wait()

		recovered := crashed.open(t)
		for i, w := range ws {
			n := w.check(t, recovered, promises[i].acked, promises[i].revision)
			w.acked.Store(n)
			w.tried.Store(n)
			w.revision.Store(0)
		}
		// The state is exactly what the log says: nothing is lost between what was flushed and what is replayed.
		if round%5 == 4 {
			again := crashNode{vfs.NewCrashableMem(), crashed.disk.crash()}
			again.disk.rewind()
			id, err := readFile(crashed.fs, "data/member.json")
			if err != nil {
				t.Fatal(err)
			}
			if err := again.fs.MkdirAll("data", 0o755); err != nil {
				t.Fatal(err)
			}
			f, err := again.fs.Create("data/member.json", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(id); err != nil {
				t.Fatal(err)
			}
			f.Close()
			replayed := again.open(t)
			if got, want := stateRows(t, recovered), stateRows(t, replayed); got != want {
				t.Errorf("the recovered state differs from the log's:\n%s", difference(want, got))
			}
			if err := replayed.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := recovered.Close(); err != nil {
			t.Fatal(err)
		}
		node = crashed
		if t.Failed() {
			t.FailNow()
		}
	}
}
