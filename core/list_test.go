package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// modelList is what a list is: a slice.
type modelList []string

func (m *modelList) push(left bool, values ...string) {
	for _, value := range values {
		if left {
			*m = slices.Insert(*m, 0, value)
		} else {
			*m = append(*m, value)
		}
	}
}

func (m *modelList) pop(left bool, n int) (popped []string) {
	for range min(n, len(*m)) {
		at := len(*m) - 1
		if left {
			at = 0
		}
		popped = append(popped, (*m)[at])
		*m = slices.Delete(*m, at, at+1)
	}
	return popped
}

func (m *modelList) insert(before bool, pivot, value string) int64 {
	if len(*m) == 0 {
		return 0
	}
	at := slices.Index(*m, pivot)
	if at < 0 {
		return -1
	}
	if !before {
		at++
	}
	*m = slices.Insert(*m, at, value)
	return int64(len(*m))
}

func (m *modelList) remove(count int, value string) (removed int64) {
	if count < 0 {
		slices.Reverse(*m)
		defer func() { slices.Reverse(*m) }()
		count = -count
	} else if count == 0 {
		count = len(*m)
	}
	*m = slices.DeleteFunc(*m, func(v string) bool {
		if v == value && removed < int64(count) {
			removed++
			return true
		}
		return false
	})
	return removed
}

// cut gives the elements start to stop as Redis counts them.
func (m modelList) cut(start, stop int) modelList {
	if start < 0 {
		start = max(0, start+len(m))
	}
	if stop < 0 {
		stop += len(m)
	}
	stop = min(stop, len(m)-1)
	if start > stop {
		return nil
	}
	return slices.Clone(m[start : stop+1])
}

func TestListsAreAsSlices(t *testing.T) {
	steps := 10_000
	if testing.Short() {
		steps = 2000
	}
	s := openTestStore(t)
	r := rand.New(rand.NewPCG(7, 9))
	models := map[string]*modelList{"a": {}, "b": {}}
	for i := range steps {
		key, other := "a", "b"
		if r.IntN(4) == 0 {
			key, other = other, key
		}
		m := models[key]
		step := listStep(r, key, other, m, models[other])
		result := s.do(step.op)
		if got := listAnswer(&result); got != step.want {
			t.Fatalf("step %d: %v gives %s, want %s", i, step.op, got, step.want)
		}
		s.checkList(key, *m)
		if i%50 == 0 {
			s.checkInvariants()
			s.checkList(other, *models[other])
			start, stop := r.IntN(40)-20, r.IntN(40)-20
			read := s.view(oneOp(opListRange(&corepb.ListRange{Key: []byte(key), Start: int64(start), Stop: int64(stop)})))
			if got, want := texts(read.Results[0].Values), []string(m.cut(start, stop)); !slices.Equal(got, want) {
				t.Fatalf("step %d: %d to %d gives %q, want %q", i, start, stop, got, want)
			}
		}
	}
	s.checkInvariants()
	if testing.Short() {
		s.checkReplica()
	}
}

type listedStep struct {
	op   *corepb.Op
	want string
}

func listAnswer(r *Result) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return fmt.Sprint(r.OK, r.Int, texts(r.Values), string(r.Bytes))
}

// listStep draws a step, does it to the model and says what the store must answer.
func listStep(r *rand.Rand, key, other string, m, o *modelList) listedStep {
	value := func() string { return string('a' + byte(r.IntN(6))) }
	answer := func(ok bool, n int64, values []string, b string) string { return fmt.Sprint(ok, n, values, b) }
	k, left := []byte(key), r.IntN(2) == 0
	number := func(n int) int { return r.IntN(2*n+1) - n }
	switch r.IntN(12) {
	case 0, 1, 2, 3: // grows, to some length
		values := make([]string, 1+r.IntN(4))
		if len(*m) < 20 && r.IntN(10) == 0 {
			values = make([]string, 150)
		}
		if len(*m) > 300 {
			values = values[:1]
		}
		for i := range values {
			values[i] = value()
		}
		present := len(*m) > 0
		op := &corepb.ListPush{Key: k, Left: left, IfPresent: r.IntN(8) == 0}
		for _, v := range values {
			op.Values = append(op.Values, []byte(v))
		}
		if op.IfPresent && !present {
			return listedStep{opListPush(op), answer(false, 0, nil, "")}
		}
		m.push(left, values...)
		return listedStep{opListPush(op), answer(false, int64(len(*m)), nil, "")}
	case 4, 5:
		count := r.IntN(4)
		if r.IntN(20) == 0 {
			count = 100
		}
		present := len(*m) > 0
		return listedStep{opListPop(&corepb.ListPop{Keys: [][]byte{[]byte("none"), k}, Left: left, Count: int64(count)}), answer(present, 0, m.pop(left, count), "")}
	case 6:
		toLeft, to := r.IntN(2) == 0, o
		op := &corepb.ListMove{From: k, To: []byte(other), FromLeft: left, ToLeft: toLeft}
		if r.IntN(2) == 0 {
			op.To, to = k, m
		}
		moved := m.pop(left, 1)
		if len(moved) == 0 {
			return listedStep{opListMove(op), answer(false, 0, nil, "")}
		}
		to.push(toLeft, moved[0])
		return listedStep{opListMove(op), answer(true, 0, nil, moved[0])}
	case 7:
		index, v := number(len(*m)+1), value()
		op := opListSet(&corepb.ListSet{Key: k, Index: int64(index), Value: []byte(v)})
		at := index
		if at < 0 {
			at += len(*m)
		}
		switch {
		case len(*m) == 0:
			return listedStep{op, ErrKeyNotFound.Error()}
		case at < 0 || at >= len(*m):
			return listedStep{op, ErrIndexOutOfRange.Error()}
		}
		(*m)[at] = v
		return listedStep{op, answer(true, 0, nil, "")}
	case 8, 9:
		pivot, v := value(), value()
		if r.IntN(3) == 0 {
			v = "rare"
		} else if r.IntN(3) == 0 {
			pivot = "rare"
		}
		op := opListInsert(&corepb.ListInsert{Key: k, Pivot: []byte(pivot), Value: []byte(v), Before: left})
		return listedStep{op, answer(false, m.insert(left, pivot, v), nil, "")}
	case 10:
		count, v := number(3), value()
		op := opListRemove(&corepb.ListRemove{Key: k, Count: int64(count), Value: []byte(v)})
		return listedStep{op, answer(false, m.remove(count, v), nil, "")}
	default:
		start, stop := r.IntN(4), -1-r.IntN(4)
		if r.IntN(10) == 0 {
			start, stop = number(len(*m)), number(len(*m))
		}
		*m = m.cut(start, stop)
		return listedStep{opListTrim(&corepb.ListTrim{Key: k, Start: int64(start), Stop: int64(stop)}), answer(true, 0, nil, "")}
	}
}

func (s *testStore) checkList(key string, want []string) {
	s.t.Helper()
	result := s.view(oneOp(opListRange(&corepb.ListRange{Key: []byte(key), Stop: -1}))).Results[0]
	if got := texts(result.Values); result.OK != (len(want) > 0) || !slices.Equal(got, want) {
		s.t.Fatalf("%s holds %q, want %q", key, got, want)
	}
}

func texts(values [][]byte) []string {
	var all []string
	for _, value := range values {
		all = append(all, string(value))
	}
	return all
}

// What a change of a long list costs depends on how far from an end it is, not on how long the list is.
func TestAChangeNearAnEndWritesFewElements(t *testing.T) {
	s := openTestStore(t)
	key := []byte("l")
	values := make([][]byte, 5000)
	for i := range values {
		values[i] = fmt.Append(nil, i)
	}
	s.must(opListPush(&corepb.ListPush{Key: key, Values: values}))
	for _, row := range []struct {
		op       *corepb.Op
		elements int // written or deleted
	}{
		{opListPush(&corepb.ListPush{Key: key, Values: values[:1], Left: true}), 1},
		{opListPush(&corepb.ListPush{Key: key, Values: values[:1]}), 1},
		{opListPop(&corepb.ListPop{Keys: [][]byte{key}, Count: 1}), 1},
		{opListPop(&corepb.ListPop{Keys: [][]byte{key}, Count: 1, Left: true}), 1},
		{opListSet(&corepb.ListSet{Key: key, Index: 2500, Value: []byte("v")}), 1},
		{opListInsert(&corepb.ListInsert{Key: key, Pivot: values[3], Value: []byte("new"), Before: true}), 4},
		{opListInsert(&corepb.ListInsert{Key: key, Pivot: values[4997], Value: []byte("new")}), 3},
		{opListRemove(&corepb.ListRemove{Key: key, Value: values[2]}), 3},
		{opListRemove(&corepb.ListRemove{Key: key, Value: values[4998], Count: -1}), 2},
		{opListTrim(&corepb.ListTrim{Key: key, Start: 2, Stop: -3}), 4},
	} {
		before := s.elementRows()
		s.must(row.op)
		after, changed := s.elementRows(), 0
		for k, v := range after {
			if old, ok := before[k]; !ok || old != v {
				changed++
			}
		}
		for k := range before {
			if _, ok := after[k]; !ok {
				changed++
			}
		}
		if changed > row.elements {
			t.Errorf("%v changed %d elements, want %d", row.op, changed, row.elements)
		}
	}
}

// elementRows gives the rows of the collections.
func (s *testStore) elementRows() map[string]string {
	view := s.db.View()
	defer view.Release()
	rows := map[string]string{}
	iter := view.Scan(storage.CollectionSpaceBounds(0))
	defer iter.Close()
	for iter.Next() {
		rows[string(iter.Key())] = string(iter.Value())
	}
	return rows
}
