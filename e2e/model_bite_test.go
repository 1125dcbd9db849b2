package e2e

import (
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// Checkers that never fail prove nothing: each of these histories is one that a broken cluster would give.

// event is an operation of a hand-made history: from, to and what.
type event struct {
	call, returned int64
	input, output  any
}

const forever = math.MaxInt64

func made(events ...event) *history {
	h := &history{key: "made"}
	for _, e := range events {
		h.ops = append(h.ops, porcupine.Operation{Input: e.input, Call: e.call, Output: e.output, Return: e.returned})
	}
	return h
}

func shown(value string) sight {
	return sight{shown: true, present: true, hasValue: true, value: value}
}

func shownAt(value string, version, revision int64) sight {
	return sight{shown: true, present: true, hasValue: true, value: value, version: version, revision: revision}
}

func readOf(value string) keyOutput { return keyOutput{took: true, after: shown(value)} }

var (
	read   = keyInput{deed: doRead}
	took   = keyOutput{took: true}
	absent = keyOutput{took: true, after: sight{shown: true}}
)

func putOf(value string) keyInput { return keyInput{deed: doPut, value: value} }

func TestTheModelsTellGoodHistoriesFromBadOnes(t *testing.T) {
	push := func(v string) listInput { return listInput{deed: "push", value: v} }
	pop := listInput{deed: "pop"}
	lock := func(deed, holder string) lockInput { return lockInput{deed, holder} }
	taken := lockOutput{took: true}
	for _, c := range []struct {
		name  string
		model porcupine.Model
		good  bool
		ops   []event
	}{
		{"a read that overlaps a put may see either", keyModel, true, []event{
			{1, 10, putOf("a"), took}, {2, 4, read, absent}, {5, 8, read, readOf("a")},
		}},
		{"a stale read", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 4, putOf("b"), took}, {5, 6, read, readOf("a")},
		}},
		{"a read that goes back while a put is under way", keyModel, false, []event{
			{1, 10, putOf("a"), took}, {2, 4, read, readOf("a")}, {5, 8, read, absent},
		}},
		{"an acknowledged put that is lost", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {5, 6, read, absent},
		}},
		{"an unknown put may take effect late", keyModel, true, []event{
			{1, forever, putOf("a"), keyOutput{unknown: true}}, {2, 3, read, absent}, {5, 6, read, readOf("a")},
		}},
		{"an unknown put that takes effect twice", keyModel, false, []event{
			{1, forever, putOf("a"), keyOutput{unknown: true}}, {2, 3, read, readOf("a")}, {4, 5, putOf("b"), took},
			{6, 7, read, readOf("a")},
		}},
		{"an aborted write that is read", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 4, keyInput{deed: doSwap, expect: "x", value: "b"}, keyOutput{}}, {5, 6, read, readOf("b")},
		}},
		{"a value from nowhere", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 4, read, readOf("z")},
		}},
		{"a lost update: two swaps of one value", keyModel, false, []event{
			{1, 2, putOf("a"), took},
			{3, 6, keyInput{deed: doSwap, expect: "a", value: "b"}, took}, {4, 7, keyInput{deed: doSwap, expect: "a", value: "c"}, took},
		}},
		{"a swap that fails though the value is there", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 6, keyInput{deed: doSwap, expect: "a", value: "b"}, keyOutput{}},
		}},
		{"two setData of one version", keyModel, false, []event{
			{1, 2, putOf("a"), took},
			{3, 6, keyInput{deed: doVersion, version: 1, value: "b"}, took}, {4, 7, keyInput{deed: doVersion, version: 1, value: "c"}, took},
		}},
		{"two creates without a delete", keyModel, false, []event{
			{1, 2, keyInput{deed: doCreate, value: "a"}, took}, {3, 4, keyInput{deed: doCreate, value: "b"}, took},
		}},
		{"a version that skips a change", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 4, read, keyOutput{took: true, after: shownAt("a", 2, 0)}},
		}},
		{"a version that an unknown put explains", keyModel, true, []event{
			{1, forever, putOf("x"), keyOutput{unknown: true}},
			{1, 2, putOf("a"), took}, {3, 4, read, keyOutput{took: true, after: shownAt("a", 2, 0)}},
		}},
		{"revisions against real time", keyModel, false, []event{
			{1, 2, putOf("a"), keyOutput{took: true, after: sight{shown: true, present: true, revision: 9}}},
			{3, 4, putOf("b"), keyOutput{took: true, after: sight{shown: true, present: true, revision: 8}}},
		}},
		{"a deleted key that is read", keyModel, false, []event{
			{1, 2, putOf("a"), took}, {3, 4, keyInput{deed: doDelete}, took}, {5, 6, read, readOf("a")},
		}},
		{"a counter", keyModel, true, []event{
			{1, 9, keyInput{deed: doAdd, by: 1}, keyOutput{took: true, after: shown("2")}},
			{2, 8, keyInput{deed: doAdd, by: 1}, keyOutput{took: true, after: shown("1")}}, {10, 11, read, readOf("2")},
		}},
		{"an increment that is lost", keyModel, false, []event{
			{1, 2, keyInput{deed: doAdd, by: 1}, keyOutput{took: true, after: shown("1")}},
			{3, 4, keyInput{deed: doAdd, by: 1}, keyOutput{took: true, after: shown("1")}},
		}},
		{"an increment that is carried out twice", keyModel, false, []event{
			{1, 2, keyInput{deed: doAdd, by: 1}, took}, {3, 4, read, readOf("2")},
		}},
		{"a queue", listModel, true, []event{
			{1, 2, push("a"), listOutput{length: 1}}, {3, 9, push("b"), listOutput{length: 2}},
			{4, 8, pop, listOutput{value: "a"}}, {10, 11, pop, listOutput{value: "b"}}, {12, 13, pop, listOutput{}},
		}},
		{"an element that is popped twice", listModel, false, []event{
			{1, 2, push("a"), listOutput{length: 1}}, {3, 4, pop, listOutput{value: "a"}}, {5, 6, pop, listOutput{value: "a"}},
		}},
		{"an element that is lost", listModel, false, []event{
			{1, 2, push("a"), listOutput{length: 1}}, {3, 4, pop, listOutput{}},
		}},
		{"a queue out of order", listModel, false, []event{
			{1, 2, push("a"), listOutput{length: 1}}, {3, 4, push("b"), listOutput{length: 2}}, {5, 6, pop, listOutput{value: "b"}},
		}},
		{"a push that is carried out twice", listModel, false, []event{
			{1, 2, push("a"), listOutput{length: 1}}, {3, 4, listInput{deed: "range"}, listOutput{values: "a a"}},
		}},
		{"a lock that is given back and taken", lockModel, true, []event{
			{1, 2, lock("take", "a"), taken}, {3, 4, lock("take", "b"), lockOutput{}}, {5, 6, lock("give", "a"), taken},
			{7, 8, lock("take", "b"), taken},
		}},
		{"a lock with two holders", lockModel, false, []event{
			{1, 2, lock("take", "a"), taken}, {3, 4, lock("take", "b"), taken}, {5, 6, lock("give", "a"), taken},
		}},
		{"a lock that ends with its holder's time", lockModel, true, []event{
			{1, 2, lock("take", "a"), taken}, {5, forever, lock("end", "a"), lockOutput{unknown: true}},
			{3, 9, lock("take", "b"), taken},
		}},
		{"a lock that ends before its holder's time", lockModel, false, []event{
			{1, 2, lock("take", "a"), taken}, {5, forever, lock("end", "a"), lockOutput{unknown: true}},
			{3, 4, lock("take", "b"), taken},
		}},
		{"a lock that is refused though it is free", lockModel, false, []event{
			{1, 2, lock("take", "a"), taken}, {3, 4, lock("give", "a"), taken}, {5, 6, lock("take", "b"), lockOutput{}},
		}},
	} {
		h := made(c.ops...)
		want := porcupine.Illegal
		if c.good {
			want = porcupine.Ok
		}
		if got := h.check(c.model, time.Minute); got != want {
			t.Errorf("%s: %v, want %v\n%s", c.name, got, want, h)
		}
	}
}

func TestAKeyGivesWayToAFreshOneOnceNobodyWorksOnIt(t *testing.T) {
	var retired []string
	s := &slot{prefix: "k", most: 2, retired: func(h *history) { retired = append(retired, h.key) }}
	a, b := s.take(), s.take()
	if a != b {
		t.Fatal("two operations are on two keys")
	}
	s.give(a)
	if c := s.take(); c == a || len(retired) != 0 {
		t.Fatalf("after two operations the key is still %s; retired %q", c.key, retired)
	}
	s.give(b)
	s.finish()
	if len(retired) != 2 || retired[0] != "k-0" || retired[1] != "k-1" {
		t.Errorf("retired %q", retired)
	}
}
