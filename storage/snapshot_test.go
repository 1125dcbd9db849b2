package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// advance commits a step that touches every kind of row that is held in memory: keys, history, leases, the state.
func advance(t testing.TB, db *DB, rng *rand.Rand, steps int) {
	t.Helper()
	for range steps {
		b := db.NewBatch()
		state := b.State()
		state.AppliedIndex++
		state.AppliedTerm = 3
		state.Revision++
		state.Conf = fmt.Appendf(nil, "conf as of %d", state.AppliedIndex)
		key := fmt.Appendf(nil, "k%02d", rng.IntN(40))
		record := Record{Kind: KindBytes, ModRevision: state.Revision, Version: 1, Value: fmt.Appendf(nil, "%0*d", 1+rng.IntN(400), state.AppliedIndex)}
		b.Set(CurrentKey(nil, 0, key), record.Append(nil))
		b.AppendEvent(&Event{Type: EventPut, Key: key, Revision: state.Revision, Record: record})
		lease := Lease{ID: int64(1 + rng.IntN(10)), TTLMillis: int64(state.AppliedIndex)}
		b.Set(LeaseKey(nil, lease.ID), lease.Append(nil))
		b.Delete(LeaseKey(nil, int64(1+rng.IntN(10))))
		commit(t, b)
	}
}

// fingerprint is everything that a view shows: rows, state, leases.
func fingerprint(t testing.TB, db *DB) string {
	t.Helper()
	v := db.View()
	defer v.Release()
	var out strings.Builder
	it := v.Scan([]byte{0}, []byte{0xff})
	for it.Next() {
		if it.Key()[0] != tableMeta { // the state is below, and purges need not be alike
			fmt.Fprintf(&out, "%x=%x\n", it.Key(), it.Value())
		}
	}
	it.Close()
	fmt.Fprintf(&out, "%+v\n", *v.State())
	for l := range v.Leases().All() {
		fmt.Fprintf(&out, "%+v\n", l)
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// deliver hands the files of an export over in pieces, from where the receiver is.
func deliver(x *Export, in *Incoming, piece int) error {
	for _, file := range x.Files() {
		f, err := x.Open(file.Name)
		if err != nil {
			return err
		}
		defer f.Close()
		for at := in.Have(file.Name); at < file.Bytes; at = in.Have(file.Name) {
			buffer := make([]byte, min(int64(piece), file.Bytes-at))
			if _, err := f.ReadAt(buffer, at); err != nil && err != io.EOF {
				return err
			}
			if err := in.Write(file.Name, at, buffer); err != nil {
				return err
			}
		}
	}
	return in.Finish()
}

func receive(x *Export, db *DB) error {
	in, err := db.Receive(x.Meta(), x.Files())
	if err != nil {
		return err
	}
	return errors.Join(deliver(x, in, 1000), in.Close())
}

func export(t testing.TB, db *DB) *Export {
	t.Helper()
	x, err := db.Export(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Release)
	return x
}

// entries lists what lies in a database's directory.
func entries(t testing.TB, fsys vfs.FS, dir string) []string {
	t.Helper()
	names, err := fsys.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// awaitRemoved returns when a directory in dir is gone, which happens beside everything else and is told to nobody.
func awaitRemoved(t testing.TB, fsys vfs.FS, dir, name string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for slices.Contains(entries(t, fsys, dir), name) {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatalf("%s is still there", name)
		}
	}
}

func TestASnapshotBecomesTheState(t *testing.T) {
	for name, options := range map[string]Options{
		"in memory":             {Dir: "there", FS: vfs.NewCrashableMem()},
		"on disk":               {Dir: filepath.Join(t.TempDir(), "there")},
		"with the engine's log": {Dir: filepath.Join(t.TempDir(), "there"), EngineWAL: true},
	} {
		t.Run(name, func(t *testing.T) {
			rng := newRand(t)
			from := options
			from.Dir = filepath.Join(filepath.Dir(options.Dir), "here")
			here, there := open(t, from), open(t, options)
			advance(t, here, rng, 300)
			want := fingerprint(t, here)
			x := export(t, here)
			advance(t, here, rng, 50) // the export is of its moment
			advance(t, there, rng, 20)
			if err := receive(x, there); err != nil {
				t.Fatal(err)
			}
			old, held := fingerprint(t, there), there.View()
			if err := there.Install(x.Meta()); err != nil {
				t.Fatal(err)
			}
			if got := fingerprint(t, there); got != want {
				t.Errorf("installed:\n%s\nwant:\n%s", got, want)
			}
			if n, err := there.DurableApplied(); err != nil || n != 300 {
				t.Errorf("durable %d, %v", n, err)
			}
			if meta, ok := there.Installed(); !ok || meta.Index != 300 || meta.Term != 3 || string(meta.Conf) != "conf as of 300" {
				t.Errorf("installed is %+v, %v", meta, ok)
			}

			// A view of the state before stays what it is, and with it its engine.
			if held.State().AppliedIndex != 20 || len(dump(t, held)) == 0 || !strings.Contains(old, "AppliedIndex:20 ") {
				t.Errorf("the view of the old state shows index %d", held.State().AppliedIndex)
			}
			fsys := there.options.FS
			if names := entries(t, fsys, options.Dir); !slices.Contains(names, "engine-000001") || !slices.Contains(names, "engine-000002") {
				t.Errorf("while a view is held there are %q", names)
			}
			held.Release()
			awaitRemoved(t, fsys, options.Dir, "engine-000001")
			if names := entries(t, fsys, options.Dir); !slices.Equal(names, []string{"CURRENT", "FORMAT", "LOCK", "engine-000002"}) {
				t.Errorf("afterwards there are %q", names)
			}

			// Life goes on from there.
			advance(t, there, rng, 30)
			if _, ok := there.Installed(); ok {
				t.Error("a state that has moved on says it was just installed")
			}
			want = fingerprint(t, there)
			if err := there.Close(); err != nil {
				t.Fatal(err)
			}
			if got := fingerprint(t, open(t, options)); got != want {
				t.Errorf("after a restart:\n%s\nwant:\n%s", got, want)
			}
			x.Release()
			if names := entries(t, fsys, from.Dir); !slices.Equal(names, []string{"CURRENT", "FORMAT", "LOCK", "engine-000001"}) {
				t.Errorf("after the export was released there are %q", names)
			}
		})
	}
}

func TestAnExportHoldsEverythingCommittedBefore(t *testing.T) {
	db := open(t, Options{MemtableBytes: 64 << 10})
	advance(t, db, newRand(t), 1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		rng := rand.New(rand.NewPCG(1, 2))
		for {
			select {
			case <-stop:
				return
			default:
				advance(t, db, rng, 1)
			}
		}
	}()
	for range 20 {
		v := db.View()
		committed := v.State().AppliedIndex
		v.Release()
		x := export(t, db)
		other := open(t, Options{Dir: "other", FS: vfs.NewMem()})
		if err := receive(x, other); err != nil {
			t.Fatal(err)
		}
		if x.Meta().Index < committed {
			t.Fatalf("an export at %d, of a state at %d", x.Meta().Index, committed)
		}
		if err := other.Install(x.Meta()); err != nil {
			t.Fatal(err)
		}
		x.Release()
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
}

func TestATransferGoesOnWhereItWasCut(t *testing.T) {
	here, disk := open(t, Options{}), vfs.NewCrashableMem()
	advance(t, here, newRand(t), 200)
	x := export(t, here)
	there := open(t, Options{FS: disk})
	in, err := there.Receive(x.Meta(), x.Files())
	if err != nil {
		t.Fatal(err)
	}
	sent := x.Files()[0]
	for _, f := range x.Files() {
		if f.Bytes > sent.Bytes {
			sent = f
		}
	}
	content := make([]byte, sent.Bytes)
	f, err := x.Open(sent.Name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(content, 0); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	f.Close()
	half := sent.Bytes / 2
	if err := in.Write(sent.Name, 0, slices.Clone(content[:half])); err != nil {
		t.Fatal(err)
	}
	if err := in.Finish(); err == nil {
		t.Error("half a snapshot is finished")
	}

	// Another stream takes over: the one before is of no use any more.
	again, err := there.Receive(x.Meta(), x.Files())
	if err != nil || again.Have(sent.Name) != half {
		t.Fatalf("%d bytes are there, %v; want %d", again.Have(sent.Name), err, half)
	}
	if err := in.Write(sent.Name, half, content[half:]); !errors.Is(err, ErrReplaced) {
		t.Errorf("writing to what was replaced: %v", err)
	}
	for what, err := range map[string]error{
		"a gap":            again.Write(sent.Name, half+1, content[half+1:]),
		"too much":         again.Write(sent.Name, half, append(slices.Clone(content[half:]), 0)),
		"an unlisted file": again.Write("../escape", 0, content),
	} {
		if err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if err := again.Write(sent.Name, half, slices.Clone(content[half:])); err != nil {
		t.Fatal(err)
	}

	// The process ends: a file that was complete is there in the next life.
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	there = open(t, Options{FS: crashed})
	in, err = there.Receive(x.Meta(), x.Files())
	if err != nil || in.Have(sent.Name) != sent.Bytes {
		t.Fatalf("after a crash %d bytes are there, %v; want %d", in.Have(sent.Name), err, sent.Bytes)
	}

	// What was damaged on the way is noticed, removed, and can be sent again.
	damaged, err := crashed.OpenReadWrite(in.dir(filesDir, sent.Name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := damaged.WriteAt([]byte{content[half] ^ 1}, half); err != nil {
		t.Fatal(err)
	}
	damaged.Close()
	if err := deliver(x, in, 4096); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), sent.Name) {
		t.Fatalf("a damaged file: %v", err)
	}
	if n := in.Have(sent.Name); n != 0 {
		t.Errorf("%d bytes of the damaged file are left", n)
	}
	if err := deliver(x, in, 4096); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(x.Meta()); err != nil {
		t.Fatal(err)
	}
	if got, want := fingerprint(t, there), fingerprint(t, here); got != want {
		t.Errorf("installed:\n%s\nwant:\n%s", got, want)
	}
	if in, err := there.Receive(x.Meta(), x.Files()); err != nil || in.Have(sent.Name) != sent.Bytes || in.Finish() != nil {
		t.Errorf("what the state holds already is wanted again: %v", err)
	}
	if err := there.Install(x.Meta()); err != nil {
		t.Errorf("installing it again: %v", err)
	}
}

func TestAnotherSnapshotReplacesOneThatIsNotFinished(t *testing.T) {
	rng := newRand(t)
	here, there := open(t, Options{}), open(t, Options{})
	advance(t, here, rng, 50)
	first := export(t, here)
	advance(t, here, rng, 50)
	second := export(t, here)
	advance(t, here, rng, 50)
	third := export(t, here)
	received := func() (dirs []string) {
		for _, name := range entries(t, there.options.FS, "db") {
			if strings.HasPrefix(name, incomingPrefix) {
				dirs = append(dirs, name)
			}
		}
		return dirs
	}
	if _, err := there.Receive(first.Meta(), first.Files()); err != nil {
		t.Fatal(err)
	}
	if err := receive(second, there); err != nil {
		t.Fatal(err)
	}
	if got := received(); !slices.Equal(got, []string{"incoming-100-3"}) {
		t.Errorf("there are %q", got)
	}
	// The second is finished and may be installed at any moment: receiving the third leaves it alone.
	if _, err := there.Receive(third.Meta(), third.Files()); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(first.Meta()); !errors.Is(err, ErrNotReceived) {
		t.Errorf("installing what was discarded: %v", err)
	}
	if err := there.Install(second.Meta()); err != nil {
		t.Fatal(err)
	}
	if err := receive(third, there); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(third.Meta()); err != nil {
		t.Fatal(err)
	}
	if got, want := fingerprint(t, there), fingerprint(t, here); got != want {
		t.Errorf("installed:\n%s\nwant:\n%s", got, want)
	}
	if got := received(); got != nil {
		t.Errorf("there are %q", got)
	}
}

func TestASnapshotThatIsNotWhatItSaysIsRefused(t *testing.T) {
	rng := newRand(t)
	here, there := open(t, Options{}), open(t, Options{})
	advance(t, here, rng, 50)
	advance(t, there, rng, 10)
	want := fingerprint(t, there)
	x := export(t, here)
	lie := x.Meta()
	lie.Index++
	in, err := there.Receive(lie, x.Files())
	if err != nil {
		t.Fatal(err)
	}
	if err := deliver(x, in, 1000); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(lie); !errors.Is(err, ErrCorrupt) {
		t.Errorf("installing it: %v", err)
	}
	if got := fingerprint(t, there); got != want || there.Err() != nil {
		t.Errorf("the state changed, or the database failed: %v", there.Err())
	}
	if err := receive(x, there); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(x.Meta()); err != nil {
		t.Errorf("the truth afterwards: %v", err)
	}
}

func TestPurgingGoesOnInTheInstalledState(t *testing.T) {
	rng := newRand(t)
	compact := func(db *DB) int64 {
		b := db.NewBatch()
		b.State().AppliedIndex++
		b.State().Compacted = b.State().Revision
		commit(t, b)
		return b.State().Compacted
	}
	here, there := open(t, Options{}), open(t, Options{})
	advance(t, here, rng, 2000)
	if err := here.PurgeHistory(t.Context(), compact(here)); err != nil {
		t.Fatal(err)
	}
	advance(t, here, rng, 2000)
	compact(here)
	x := export(t, here)
	advance(t, there, rng, 500)
	// The walk of the old state is under way when the new one comes.
	there.purging.Lock()
	walk := &purgeWalk{engine: there.current.Load().engine, target: 1}
	there.purging.Unlock()
	if err := receive(x, there); err != nil {
		t.Fatal(err)
	}
	if err := there.Install(x.Meta()); err != nil {
		t.Fatal(err)
	}
	if more, err := walk.step(); !more || err != nil {
		t.Errorf("a step in the old state: more %v, %v", more, err)
	}
	if here.HistoryBytes() != there.HistoryBytes() {
		t.Errorf("%d bytes of history there, %d here", there.HistoryBytes(), here.HistoryBytes())
	}
	for _, db := range []*DB{here, there} {
		if err := db.PurgeHistory(t.Context(), db.current.Load().state.Compacted); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fingerprint(t, there), fingerprint(t, here); got != want {
		t.Errorf("purged:\n%s\nwant:\n%s", got, want)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	m := manifest{meta: SnapshotMeta{Index: 300, Term: 2, Conf: []byte("conf")}, files: []SnapshotFile{{Name: "000004.sst", Bytes: 900, Checksum: 1}, {Name: "FORMAT"}}}
	f.Add(m.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		// Random input hardly ever has the right checksum: the body is tried with the one that it should have.
		for _, stored := range [][]byte{b, sealed(b)} {
			first, err := decodeManifest(stored)
			if err != nil {
				if !errors.Is(err, ErrCorrupt) {
					t.Fatal(err)
				}
				continue
			}
			again, err := decodeManifest(first.append(nil))
			if err != nil || fmt.Sprint(first) != fmt.Sprint(again) {
				t.Fatalf("%+v came back as %+v, %v", first, again, err)
			}
			for _, file := range first.files {
				if filepath.Base(file.Name) != file.Name || strings.HasPrefix(file.Name, ".") {
					t.Fatalf("a file named %q is accepted", file.Name)
				}
			}
		}
	})
}

func FuzzParseCurrent(f *testing.F) {
	f.Add("engine-000001\n")
	f.Add("engine-1000000\ninstalled 17\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCurrent(text)
		if err == nil && c.text() != text {
			t.Fatalf("%q is read as %+v", text, c)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// sealed gives a manifest's body the checksum that it should have.
func sealed(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body, ChecksumTable))
}

// A state that was made here counts as installed, also after a restart, until it moves on.
func TestAnAdoptedStateIsWhereALogBegins(t *testing.T) {
	options := Options{Dir: "db", FS: vfs.NewCrashableMem()}
	rng := newRand(t)
	db, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	advance(t, db, rng, 20)
	if _, ok := db.Installed(); ok {
		t.Error("a state that commits made says it was installed")
	}
	want := fingerprint(t, db)
	if err := db.Adopt(); err != nil {
		t.Fatal(err)
	}
	crashed := options.FS.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{}) // it is durable
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fsys := range []vfs.FS{options.FS, crashed} {
		again := open(t, Options{Dir: "db", FS: fsys})
		if meta, ok := again.Installed(); !ok || meta.Index != 20 || fingerprint(t, again) != want {
			t.Errorf("installed is %+v, %v", meta, ok)
		}
		advance(t, again, rng, 1)
		if _, ok := again.Installed(); ok {
			t.Error("a state that has moved on says it was just installed")
		}
	}
}
