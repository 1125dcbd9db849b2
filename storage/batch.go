package storage

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/btree"
)

// Batch gathers the writes of one apply step over the state of the database, and reads through them, so that a command
// sees the writes of those before it. It belongs to the apply goroutine; there is one at a time.
//
// The overlay is ours rather than Pebble's indexed batch because a command must be able to take its writes back (Undo),
// which that cannot, and because a record read once in a step is read again at no cost.
type Batch struct {
	db     *DB
	engine *engine // the current one: nothing replaces it while a batch is under way
	state  State
	err    error
	ended  bool

	entries   map[string]*entry           // every key touched: written, or read from the base
	written   btree.Map[string, *entry]   // those written, in order
	intervals btree.Map[string, interval] // deleted from the base, by lower bound; apart from each other
	cached    int                         // bytes of base values held by entries

	journal []change // how to take back every write, in order
	marks   []mark
}

type writeKind uint8

const (
	writeNone writeKind = iota
	writeSet
	writeDelete
)

type baseKind uint8

const (
	baseUnknown baseKind = iota
	baseAbsent
	basePresent
)

// entry is what the batch knows about one key.
type entry struct {
	key       string
	write     writeKind
	value     []byte // of writeSet
	base      baseKind
	baseValue []byte
}

// interval is a deleted range of the base.
type interval struct{ lower, upper string }

// change is one step to take back: an entry's write as it was before, or an interval that came or went.
type change struct {
	entry    *entry
	write    writeKind
	value    []byte
	interval interval
	inserted bool // of the interval
}

type mark struct {
	journal int
	state   State
}

const (
	// Base values kept for rereading. A step touches far less; a huge one reads from Pebble's cache again.
	cachedBytesMax = 4 << 20
	// A range with no more keys than this is deleted key by key: each range tombstone costs every later read of the
	// memtable it lies in, where a few point tombstones cost nothing.
	pointDeletesMax = 64
)

// errBatchEnded is reported by use of a batch after Commit or Discard.
var errBatchEnded = errors.New("storage: batch has ended")

// NewBatch starts a batch over the present state. The one before must have been committed or discarded.
func (db *DB) NewBatch() *Batch {
	base := db.current.Load()
	b := &Batch{db: db, engine: base.engine, state: base.state, entries: make(map[string]*entry, 64), err: db.Err()}
	if db.closed.Load() {
		b.fail(ErrClosed)
	}
	return b
}

// State is the state that Commit will write. Commands modify it.
func (b *Batch) State() *State { return &b.state }

// Err is the first failure of a read, or of the database.
func (b *Batch) Err() error { return b.err }

func (b *Batch) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *Batch) failed() bool { return b.err != nil }

// Get gives the value under a key, own writes included. It must not be modified; it holds until the batch ends.
func (b *Batch) Get(key []byte) ([]byte, bool) {
	if b.err != nil {
		return nil, false
	}
	e := b.entries[string(key)]
	if e != nil {
		switch e.write {
		case writeSet:
			return e.value, true
		case writeDelete:
			return nil, false
		}
	}
	if b.covering(key) != nil {
		return nil, false
	}
	if e != nil && e.base != baseUnknown {
		return e.baseValue, e.base == basePresent
	}
	return b.readBase(key, e)
}

// readBase reads from the database and remembers what it read while there is room.
func (b *Batch) readBase(key []byte, e *entry) ([]byte, bool) {
	value, closer, err := b.engine.pebble.Get(key)
	kind := basePresent
	if err != nil {
		if !errors.Is(err, pebble.ErrNotFound) {
			b.fail(fmt.Errorf("storage: read: %w", err))
			return nil, false
		}
		kind = baseAbsent
	} else {
		value = append(make([]byte, 0, len(value)), value...)
		_ = closer.Close()
	}
	if b.cached < cachedBytesMax {
		if e == nil {
			e = b.insert(string(key))
		}
		e.base, e.baseValue = kind, value
		b.cached += len(key) + len(value) + 64
	}
	return value, kind == basePresent
}

// Scan goes over [lower, upper) of the base with the batch's writes merged in.
func (b *Batch) Scan(lower, upper []byte, options ...ScanOption) *Iterator {
	it := &Iterator{reader: b, batch: b, lower: lower, upper: upper, reverse: isReverse(options)}
	if b.err != nil || isEmpty(lower, upper) {
		return it
	}
	base, err := b.engine.pebble.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		b.fail(fmt.Errorf("storage: scan: %w", err))
		return it
	}
	it.base = base
	it.overlay = b.written.Iter()
	return it
}

// Set writes a value. The batch takes both slices over.
func (b *Batch) Set(key, value []byte) {
	e := b.entries[string(key)]
	if e == nil {
		e = b.insert(bytesString(key))
	}
	b.write(e, writeSet, value)
}

// Delete removes a key. The key remains the caller's.
func (b *Batch) Delete(key []byte) {
	e := b.entries[string(key)]
	if e == nil {
		e = b.insert(string(key))
	}
	b.write(e, writeDelete, nil)
}

// DeleteRange removes every key in [lower, upper), both of the base and written in this batch. Later writes into the
// range stand. Both bounds must be given; they remain the caller's.
func (b *Batch) DeleteRange(lower, upper []byte) {
	if bytes.Compare(lower, upper) >= 0 || b.err != nil {
		return
	}
	if keys, all := b.firstKeys(lower, upper, pointDeletesMax); all {
		for _, key := range keys {
			b.Delete(key)
		}
		return
	}

	// What was written into the range so far is gone: the interval alone stands for it.
	var inside []*entry
	b.written.Ascend(bytesString(lower), func(key string, e *entry) bool {
		if key >= bytesString(upper) {
			return false
		}
		inside = append(inside, e)
		return true
	})
	for _, e := range inside {
		b.write(e, writeNone, nil)
	}

	// Intervals that touch become one, so that a key is in at most one of them.
	merged := interval{lower: string(lower), upper: string(upper)}
	var touching []interval
	if before := b.intervalAtOrBefore(bytesString(lower)); before != nil && before.upper >= merged.lower {
		touching = append(touching, *before)
	}
	b.intervals.Ascend(merged.lower, func(start string, i interval) bool {
		if start > merged.upper {
			return false
		}
		if len(touching) == 0 || touching[0].lower != start {
			touching = append(touching, i)
		}
		return true
	})
	for _, i := range touching {
		merged.lower = min(merged.lower, i.lower)
		merged.upper = max(merged.upper, i.upper)
		b.intervals.Delete(i.lower)
		b.journal = append(b.journal, change{interval: i})
	}
	b.intervals.Set(merged.lower, merged)
	b.journal = append(b.journal, change{interval: merged, inserted: true})
}

// firstKeys collects the keys of a range, and says whether these are all.
func (b *Batch) firstKeys(lower, upper []byte, keysMax int) (keys [][]byte, all bool) {
	it := b.Scan(lower, upper)
	defer it.Close()
	for it.Next() {
		if len(keys) == keysMax {
			return nil, false
		}
		keys = append(keys, bytes.Clone(it.Key()))
	}
	return keys, true
}

func (b *Batch) insert(key string) *entry {
	e := &entry{key: key}
	b.entries[key] = e
	return e
}

// write changes what the batch writes to a key, and notes how to take that back.
func (b *Batch) write(e *entry, kind writeKind, value []byte) {
	b.journal = append(b.journal, change{entry: e, write: e.write, value: e.value})
	b.put(e, kind, value)
}

func (b *Batch) put(e *entry, kind writeKind, value []byte) {
	switch {
	case e.write == writeNone && kind != writeNone:
		b.written.Set(e.key, e)
	case e.write != writeNone && kind == writeNone:
		b.written.Delete(e.key)
	}
	e.write, e.value = kind, value
}

// covering is the deleted interval that holds a key, nil if there is none.
func (b *Batch) covering(key []byte) *interval {
	if b.intervals.Len() == 0 {
		return nil
	}
	i := b.intervalAtOrBefore(bytesString(key))
	if i == nil || i.upper <= bytesString(key) {
		return nil
	}
	return i
}

func (b *Batch) intervalAtOrBefore(key string) *interval {
	var found *interval
	b.intervals.Descend(key, func(_ string, i interval) bool {
		found = &i
		return false
	})
	return found
}

// Mark is a point to which Undo can go back, State included. It costs a copy of State.
func (b *Batch) Mark() int {
	b.marks = append(b.marks, mark{journal: len(b.journal), state: b.state})
	return len(b.marks) - 1
}

// Undo takes back everything since a mark. Marks made since are void; the mark itself still holds.
func (b *Batch) Undo(to int) {
	m := b.marks[to]
	b.marks = b.marks[:to+1]
	for i := len(b.journal) - 1; i >= m.journal; i-- {
		switch c := &b.journal[i]; {
		case c.entry != nil:
			b.put(c.entry, c.write, c.value)
		case c.inserted:
			b.intervals.Delete(c.interval.lower)
		default:
			b.intervals.Set(c.interval.lower, c.interval)
		}
	}
	clear(b.journal[m.journal:])
	b.journal = b.journal[:m.journal]
	b.state = m.state
}

// Discard ends the batch and forgets its writes.
func (b *Batch) Discard() { b.end() }

func (b *Batch) end() {
	b.ended = true
	b.fail(errBatchEnded)
}
