package core

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// contentsOf takes a view apart, as far as Contents go.
func contentsOf(v *View) *Contents {
	c := &Contents{Leases: slices.Collect(v.Leases()), Versions: func(yield func(*storage.Event, error) bool) {
		for e := range v.Versions() {
			if !yield(e, nil) {
				return
			}
		}
	}}
	c.Info.Revision, c.Info.Compacted, c.Info.Digest = v.Revision(), v.Compacted(), "of a test"
	c.Info.Index, c.Info.Term = v.Applied()
	c.AuthEnabled, c.AuthRevision = v.Auth()
	v.Users(func(u *corepb.User) { c.Users = append(c.Users, u) })
	v.Roles(func(r *corepb.Role) { c.Roles = append(c.Roles, r) })
	return c
}

func (s *testStore) wholeView() *View {
	at := s.db.View()
	s.t.Cleanup(at.Release)
	return &View{at: at, tx: tx{r: at, now: at.State().StampMillis}}
}

// purge removes what is compacted.
func (s *testStore) purge() {
	s.t.Helper()
	view := s.db.View()
	compacted := view.State().Compacted
	view.Release()
	if err := s.db.PurgeHistory(s.t.Context(), compacted); err != nil {
		s.t.Fatal(err)
	}
}

// describeContents prints everything that a loaded state must have in common with the one that it was made of.
func describeContents(t testing.TB, v *View) string {
	t.Helper()
	c := contentsOf(v)
	var out strings.Builder
	fmt.Fprintln(&out, c.Info, c.AuthEnabled, c.AuthRevision, c.Users, c.Roles)
	for _, l := range c.Leases {
		fmt.Fprintln(&out, "lease", l.ID, l.TTLMillis, l.RemainingMillis)
	}
	for e := range v.Versions() {
		r := e.Record
		fmt.Fprintf(&out, "%d/%d %d %q: %d %d %d %d %q\n", e.Revision, e.Sub, e.Type, e.Key, r.CreateRevision, r.ModRevision, r.Version, r.Lease, r.Value)
	}
	for revision := v.Compacted(); revision <= v.Revision(); revision++ {
		rows := v.at.ScanAt(nil, nil, revision)
		for rows.Next() {
			r, ok := rows.Record()
			fmt.Fprintf(&out, "at %d %q: %t %d %q\n", revision, rows.Key(), ok, r.Version, r.Value)
		}
		rows.Close()
	}
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestContentsMakeTheSameStore(t *testing.T) {
	for seed := range uint64(rounds(24)) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			keys := slices.DeleteFunc(append(slices.Clone(randomKeys), pathKeys...), func(key string) bool { return key == "" })
			g := &generator{s: s, r: rand.New(rand.NewPCG(seed, 13)), keys: keys, users: true}
			for range 150 {
				txn := g.txn(2)
				txn.Caller = g.caller()
				s.now += int64(g.r.IntN(40))
				s.apply(txn)
				if g.r.IntN(40) == 0 {
					s.purge()
				}
			}
			from := s.wholeView()
			made := &testStore{t: t, db: openDB(t), now: s.now}
			if err := loadContents(t.Context(), made.db, contentsOf(from)); err != nil {
				t.Fatal(err)
			}
			made.checkInvariants()
			got, want := describeContents(t, made.wholeView()), describeContents(t, from)
			if got != want {
				t.Fatal(difference(want, got))
			}
			if meta, ok := made.db.Installed(); !ok || meta.Index != from.at.State().AppliedIndex {
				t.Errorf("a log begins at %v %v", meta, ok)
			}
		})
	}
}

// changes are versions written down in a test.
func changes(events ...*storage.Event) iter.Seq2[*storage.Event, error] {
	return func(yield func(*storage.Event, error) bool) {
		for _, e := range events {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func changeOfKey(revision int64, sub int32, key string, record storage.Record) *storage.Event {
	record.Kind, record.ModRevision = storage.KindBytes, revision
	return &storage.Event{Type: storage.EventPut, Key: []byte(key), Revision: revision, Sub: sub, Record: record}
}

func deletionOf(revision int64, key string) *storage.Event {
	return &storage.Event{Type: storage.EventDelete, Key: []byte(key), Revision: revision, Record: storage.Record{ModRevision: revision}}
}

// What a store of ours would not give, and that of another system may.
func TestContentsOfAnotherSystem(t *testing.T) {
	s := &testStore{t: t, db: openDB(t), now: 1}
	c := &Contents{Info: BackupInfo{Revision: 20, Compacted: 9}, Leases: []storage.Lease{{ID: 5, TTLMillis: 60_000, RemainingMillis: 7_000}}, Versions: changes(
		changeOfKey(4, 3, "a", storage.Record{CreateRevision: 2, Version: 3, Lease: 5}), // what was before is compacted
		deletionOf(9, "b"), // likewise
		changeOfKey(10, 0, "c", storage.Record{CreateRevision: 10, Version: 1, Lease: 6}), // of a lease that is over
		changeOfKey(12, 0, "", storage.Record{}),                                          // a revision, and nothing else
		changeOfKey(13, 0, "d", storage.Record{CreateRevision: 13, Version: 1}),
		deletionOf(14, "d"), deletionOf(17, ""),
	)}
	if err := loadContents(t.Context(), s.db, c); err != nil {
		t.Fatal(err)
	}
	s.checkInvariants()
	v := s.wholeView()
	var told []string
	for e := range v.Versions() {
		told = append(told, fmt.Sprintf("%d %s %d", e.Revision, e.Key, e.Type))
	}
	if want := []string{"4 a 1", "9 b 2", "10 c 1", "13 d 1", "14 d 2"}; !reflect.DeepEqual(told, want) {
		t.Errorf("the history is %q", told)
	}
	a, now := v.Get(0, []byte("a")), v.Get(0, []byte("c"))
	then, _ := v.at.RecordAt([]byte("c"), 10)
	if a.Version != 3 || a.CreateRevision != 2 || a.Lease != 5 || now.Lease != 0 || then.Lease != 6 || v.Revision() != 20 || v.Compacted() != 9 {
		t.Errorf("%+v %+v %+v, revision %d, compacted %d", a, now, then, v.Revision(), v.Compacted())
	}
	if lease, ok := v.Lease(5); !ok || lease.RemainingMillis != 7_000 {
		t.Errorf("the lease is %+v", lease)
	}
	if keys := v.LeaseKeys(5); len(keys) != 1 || string(keys[0]) != "a" {
		t.Errorf("attached are %q", keys)
	}
}

func TestContentsThatCannotBeAreRefused(t *testing.T) {
	ok := storage.Record{CreateRevision: 2, Version: 1}
	broken := errors.New("unreadable")
	for what, c := range map[string]*Contents{
		"no revision":                  {Versions: changes()},
		"the last revision there is":   {Info: BackupInfo{Revision: 1<<63 - 1}, Versions: changes()},
		"compacted later than changed": {Info: BackupInfo{Revision: 5, Compacted: 6}, Versions: changes()},
		"compacted below nothing":      {Info: BackupInfo{Revision: 5, Compacted: -1}, Versions: changes()},
		"a change after the last":      {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(6, 0, "a", ok))},
		"changes out of order":         {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", ok), changeOfKey(3, 0, "b", ok))},
		"one change twice":             {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", ok), changeOfKey(4, 0, "b", ok))},
		"a revision below all":         {Info: BackupInfo{Revision: 5}, Versions: changes(deletionOf(0, "a"))},
		"version 0":                    {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", storage.Record{CreateRevision: 4}))},
		"created after it was changed": {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", storage.Record{CreateRevision: 5, Version: 1}))},
		"never created":                {Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", storage.Record{Version: 1}))},
		"a lease without an id":        {Info: BackupInfo{Revision: 5}, Leases: []storage.Lease{{TTLMillis: 1}}, Versions: changes()},
		"a lease without a time":       {Info: BackupInfo{Revision: 5}, Leases: []storage.Lease{{ID: 1}}, Versions: changes()},
		"a lease twice":                {Info: BackupInfo{Revision: 5}, Leases: []storage.Lease{{ID: 1, TTLMillis: 1}, {ID: 1, TTLMillis: 1}}, Versions: changes()},
		"a user without a name":        {Info: BackupInfo{Revision: 5}, Users: []*corepb.User{{}}, Versions: changes()},
		"a role without a name":        {Info: BackupInfo{Revision: 5}, Roles: []*corepb.Role{{}}, Versions: changes()},
	} {
		fs := vfs.NewMem()
		_, err := Restore(t.Context(), RestoreConfig{DataDir: "data", Name: "a", PeerURLs: []string{"http://a:1"}, Contents: c, FS: fs})
		if !errors.Is(err, ErrDamagedBackup) {
			t.Errorf("%s: %v", what, err)
		}
		if names, _ := fs.List(""); len(names) > 0 {
			t.Errorf("%s: the attempt left %q", what, names)
		}
	}
	unreadable := &Contents{Info: BackupInfo{Revision: 5}, Versions: func(yield func(*storage.Event, error) bool) { yield(nil, broken) }}
	if err := loadContents(t.Context(), openDB(t), unreadable); !errors.Is(err, broken) {
		t.Errorf("what cannot be read: %v", err)
	}
	ended, end := context.WithCancelCause(t.Context())
	end(broken)
	if err := loadContents(ended, openDB(t), &Contents{Info: BackupInfo{Revision: 5}, Versions: changes(changeOfKey(4, 0, "a", ok))}); !errors.Is(err, broken) {
		t.Errorf("what was interrupted: %v", err)
	}
}

// A cluster of several members that is made of contents is one cluster, goes on, and brings new members up.
func TestAClusterIsMadeOfContents(t *testing.T) {
	from := openStore(t, t.TempDir())
	fillStore(t, from)
	view, err := from.View(t.Context(), Local)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	fresh := func(cfg *Config) { cfg.ClusterToken = "restored" }
	inStoppedCluster(t, 3, func(t *testing.T, c *testCluster) {
		for _, n := range c.nodes {
			<-time.After(time.Second) // of the test's own time: operators do not restore all at once
			cfg := RestoreConfig{
				DataDir: n.cfg.Dir, Name: n.cfg.Name, InitialCluster: n.cfg.InitialCluster, ClusterToken: "restored",
				PeerURLs: n.cfg.PeerURLs, Contents: contentsOf(view), FS: n.fs,
			}
			if _, err := Restore(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			n.fs = n.fs.CrashClone(vfs.CrashCloneCfg{}) // what it said is on disk
		}
		c.start(c.places()...)
		for i, n := range c.nodes {
			if got := c.get(i, "k19", Linearizable); got == "" || n.Revision() < view.Revision() {
				t.Errorf("member %d is at revision %d and reads %q", i, n.Revision(), got)
			}
		}
		leader := c.leader()
		c.crash(leader)
		c.do(c.leader(c.others(leader)...), putOp("k", "again"))
		c.net.Heal()
		c.start(leader)
		c.checkReplicas()
	}, fresh)
}
