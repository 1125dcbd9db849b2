package core

import (
	"encoding/binary"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// A list keeps its elements at consecutive positions, the first at Head. It begins in the middle of the 64-bit range and
// grows at either end, so that a push or pop at an end is one row, and the element at an index is one read. What happens in
// the middle moves the rows of the shorter side.

// appendPosition appends where the element at a position stands; the order of the keys is that of the positions.
func appendPosition(dst []byte, collection uint64, position int64) []byte {
	return binary.BigEndian.AppendUint64(storage.ElementKey(dst, collection, nil), uint64(position)^1<<63)
}

func (t *tx) setElement(collection uint64, position int64, value []byte) {
	t.scratch = appendPosition(t.scratch[:0], collection, position)
	t.b.Set(t.scratch, value)
}

// addElement is setElement for a position where there is none.
func (t *tx) addElement(collection uint64, position int64, value []byte) {
	t.scratch = appendPosition(t.scratch[:0], collection, position)
	t.b.Add(t.scratch, value)
}

// elements reads n elements from a position on. The values may be kept.
func (t *tx) elements(collection uint64, from, n int64) [][]byte {
	if n <= 0 {
		return nil
	}
	if n == 1 { // the ends of queues: a read is far cheaper than a scan
		t.scratch = appendPosition(t.scratch[:0], collection, from)
		if value, ok := t.r.Get(t.scratch); ok {
			return [][]byte{t.own(value)}
		}
		return nil
	}
	values := make([][]byte, 0, min(n, 1024))
	iter := t.r.Scan(appendPosition(nil, collection, from), appendPosition(nil, collection, from+n))
	defer iter.Close()
	for iter.Next() {
		values = append(values, append([]byte{}, iter.Value()...))
	}
	return values
}

// pointDeletesMax is how many elements are deleted one by one: their keys are known, while a range deletion has to look
// first whether what it covers is worth one.
const pointDeletesMax = 64

// deleteElements deletes n elements from a position on.
func (t *tx) deleteElements(collection uint64, from, n int64) {
	if n > pointDeletesMax {
		t.b.DeleteRange(appendPosition(nil, collection, from), appendPosition(nil, collection, from+n))
		return
	}
	for i := range n {
		t.scratch = appendPosition(t.scratch[:0], collection, from+i)
		t.b.Delete(t.scratch)
	}
}

// between turns the bounds of a range, both included and counted from the end when negative, into the first index and the
// number of elements.
func between(start, stop, count int64) (first, n int64) {
	if start < 0 {
		start = max(start+count, 0)
	}
	if stop < 0 {
		stop += count
	}
	stop = min(stop, count-1)
	if start > stop {
		return 0, 0
	}
	return start, stop - start + 1
}

func (t *tx) listRange(op *corepb.ListRange, out *Result) {
	list, err := t.look(byte(op.Space), op.Key, storage.KindList)
	if list == nil {
		out.Err = err
		return
	}
	out.OK = true
	first, n := between(op.Start, op.Stop, list.Count)
	out.Values = t.elements(list.Collection, list.Head+first, n)
}
