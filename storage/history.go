package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The history of the shared space: the log table holds what happened, in the order of revisions; the history table
// points from a key's versions into it. Both are written by AppendEvent alone, and removed by PurgeHistory alone.
//
// A history row's value is a flag byte and the size of the log row's value, which lets a purge account for a row that it
// removes without reading it. All of it follows from the row of the log: that is what batches and layers hold, and
// the history row is made on the way to Pebble, or when somebody looks for it before that.

const historyTombstone = 1

// errWithoutValue is for a version that would lose its value.
var errWithoutValue = errors.New("storage: a record was to be logged without its value")

// AppendEvent adds a change of the shared space to the history. Type, Key, Revision, Sub and Record must be set, and
// Prev where there was a version before; the batch keeps nothing of the event.
func (b *Batch) AppendEvent(e *Event) {
	if b.ended {
		return
	}
	if e.Record.Apart > 0 {
		b.fail(errWithoutValue)
		return
	}
	key := LogKey(b.rowRoom.take(13), e.Revision, e.Sub)
	head := e.appendHead(b.rowRoom.take(eventHeadBytesMax + len(e.Key) + len(e.Record.Value)))
	value := b.rowRoom.keep(e.Record.Append(head))
	b.logged = value[len(head):]
	bytes := int64(len(key) + len(value) + historyRowBytes(e.Key, len(value)))
	b.state.HistoryBytes += bytes
	if e.Type == EventDelete {
		b.state.SupersededBytes += bytes
	}
	if e.Prev != nil {
		b.state.SupersededBytes += b.versionBytes(e.Key, e.Prev)
	}
	b.addRow(key, value)
}

// historyRowBytes is the size of the history row of a key that points to a row of the log with a value of so many bytes.
func historyRowBytes(key []byte, logBytes int) int {
	return historyKeyBytes(key) + 1 + uvarintLen(logBytes)
}

// historyKeyBytes is the size of the key of such a row.
func historyKeyBytes(key []byte) int {
	return 1 + len(key) + bytes.Count(key, []byte{escapeByte}) + 2 + 12
}

// versionBytes is what AppendEvent once added for a version of a key.
func (b *Batch) versionBytes(key []byte, record *Record) int64 {
	head := *record
	head.Value, head.Apart = nil, 0
	stored := head.Append(b.rowRoom.take(recordHeadBytesMax))
	b.rowRoom.keep(stored[:0])
	value := 2 + len(key) + len(stored) + record.Size()
	return int64(13 + value + 15 + len(key) + 1 + uvarintLen(value))
}

// historyOf gives the history row that goes with a row of the log, one that AppendEvent made.
func (a *arena) historyOf(logKey string, logged []byte) (key string, value []byte) {
	e := loggedHead(logKey, logged)
	row, keyEnd := appendHistoryRow(a.take(historyRowBytes(e.Key, len(logged))), &e, len(logged))
	return bytesString(row[:keyEnd]), row[keyEnd:]
}

// loggedHead is the event of a row of the log that AppendEvent made, without its record.
func loggedHead(logKey string, logged []byte) Event {
	d := decoder{rest: logged}
	e := d.eventHead()
	e.Revision, e.Sub, _ = SplitLog(stringBytes(logKey))
	return e
}

// appendHistoryRow appends the key, which ends at keyEnd, and the value of the history row that goes with an event, whose row in the log has a
// value of so many bytes.
func appendHistoryRow(dst []byte, e *Event, logBytes int) (row []byte, keyEnd int) {
	row = HistoryKey(dst, e.Key, e.Revision, e.Sub)
	keyEnd = len(row)
	flags := byte(0)
	if e.Type == EventDelete {
		flags = historyTombstone
	}
	return binary.AppendUvarint(append(row, flags), uint64(logBytes)), keyEnd
}

// historyRow is a row of the history table.
type historyRow struct {
	key       []byte
	revision  int64
	sub       int32
	tombstone bool
	logBytes  int // size of the log row's value
	rowBytes  int // size of both rows together
}

// decodeHistory reads a history row; its key is put into scratch.
func decodeHistory(k, v, scratch []byte) (historyRow, error) {
	var row historyRow
	var ok bool
	row.key, row.revision, row.sub, ok = SplitHistory(k, scratch[:0])
	d := decoder{rest: v}
	row.tombstone = d.byte()&historyTombstone != 0
	row.logBytes = int(d.uvarint())
	if !ok || d.bad {
		return historyRow{}, fmt.Errorf("%w: history row %x", ErrCorrupt, k)
	}
	row.rowBytes = 13 + row.logBytes + len(k) + len(v)
	return row, nil
}

// RecordAt is the record that a key of the shared space had at a revision; false if it had none. The revision must be at
// or above State.Compacted.
func (v *View) RecordAt(key []byte, revision int64) (Record, bool) {
	return recordAt(v, key, revision, math.MaxInt32)
}

// RecordAt is View.RecordAt with the batch's own writes.
func (b *Batch) RecordAt(key []byte, revision int64) (Record, bool) {
	return recordAt(b, key, revision, math.MaxInt32)
}

// PrevOf is the record that a key had just before its change at (revision, sub); nil when it had none, or when it has
// been compacted.
func (v *View) PrevOf(key []byte, revision int64, sub int32) *Record {
	// Subs count from 0; revisions descend in the table, so the step below (revision, 0) is (revision-1, max).
	revision, sub = before(revision, sub)
	record, ok := recordAt(v, key, revision, sub)
	if !ok {
		return nil
	}
	return &record
}

func before(revision int64, sub int32) (int64, int32) {
	if sub == math.MinInt32 {
		return revision - 1, math.MaxInt32
	}
	return revision, sub - 1
}

type reader interface {
	Reader
	latch
}

func recordAt(r reader, key []byte, revision int64, sub int32) (Record, bool) {
	from := HistoryKey(make([]byte, 0, 1+len(key)+2+12), key, revision, sub)
	_, upper := historyKeyBounds(key)
	it := r.Scan(from, upper)
	defer it.Close()
	if !it.Next() {
		return Record{}, false
	}
	row, err := decodeHistory(it.Key(), it.Value(), nil)
	if err != nil {
		r.fail(err)
		return Record{}, false
	}
	if row.tombstone {
		return Record{}, false
	}
	return followPointer(r, row.revision, row.sub)
}

// followPointer reads the record that a history row points to.
func followPointer(r reader, revision int64, sub int32) (Record, bool) {
	value, ok := r.Get(LogKey(make([]byte, 0, 13), revision, sub))
	if !ok {
		if !r.failed() {
			r.fail(fmt.Errorf("%w: history points to revision %d sub %d, which is not in the log", ErrCorrupt, revision, sub))
		}
		return Record{}, false
	}
	e, err := DecodeEvent(value)
	if err != nil {
		r.fail(err)
		return Record{}, false
	}
	return e.Record, true
}

// ScanAt goes over the keys of the shared space in [lower, upper), upper nil for no end, that had a record at a revision.
// The revision must be at or above State.Compacted.
func (v *View) ScanAt(lower, upper []byte, revision int64) *HistoryIterator {
	return scanAt(v, lower, upper, revision)
}

// ScanAt is View.ScanAt with the batch's own writes.
func (b *Batch) ScanAt(lower, upper []byte, revision int64) *HistoryIterator {
	return scanAt(b, lower, upper, revision)
}

func scanAt(r reader, lower, upper []byte, revision int64) *HistoryIterator {
	lower, upper = HistoryBounds(lower, upper)
	return &HistoryIterator{reader: r, rows: r.Scan(lower, upper), revision: revision}
}

// HistoryIterator goes over records as they were at a revision, in key order. It starts before the first one, and must be
// closed. A failure ends it and latches on the reader.
type HistoryIterator struct {
	reader   reader
	rows     *Iterator
	revision int64
	row      historyRow
	key      []byte // room for row.key
	seek     []byte // room for what to seek
	started  bool
}

// Next moves to the next key.
func (it *HistoryIterator) Next() bool {
	var found bool
	if !it.started {
		it.started = true
		found = it.rows.Next()
	} else {
		found = it.nextKey()
	}
	for found {
		row, err := decodeHistory(it.rows.Key(), it.rows.Value(), it.key)
		if err != nil {
			it.reader.fail(err)
			return false
		}
		it.row, it.key = row, row.key
		switch {
		case row.revision > it.revision:
			// Too new. What is sought may lie in another key already: the loop sees.
			it.seek = HistoryKey(it.seek[:0], row.key, it.revision, math.MaxInt32)
			found = it.rows.SeekGE(it.seek)
		case row.tombstone:
			found = it.nextKey()
		default:
			return true
		}
	}
	return false
}

// nextKey moves past the versions of the current key. Most keys have few, so the next row is tried before a seek.
func (it *HistoryIterator) nextKey() bool {
	prefix := appendEscaped(append(it.seek[:0], tableHistory), it.row.key)
	it.seek = prefix
	if !it.rows.Next() {
		return false
	}
	if !bytes.HasPrefix(it.rows.Key(), prefix) {
		return true
	}
	prefix[len(prefix)-1] = escapeEnd + 1
	return it.rows.SeekGE(prefix)
}

// Key is the current key. It holds until Next.
func (it *HistoryIterator) Key() []byte { return it.row.key }

// ModRevision is the revision of the current record's last change, known without reading the record.
func (it *HistoryIterator) ModRevision() int64 { return it.row.revision }

// Record reads the current record. Callers that only count need not.
func (it *HistoryIterator) Record() (Record, bool) {
	return followPointer(it.reader, it.row.revision, it.row.sub)
}

// Close ends the iterator.
func (it *HistoryIterator) Close() { it.rows.Close() }

// Events goes over the log from a revision on. The revision must be at or above State.Compacted; below it there are gaps.
func (v *View) Events(from int64) *EventIterator {
	return &EventIterator{reader: v, rows: v.Scan(LogBounds(from))}
}

// EventIterator goes over events in the order of (revision, sub). It starts before the first one, and must be closed. A
// failure ends it and latches on the view.
type EventIterator struct {
	reader reader
	rows   *Iterator
	event  *Event
}

// Next moves to the next event.
func (it *EventIterator) Next() bool {
	it.event = nil
	if !it.rows.Next() {
		return false
	}
	revision, sub, ok := SplitLog(it.rows.Key())
	// Events outlive the iterator, and are shared: each gets bytes of its own.
	e, err := DecodeEvent(bytes.Clone(it.rows.Value()))
	if !ok {
		err = fmt.Errorf("%w: log key %x", ErrCorrupt, it.rows.Key())
	}
	if err != nil {
		it.reader.fail(err)
		return false
	}
	e.Revision, e.Sub = revision, sub
	it.event = &e
	return true
}

// Event is the current event, without Prev: see View.PrevOf. It is the caller's to keep.
func (it *EventIterator) Event() *Event { return it.event }

// Close ends the iterator.
func (it *EventIterator) Close() { it.rows.Close() }
