package core

import (
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

func total(h Histogram) (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func TestDurationsFallIntoTheBucketThatEndsAtOrAfterThem(t *testing.T) {
	d := NewDurations(time.Millisecond, 3) // 1, 2, 4 ms
	for _, took := range []time.Duration{0, time.Millisecond, time.Millisecond + 1, 4 * time.Millisecond, time.Hour} {
		d.Add(took)
	}
	h := d.Histogram()
	for i, want := range []uint64{2, 1, 1, 1} {
		if h.Counts[i] != want {
			t.Errorf("bucket %d has %d, want %d: %v", i, h.Counts[i], want, h)
		}
	}
	if len(h.Bounds) != 3 || h.Bounds[2] != 0.004 || h.Sum < 3600 || h.Sum > 3601 {
		t.Errorf("got %+v", h)
	}
}

func TestMetricsCountWhatCommandsDid(t *testing.T) {
	store := openStore(t, t.TempDir())
	before := store.Metrics()
	do := func(ok bool, op *corepb.Op) {
		t.Helper()
		result, err := store.Do(t.Context(), oneOp(op))
		if err != nil || (result.Err == nil) != ok {
			t.Fatalf("%v: %+v, %v", op, result, err)
		}
	}
	do(true, &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: 7, TtlMillis: 60_000}}})
	do(false, &corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: 7, TtlMillis: 60_000}}})
	do(true, &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("key"), Value: []byte("value"), Lease: 7}}})
	do(true, &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("key"), Value: []byte("other")}}})
	do(true, &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: 7}}})
	do(true, &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: store.Revision()}}})
	if err := store.WaitPurged(t.Context(), store.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := store.HashAt(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := store.Defragment(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := store.Metrics()
	for name, got := range map[string]uint64{
		"leases granted":   m.LeasesGranted - 1,
		"leases ended":     m.LeasesEnded - 1,
		"TTLs":             total(m.LeaseTTLs) - 1,
		"puts":             m.Puts - 2,
		"bytes put":        m.PutBytes - uint64(len("keyvalue")+len("keyother")),
		"purges":           total(m.Purge) - total(before.Purge) - 1,
		"purged rows":      uint64(m.Storage.PurgedRows) - 1,
		"hashes":           total(m.HashAt) - 1,
		"defragmentations": total(m.Defragment) - 1,
		"running":          uint64(m.Defragmenting),
	} {
		if got != 0 {
			t.Errorf("%s: off by %d", name, int64(got))
		}
	}
	if m.PurgedAt.IsZero() {
		t.Error("it is not known when the last purge was")
	}
	counts := map[string]uint64{}
	for _, a := range m.Applies {
		if a.OK {
			counts[a.Op] += total(a.Took)
		} else {
			counts["failed "+a.Op] += total(a.Took)
		}
	}
	if counts["LeaseGrant"] != 1 || counts["failed LeaseGrant"] != 1 || counts["Put"] != 2 || counts["Compact"] != 1 {
		t.Errorf("commands: %v", counts)
	}
}

func TestAWatchIsDueFromAnEventUntilItIsRead(t *testing.T) {
	store := openStore(t, t.TempDir())
	feed := store.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(1, Watch{Match: MatchKey, Key: []byte("k")}); err != nil {
		t.Fatal(err)
	}
	if due := store.Hub().Stats().Due; due != 0 {
		t.Errorf("%d watches are due before anything has happened", due)
	}
	put := oneOp(&corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("k")}}})
	if _, err := store.Do(t.Context(), put); err != nil {
		t.Fatal(err)
	}
	if due := store.Hub().Stats().Due; due != 1 {
		t.Errorf("%d watches are due after the event", due)
	}
	for feed.Next(10) != nil {
	}
	if due := store.Hub().Stats().Due; due != 0 {
		t.Errorf("%d watches are due when all is read", due)
	}
}
