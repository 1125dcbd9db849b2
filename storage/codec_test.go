package storage

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

var records = map[string]Record{
	"the zero record":      {},
	"a plain new key":      {Kind: KindBytes, CreateRevision: 2, ModRevision: 2, Version: 1, CreateMillis: 1700000000000, ModMillis: 1700000000000, Value: []byte("v")},
	"an empty value":       {Kind: KindBytes, CreateRevision: 2, ModRevision: 2, Version: 1, Value: []byte{}},
	"a changed key":        {Kind: KindBytes, CreateRevision: 2, ModRevision: 900, Version: 7, CreateMillis: 5, ModMillis: 9, Value: []byte("v")},
	"an ephemeral node":    {Kind: KindBytes, CreateRevision: 2, ModRevision: 2, Version: 1, Lease: -77, Value: []byte{0}},
	"a container":          {Kind: KindBytes, Container: true, CreateRevision: 2, ModRevision: 2, Version: 1, NodeTTLMillis: 60, Value: []byte{}},
	"a list":               {Kind: KindList, CreateRevision: 2, ModRevision: 3, Version: 2, Collection: 9, Count: 4, Head: -3, DeadlineMillis: 1800000000000},
	"a deletion":           {ModRevision: 12},
	"every number extreme": {Kind: KindStream, CreateRevision: math.MaxInt64, ModRevision: math.MinInt64, Version: -1, Lease: math.MinInt64, DeadlineMillis: math.MaxInt64, CreateMillis: math.MinInt64, ModMillis: math.MaxInt64, NodeTTLMillis: math.MaxInt64, Collection: math.MaxUint64, Count: math.MaxInt64, Head: math.MinInt64},
}

func TestRecordsSurviveEncoding(t *testing.T) {
	for name, want := range records {
		got, err := DecodeRecord(want.Append([]byte{}))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestPlainRecordIsSmall(t *testing.T) {
	r := records["a plain new key"]
	if n := len(r.Append(nil)) - len(r.Value); n > 12 {
		t.Errorf("a plain record takes %d bytes beside its value", n)
	}
}

func TestEventsSurviveEncoding(t *testing.T) {
	for name, record := range records {
		for _, want := range []Event{
			{Type: EventPut, Key: []byte("/a/b"), Record: record, Node: NodeCreated, Ancestors: 3},
			{Type: EventDelete, Key: []byte{0, 1, 2}, Record: record, Node: NodeDeleted},
			{Type: EventPublish, Space: 15, Key: []byte{}, Record: record, Ancestors: math.MaxInt32},
		} {
			got, err := DecodeEvent(want.Append(nil))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v, %v; want %+v", name, got, err, want)
			}
		}
	}
}

func TestSmallTablesSurviveEncoding(t *testing.T) {
	tree := Tree{Creates: 5, Deletes: 2, Pzxid: math.MaxInt64, Children: 3, IdleDeadlineMillis: 9}
	if got, err := DecodeTree(tree.Append(nil)); err != nil || got != tree {
		t.Errorf("tree: got %+v, %v", got, err)
	}
	for _, lease := range []Lease{{ID: 1, TTLMillis: 10, GrantedMillis: 20}, {ID: math.MinInt64, Password: bytes.Repeat([]byte{7}, 16)}} {
		if got, err := DecodeLease(lease.Append(nil)); err != nil || !reflect.DeepEqual(got, lease) {
			t.Errorf("lease: got %+v, %v", got, err)
		}
	}
	state := State{AppliedIndex: 1, AppliedTerm: 2, Revision: 3, Compacted: 4, StampMillis: 5, NextCollection: 6, HistoryBytes: 7,
		CorruptAlarms: 8, NoSpaceAlarms: 7, AuthRevision: 9, AuthEnabled: true, Conf: []byte("conf")}
	for i := range state.Counts {
		state.Counts[i] = int64(i) << 40
	}
	if got, err := DecodeState(state.Append(nil)); err != nil || !reflect.DeepEqual(got, state) {
		t.Errorf("state: got %+v, %v", got, err)
	}
}

func TestTruncatedValuesAreCorrupt(t *testing.T) {
	record := Record{Kind: KindList, CreateRevision: 300, ModRevision: 900, Version: 300, Lease: 900, Collection: 900, Count: 900, Head: 900}
	event := Event{Type: EventPut, Space: 1, Key: []byte("key"), Ancestors: 900, Record: record}
	lease := Lease{ID: 900, TTLMillis: 900, GrantedMillis: 900, Password: []byte("secret")}
	tree := Tree{Creates: 900, IdleDeadlineMillis: 900}
	state := State{AppliedIndex: 900}
	for name, test := range map[string]struct {
		whole  []byte
		decode func([]byte) error
	}{
		"record": {record.Append(nil), func(b []byte) error { _, err := DecodeRecord(b); return err }},
		"event":  {event.Append(nil), func(b []byte) error { _, err := DecodeEvent(b); return err }},
		"lease":  {lease.Append(nil), func(b []byte) error { _, err := DecodeLease(b); return err }},
		"tree":   {tree.Append(nil), func(b []byte) error { _, err := DecodeTree(b); return err }},
		"state":  {state.Append(nil), func(b []byte) error { _, err := DecodeState(b); return err }},
	} {
		for n := range test.whole {
			if err := test.decode(test.whole[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(test.whole), err)
			}
		}
	}
}

// fuzzCodec checks that decoding never panics, and that what decodes survives encoding.
func fuzzCodec[T any](f *testing.F, decode func([]byte) (T, error), encode func(*T) []byte) {
	f.Add([]byte{})
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := decode(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("error %v is not ErrCorrupt", err)
			}
			return
		}
		again, err := decode(encode(&first))
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("%+v came back as %+v, %v", first, again, err)
		}
	})
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range records {
		f.Add(r.Append(nil))
		r.Kind, r.Value, r.Apart, r.sub = KindBytes, nil, 5000, 3
		f.Add(r.Append(nil))
	}
	fuzzCodec(f, DecodeRecord, func(r *Record) []byte { return r.Append(nil) })
}

func FuzzDecodeEvent(f *testing.F) {
	for _, r := range records {
		e := Event{Type: EventPut, Key: []byte("/a/b"), Record: r, Node: NodeCreated, Ancestors: 3}
		f.Add(e.Append(nil))
	}
	fuzzCodec(f, DecodeEvent, func(e *Event) []byte { return e.Append(nil) })
}

func FuzzDecodeTree(f *testing.F) {
	fuzzCodec(f, DecodeTree, func(v *Tree) []byte { return v.Append(nil) })
}

func FuzzDecodeLease(f *testing.F) {
	fuzzCodec(f, DecodeLease, func(v *Lease) []byte { return v.Append(nil) })
}

func FuzzDecodeState(f *testing.F) {
	s := initialState()
	f.Add(s.Append(nil))
	fuzzCodec(f, DecodeState, func(v *State) []byte { return v.Append(nil) })
}

// FuzzSplitKeys checks that no splitter panics, and that a key that splits is the one its parts build.
func FuzzSplitKeys(f *testing.F) {
	for _, k := range [][]byte{
		{}, CurrentKey(nil, 3, []byte("k")), LogKey(nil, 5, 6), HistoryKey(nil, []byte("a\x00b"), 5, 6), ElementKey(nil, 9, []byte("e")),
		TreeKey(nil, []byte("/")), ChildKey(nil, []byte("/a"), []byte("b")), DeadlineKey(nil, 7, 1, []byte("k")), LeaseKey(nil, -1),
		AttachmentKey(nil, 4, 0, []byte("k")), ScanKey(nil, 0, 8, []byte("k")), ContainerKey(nil, []byte("/c")),
	} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, k []byte) {
		same := func(ok bool, rebuilt []byte) {
			t.Helper()
			if ok && !bytes.Equal(k, rebuilt) {
				t.Fatalf("%x splits into the parts of %x", k, rebuilt)
			}
		}
		space, key, ok := SplitCurrent(k)
		same(ok, CurrentKey(nil, space, key))
		revision, sub, ok := SplitLog(k)
		same(ok, LogKey(nil, revision, sub))
		key, revision, sub, ok = SplitHistory(k, nil)
		same(ok, HistoryKey(nil, key, revision, sub))
		collection, key, ok := SplitElement(k)
		same(ok, ElementKey(nil, collection, key))
		key, ok = SplitTree(k)
		same(ok, TreeKey(nil, key))
		parent, name, ok := SplitChild(k, nil)
		same(ok, ChildKey(nil, parent, name))
		millis, space, key, ok := SplitDeadline(k)
		same(ok, DeadlineKey(nil, millis, space, key))
		id, ok := SplitLease(k)
		same(ok, LeaseKey(nil, id))
		id, space, key, ok = SplitAttachment(k)
		same(ok, AttachmentKey(nil, id, space, key))
		space, revision, key, ok = SplitScan(k)
		same(ok, ScanKey(nil, space, revision, key))
		key, ok = SplitContainer(k)
		same(ok, ContainerKey(nil, key))
	})
}

// randomKey draws short keys of the bytes that are hard to order: zeros, the escapes, the extremes.
func randomKey(rng *rand.Rand) []byte {
	key := make([]byte, rng.IntN(5))
	for i := range key {
		key[i] = []byte{0, 1, 2, 'a', 0xfe, 0xff}[rng.IntN(6)]
	}
	return key
}

func TestHistoryKeysSortByKeyThenNewestFirst(t *testing.T) {
	rng := newRand(t)
	for range 20000 {
		a, b := randomKey(rng), randomKey(rng)
		aRevision, bRevision := rng.Int64N(3)-1, rng.Int64N(3)-1
		aSub, bSub := rng.Int32N(3), rng.Int32N(3)
		want := bytes.Compare(a, b)
		if want == 0 && aRevision != bRevision {
			want = sign(bRevision - aRevision)
		}
		if want == 0 && aRevision == bRevision {
			want = sign(int64(bSub - aSub))
		}
		if got := bytes.Compare(HistoryKey(nil, a, aRevision, aSub), HistoryKey(nil, b, bRevision, bSub)); got != want {
			t.Fatalf("(%x %d %d) against (%x %d %d): %d, want %d", a, aRevision, aSub, b, bRevision, bSub, got, want)
		}
		lower, upper := HistoryBounds(a, nil)
		stored := HistoryKey(nil, b, bRevision, bSub)
		if inside(stored, lower, upper) != (bytes.Compare(b, a) >= 0) {
			t.Fatalf("%x lies wrong to the bounds from %x", b, a)
		}
		if lower, upper = HistoryBounds(nil, append([]byte{}, a...)); inside(stored, lower, upper) != (bytes.Compare(b, a) < 0) {
			t.Fatalf("%x lies wrong to the bounds up to %x", b, a)
		}
		if lower, upper = historyKeyBounds(a); inside(stored, lower, upper) != bytes.Equal(a, b) {
			t.Fatalf("%x lies wrong to the bounds of %x", b, a)
		}
		if lower, upper = ChildBounds(a); inside(ChildKey(nil, b, a), lower, upper) != bytes.Equal(a, b) {
			t.Fatalf("a child of %x lies wrong to the bounds of %x", b, a)
		}
	}
}

func TestNumbersInKeysSortAsNumbers(t *testing.T) {
	numbers := []int64{math.MinInt64, -256, -1, 0, 1, 255, 256, 1 << 40, math.MaxInt64}
	for i, a := range numbers {
		for j, b := range numbers {
			for name, key := range map[string]func(int64) []byte{
				"log":      func(n int64) []byte { return LogKey(nil, n, 0) },
				"deadline": func(n int64) []byte { return DeadlineKey(nil, n, 0, nil) },
				"lease":    func(n int64) []byte { return LeaseKey(nil, n) },
				"scan":     func(n int64) []byte { return ScanKey(nil, 0, n, nil) },
			} {
				if bytes.Compare(key(a), key(b)) != sign(int64(i-j)) {
					t.Errorf("%s: %d and %d sort wrongly", name, a, b)
				}
			}
		}
	}
}

func TestBoundsHoldWhatTheyName(t *testing.T) {
	key := func(k string) []byte { return CurrentKey(nil, 3, []byte(k)) }
	for _, test := range []struct {
		name, key, end string
		in, out        []string
	}{
		{"one key", "b", "", []string{"b"}, []string{"a", "b\x00", "c"}},
		{"from a key on", "b", "\x00", []string{"b", "b\x00", "\xff\xff"}, []string{"", "a\xff"}},
		{"half-open", "b", "d", []string{"b", "c", "c\xff"}, []string{"a", "d"}},
	} {
		lower, upper := CurrentRange(3, []byte(test.key), []byte(test.end))
		userLower, userUpper := KeyRange([]byte(test.key), []byte(test.end))
		for _, k := range append(append([]string{}, test.in...), test.out...) {
			want := false
			for _, in := range test.in {
				want = want || in == k
			}
			if inside(key(k), lower, upper) != want || inside([]byte(k), userLower, userUpper) != want {
				t.Errorf("%s: %q should be inside: %v", test.name, k, want)
			}
		}
	}
	lower, upper := CurrentBounds(255)
	if !inside(CurrentKey(nil, 255, []byte{255}), lower, upper) || inside(CurrentKey(nil, 254, []byte{255}), lower, upper) {
		t.Error("the bounds of the last space are wrong")
	}
	lower, upper = CollectionBounds(math.MaxUint64)
	if !inside(ElementKey(nil, math.MaxUint64, []byte{255, 255}), lower, upper) || inside(TreeKey(nil, nil), lower, upper) {
		t.Error("the bounds of the last collection are wrong")
	}
	lower, upper = DeadlineBounds(7)
	if !inside(DeadlineKey(nil, 7, 255, []byte{255}), lower, upper) || inside(DeadlineKey(nil, 8, 0, nil), lower, upper) {
		t.Error("the bounds of deadlines are wrong")
	}
	lower, upper = AttachmentBounds(-1)
	if !inside(AttachmentKey(nil, -1, 15, []byte{255}), lower, upper) || inside(AttachmentKey(nil, 0, 0, nil), lower, upper) {
		t.Error("the bounds of attachments are wrong")
	}
	lower, upper = ScanBounds(0, 9)
	if !inside(ScanKey(nil, 0, 9, nil), lower, upper) || inside(ScanKey(nil, 0, 8, []byte{255}), lower, upper) || inside(ScanKey(nil, 1, 9, nil), lower, upper) {
		t.Error("the bounds of a cursor are wrong")
	}
}

func inside(k, lower, upper []byte) bool {
	return bytes.Compare(k, lower) >= 0 && (upper == nil || bytes.Compare(k, upper) < 0)
}

func sign(n int64) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
