package core

import (
	"context"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// openStore opens a store in a directory of the test's and closes it with the test.
func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	return openStoreWith(t, Config{Dir: dir, Name: "test"})
}

// openStoreWith opens a store and closes it with the test, unless the test does.
func openStoreWith(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.ctx.Err() != nil {
			return
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func putOp(key, value string) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte(key), Value: []byte(value)}}}
}

func TestAWriteIsReadAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Do(context.Background(), oneOp(putOp("k", "v")))
	if err != nil || result.Err != nil {
		t.Fatal(err, result)
	}
	if result.Revision != 2 {
		t.Errorf("the first change got revision %d, want 2", result.Revision)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir)
	view, err := s.View(context.Background(), Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	rec := view.Get(0, []byte("k"))
	if rec == nil || string(rec.Value) != "v" || rec.Version != 1 || rec.ModRevision != 2 {
		t.Errorf("after the restart: %+v", rec)
	}
}

// Whoever is told of a change, and then looks, sees it, even in a local view.
func TestAViewShowsWhatAnEventTold(t *testing.T) {
	s := openStore(t, t.TempDir())
	feed := s.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(1, Watch{Match: MatchKey, Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		pending := s.Submit(context.Background(), oneOp(putOp("k", "v")))
		<-feed.Ready()
		for _, notice := range feed.Next(10) {
			view, err := s.View(context.Background(), Local)
			if err != nil {
				t.Fatal(err)
			}
			told := notice.Events[len(notice.Events)-1].Revision
			if view.Revision() < told {
				t.Errorf("the view shows revision %d after an event of %d", view.Revision(), told)
			}
			view.Close()
		}
		if _, err := pending.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}
