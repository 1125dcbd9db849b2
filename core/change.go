package core

import (
	"bytes"

	"github.com/triglot/triglot/storage"
)

// record reads what a key holds, nil when there is nothing or its time is over. The value must not be modified.
func (t *tx) record(space byte, key []byte) *storage.Record {
	return t.living(t.stored(space, key))
}

// head is record without a value that is large: Size says how large.
func (t *tx) head(space byte, key []byte) *storage.Record {
	return t.living(t.storedHead(space, key))
}

func (t *tx) living(rec *storage.Record) *storage.Record {
	if rec == nil || t.over(rec) {
		return nil
	}
	return rec
}

// stored reads a record even when its time is over.
func (t *tx) stored(space byte, key []byte) *storage.Record {
	t.scratch = storage.CurrentKey(t.scratch[:0], space, key)
	return t.decoded(t.r.Get(t.scratch))
}

// storedHead is stored without a value that is large.
func (t *tx) storedHead(space byte, key []byte) *storage.Record {
	t.scratch = storage.CurrentKey(t.scratch[:0], space, key)
	return t.decoded(t.r.Head(t.scratch))
}

func (t *tx) decoded(value []byte, ok bool) *storage.Record {
	if !ok {
		return nil
	}
	rec, err := storage.DecodeRecord(value)
	if err != nil {
		storage.Fail(t.r, err)
		return nil
	}
	return &rec
}

func (t *tx) over(rec *storage.Record) bool {
	return rec.DeadlineMillis != 0 && rec.DeadlineMillis <= t.now
}

// load reads a record in order to change it. A key whose time is over is removed on the spot, as an event of its own, so
// that watchers see its end before its new life.
func (t *tx) load(space byte, key []byte) *storage.Record {
	return t.alive(space, key, t.stored(space, key))
}

// loadHead is load for who does not look at the value. A large one is left where it is.
func (t *tx) loadHead(space byte, key []byte) *storage.Record {
	return t.alive(space, key, t.storedHead(space, key))
}

func (t *tx) alive(space byte, key []byte, rec *storage.Record) *storage.Record {
	if rec != nil && t.over(rec) {
		t.change(space, key, rec, nil, "expired")
		return nil
	}
	return rec
}

// change replaces what a key holds: before is what it holds now and after what it will hold, nil for nothing. This is
// the one place that writes records, and with them all that is derived: counts, creation order, deadlines, lease
// attachments, history, the node tree and the event. It sets after's ModRevision and, where the key is new, its
// CreateRevision; Version and the rest are the caller's. verb is Redis' word for the change.
func (t *tx) change(space byte, key []byte, before, after *storage.Record, verb string) {
	revision := t.takeRevision()
	state := t.b.State()
	key = append([]byte(nil), key...)
	if after != nil {
		if after.CreateRevision == 0 {
			after.CreateRevision = revision
			after.CreateMillis = t.now
		}
		after.ModRevision = revision
		after.ModMillis = t.now
	}
	wasBytes := before != nil && before.Kind == storage.KindBytes
	isBytes := after != nil && after.Kind == storage.KindBytes
	logged := space == 0 && (isBytes || wasBytes)
	if !logged || !isBytes { // or else with its event, whose row of the log it shares
		t.writeRecord(space, key, after)
	}
	t.writeFinders(space, key, before, after)
	if before == nil && after != nil {
		state.Counts[space]++
	}
	if before != nil && after == nil {
		state.Counts[space]--
	}
	if before != nil && before.Collection != 0 && (after == nil || after.Collection != before.Collection) {
		t.b.DeleteRange(storage.CollectionBounds(before.Collection))
	}

	event := &storage.Event{Space: space, Key: key, Revision: revision, Sub: t.sub, Verb: verb}
	t.sub++
	switch {
	case isBytes:
		event.Type, event.Record = storage.EventPut, *after
	case wasBytes:
		event.Type, event.Record.ModRevision = storage.EventDelete, revision
	default:
		event.Type = storage.EventTouch
		if after != nil {
			event.Record = *after
		}
	}
	if wasBytes {
		event.Prev = before // its value is the batch's own copy, or its caller's, or apart
	}
	if logged {
		t.updateNodes(event, wasBytes, isBytes)
		t.b.AppendEvent(event)
		if isBytes {
			t.scratch = storage.CurrentKey(t.scratch[:0], space, key)
			t.b.SetLogged(t.scratch, event)
		}
		event.Prev = t.beforeTxn(event)
	}
	t.events = append(t.events, event)
}

// beforeTxn gives what an event's key held before the Txn, where the Txn has changed it before: that is what etcd shows
// as the previous value.
func (t *tx) beforeTxn(event *storage.Event) *storage.Record {
	again := event.Prev != nil && event.Prev.ModRevision == event.Revision
	if again && t.before == nil {
		// Only a Txn that comes back to a key pays for this, and once: however long it is, it must not stall the others.
		t.before = make(map[string]*storage.Record, len(t.events))
		for _, e := range t.events {
			if e.Space == 0 && (e.Type == storage.EventPut || e.Type == storage.EventDelete) {
				t.remember(e.Key, e.Prev)
			}
		}
	}
	if again {
		return t.before[string(event.Key)]
	}
	if t.before != nil {
		t.remember(event.Key, event.Prev)
	}
	return event.Prev
}

func (t *tx) remember(key []byte, prev *storage.Record) {
	if _, known := t.before[string(key)]; !known {
		t.before[string(key)] = prev
	}
}

// writeRecord writes what a key holds.
func (t *tx) writeRecord(space byte, key []byte, after *storage.Record) {
	t.scratch = storage.CurrentKey(t.scratch[:0], space, key)
	if after == nil {
		t.b.Delete(t.scratch)
		return
	}
	t.encoded = after.Append(t.encoded[:0])
	t.b.Set(t.scratch, bytes.Clone(t.encoded))
}

// writeFinders writes the rows that find a record: by creation, by deadline, by lease.
func (t *tx) writeFinders(space byte, key []byte, before, after *storage.Record) {
	none := storage.Record{}
	was, is := before, after
	if was == nil {
		was = &none
	}
	if is == nil {
		is = &none
	}
	if was.CreateRevision != is.CreateRevision {
		t.moveRow(was.CreateRevision, is.CreateRevision, func(dst []byte, revision int64) []byte {
			return storage.ScanKey(dst, space, revision, key)
		})
	}
	if was.DeadlineMillis != is.DeadlineMillis {
		t.moveRow(was.DeadlineMillis, 0, func(dst []byte, millis int64) []byte {
			return storage.DeadlineKey(dst, millis, space, key)
		})
		if is.DeadlineMillis != 0 {
			t.setDeadline(is.DeadlineMillis, space, key)
		}
	}
	if was.Lease != is.Lease {
		t.moveRow(was.Lease, is.Lease, func(dst []byte, lease int64) []byte {
			return storage.AttachmentKey(dst, lease, space, key)
		})
	}
}

// moveRow replaces a row without a value that finds a key by a number; 0 stands for no row.
func (t *tx) moveRow(from, to int64, rowKey func(dst []byte, number int64) []byte) {
	if from != 0 {
		t.scratch = rowKey(t.scratch[:0], from)
		t.b.Delete(t.scratch)
	}
	if to != 0 {
		t.scratch = rowKey(t.scratch[:0], to)
		t.b.Add(t.scratch, nil)
	}
}

// setDeadline enters a time at which a key is to be looked at.
func (t *tx) setDeadline(millis int64, space byte, key []byte) {
	t.scratch = storage.DeadlineKey(t.scratch[:0], millis, space, key)
	t.b.Set(t.scratch, nil)
	if t.deadline == 0 || millis < t.deadline {
		t.deadline = millis
	}
}

// rewrite stores a record whose life or elements changed without its becoming another version: no mod revision, no
// history, an event for Redis only.
func (t *tx) rewrite(space byte, key []byte, before, after *storage.Record, verb string) {
	revision := t.takeRevision()
	key = append([]byte(nil), key...)
	t.writeRecord(space, key, after)
	t.writeFinders(space, key, before, after)
	t.events = append(t.events, &storage.Event{
		Type: storage.EventTouch, Space: space, Key: key, Revision: revision, Sub: t.sub, Record: *after, Verb: verb,
	})
	t.sub++
}

// succeed prepares the record that follows another under the same key: its next version when the kind stays, a first
// version otherwise. Life and value are left to the caller.
func succeed(before *storage.Record, kind storage.Kind) *storage.Record {
	if before == nil || before.Kind != kind {
		return &storage.Record{Kind: kind, Version: 1}
	}
	return &storage.Record{
		Kind: kind, Container: before.Container, NodeTTLMillis: before.NodeTTLMillis,
		CreateRevision: before.CreateRevision, CreateMillis: before.CreateMillis, Version: before.Version + 1,
		Collection: before.Collection, Count: before.Count, Head: before.Head,
	}
}

// keepLife gives a record the lease and deadline of the one before it.
func keepLife(after, before *storage.Record) {
	if before != nil {
		after.Lease, after.DeadlineMillis = before.Lease, before.DeadlineMillis
	}
}
