package core

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// backUp gives a backup of a store, and checks what it says of its progress.
func backUp(t testing.TB, s *Store) []byte {
	t.Helper()
	var out bytes.Buffer
	total, last, calls := int64(-1), int64(0), 0
	err := s.Backup(context.Background(), &out, func(done, of int64) {
		if calls == 0 && (done != 0 || out.Len() != 0) {
			t.Errorf("the first report says %d, after %d bytes", done, out.Len())
		}
		if total >= 0 && of != total || done < last || done > of {
			t.Errorf("%d of %d is reported after %d of %d", done, of, last, total)
		}
		total, last = of, done
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	if int64(out.Len()) != total || last != total {
		t.Errorf("there are %d bytes, reported were %d of %d", out.Len(), last, total)
	}
	if out.Len()%512 != 32 {
		t.Errorf("etcdctl does not take %d bytes for a whole snapshot", out.Len())
	}
	return out.Bytes()
}

func fillStore(t testing.TB, s *Store) {
	t.Helper()
	for i := range 30 {
		txn := &corepb.Txn{Then: []*corepb.Op{
			putOp(fmt.Sprint("k", i%20), strings.Repeat("v", i*i)),
			{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Space: 2, Key: []byte("list"), Values: [][]byte{[]byte("e")}}}},
			sessionOp(int64(i+1), "secret", 7),
		}}
		if _, err := s.Do(context.Background(), txn); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABackupSaysWhatItIs(t *testing.T) {
	s := openStore(t, t.TempDir())
	fillStore(t, s)
	backup := backUp(t, s)
	reports := 0
	info, err := InspectBackup(bytes.NewReader(backup), func(done, total int64) {
		reports++
		if total != int64(len(backup)) || done > total {
			t.Errorf("%d of %d read, of %d", done, total, len(backup))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if info.ClusterID != s.ClusterID() || info.MemberID != s.MemberID() || info.Revision != s.Revision() || info.Keys != 21 ||
		info.Index == 0 || info.Term == 0 || len(info.Members) != 1 || info.Created.IsZero() || info.TotalBytes != int64(len(backup)) ||
		len(info.Digest) != 64 || reports == 0 {
		t.Errorf("it says %+v", info)
	}
}

func TestADamagedBackupIsNamed(t *testing.T) {
	s := openStore(t, t.TempDir())
	fillStore(t, s)
	backup := backUp(t, s)
	info, err := InspectBackup(bytes.NewReader(backup), nil)
	if err != nil {
		t.Fatal(err)
	}
	head, err := info.headBytes()
	if err != nil {
		t.Fatal(err)
	}
	biggest := slices.MaxFunc(info.Files, func(a, b BackupFile) int { return int(a.Bytes - b.Bytes) })
	inBiggest := len(head)
	for _, f := range info.Files {
		if f.Name == biggest.Name {
			break
		}
		inBiggest += int(f.Bytes)
	}
	flip := func(at int) []byte {
		b := bytes.Clone(backup)
		b[at] ^= 0x10
		return b
	}
	newer := flip(0)
	copy(newer, backup[:len(backupMagic)])
	newer[len(backupMagic)] = backupFormat + 1
	for what, test := range map[string]struct {
		backup []byte
		err    error
		text   string
	}{
		"something else":     {[]byte(strings.Repeat("no backup ", 100)), ErrNotABackup, ""},
		"nothing":            {nil, ErrNotABackup, ""},
		"a newer format":     {newer, ErrNewerBackup, "format is 2"},
		"the header":         {flip(100), ErrDamagedBackup, "header"},
		"a file":             {flip(inBiggest + int(biggest.Bytes)/2), ErrDamagedBackup, "file " + biggest.Name},
		"the padding":        {flip(len(backup) - 33), ErrDamagedBackup, ""},
		"the digest":         {flip(len(backup) - 1), ErrDamagedBackup, "SHA-256"},
		"cut in the header":  {backup[:60], ErrDamagedBackup, "within the header"},
		"cut in a file":      {backup[:inBiggest+10], ErrDamagedBackup, fmt.Sprintf("within file %s, after 10 of %d bytes", biggest.Name, biggest.Bytes)},
		"cut at the end":     {backup[:len(backup)-1], ErrDamagedBackup, "within its end"},
		"something appended": {append(bytes.Clone(backup), 0), ErrDamagedBackup, "behind its end"},
	} {
		_, err := InspectBackup(bytes.NewReader(test.backup), nil)
		if !errors.Is(err, test.err) || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s: %v, want %v (%q)", what, err, test.err, test.text)
		}
		fs := vfs.NewMem()
		_, err = Restore(context.Background(), RestoreConfig{DataDir: "data", Name: "a", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(test.backup), FS: fs})
		if !errors.Is(err, test.err) {
			t.Errorf("%s: restoring: %v, want %v", what, err, test.err)
		}
		if names, _ := fs.List(""); len(names) > 0 {
			t.Errorf("%s: the attempt left %q", what, names)
		}
	}
	if _, err := InspectBackup(io.MultiReader(bytes.NewReader(backup[:inBiggest]), brokenReader{}), nil); !errors.Is(err, errBroken) || errors.Is(err, ErrDamagedBackup) {
		t.Errorf("a disk that fails: %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

func TestABackupOfARunningStoreIsOfOneMoment(t *testing.T) {
	s := openStore(t, t.TempDir())
	fillStore(t, s)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			value := fmt.Sprint(n)
			_, _ = s.Do(context.Background(), &corepb.Txn{Then: []*corepb.Op{putOp("a", value), putOp("b", value)}})
		}
	}()
	for range 5 {
		before := s.Revision()
		backup := backUp(t, s)
		dir := filepath.Join(t.TempDir(), "data")
		info, err := Restore(context.Background(), RestoreConfig{DataDir: dir, Name: "test", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(backup)})
		if err != nil {
			t.Fatal(err)
		}
		if info.Revision < before {
			t.Errorf("the backup is of revision %d, begun at %d", info.Revision, before)
		}
		restored := openStore(t, dir)
		view, err := restored.View(context.Background(), Linearizable)
		if err != nil {
			t.Fatal(err)
		}
		a, b := view.Get(0, []byte("a")), view.Get(0, []byte("b"))
		if (a == nil) != (b == nil) || a != nil && string(a.Value) != string(b.Value) {
			t.Errorf("half a Txn is in the backup: %v %v", a, b)
		}
		view.Close()
	}
	close(stop)
	<-stopped
}

// Every member of a new cluster restores the same file, and they are one cluster with the same bytes.
func TestAClusterOfAnySizeIsMadeOfABackup(t *testing.T) {
	source := openStore(t, t.TempDir())
	fillStore(t, source)
	if err := source.RaiseAlarm(context.Background(), AlarmCorrupt, source.MemberID()); err != nil {
		t.Fatal(err)
	}
	want, wasCluster := source.Revision(), source.ClusterID()
	backup := backUp(t, source)
	for _, size := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			fresh := func(cfg *Config) { cfg.ClusterToken = "restored" }
			inStoppedCluster(t, size, func(t *testing.T, c *testCluster) {
				for _, n := range c.nodes {
					cfg := RestoreConfig{
						DataDir: n.cfg.Dir, Name: n.cfg.Name, InitialCluster: n.cfg.InitialCluster, ClusterToken: "restored",
						PeerURLs: n.cfg.PeerURLs, Backup: bytes.NewReader(backup), FS: n.fs,
					}
					if _, err := Restore(context.Background(), cfg); err != nil {
						t.Fatal(err)
					}
					n.fs = n.fs.CrashClone(vfs.CrashCloneCfg{}) // what it said is on disk
				}
				c.start(c.places()...)
				for i, n := range c.nodes {
					if len(n.Members()) != size || len(n.Alarms()) != 0 || n.ClusterID() == wasCluster || n.ClusterID() != c.nodes[0].ClusterID() {
						t.Errorf("member %d of cluster %x knows the members %v and the alarms %v", i, n.ClusterID(), n.Members(), n.Alarms())
					}
					if got := c.get(i, "k19", Linearizable); got == "" || n.Revision() != want {
						t.Errorf("member %d is at revision %d and reads %q", i, n.Revision(), got)
					}
				}
				c.checkReplicas()
				for i := range c.nodes {
					c.do(i, putOp("k", fmt.Sprint(i)))
				}
				c.checkReplicas()
				leader := c.leader()
				if size > 1 {
					c.crash(leader)
					c.do(c.leader(c.others(leader)...), putOp("k", "again"))
					c.net.Heal()
					c.start(leader)
				}
				c.checkReplicas()
			}, fresh)
		})
	}
}

func TestRestoreWantsAPlaceOfItsOwn(t *testing.T) {
	s := openStore(t, t.TempDir())
	backup := backUp(t, s)
	full, empty := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "something"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := RestoreConfig{DataDir: full, Name: "a", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(backup)}
	if _, err := Restore(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a directory with something in it: %v", err)
	}
	cfg.Backup, cfg.DataDir = bytes.NewReader(backup), empty+"/"
	// What an attempt left that was cut short is no hindrance.
	if err := os.MkdirAll(filepath.Join(empty+restoring, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(context.Background(), cfg); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := os.Stat(empty + restoring); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory that it was made in: %v", err)
	}
	for what, change := range map[string]func(*RestoreConfig){
		"a list without the member": func(cfg *RestoreConfig) {
			cfg.InitialCluster = []Member{{Name: "b", PeerURLs: []string{"http://b:1"}}}
		},
		"addresses that differ": func(cfg *RestoreConfig) {
			cfg.InitialCluster = []Member{{Name: "a", PeerURLs: []string{"http://b:1"}}}
		},
		"no address": func(cfg *RestoreConfig) { cfg.PeerURLs = nil },
	} {
		cfg := RestoreConfig{DataDir: filepath.Join(t.TempDir(), "data"), Name: "a", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(backup)}
		change(&cfg)
		if _, err := Restore(context.Background(), cfg); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

// Power fails before every operation of a restore: there is a whole data directory or none.
func TestACrashDuringARestoreLeavesAllOrNothing(t *testing.T) {
	s := openStore(t, t.TempDir())
	fillStore(t, s)
	backup := backUp(t, s)
	disk := vfs.NewCrashableMem()
	var mu sync.Mutex // guards photos
	var photos []*vfs.MemFS
	cfg := RestoreConfig{DataDir: "data", Name: "a", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(backup)}
	cfg.FS = errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			photos = append(photos, disk.CrashClone(vfs.CrashCloneCfg{}))
		}
		return nil
	}))
	if _, err := Restore(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	photos = append(photos, disk.CrashClone(vfs.CrashCloneCfg{}))
	whole := 0
	for i, photo := range photos {
		if checkEmpty(photo, "data") != nil {
			whole++
		} else {
			again := cfg
			again.FS, again.Backup = photo, bytes.NewReader(backup)
			if _, err := Restore(context.Background(), again); err != nil {
				t.Fatalf("crash %d of %d: %v", i, len(photos), err)
			}
		}
		if i%5 != 0 && i < len(photos)-5 {
			continue
		}
		opened, err := Open(Config{Dir: "data", Name: "a", FS: photo, OpenLog: (&logDisk{}).open, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("crash %d of %d: %v", i, len(photos), err)
		}
		if opened.Revision() != s.Revision() {
			t.Errorf("crash %d of %d: it is at revision %d, want %d", i, len(photos), opened.Revision(), s.Revision())
		}
		if err := opened.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if whole == 0 || whole == len(photos) {
		t.Errorf("%d of %d crashes leave a whole directory", whole, len(photos))
	}
}

// FuzzReadBackup gives the reader whatever there is, with the right checksums where it asks for them: it may refuse it, and
// must neither panic, nor take more memory than the input warrants, nor accept what it cannot check.
func FuzzReadBackup(f *testing.F) {
	info := BackupInfo{Index: 3, Term: 2, Files: []BackupFile{{Name: "a", Bytes: 4, Checksum: crc32.Checksum([]byte("data"), storage.ChecksumTable)}}}
	head, err := info.headBytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(head, "data"...), false)
	f.Add([]byte(`{"files":[{"name":"a","bytes":9223372036854775807},{"name":"b","bytes":1}]}`), true)
	f.Add([]byte(`{"index":1,"files":[{"name":"../a","bytes":0}]}`), true)
	f.Fuzz(func(t *testing.T, b []byte, isHeader bool) {
		if isHeader {
			head := append([]byte(backupMagic), backupFormat)
			head = binary.LittleEndian.AppendUint32(head, uint32(len(b)))
			head = append(head, b...)
			b = binary.LittleEndian.AppendUint32(head, crc32.Checksum(head, storage.ChecksumTable))
		}
		info, err := InspectBackup(bytes.NewReader(b), nil)
		if err == nil && (info.TotalBytes != int64(len(b)) || len(b)%512 != 32) {
			t.Fatalf("%d bytes are accepted as %+v", len(b), info)
		}
		fs := vfs.NewMem()
		_, err = Restore(context.Background(), RestoreConfig{DataDir: "data", Name: "a", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(b), FS: fs})
		if err == nil {
			t.Fatal("something that is no state is restored")
		}
		if names, _ := fs.List(""); len(names) > 0 {
			t.Fatalf("the attempt left %q", names)
		}
	})
}

// A store whose clients have seen more than is in the backup goes on behind that, and has no history to show.
func TestARestoreMayPassOverRevisions(t *testing.T) {
	s := openStore(t, t.TempDir())
	fillStore(t, s)
	backup, was := backUp(t, s), s.Revision()
	view, err := s.View(t.Context(), Local)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for what, from := range map[string]RestoreConfig{
		"a backup": {Backup: bytes.NewReader(backup)}, "contents": {Contents: contentsOf(view)},
	} {
		from.DataDir, from.Name, from.PeerURLs, from.BumpRevision = filepath.Join(t.TempDir(), "data"), "test", []string{"http://a:1"}, 1000
		info, err := Restore(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		restored := openStore(t, from.DataDir)
		if restored.Revision() != was+1000 || restored.Compacted() != was+1000 || info.Revision != was+1000 {
			t.Errorf("%s of revision %d is at %d, compacted at %d, and said to be at %d", what, was, restored.Revision(), restored.Compacted(), info.Revision)
		}
		now, err := restored.View(t.Context(), Linearizable)
		if err != nil {
			t.Fatal(err)
		}
		if k := now.Get(0, []byte("k19")); k == nil || k.ModRevision > was {
			t.Errorf("%s: a key is %+v", what, k)
		}
		now.Close()
		if result, err := restored.Do(t.Context(), oneOp(putOp("k", "after"))); err != nil || result.Revision != was+1001 {
			t.Errorf("%s: the next write is %+v %v", what, result, err)
		}
	}
	for _, bump := range []int64{-1, RevisionMax} {
		_, err := Restore(t.Context(), RestoreConfig{
			DataDir: filepath.Join(t.TempDir(), "data"), Name: "test", PeerURLs: []string{"http://a:1"}, Backup: bytes.NewReader(backup), BumpRevision: bump,
		})
		if err == nil || !strings.Contains(err.Error(), "cannot be bumped") {
			t.Errorf("by %d: %v", bump, err)
		}
	}
}
