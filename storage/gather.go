package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// How history rows get to Pebble. Those of a layer are spread over all keys, unlike the rows of the log that they follow from:
// as tables of their own, layer by layer, they would be most of what compactions rewrite. So those of several layers are gathered
// in memory, and filed together, beside the layers that are drained meanwhile. Those that wait are over Pebble for readers, as
// layers are, and do not change any more.
//
// A row of the meta table says up to which revision the history table goes. What is above is made of the log again by a start.

// historyRun holds the history rows of a part of the log.
type historyRun struct {
	rows    []byte   // one after another: size of the key, key, value
	starts  []uint32 // where in rows each begins, as they came until they are sorted; see runBytesMax
	sorting sync.Once
	to      int64 // the last revision of that part
}

// runBytesMax is how large a run gets before another one is begun.
const runBytesMax = 256 << 20

// runsOf makes the rows that go with events, each with the size of its value in the log, up to a revision.
func runsOf(events iter.Seq2[*Event, int], to int64) (runs []*historyRun) {
	var r *historyRun
	for e, logBytes := range events {
		if r == nil || len(r.rows) >= runBytesMax {
			r = &historyRun{to: to}
			runs = append(runs, r)
		}
		r.add(e, logBytes)
	}
	return runs
}

// add adds the row that goes with an event. All are added before anybody reads.
func (r *historyRun) add(e *Event, logBytes int) {
	r.starts = append(r.starts, uint32(len(r.rows)))
	r.rows = binary.AppendUvarint(r.rows, uint64(historyKeyBytes(e.Key)))
	r.rows, _ = appendHistoryRow(r.rows, e, logBytes)
}

// sorted gives the rows in the order of their keys.
func (r *historyRun) sorted() []uint32 {
	r.sorting.Do(func() {
		slices.SortFunc(r.starts, func(a, b uint32) int { return bytes.Compare(r.key(a), r.key(b)) })
	})
	return r.starts
}

func (r *historyRun) key(start uint32) []byte {
	size, n := binary.Uvarint(r.rows[start:])
	return r.rows[int(start)+n:][:size]
}

func (r *historyRun) value(start uint32) []byte {
	size, n := binary.Uvarint(r.rows[start:])
	value := r.rows[int(start)+n+int(size):]
	_, n = binary.Uvarint(value[1:])
	return value[:1+n]
}

// bytes is how much memory it takes.
func (r *historyRun) bytes() int { return len(r.rows) + 4*len(r.starts) }

// search gives how many rows are below a key.
func (r *historyRun) search(key []byte) int {
	at, _ := slices.BinarySearchFunc(r.sorted(), key, func(start uint32, key []byte) int { return bytes.Compare(r.key(start), key) })
	return at
}

func (r *historyRun) get(key []byte) (value []byte, present bool) {
	if at := r.search(key); at < len(r.starts) && bytes.Equal(r.key(r.starts[at]), key) {
		return r.value(r.starts[at]), true
	}
	return nil, false
}

// bytesOf is how much memory runs take.
func bytesOf(runs []*historyRun) (n int) {
	for _, r := range runs {
		n += r.bytes()
	}
	return n
}

// runsCursor goes over the rows of several runs, which have none in common.
type runsCursor struct {
	runs         []*historyRun
	at           []int // place in each run, outside of it at its end
	lower, upper []byte
	reverse      bool
	top          int // the run with the nearest row, -1 if there is none
}

func newRunsCursor(runs []*historyRun, lower, upper []byte, reverse bool) *runsCursor {
	return &runsCursor{runs: runs, at: make([]int, len(runs)), lower: lower, upper: upper, reverse: reverse}
}

func (c *runsCursor) seek(key []byte) {
	for i, r := range c.runs {
		switch {
		case !c.reverse:
			c.at[i] = r.search(key)
		case key == nil:
			c.at[i] = len(r.sorted()) - 1
		default:
			c.at[i] = r.search(key) - 1
		}
	}
	c.settle()
}

func (c *runsCursor) step() {
	if c.reverse {
		c.at[c.top]--
	} else {
		c.at[c.top]++
	}
	c.settle()
}

// settle finds the nearest row.
func (c *runsCursor) settle() {
	c.top = -1
	var best []byte
	for i, r := range c.runs {
		if c.at[i] < 0 || c.at[i] >= len(r.starts) {
			continue
		}
		key := r.key(r.starts[c.at[i]])
		if c.top < 0 || (bytes.Compare(key, best) < 0) != c.reverse {
			c.top, best = i, key
		}
	}
	if c.top >= 0 && (c.reverse && bytes.Compare(best, c.lower) < 0 || !c.reverse && c.upper != nil && bytes.Compare(best, c.upper) >= 0) {
		c.top = -1
	}
}

func (c *runsCursor) current() (key string, value []byte, deleted, ok bool) {
	if c.top < 0 {
		return "", nil, false, false
	}
	r := c.runs[c.top]
	start := r.starts[c.at[c.top]]
	return bytesString(r.key(start)), r.value(start), false, true
}

// rowsOf gives the rows of several runs in the order of their keys.
func rowsOf(runs []*historyRun) iter.Seq[layerFound] {
	return func(yield func(layerFound) bool) {
		c := newRunsCursor(runs, nil, nil, false)
		c.seek(nil)
		for key, value, _, ok := c.current(); ok; key, value, _, ok = c.current() {
			if !yield(layerFound{key: key, value: value}) {
				return
			}
			c.step()
		}
	}
}

// gatheringFraction says which part of a full layer the rows that are gathered may take.
const gatheringFraction = 2

// history gives the history rows of a layer to which nobody writes any more.
func (l *layer) history() []*historyRun {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return runsOf(func(yield func(*Event, int) bool) {
		var e Event
		for _, row := range l.log {
			if e = loggedHead(row.key, row.value); !yield(&e, len(row.value)) {
				return
			}
		}
	}, l.state.Revision)
}

// gather puts the rows of a layer, which is in Pebble, to those that wait, and files them when they are many. The caller holds
// committing.
func (e *engine) gather(runs []*historyRun) {
	e.gathered = append(slices.Clip(e.gathered), runs...) // views share what was there
	if e.filed == nil && bytesOf(e.gathered) >= int(e.db.options.MemtableBytes)/gatheringFraction {
		e.fileLocked()
	}
}

// fileLocked begins to file what is gathered; nothing else is being filed. The caller holds committing.
func (e *engine) fileLocked() {
	e.filed = make(chan struct{})
	e.drains++
	e.db.guards.Add(1)
	e.refs.Add(1)
	go e.file(e.gathered, e.drains, e.filed)
}

// file writes history rows to Pebble, as drainFrozen does with a layer.
func (e *engine) file(runs []*historyRun, number uint64, filed chan<- struct{}) {
	db := e.db
	defer db.guards.Done()
	to := runs[len(runs)-1].to
	parts := []part{{groupMeta, slices.Values([]layerFound{historyReach(to)})}, {groupHistory, rowsOf(runs)}}
	if err := e.writeParts(parts, bytesOf(runs), number); err != nil {
		return
	}
	e.historyTo.Store(to) // a layer that is drained meanwhile may still say less, which costs a start some work
	db.committing.Lock()
	defer db.committing.Unlock()
	e.filed, e.gathered = nil, slices.Clone(e.gathered[len(runs):])
	e.raiseLocked()
	close(filed)
	e.release()
}

// fileAllLocked files all that is gathered by now. The caller holds committing, which is let go of meanwhile.
func (e *engine) fileAllLocked() error {
	if len(e.gathered) == 0 {
		return nil
	}
	for to := e.gathered[len(e.gathered)-1].to; len(e.gathered) > 0 && e.gathered[0].to <= to; {
		if e.filed == nil {
			e.fileLocked()
		}
		if err := e.await(e.filed); err != nil {
			return err
		}
	}
	return nil
}

// loadHistory makes the history rows that are not in Pebble of the log that is.
func (e *engine) loadHistory(p *pinned) error {
	v := p.view()
	reach := p.state.Revision
	if value, ok := v.Get(historyKey); ok {
		d := decoder{rest: value}
		reach = int64(d.uvarint())
		if err := d.failure("reach of the history"); err != nil {
			return err
		}
	}
	e.historyTo.Store(reach)
	events := v.Events(reach + 1)
	defer events.Close()
	e.gathered = runsOf(func(yield func(*Event, int) bool) {
		for events.Next() && yield(events.Event(), len(events.rows.Value())) {
		}
	}, p.state.Revision)
	if err := v.Err(); err != nil {
		return fmt.Errorf("storage: reading the log: %w", err)
	}
	return nil
}

// historyReach is the row that says how far the history table goes.
func historyReach(revision int64) layerFound {
	return layerFound{key: string(historyKey), value: binary.AppendUvarint(nil, uint64(revision))}
}
