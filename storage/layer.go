package storage

import (
	"sync"

	"github.com/tidwall/btree"
)

// layer holds what commits wrote since the last drain, above what is in Pebble. It saves what Pebble would do for each of
// these commits: finding the place of each row in a memtable, which is several microseconds on a store of some size, and
// keeping, flushing and compacting versions of a row, or rows, that are gone a moment later, as those of locks, queues and
// counters are. A layer that is full is frozen, a new one takes its place, and the frozen one goes to Pebble as a whole: see
// drain.go.
//
// There is one writer, the goroutine that commits. Readers see a layer as of the commit of their view: a row has a version
// for each commit that somebody may still look at.
//
// Rows are found by a map. They get an order when the first reader scans, and from then on incrementally, so that a store
// that is only written to and read row by row never pays for it. Rows of the log are in no map, and bring their history rows
// with them when they get into the order.
type layer struct {
	mu    sync.RWMutex // guards what follows
	rows  map[string]*layerRow
	order btree.Map[string, *layerRow]
	made  []*layerRow // all but the log, as they came
	fresh int         // where those begin that are not in the order yet
	log   []*layerRow // as they came, which is all but in the order of their keys
	trail int         // where those of the log begin that are not in the order yet
	state State       // as of the last commit
	held  int         // bytes of rows, those of versions that were replaced too

	ghosts []*layerRow // deletions that may go as soon as everybody sees them
	names  arena       // for keys
	blocks []layerRow  // for rows
}

// layerRow is a row with its versions, the newest first.
type layerRow struct {
	key string
	// lone says that the row is in this layer only: when it is deleted there is nothing below to delete.
	lone bool
	gone bool // it was a ghost, and is neither in the map nor in the order any more
	layerVersion
}

type layerVersion struct {
	commit  uint64
	value   []byte
	deleted bool
	shared  bool // the value is part of a row of the log, which accounts for it
	older   *layerVersion
}

// bytes is what the value adds to what the layer holds.
func (v *layerVersion) bytes() int {
	if v.shared {
		return 0
	}
	return len(v.value)
}

const (
	layerRowBytes     = 96 // what a row takes beside key and value
	layerVersionBytes = 64 // what each version before the newest takes beside its value
	layerBlockRows    = 128
)

// newLayer makes an empty layer, with room for as many rows as the one before it has, nil for none.
func newLayer(before *layer) *layer {
	if before == nil {
		return &layer{rows: map[string]*layerRow{}}
	}
	return &layer{
		rows: make(map[string]*layerRow, len(before.rows)), // without those that came and went
		made: make([]*layerRow, 0, len(before.made)), log: make([]*layerRow, 0, len(before.log)),
	}
}

func (l *layer) isEmpty() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.held == 0
}

func (l *layer) bytes() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.held
}

// write adds what a batch wrote, as of a commit. oldest is the oldest commit that a reader may be looking at.
func (l *layer) write(b *Batch, commit, oldest uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bury(oldest)
	l.state = b.state
	l.held += layerRowBytes // so that commits without rows lead to a drain too
	for _, e := range b.touched {
		if e.write != writeNone {
			l.set(e, commit, oldest)
		}
	}
	for i := range b.rows {
		e := &b.rows[i]
		l.log = append(l.log, l.newRow(e.key, layerVersion{commit: commit, value: e.value}))
		l.held += len(e.key) + len(e.value) + layerRowBytes
	}
}

func (l *layer) set(e *entry, commit, oldest uint64) {
	deleted := e.write == writeDelete
	version := layerVersion{commit: commit, value: e.value, deleted: deleted, shared: e.shared}
	row := l.rows[e.key]
	if row == nil {
		if deleted && e.base == baseAbsent {
			return // there is nothing to delete
		}
		row = l.newRow(bytesString(l.names.copy(stringBytes(e.key))), version)
		row.lone = e.base == baseAbsent
		l.rows[row.key] = row
		l.made = append(l.made, row)
		l.held += len(row.key) + version.bytes() + layerRowBytes
		return
	}
	// The version before is that of the present view. Those before it are still needed if somebody looks at older ones.
	before := row.layerVersion
	if before.commit <= oldest {
		l.held -= before.forget()
	}
	version.older = &before
	row.layerVersion = version
	l.held += version.bytes() + layerVersionBytes
	if deleted && row.lone {
		l.ghosts = append(l.ghosts, row)
	}
}

// forget drops what is older, and says how many bytes that was.
func (v *layerVersion) forget() (bytes int) {
	for older := v.older; older != nil; older = older.older {
		bytes += older.bytes() + layerVersionBytes
	}
	v.older = nil
	return bytes
}

// bury removes the rows that are deleted for everybody and were never below.
func (l *layer) bury(oldest uint64) {
	for len(l.ghosts) > 0 && l.ghosts[0].commit <= oldest {
		row := l.ghosts[0]
		l.ghosts = l.ghosts[1:]
		if row.gone || !row.deleted {
			continue // it has come back to life since
		}
		row.gone = true
		l.held -= row.forget()
		delete(l.rows, row.key)
		l.order.Delete(row.key)
	}
}

func (l *layer) newRow(key string, version layerVersion) *layerRow {
	if len(l.blocks) == 0 {
		l.blocks = make([]layerRow, layerBlockRows)
	}
	row := &l.blocks[0]
	l.blocks = l.blocks[1:]
	row.key, row.layerVersion = key, version
	return row
}

// at gives the version that a view of a commit shows, nil if there is none.
func (v *layerVersion) at(commit uint64) *layerVersion {
	for v != nil && v.commit > commit {
		v = v.older
	}
	return v
}

// get gives the value of a row as of a commit. It must not be modified. known is false if the layer says nothing of it.
func (l *layer) get(key []byte, commit uint64) (value []byte, present, known bool) {
	if isHistorical(key) {
		l.bringInOrder(true)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	row := l.rows[string(key)]
	if row == nil && isHistorical(key) {
		row, _ = l.order.Get(bytesString(key))
	}
	if row == nil {
		return nil, false, false
	}
	v := row.at(commit)
	if v == nil {
		return nil, false, false
	}
	return v.value, !v.deleted, true
}

// bringInOrder makes every row that there is now found by scans: those of log and history, or the others.
func (l *layer) bringInOrder(historical bool) {
	l.mu.RLock()
	ordered := historical && l.trail == len(l.log) || !historical && l.fresh == len(l.made)
	l.mu.RUnlock()
	if ordered {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if historical {
		for ; l.trail < len(l.log); l.trail++ {
			row := l.log[l.trail]
			l.order.Set(row.key, row)
			key, value := l.names.historyOf(row.key, row.value)
			l.order.Set(key, l.newRow(key, layerVersion{commit: row.commit, value: value}))
		}
		return
	}
	for ; l.fresh < len(l.made); l.fresh++ {
		if row := l.made[l.fresh]; !row.gone {
			l.order.Set(row.key, row)
		}
	}
}

// layerCursor goes over the rows of a layer as of a commit, deleted ones too. It takes them a few at a time, so that no
// lock is held between calls.
type layerCursor struct {
	layer        *layer
	commit       uint64
	lower, upper []byte
	reverse      bool

	taken []layerFound
	at    int
	more  bool
	chunk int
}

type layerFound struct {
	key     string
	value   []byte
	deleted bool
}

const (
	cursorChunkFirst = 8
	cursorChunkMax   = 128
)

func newLayerCursor(l *layer, commit uint64, lower, upper []byte, reverse bool) *layerCursor {
	if reaches(lower, upper, tableLog, tableHistory) {
		l.bringInOrder(true)
	}
	if !isHistorical(lower) {
		l.bringInOrder(false)
	}
	return &layerCursor{layer: l, commit: commit, lower: lower, upper: upper, reverse: reverse, chunk: cursorChunkFirst}
}

func (c *layerCursor) seek(key []byte) {
	c.chunk = cursorChunkFirst
	c.take(bytesString(key), key != nil, true)
}

func (c *layerCursor) step() {
	c.at++
	if c.at == len(c.taken) && c.more {
		last := c.taken[len(c.taken)-1].key
		c.take(last, true, false)
	}
}

func (c *layerCursor) current() (key string, value []byte, deleted, ok bool) {
	if c.at >= len(c.taken) {
		return "", nil, false, false
	}
	f := &c.taken[c.at]
	return f.key, f.value, f.deleted, true
}

// take gathers the next rows: upwards from a key on, downwards those below a key. Without from it is from the end, with
// inclusive false not the key itself.
func (c *layerCursor) take(key string, from, inclusive bool) {
	c.taken, c.at, c.more = c.taken[:0], 0, false
	visit := func(at string, row *layerRow) bool {
		if c.reverse && at < bytesString(c.lower) || !c.reverse && c.upper != nil && at >= bytesString(c.upper) {
			return false
		}
		if from && at == key && (c.reverse || !inclusive) {
			return true
		}
		if len(c.taken) == c.chunk {
			c.more = true
			return false
		}
		if v := row.layerVersion.at(c.commit); v != nil {
			c.taken = append(c.taken, layerFound{row.key, v.value, v.deleted})
		}
		return true
	}
	c.layer.mu.RLock()
	defer c.layer.mu.RUnlock()
	switch {
	case !c.reverse:
		c.layer.order.Ascend(key, visit)
	case from:
		c.layer.order.Descend(key, visit)
	default:
		c.layer.order.Reverse(visit)
	}
	c.chunk = min(4*c.chunk, cursorChunkMax)
}
