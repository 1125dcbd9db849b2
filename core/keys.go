package core

import (
	"bytes"
	"math"
	"slices"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func (t *tx) putOp(op *corepb.Put, out *Result) {
	space := byte(op.Space)
	if op.Lease != 0 && !t.leaseExists(op.Lease) {
		out.Err = ErrLeaseNotFound
		return
	}
	load := t.loadHead
	if op.WantPrev || op.IgnoreValue {
		load = t.load
	}
	before := load(space, op.Key)
	isBytes := before != nil && before.Kind == storage.KindBytes
	if before != nil && !isBytes && !op.OverCollection {
		out.Err = ErrWrongKind
		return
	}
	if (op.IgnoreValue || op.IgnoreLease) && !isBytes {
		out.Err = ErrKeyNotFound
		return
	}
	if op.WantPrev && before != nil {
		prev := *before
		out.Prev = &prev
	}
	if op.Condition == corepb.Put_IF_ABSENT && before != nil || op.Condition == corepb.Put_IF_PRESENT && before == nil {
		return
	}
	after := succeed(before, storage.KindBytes)
	after.Collection, after.Count, after.Head = 0, 0, 0
	after.Lease = op.Lease
	after.DeadlineMillis = op.DeadlineMillis
	if op.TtlMillis != 0 {
		after.DeadlineMillis = t.in(op.TtlMillis)
	}
	if op.KeepLife || op.IgnoreLease {
		keepLife(after, before)
	}
	after.Value = op.Value
	if op.IgnoreValue {
		after.Value = before.Value
	}
	out.OK = true
	t.put(space, op.Key, before, after, "set")
}

// in gives the instant some milliseconds from now. What is further than a number of milliseconds can say is endless
// enough for its last.
func (t *tx) in(millis int64) int64 {
	if millis > math.MaxInt64-t.now {
		return math.MaxInt64
	}
	return t.now + millis
}

// put stores a record, or, when its deadline has passed already, removes the key.
func (t *tx) put(space byte, key []byte, before, after *storage.Record, verb string) {
	switch {
	case !t.over(after):
		t.change(space, key, before, after, verb)
	case before != nil:
		t.change(space, key, before, nil, "del")
	}
}

func (t *tx) deleteOp(op *corepb.Delete, out *Result) {
	space := byte(op.Space)
	if len(op.End) != 0 {
		// The keys first, then the changes: a scan does not look at what is written beneath it.
		var found []KeyRecord
		t.eachRecord(space, op.Key, op.End, op.WantPrev, func(key []byte, rec *storage.Record) bool {
			if op.AnyKind || rec.Kind == storage.KindBytes {
				record := *rec
				record.Value = bytes.Clone(rec.Value)
				found = append(found, KeyRecord{Key: bytes.Clone(key), Record: record})
			}
			return true
		})
		t.removeAll(space, found, "del")
		out.Int = int64(len(found))
		if op.WantPrev {
			out.Records = found
		}
		return
	}
	load := t.loadHead
	if op.WantPrev {
		load = t.load
	}
	rec := load(space, op.Key)
	if rec == nil {
		return
	}
	if op.RequireKind != 0 && rec.Kind != storage.Kind(op.RequireKind) {
		out.Err = ErrWrongKind
		return
	}
	if !op.AnyKind && rec.Kind != storage.KindBytes {
		return
	}
	if op.WantPrev {
		out.Records = []KeyRecord{{Key: op.Key, Record: *rec}}
	}
	t.change(space, op.Key, rec, nil, "del")
	out.Int = 1
}

// removeAll removes keys, given in key order, with events in that order. It goes about it backwards: to ZooKeeper a node
// that is removed after its children is deleted, and does not stay for a moment as the implicit parent of the rest.
func (t *tx) removeAll(space byte, found []KeyRecord, verb string) {
	firstSub, firstEvent := t.sub, len(t.events)
	for i := len(found) - 1; i >= 0; i-- {
		before := found[i].Record
		t.sub = firstSub + int32(i)
		t.change(space, found[i].Key, &before, nil, verb)
	}
	t.sub = firstSub + int32(len(found))
	slices.Reverse(t.events[firstEvent:])
}

func (t *tx) expire(op *corepb.Expire, out *Result) {
	space := byte(op.Space)
	before := t.loadHead(space, op.Key)
	if before == nil {
		return
	}
	after := *before
	if op.Persist {
		t.persist(space, op.Key, before, &after, out)
		return
	}
	after.DeadlineMillis = op.DeadlineMillis
	if op.Relative {
		after.DeadlineMillis = t.in(op.TtlMillis)
	}
	for _, condition := range op.Conditions {
		if !expireAllowed(condition, before.DeadlineMillis, after.DeadlineMillis) {
			return
		}
	}
	out.Int = 1
	if after.DeadlineMillis <= t.now {
		t.change(space, op.Key, before, nil, "del")
		return
	}
	t.rewrite(space, op.Key, before, &after, "expire")
}

// persist clears a key's deadline. A lease goes too; etcd clients see leases, so that is a change as any other.
func (t *tx) persist(space byte, key []byte, before, after *storage.Record, out *Result) {
	after.DeadlineMillis = 0
	switch {
	case before.Lease != 0:
		whole := t.stored(space, key) // another version needs the value
		if whole == nil {
			return // the reader has failed
		}
		*after = *whole
		after.DeadlineMillis, after.Lease = 0, 0
		after.Version++
		t.change(space, key, before, after, "persist")
	case before.DeadlineMillis != 0:
		t.rewrite(space, key, before, after, "persist")
	default:
		return
	}
	out.Int = 1
}

func expireAllowed(condition corepb.Expire_Condition, present, wanted int64) bool {
	switch condition {
	case corepb.Expire_IF_NONE:
		return present == 0
	case corepb.Expire_IF_SOME:
		return present != 0
	case corepb.Expire_IF_GREATER:
		return present != 0 && wanted > present
	case corepb.Expire_IF_LESS:
		return present == 0 || wanted < present
	}
	return true
}

func (t *tx) transfer(op *corepb.Transfer, out *Result) {
	fromSpace, toSpace := byte(op.FromSpace), byte(op.ToSpace)
	source := t.load(fromSpace, op.From)
	if source == nil {
		out.Err = ErrKeyNotFound
		return
	}
	target := t.loadHead(toSpace, op.To)
	if op.IfAbsent && target != nil {
		return
	}
	out.OK = true
	if fromSpace == toSpace && string(op.From) == string(op.To) {
		return
	}
	after := succeed(target, source.Kind)
	after.Value, after.Collection, after.Count, after.Head = source.Value, source.Collection, source.Count, source.Head
	keepLife(after, source)
	moved := *source
	// Elements stay where they are when a collection gets another name. Another space needs them under an id of its
	// own, since ids carry the space.
	if source.Collection != 0 && (op.Copy || fromSpace != toSpace) {
		after.Collection = t.newCollection(toSpace)
		t.copyElements(source.Collection, after.Collection)
	} else {
		moved.Collection = 0
	}
	verb := "rename_to"
	if op.Copy {
		verb = "copy_to"
	} else {
		t.removeSource(fromSpace, op.From, source, &moved)
	}
	t.change(toSpace, op.To, target, after, verb)
}

// removeSource removes a key that was moved. moved is its record with the collection cleared where the elements live on
// under the new name, so that they are not removed with it.
func (t *tx) removeSource(space byte, key []byte, source, moved *storage.Record) {
	if source.Kind == storage.KindBytes {
		moved.Value = bytes.Clone(source.Value)
	}
	t.change(space, key, moved, nil, "rename_from")
}

func (t *tx) copyElements(from, to uint64) {
	type element struct{ key, value []byte }
	var elements []element
	lower, upper := storage.CollectionBounds(from)
	iter := t.r.Scan(lower, upper)
	for iter.Next() {
		elements = append(elements, element{
			elementOf(iter.Key()), bytes.Clone(iter.Value()),
		})
	}
	iter.Close()
	for _, e := range elements {
		t.b.Set(storage.ElementKey(nil, to, e.key), e.value)
	}
}

func elementOf(stored []byte) []byte {
	_, element, _ := storage.SplitElement(stored)
	return bytes.Clone(element)
}

// newCollection gives an id for a collection's elements: the space in the top byte, so that the elements of a space are
// one stretch of the element table, and a number that is never used again.
func (t *tx) newCollection(space byte) uint64 {
	state := t.b.State()
	state.NextCollection++
	return uint64(space)<<56 | state.NextCollection
}

// flush empties a space. In the shared one every key's end is an event; a private one goes in one stroke, with one event
// that has no key.
func (t *tx) flush(op *corepb.Flush, out *Result) {
	space := byte(op.Space)
	state := t.b.State()
	if space == 0 {
		t.deleteOp(&corepb.Delete{Key: nil, End: []byte{0}, AnyKind: true}, out)
		t.expireRest()
		return
	}
	out.Int = state.Counts[space]
	if out.Int == 0 {
		return
	}
	t.b.DeleteRange(storage.CurrentBounds(space))
	t.b.DeleteRange(storage.ScanBounds(space, 0))
	t.b.DeleteRange(storage.CollectionSpaceBounds(space))
	state.Counts[space] = 0
	t.events = append(t.events, &storage.Event{
		Type: storage.EventTouch, Space: space, Revision: t.takeRevision(), Sub: t.sub, Verb: "flushdb",
	})
	t.sub++
}

// expireRest removes what is left of the shared space when every living key is gone: keys whose time is over.
func (t *tx) expireRest() {
	if t.b.State().Counts[0] == 0 {
		return
	}
	var keys [][]byte
	iter := t.r.Scan(storage.CurrentBounds(0))
	for iter.Next() {
		_, key, _ := storage.SplitCurrent(iter.Key())
		keys = append(keys, bytes.Clone(key))
	}
	iter.Close()
	for _, key := range keys {
		t.loadHead(0, key)
	}
}
