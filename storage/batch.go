package storage

import (
	"bytes"
	"errors"

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
	base   *pinned // what it reads from
	state  State
	err    error
	ended  bool
	*overlay
}

// overlay is what a batch knows. It is used again by the next one, since a step makes some hundreds of pieces.
type overlay struct {
	entries   map[string]*entry           // every key touched: written, or read from the base
	touched   []*entry                    // the same, in the order in which they came
	ordered   bool                        // whether written is kept: from the first scan on
	written   btree.Map[string, *entry]   // those written, in order
	intervals btree.Map[string, interval] // deleted from the base, by lower bound; apart from each other
	cached    int                         // bytes of base values held by entries

	// Rows of the log, which are added and never changed. When somebody asks for them they join an order, in which each brings
	// its history row with it.
	rows        []entry
	rowsOrdered int // so many of them are in rowsOrder
	rowsOrder   btree.Map[string, *entry]

	journal []change // how to take back every write since the first mark, in order
	marks   []mark

	room    arena  // for keys
	rowRoom arena  // for rows of the log, which outlive the batch: it is given out once
	logged  []byte // the stored record of the event that was appended last
	made    slab   // entries
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
	shared    bool   // the value is part of a row of the log, and takes no memory of its own
	value     []byte // of writeSet
	base      baseKind
	baseValue []byte
}

// interval is a deleted range of the base.
type interval struct{ lower, upper string }

// change is one step to take back: an entry's write as it was before, or an interval that came or went.
type change struct {
	entry    *entry
	value    []byte
	interval *interval
	write    writeKind
	shared   bool
	inserted bool // of the interval
}

type mark struct {
	journal, rows int
	state         State
}

// slab makes entries in blocks, which are used again.
type slab struct {
	blocks [][]entry
	used   int // entries given out
}

const slabBlock = 64

func (s *slab) take() *entry {
	block, at := s.used/slabBlock, s.used%slabBlock
	if block == len(s.blocks) {
		s.blocks = append(s.blocks, make([]entry, slabBlock))
	}
	s.used++
	return &s.blocks[block][at]
}

// reset takes all entries back and keeps a bounded number of them.
func (s *slab) reset() {
	for i := 0; i*slabBlock < s.used; i++ {
		clear(s.blocks[i])
	}
	s.blocks = s.blocks[:min(len(s.blocks), keptMax/slabBlock)]
	s.used = 0
}

// reset forgets everything, and keeps memory for a step of usual size.
func (o *overlay) reset() {
	if len(o.entries) > keptMax {
		o.entries = make(map[string]*entry, 64)
	}
	clear(o.entries)
	o.touched = emptied(o.touched)
	o.rows = emptied(o.rows)
	o.journal = emptied(o.journal)
	o.marks = emptied(o.marks)
	o.ordered, o.rowsOrdered, o.cached = false, 0, 0
	o.written, o.rowsOrder = btree.Map[string, *entry]{}, btree.Map[string, *entry]{}
	o.intervals = btree.Map[string, interval]{}
	o.room.reset()
	o.logged = nil
	o.made.reset()
}

func emptied[T any](s []T) []T {
	if cap(s) > keptMax {
		return nil
	}
	clear(s)
	return s[:0]
}

const (
	// Base values kept for rereading. A step touches far less; a huge one reads from Pebble's cache again.
	cachedBytesMax = 4 << 20
	// So many pieces of each kind are kept from one batch to the next.
	keptMax = 4096
	// A range with no more keys than this is deleted key by key: each range tombstone costs every later read of the
	// memtable it lies in, where a few point tombstones cost nothing.
	pointDeletesMax = 64
)

// errBatchEnded is reported by use of a batch after Commit or Discard.
var errBatchEnded = errors.New("storage: batch has ended")

// NewBatch starts a batch over the present state. The one before must have been committed or discarded.
func (db *DB) NewBatch() *Batch {
	base := db.pinCurrent()
	o := db.spare.Swap(nil)
	if o == nil {
		o = &overlay{entries: make(map[string]*entry, 64)}
	}
	b := &Batch{db: db, engine: base.engine, base: base, state: base.state, err: db.Err(), overlay: o}
	if base.ground == nil {
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
	value, present := b.Head(key)
	if present && isApart(key, value) {
		value = b.whole(value)
		return value, b.err == nil
	}
	return value, present
}

// Head is Get without a value that is apart: DecodeRecord gives its size in its place.
func (b *Batch) Head(key []byte) ([]byte, bool) {
	if b.err != nil {
		return nil, false
	}
	if isHistorical(key) {
		return b.getRow(key)
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
	value, present, err := b.base.stored(key)
	if err != nil {
		b.fail(err)
		return nil, false
	}
	if b.cached < cachedBytesMax {
		if e == nil {
			e = b.insert(key)
		}
		e.base, e.baseValue = baseAbsent, value
		if present {
			e.base = basePresent
		}
		b.cached += len(key) + len(value) + 64
	}
	return value, present
}

// isHistorical says whether a key is of the log or of the history.
func isHistorical(key []byte) bool { return key[0] == tableLog || key[0] == tableHistory }

// getRow is Get for log and history.
func (b *Batch) getRow(key []byte) ([]byte, bool) {
	b.orderRows()
	if e, ok := b.rowsOrder.Get(bytesString(key)); ok {
		return e.value, true
	}
	value, present, err := b.base.stored(key)
	if err != nil {
		b.fail(err)
		return nil, false
	}
	return value, present
}

// addRow writes a row of the log. Key and value are of the batch's room.
func (b *Batch) addRow(key, value []byte) {
	b.rows = append(b.rows, entry{key: bytesString(key), write: writeSet, value: value})
}

// orderRows brings the rows of log and history into the order in which they are looked for.
func (b *Batch) orderRows() {
	for ; b.rowsOrdered < len(b.rows); b.rowsOrdered++ {
		e := b.rows[b.rowsOrdered]
		b.rowsOrder.Set(e.key, &e)
		key, value := b.rowRoom.historyOf(e.key, e.value)
		b.rowsOrder.Set(key, &entry{key: key, write: writeSet, value: value})
	}
}

// order begins to keep what is written in order.
func (b *Batch) order() {
	if b.ordered {
		return
	}
	b.ordered = true
	for _, e := range b.touched {
		if e.write != writeNone {
			b.written.Set(e.key, e)
		}
	}
}

// Scan goes over [lower, upper) of the base with the batch's writes merged in.
func (b *Batch) Scan(lower, upper []byte, options ...ScanOption) *Iterator {
	it := &Iterator{reader: b, batch: b, lower: lower, upper: upper, reverse: isReverse(options)}
	if b.err != nil || isEmpty(lower, upper) {
		return it
	}
	if isHistorical(lower) {
		b.orderRows()
		it.overlay = b.rowsOrder.Iter()
	} else {
		b.order()
		it.overlay = b.written.Iter()
	}
	if err := it.begin(b.base); err != nil {
		b.fail(err)
	}
	return it
}

// Set writes a value. The batch takes it over; the key remains the caller's.
func (b *Batch) Set(key, value []byte) {
	if !b.ended {
		b.write(b.entry(key), writeSet, value)
	}
}

// entry gives what the batch knows about a key, nothing yet perhaps.
func (b *Batch) entry(key []byte) *entry {
	if e := b.entries[string(key)]; e != nil {
		return e
	}
	return b.insert(key)
}

// Add is Set of a key that is known to be absent. It spares the layers and Pebble a deletion when the key is gone again soon.
func (b *Batch) Add(key, value []byte) {
	if b.ended {
		return
	}
	e := b.entries[string(key)]
	if e == nil {
		e = b.insert(key)
		if b.covering(key) == nil { // or else it may be there below
			e.base = baseAbsent
		}
	}
	b.write(e, writeSet, value)
}

// Delete removes a key. The key remains the caller's.
func (b *Batch) Delete(key []byte) {
	if !b.ended {
		b.write(b.entry(key), writeDelete, nil)
	}
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

	b.order()
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
		b.note(change{interval: &i})
	}
	b.intervals.Set(merged.lower, merged)
	b.note(change{interval: &merged, inserted: true})
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

func (b *Batch) insert(key []byte) *entry {
	e := b.made.take()
	e.key = bytesString(b.room.copy(key))
	b.entries[e.key] = e
	b.touched = append(b.touched, e)
	return e
}

// note remembers how to take a change back, if there is a mark to go back to.
func (b *Batch) note(c change) {
	if len(b.marks) > 0 {
		b.journal = append(b.journal, c)
	}
}

// write changes what the batch writes to a key, and notes how to take that back.
func (b *Batch) write(e *entry, kind writeKind, value []byte) {
	b.note(change{entry: e, write: e.write, shared: e.shared, value: e.value})
	b.put(e, kind, value, false)
}

func (b *Batch) put(e *entry, kind writeKind, value []byte, shared bool) {
	switch {
	case !b.ordered:
	case e.write == writeNone && kind != writeNone:
		b.written.Set(e.key, e)
	case e.write != writeNone && kind == writeNone:
		b.written.Delete(e.key)
	}
	e.write, e.shared, e.value = kind, shared, value
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

// Mark is a point to which Undo can go back, State included. It costs a copy of State, until Keep.
func (b *Batch) Mark() int {
	b.marks = append(b.marks, mark{journal: len(b.journal), rows: len(b.rows), state: b.state})
	return len(b.marks) - 1
}

// Keep says that nobody goes back to a mark, nor to one made since.
func (b *Batch) Keep(from int) {
	b.marks = b.marks[:from]
	if from == 0 {
		clear(b.journal)
		b.journal = b.journal[:0]
	}
}

// Undo takes back everything since a mark. Marks made since are void; the mark itself still holds.
func (b *Batch) Undo(to int) {
	m := b.marks[to]
	b.marks = b.marks[:to+1]
	for i := len(b.journal) - 1; i >= m.journal; i-- {
		switch c := &b.journal[i]; {
		case c.entry != nil:
			b.put(c.entry, c.write, c.value, c.shared)
		case c.inserted:
			b.intervals.Delete(c.interval.lower)
		default:
			b.intervals.Set(c.interval.lower, *c.interval)
		}
	}
	clear(b.journal[m.journal:])
	b.journal = b.journal[:m.journal]
	for ; b.rowsOrdered > m.rows; b.rowsOrdered-- {
		e := &b.rows[b.rowsOrdered-1]
		b.rowsOrder.Delete(e.key)
		key, _ := b.rowRoom.historyOf(e.key, e.value)
		b.rowsOrder.Delete(key)
	}
	b.rows = b.rows[:m.rows]
	b.state = m.state
}

// Discard ends the batch and forgets its writes.
func (b *Batch) Discard() { b.end() }

func (b *Batch) end() {
	if b.ended {
		return
	}
	b.ended = true
	b.fail(errBatchEnded)
	b.base.release()
	if b.db.Err() != nil {
		return // a write that hangs may still read what is here
	}
	o := b.overlay
	b.overlay = &overlay{}
	o.reset()
	b.db.spare.Store(o)
}
