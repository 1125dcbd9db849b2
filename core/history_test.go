package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// compacted gives the oldest revision that can be read.
func compacted(t *testing.T, s *Store) int64 {
	t.Helper()
	view, err := s.View(context.Background(), Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	return view.Compacted()
}

func overwrite(t *testing.T, s *Store, times, size int) {
	t.Helper()
	for i := range times {
		value := fmt.Sprintf("%d %s", i, strings.Repeat("x", size))
		if _, err := s.Do(context.Background(), oneOp(putOp("k", value))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	const bound = 256 << 10
	s, err := Open(Config{Dir: t.TempDir(), Name: "test", HistoryAge: -1, HistoryBytes: bound})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	overwrite(t, s, 2000, 1024) // eight times the bound
	// Once purging has caught up with the compactions, no more than the bound is left.
	if err := s.WaitPurged(context.Background(), compacted(t, s)); err != nil {
		t.Fatal(err)
	}
	for s.Status().HistoryBytes > bound+2*bound/historySamples { // as finely as it is measured
		if err := s.WaitPurged(context.Background(), compacted(t, s)+1); err != nil {
			t.Fatal(err)
		}
	}
	revision := s.Revision()
	if got := compacted(t, s); got == 0 || got > revision-bound/1024/2 {
		t.Errorf("compacted at %d of %d: at least half the bound should have been kept", got, revision)
	}
}

func TestHistoryIsBoundedInAge(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Name: "test", HistoryAge: 50 * time.Millisecond, HistoryBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	overwrite(t, s, 10, 10)
	if err := s.WaitPurged(context.Background(), s.Revision()); err != nil {
		t.Fatal(err)
	}
	result, err := s.Do(context.Background(), oneOp(&corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{Key: []byte("k"), Revision: 5}}}))
	if err != nil || !errors.Is(result.Err, ErrCompacted) {
		t.Errorf("a read of what is too old: %v, %+v", err, result)
	}
}

func TestHistoryIsBoundedInRevisions(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s := c.nodes[c.leader()].Store
		overwrite(t, s, 20, 10)
		if got := compacted(t, s); got != 0 {
			t.Errorf("compacted at %d before it is time", got)
		}
		for range 2 { // nothing is to be done the second time
			<-time.After(countEvery)
			c.await("the compaction", func() bool { return compacted(t, s) != 0 })
			if got, want := compacted(t, s), s.Revision()-5; got != want {
				t.Errorf("compacted at %d of %d, want %d", got, s.Revision(), want)
			}
		}
		c.checkReplicas()
	}, func(cfg *Config) { cfg.HistoryRevisions = 5 })
}

func TestPrivateSpacesAndCollectionsKeepNoHistory(t *testing.T) {
	s := openStore(t, t.TempDir())
	for range 50 {
		txn := &corepb.Txn{Then: []*corepb.Op{
			{Op: &corepb.Op_Put{Put: &corepb.Put{Space: 3, Key: []byte("k"), Value: make([]byte, 1000)}}},
			{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: []byte("l"), Values: [][]byte{make([]byte, 1000)}}}},
		}}
		if _, err := s.Do(context.Background(), txn); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.db.HistoryBytes(); n != 0 {
		t.Errorf("they left %d bytes of history", n)
	}
}
