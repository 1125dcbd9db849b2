package core

import (
	"bytes"
	"math"
	"slices"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func (t *tx) listSet(op *corepb.ListSet, out *Result) {
	space := byte(op.Space)
	before, err := t.open(space, op.Key, storage.KindList)
	if before == nil {
		if out.Err = err; err == nil {
			out.Err = ErrKeyNotFound
		}
		return
	}
	index := op.Index
	if index < 0 {
		index += before.Count
	}
	if index < 0 || index >= before.Count {
		out.Err = ErrIndexOutOfRange
		return
	}
	after := t.next(space, before, storage.KindList)
	t.setElement(after.Collection, after.Head+index, op.Value)
	t.settle(space, op.Key, before, after, "lset")
	out.OK = true
}

// find gives the indexes, ascending, of elements equal to value: the first max of them, or the last when last is set.
func (t *tx) find(list *storage.Record, value []byte, max int64, last bool) []int64 {
	lower := appendPosition(nil, list.Collection, list.Head)
	upper := appendPosition(nil, list.Collection, list.Head+list.Count)
	index, step := int64(0), int64(1)
	var options []storage.ScanOption
	if last {
		index, step = list.Count-1, -1
		options = append(options, storage.Reverse)
	}
	iter := t.r.Scan(lower, upper, options...)
	defer iter.Close()
	var found []int64
	for ; int64(len(found)) < max && iter.Next(); index += step {
		if bytes.Equal(iter.Value(), value) {
			found = append(found, index)
		}
	}
	if last {
		slices.Reverse(found)
	}
	return found
}

func (t *tx) listInsert(op *corepb.ListInsert, out *Result) {
	space := byte(op.Space)
	before, err := t.open(space, op.Key, storage.KindList)
	if before == nil {
		out.Err = err
		return
	}
	found := t.find(before, op.Pivot, 1, false)
	if len(found) == 0 {
		out.Int = -1
		return
	}
	index := found[0]
	if !op.Before {
		index++
	}
	after := t.next(space, before, storage.KindList)
	if behind := after.Count - index; index <= behind {
		t.shift(after.Collection, after.Head, index, -1)
		after.Head--
	} else {
		t.shift(after.Collection, after.Head+index, behind, 1)
	}
	after.Count++
	t.setElement(after.Collection, after.Head+index, op.Value)
	t.settle(space, op.Key, before, after, "linsert")
	out.Int = after.Count
}

// shift writes n elements from a position on again, some places further. What they leave behind stays.
func (t *tx) shift(collection uint64, from, n, by int64) {
	for i, value := range t.elements(collection, from, n) {
		t.setElement(collection, from+int64(i)+by, value)
	}
}

func (t *tx) listRemove(op *corepb.ListRemove, out *Result) {
	space := byte(op.Space)
	before, err := t.open(space, op.Key, storage.KindList)
	if before == nil {
		out.Err = err
		return
	}
	most := op.Count
	switch {
	case most == 0 || most == math.MinInt64:
		most = math.MaxInt64
	case most < 0:
		most = -most
	}
	removed := t.find(before, op.Value, most, op.Count < 0)
	if len(removed) == 0 {
		return
	}
	after := t.next(space, before, storage.KindList)
	t.removeIndexes(after, removed)
	t.settle(space, op.Key, before, after, "lrem")
	out.Int = int64(len(removed))
}

// removeIndexes removes elements, whose indexes ascend, and closes the gaps from the side where fewer elements move.
func (t *tx) removeIndexes(list *storage.Record, removed []int64) {
	n := int64(len(removed))
	first, last := removed[0], removed[n-1]
	if last+1 <= list.Count-first {
		// Those before the last gap move up, beginning with the last of them.
		values := t.elements(list.Collection, list.Head, last+1)
		to := last
		for i := int64(len(values)) - 1; i >= 0; i-- {
			if k := len(removed); k > 0 && removed[k-1] == i {
				removed = removed[:k-1]
				continue
			}
			t.setElement(list.Collection, list.Head+to, values[i])
			to--
		}
		t.deleteElements(list.Collection, list.Head, n)
		list.Head += n
	} else {
		// Those behind the first gap move down.
		to := first
		for i, value := range t.elements(list.Collection, list.Head+first, list.Count-first) {
			if len(removed) > 0 && removed[0] == first+int64(i) {
				removed = removed[1:]
				continue
			}
			t.setElement(list.Collection, list.Head+to, value)
			to++
		}
		t.deleteElements(list.Collection, list.Head+list.Count-n, n)
	}
	list.Count -= n
}

// listTrim is a change even when every element stays, as in Redis.
func (t *tx) listTrim(op *corepb.ListTrim, out *Result) {
	space := byte(op.Space)
	before, err := t.open(space, op.Key, storage.KindList)
	out.OK, out.Err = err == nil, err
	if before == nil {
		return
	}
	first, n := between(op.Start, op.Stop, before.Count)
	after := t.next(space, before, storage.KindList)
	t.deleteElements(after.Collection, after.Head, first)
	t.deleteElements(after.Collection, after.Head+first+n, after.Count-first-n)
	after.Head += first
	after.Count = n
	t.settle(space, op.Key, before, after, "ltrim")
}
