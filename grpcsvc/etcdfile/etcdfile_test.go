package etcdfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func openStore(t testing.TB, dir string) *core.Store {
	t.Helper()
	s, err := core.Open(core.Config{Dir: dir, Name: "a", PeerURLs: []string{"http://a:1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func do(t testing.TB, s *core.Store, ops ...*corepb.Op) {
	t.Helper()
	if result, err := s.Do(t.Context(), &corepb.Txn{Then: ops, AbortOnError: true}); err != nil || result.Err != nil {
		t.Fatal(err, result)
	}
}

func put(key, value string, lease int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte(key), Value: []byte(value), Lease: lease}}}
}

// stock makes a store with something of everything in it.
func stock(t testing.TB, s *core.Store) {
	t.Helper()
	do(t, s, &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: -7, TtlMillis: 60_001}}})
	for i := range 40 {
		do(t, s, put(fmt.Sprint("k", i%25), strings.Repeat("v", i*i), 0), put(fmt.Sprint("/n/", i), "", 0))
	}
	do(t, s, put("k3", "leased", -7))
	do(t, s, &corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("k4")}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: 20}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_UserAdd{UserAdd: &corepb.UserAdd{Name: "u", Password: []byte("hash")}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_UserAdd{UserAdd: &corepb.UserAdd{Name: "by certificate", NoPassword: true}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_RoleAdd{RoleAdd: &corepb.RoleAdd{Name: "r"}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_RoleGrant{RoleGrant: &corepb.RoleGrant{Name: "r", Permission: &corepb.Permission{
		Type: corepb.Permission_WRITE, Key: []byte("a"), End: []byte("b"),
	}}}})
	do(t, s, &corepb.Op{Op: &corepb.Op_UserGrantRole{UserGrantRole: &corepb.UserGrantRole{User: "u", Role: "r"}}})
	// What etcd has no room for comes last, so that the last revision is none of a key that it shows.
	do(t, s, put("", "of Redis", 0))
	do(t, s, &corepb.Op{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: []byte("list"), Values: [][]byte{[]byte("e")}}}})
}

// save writes a store to a file, with its hash.
func save(t testing.TB, s *core.Store) string {
	t.Helper()
	view, err := s.View(t.Context(), core.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	dir := t.TempDir()
	file, err := Make(t.Context(), dir, view)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("the file has a name: %v", names)
	}
	content, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, hashed(content))
}

func hashed(content []byte) []byte {
	sum := sha256.Sum256(content)
	return append(slices.Clone(content), sum[:]...)
}

func write(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// describe prints what etcd shows of a store.
func describe(t testing.TB, s *core.Store) string {
	t.Helper()
	view, err := s.View(t.Context(), core.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var out strings.Builder
	enabled, revision := view.Auth()
	fmt.Fprintln(&out, view.Revision(), view.Compacted(), enabled, revision)
	for e := range view.Versions() {
		if r := e.Record; len(e.Key) > 0 {
			fmt.Fprintln(&out, e.Revision, e.Sub, e.Type, string(e.Key), r.CreateRevision, r.Version, r.Lease, len(r.Value))
		}
	}
	for l := range view.Leases() {
		fmt.Fprintln(&out, l.ID, (l.TTLMillis+999)/1000)
	}
	view.Users(func(u *corepb.User) { fmt.Fprintf(&out, "%q %q %t %q\n", u.Name, u.Password, u.NoPassword, u.Roles) })
	view.Roles(func(r *corepb.Role) { fmt.Fprintln(&out, r.Name, r.Permissions) })
	return out.String()
}

func restore(ctx context.Context, path, dir string) (info core.BackupInfo, err error) {
	err = Read(ctx, path, ReadOptions{}, func(c *core.Contents) error {
		info, err = core.Restore(ctx, core.RestoreConfig{DataDir: dir, Name: "a", PeerURLs: []string{"http://a:1"}, Contents: c})
		return err
	})
	return info, err
}

func TestAStoreComesBackFromItsFile(t *testing.T) {
	s := openStore(t, t.TempDir())
	stock(t, s)
	if err := s.WaitPurged(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	info, err := restore(t.Context(), save(t, s), dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Revision != s.Revision() || info.Compacted != 20 || info.Keys != 64 || info.Version != "etcd 3.6.0" {
		t.Errorf("it is said to be %+v", info)
	}
	again := openStore(t, dir)
	if got, want := describe(t, again), describe(t, s); got != want {
		t.Errorf("it was\n%s\nand is\n%s", want, got)
	}
	do(t, again, put("k3", "after", 0))
}

func TestAnEmptyStoreComesBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := restore(t.Context(), save(t, openStore(t, t.TempDir())), dir); err != nil {
		t.Fatal(err)
	}
	if s := openStore(t, dir); s.Revision() != 1 {
		t.Errorf("it is at revision %d", s.Revision())
	}
}

func TestWhatAFileIsIsToldApart(t *testing.T) {
	s := openStore(t, t.TempDir())
	stock(t, s)
	path := save(t, s)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content := whole[:len(whole)-sha256.Size]
	flipped := slices.Clone(whole)
	flipped[len(content)/2] ^= 1
	other := filepath.Join(t.TempDir(), "other")
	db, err := bolt.Open(other, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	notEtcd, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		content []byte
		is      bool
		err     error
		text    string
		skipped error // with the check of the hash left out
	}{
		"whole":          {whole, true, nil, "", nil},
		"without a hash": {content, true, ErrNoHash, "copied and not saved", nil},
		"a flipped bit":  {flipped, true, core.ErrDamagedBackup, "SHA-256", nil},
		"another hash":   {append(slices.Clone(content), make([]byte, sha256.Size)...), true, core.ErrDamagedBackup, "SHA-256", nil},
		"cut":            {hashed(content[:len(content)/2]), true, core.ErrDamagedBackup, "", core.ErrDamagedBackup},
		"not of etcd":    {hashed(notEtcd), true, core.ErrNotABackup, "not of etcd", core.ErrNotABackup},
		"no database":    {hashed(bytes.Repeat([]byte("x"), 8192)), false, core.ErrDamagedBackup, "", core.ErrDamagedBackup},
		"nothing":        {nil, false, ErrNoHash, "", core.ErrDamagedBackup},
	} {
		path := write(t, test.content)
		if Is(path) != test.is {
			t.Errorf("%s: is an etcd database: %t", what, !test.is)
		}
		_, err := Inspect(t.Context(), path, ReadOptions{})
		if !errors.Is(err, test.err) || !strings.Contains(fmt.Sprint(err), test.text) {
			t.Errorf("%s: %v", what, err)
		}
		if what == "a flipped bit" {
			continue // what it is in is what becomes of it
		}
		if _, err := Inspect(t.Context(), path, ReadOptions{SkipHashCheck: true}); !errors.Is(err, test.skipped) {
			t.Errorf("%s, without its hash: %v", what, err)
		}
	}
	if _, err := Inspect(t.Context(), filepath.Join(t.TempDir(), "absent"), ReadOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
}

// A tree that leads back to itself must have an end.
func TestPagesInACircleAreFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(bucketMeta); err != nil {
			return err
		}
		history, err := tx.CreateBucket(bucketKey)
		for i := int64(2); err == nil && i < 300; i++ {
			var k, v []byte
			if k, v, err = changeRow(changeOf(i)); err == nil {
				err = history.Put(k, v)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(t.Context(), write(t, hashed(content)), ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	circles := 0
	for at := 0; at < len(content); at += 4096 {
		p := asPage(content[at : at+4096])
		if p.kind != kindBranch {
			continue
		}
		turned := slices.Clone(content)
		order.PutUint64(turned[at+pageHeader+8:], order.Uint64(turned[at:])) // its first child is itself
		if _, err := Inspect(t.Context(), write(t, hashed(turned)), ReadOptions{}); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("page %d: %v", at/4096, err)
		}
		circles++
	}
	if circles == 0 {
		t.Error("there is no branch")
	}
}

func TestALeaseKeepsWhatIsLeftOfIt(t *testing.T) {
	for _, lease := range []storage.Lease{{ID: -7, TTLMillis: 60_000}, {ID: 1 << 60, TTLMillis: 9_000_000_000_000, RemainingMillis: 5_000}} {
		if got, err := parseLease(leaseRow(&lease)); err != nil || !reflect.DeepEqual(got, lease) {
			t.Errorf("%+v, %v: want %+v", got, err, lease)
		}
	}
}

func changeOf(revision int64) *storage.Event {
	return &storage.Event{Type: storage.EventPut, Key: []byte("k"), Revision: revision, Record: storage.Record{
		CreateRevision: 2, ModRevision: revision, Version: revision - 1, Value: make([]byte, 200),
	}}
}

func TestProgressEndsAtTheSize(t *testing.T) {
	s := openStore(t, t.TempDir())
	stock(t, s)
	path := save(t, s)
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	last, calls := int64(0), 0
	if _, err := Inspect(t.Context(), path, ReadOptions{Progress: func(done, total int64) {
		if done < last || done > total || total != stat.Size() {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
		calls++
	}}); err != nil {
		t.Fatal(err)
	}
	if last != stat.Size() || calls < 3 {
		t.Errorf("%d reports, the last of %d bytes", calls, last)
	}
}

func TestMakingEndsWithItsContext(t *testing.T) {
	s := openStore(t, t.TempDir())
	stock(t, s)
	view, err := s.View(t.Context(), core.Local)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	dir := t.TempDir()
	if _, err := Make(ctx, dir, view); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Errorf("it left %v", names)
	}
	if _, err := Make(t.Context(), filepath.Join(dir, "absent"), view); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func TestRowsComeBack(t *testing.T) {
	for _, e := range []*storage.Event{
		{Type: storage.EventPut, Key: []byte("k"), Revision: 9, Sub: 3, Record: storage.Record{
			Kind: storage.KindBytes, CreateRevision: 2, ModRevision: 9, Version: 4, Lease: -1, Value: []byte("v"),
		}},
		{Type: storage.EventDelete, Key: []byte{0, 255}, Revision: 1<<63 - 2, Sub: 1<<31 - 1, Record: storage.Record{ModRevision: 1<<63 - 2}},
	} {
		k, v, err := changeRow(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseChange(k, v); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v: %v", got, err)
		}
	}
}

// FuzzPages reads files in which any bytes may be other ones, behind a hash that is right.
func FuzzPages(f *testing.F) {
	s := openStore(f, f.TempDir())
	stock(f, s)
	whole, err := os.ReadFile(save(f, s))
	if err != nil {
		f.Fatal(err)
	}
	content := whole[:len(whole)-sha256.Size]
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0x10, 0x10, 0xff, 1, 0x20, 0x08, 0xff, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		changed := slices.Clone(content)
		for ; len(data) >= 4; data = data[4:] { // where, and what instead
			at := (int(data[0])<<16 | int(data[1])<<8 | int(data[2])) % len(changed)
			changed[at] ^= data[3]
		}
		_, err := Inspect(t.Context(), write(t, hashed(changed)), ReadOptions{})
		if err != nil && !errors.Is(err, core.ErrDamagedBackup) && !errors.Is(err, core.ErrNotABackup) {
			t.Fatal(err)
		}
	})
}

// FuzzRows makes databases whose pages are whole, with rows that may be anything: they are refused or restored.
func FuzzRows(f *testing.F) {
	seed := func(rows ...string) { f.Add([]byte(strings.Join(rows, "\xff\xff"))) }
	k, v, _ := changeRow(&storage.Event{Type: storage.EventPut, Key: []byte("k"), Revision: 2, Record: storage.Record{CreateRevision: 2, ModRevision: 2, Version: 1}})
	lk, lv := leaseRow(&storage.Lease{ID: 1, TTLMillis: 1000})
	uk, uv, _ := userRow(&corepb.User{Name: "u", Roles: []string{"r"}})
	rk, rv, _ := roleRow(&corepb.Role{Name: "r", Permissions: []*corepb.Permission{{Key: []byte("a")}}})
	seed("\x00"+string(k), string(v))
	seed("\x02"+string(lk), string(lv), "\x08"+string(uk), string(uv), "\x09"+string(rk), string(rv))
	seed("\x01"+string(metaScheduled), string(compactedAt(7)), "\x01"+string(metaIndex), string(number(3)), "\x07"+string(authEnabled), "\x01")
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "db")
		db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bolt.Tx) error {
			for _, name := range buckets {
				if _, err := tx.CreateBucket(name); err != nil {
					return err
				}
			}
			parts := bytes.Split(data, []byte("\xff\xff"))
			for i := 0; i+1 < len(parts); i += 2 {
				if row := parts[i]; len(row) > 1 {
					if err := tx.Bucket(buckets[int(row[0])%len(buckets)]).Put(row[1:], parts[i+1]); err != nil {
						return nil // longer than a key may be
					}
				}
			}
			return nil
		})
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path = write(t, hashed(content))
		_, looked := Inspect(t.Context(), path, ReadOptions{})
		dir := filepath.Join(t.TempDir(), "data")
		_, made := restore(t.Context(), path, dir)
		if looked != nil && made == nil {
			t.Fatalf("it is restored, although %v", looked)
		}
		if made != nil {
			if !errors.Is(made, core.ErrDamagedBackup) {
				t.Fatalf("it fails without being damaged: %v", made)
			}
			return
		}
		again := openStore(t, dir)
		view, err := again.View(t.Context(), core.Local)
		if err != nil {
			t.Fatal(err)
		}
		locked, _ := view.Auth() // perhaps with nobody who could do anything
		view.Close()
		if !locked {
			do(t, again, put("another", "", 0))
		}
	})
}
