package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	fsPath "path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// moments is a file system that photographs what a loss of power would leave, before every operation that writes: with
// nothing that was not synced, and with a part of it. Pebble itself relies on the order of the entries that it makes in
// its directory between two syncs, as journaling file systems keep it, so within that there is no photo with parts.
type moments struct {
	disk *vfs.MemFS

	mu     sync.Mutex // guards the fields below
	on     bool
	rng    *rand.Rand
	stage  string
	photos []photo
}

type photo struct {
	disk  *vfs.MemFS
	what  string // the operation that comes next
	stage string
}

func newMoments(rng *rand.Rand) (*moments, vfs.FS) {
	m := &moments{disk: vfs.NewCrashableMem(), rng: rng}
	return m, errorfs.Wrap(m.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			m.take(fmt.Sprintf("operation %d on %s", op.Kind, op.Path), !strings.Contains(op.Path, enginePrefix))
		}
		return nil
	}))
}

func (m *moments) take(what string, parts bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.on {
		return
	}
	m.photos = append(m.photos, photo{m.disk.CrashClone(vfs.CrashCloneCfg{}), what, m.stage})
	if parts {
		config := vfs.CrashCloneCfg{UnsyncedDataPercent: m.rng.IntN(101), RNG: m.rng}
		m.photos = append(m.photos, photo{m.disk.CrashClone(config), what + " with unsynced parts", m.stage})
	}
}

func (m *moments) enter(stage string) {
	m.mu.Lock()
	m.stage, m.on = stage, stage != ""
	m.mu.Unlock()
	m.take("the beginning", true)
}

// source gives a state to install, later than the receiver's.
func source(t *testing.T, rng *rand.Rand) (x *Export, want string) {
	here := open(t, Options{Dir: "source", FS: vfs.NewMem()})
	advance(t, here, rng, 120)
	return export(t, here), fingerprint(t, here)
}

// TestACrashLeavesTheOldStateOrTheNewOne crashes before every operation of a transfer and of an install, and some time
// after. What opens must be the old state or the new one, to the last byte, the new one once Install has returned; nothing
// may be left over; and a transfer that starts again must get there.
func TestACrashLeavesTheOldStateOrTheNewOne(t *testing.T) {
	for round := range rounds(10) { // what was not synced is kept by chance
		t.Run(fmt.Sprint(round), crashWhileInstalling)
	}
}

func crashWhileInstalling(t *testing.T) {
	rng := newRand(t)
	x, newState := source(t, rng)
	m, fsys := newMoments(rng)
	db, err := Open(Options{Dir: "db", FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	advance(t, db, rng, 40)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	oldState := fingerprint(t, db)
	held := db.View()
	m.enter("receiving")
	if err := receive(x, db); err != nil {
		t.Fatal(err)
	}
	m.enter("installing")
	if err := db.Install(x.Meta()); err != nil {
		t.Fatal(err)
	}
	m.enter("installed")
	held.Release() // the old engine goes
	awaitRemoved(t, fsys, "db", engineName(1))
	m.take("the end", true)
	m.enter("")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	found := map[string]int{}
	for i, p := range m.photos {
		db, err := Open(Options{Dir: "db", FS: p.disk})
		if err != nil {
			t.Fatalf("%s, before %s: %v", p.stage, p.what, err)
		}
		switch got := fingerprint(t, db); {
		case got == newState && p.stage != "receiving":
			found["new while "+p.stage]++
			if meta, ok := db.Installed(); !ok || meta.Index != x.Meta().Index {
				t.Errorf("%s, before %s: installed says %+v, %v", p.stage, p.what, meta, ok)
			}
		case got == oldState && p.stage != "installed":
			found["old while "+p.stage]++
		default:
			t.Fatalf("%s, before %s: found\n%s", p.stage, p.what, got)
		}
		names := entries(t, p.disk, "db")
		names = slices.DeleteFunc(names, func(name string) bool {
			return strings.HasPrefix(name, incomingPrefix) || strings.HasSuffix(name, ".new")
		})
		if len(names) != 4 || !strings.HasPrefix(names[3], enginePrefix) {
			t.Fatalf("%s, before %s: left over are %q", p.stage, p.what, names)
		}
		if i%3 == 0 {
			err := receive(x, db)
			if errors.Is(err, ErrCorrupt) { // torn by the crash, noticed, and sent again
				err = receive(x, db)
			}
			if err == nil {
				err = db.Install(x.Meta())
			}
			if err != nil {
				t.Fatalf("%s, before %s: trying again: %v", p.stage, p.what, err)
			}
			if got := fingerprint(t, db); got != newState {
				t.Fatalf("%s, before %s: trying again gave\n%s", p.stage, p.what, got)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d crashes: %v", len(m.photos), found)
	if found["old while receiving"] == 0 || found["old while installing"] == 0 || found["new while installed"] == 0 {
		t.Errorf("the crashes do not cover old and new: %v", found)
	}
}

// TestACrashDuringAnExportLeavesNothing does the same for a checkpoint, from its beginning to its release.
func TestACrashDuringAnExportLeavesNothing(t *testing.T) {
	rng := newRand(t)
	m, fsys := newMoments(rng)
	db, err := Open(Options{Dir: "db", FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	advance(t, db, rng, 40)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	want := fingerprint(t, db)
	m.enter("exporting")
	x, err := db.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.enter("released")
	x.Release()
	m.take("the end", true)
	m.enter("")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.photos {
		db, err := Open(Options{Dir: "db", FS: p.disk})
		if err != nil {
			t.Fatalf("%s, before %s: %v", p.stage, p.what, err)
		}
		if got := fingerprint(t, db); got != want {
			t.Fatalf("%s, before %s: found\n%s", p.stage, p.what, got)
		}
		if names := entries(t, p.disk, "db"); !slices.Equal(names, []string{"CURRENT", "FORMAT", "LOCK", "engine-000001"}) {
			t.Fatalf("%s, before %s: left over are %q", p.stage, p.what, names)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.photos) < 40 {
		t.Errorf("%d crashes are too few", len(m.photos))
	}
}

// TestACrashWhileTheDirectoryIsNewLosesNothing crashes before every operation of the first start.
func TestACrashWhileTheDirectoryIsNewLosesNothing(t *testing.T) {
	for round := range rounds(10) {
		t.Run(fmt.Sprint(round), crashWhileNew)
	}
}

func crashWhileNew(t *testing.T) {
	m, fsys := newMoments(newRand(t))
	m.enter("opening")
	db, err := Open(Options{Dir: "a/db", FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	m.enter("")
	want := fingerprint(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range m.photos {
		db, err := Open(Options{Dir: "a/db", FS: p.disk})
		if err != nil {
			t.Fatalf("before %s: %v", p.what, err)
		}
		if got := fingerprint(t, db); got != want {
			t.Fatalf("before %s: found\n%s", p.what, got)
		}
		set(t, db, "a", "1")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnErrorDuringAnInstallLeavesAWholeState lets every operation of an install fail in turn. Either Install succeeds
// all the same, or the database is as it was and takes the snapshot at the next try, or it has failed; and whatever it
// says, the next start finds the old state or the new one.
func TestAnErrorDuringAnInstallLeavesAWholeState(t *testing.T) {
	rng := newRand(t)
	x, newState := source(t, rng)
	outcomes := map[string]int{}
	for nth := int64(1); ; nth++ {
		disk := vfs.NewCrashableMem()
		var armed atomic.Bool
		var seen, injected atomic.Int64
		fsys := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			// Pebble ends the process itself when the sync of its directory fails: see the crashes above.
			skip := op.Kind == errorfs.OpFileClose || op.Kind == errorfs.OpFileSync && strings.HasPrefix(fsPath.Base(op.Path), enginePrefix)
			if armed.Load() && !skip && seen.Add(1) == nth {
				injected.Add(1)
				return errors.New("injected disk error")
			}
			return nil
		}))
		db, err := Open(Options{Dir: "db", FS: fsys, MemtableBytes: 256 << 10, CacheBytes: 1 << 20, noTableStats: true})
		if err != nil {
			t.Fatal(err)
		}
		advance(t, db, rng, 40)
		if err := db.Flush(); err != nil {
			t.Fatal(err)
		}
		oldState := fingerprint(t, db)
		armed.Store(true)
		err = receive(x, db)
		if err == nil {
			err = db.Install(x.Meta())
		}
		armed.Store(false)
		outcome := "installed all the same"
		switch {
		case db.Err() != nil:
			outcome = "failed"
			if err == nil {
				outcome = "installed, failed afterwards" // while the old engine was removed
			}
		case err != nil:
			outcome = "as before"
			if got := fingerprint(t, db); got != oldState {
				t.Fatalf("error %d (%v): the state is\n%s", nth, err, got)
			}
			if err := receive(x, db); err != nil {
				t.Fatalf("error %d: receiving again: %v", nth, err)
			}
			if err := db.Install(x.Meta()); err != nil {
				t.Fatalf("error %d: installing again: %v", nth, err)
			}
			err = nil
			fallthrough
		default:
			if got := fingerprint(t, db); got != newState {
				t.Fatalf("error %d: the state is\n%s", nth, got)
			}
		}
		outcomes[outcome]++
		crashed := disk.CrashClone(vfs.CrashCloneCfg{})
		_ = db.Close()
		again, openErr := Open(Options{Dir: "db", FS: crashed})
		if openErr != nil {
			t.Fatalf("error %d (%v): %v", nth, err, openErr)
		}
		if got := fingerprint(t, again); got != newState && (err == nil || got != oldState) {
			t.Fatalf("error %d (%v): found\n%s", nth, err, got)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if injected.Load() == 0 {
			break
		}
	}
	t.Logf("%v", outcomes)
	if outcomes["as before"] == 0 || outcomes["failed"] == 0 {
		t.Errorf("the errors do not cover what they should: %v", outcomes)
	}
}
