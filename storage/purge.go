package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Purging is the physical half of compaction. The logical half is State.Compacted: once it is C, no command and no watch
// reads anything that only a revision below C could show. What is purged:
//
//   - a version older than another version of its key at or below C, and itself below C;
//   - a tombstone below C.
//
// So every key keeps its newest version at or below C unless that is a tombstone below C, and every event at or after C
// stays for watchers. The cost follows what happened since the last purge, not the number of keys: the log is walked from
// where the last purge ended up to C, and for each event its key's neighbours in the history say what is dead. Events
// before the walk matter only as the one version that the last purge left of a key; the first event of the key in the
// walk ends it.
//
// Purging runs beside the apply goroutine and writes Pebble batches of its own. That is safe:
//
//   - Apply never writes a row that a purge removes. It only adds rows above State.Revision, which is at least C.
//   - After a crash Pebble is a prefix of everything written to it, by apply and purge together. A prefix that holds a
//     purge step up to C also holds the commit that made Compacted C, hence every row at or below C: no replay adds any
//     of them again. A prefix without the step has its rows and the progress from before it, and purges again.
//   - A step and its progress are one batch.
//   - Readers hold snapshots, and see either all of a step or nothing.
//
// Replicas need not purge alike: which rows below Compacted exist cannot be seen by any command.

const (
	// One step looks at this many events, and is one Pebble batch: small enough not to be felt beside applies.
	purgeStepEvents = 512
	// Dead neighbours in the log are removed by one range tombstone from this many on.
	purgeRangeEvents = 128
)

// purger is the progress of purging an engine, one meta row of it.
type purger struct {
	from  int64 // events below have been looked at, with a target at or above them; guarded by DB.purging
	bytes atomic.Int64
}

func (p *purger) load(e *engine) error {
	value, closer, err := e.pebble.Get(purgeKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("storage: reading the purge progress: %w", err)
	}
	defer closer.Close()
	d := decoder{rest: value}
	p.from = int64(d.uvarint())
	p.bytes.Store(int64(d.uvarint()))
	return d.failure("purge progress")
}

func (p *purger) row(from, bytes int64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(from)), uint64(bytes))
}

// Purged is the revision of the last purge that ended, or how far the present one has got: what it removes below is gone.
func (v *View) Purged() int64 {
	value, ok := v.Get(purgeKey)
	if !ok {
		return 0
	}
	d := decoder{rest: value}
	from := int64(d.uvarint())
	if err := d.failure("purge progress"); err != nil {
		v.fail(err)
	}
	return from
}

// HistoryBytes estimates the size of log and history as they stand.
func (db *DB) HistoryBytes() int64 {
	p := db.current.Load()
	return p.state.HistoryBytes - p.engine.purge.bytes.Load()
}

// SupersededBytes estimates how much of HistoryBytes a compaction at the present revision would free.
func (db *DB) SupersededBytes() int64 {
	p := db.current.Load()
	return max(0, p.state.SupersededBytes-p.engine.purge.bytes.Load())
}

// PurgeHistory removes what no read at or after the revision needs; State.Compacted must be at or above it already. It
// works in bounded steps, and ends early when ctx does; the next call goes on from there. Calls wait for one another.
func (db *DB) PurgeHistory(ctx context.Context, revision int64) error {
	db.purging.Lock()
	defer db.purging.Unlock()
	if compacted := db.current.Load().state.Compacted; revision > compacted {
		return fmt.Errorf("storage: purge at revision %d, but only %d is compacted", revision, compacted)
	}
	// A snapshot that is installed meanwhile brings history and progress of its own: the walk begins again there.
	var walk *purgeWalk
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e := db.current.Load().engine; walk == nil || walk.engine != e {
			// What is to be removed must be in Pebble, or it would get there later.
			if err := db.guarded(e.drain); err != nil {
				return fmt.Errorf("storage: purge: %w", err)
			}
			walk = &purgeWalk{engine: e, target: revision, start: e.purge.from, revision: e.purge.from, sub: math.MinInt32}
		}
		if walk.revision > revision {
			break
		}
		more := false
		if err := db.guarded(func() (err error) {
			more, err = walk.step()
			return err
		}); err != nil {
			return fmt.Errorf("storage: purge: %w", err)
		}
		if !more {
			break
		}
	}
	open := db.View() // keeps the engine open
	defer open.Release()
	if open.Err() != nil {
		return nil
	}
	return db.guarded(func() error {
		db.republish()
		return nil
	})
}

// purgeWalk is one call's way along the log of an engine.
type purgeWalk struct {
	engine *engine
	target int64
	start  int64 // of the walk: of the events before, at most one version of a key is left
	// The next event to look at.
	revision int64
	sub      int32

	batch   *pebble.Batch
	freed   int64
	removed int64    // rows of the log, each with its version
	dead    [][]byte // log keys of the present run of dead neighbours
	scratch []byte
	key     []byte
}

// step looks at the next events and removes what they make dead. more is false when the target is reached.
func (w *purgeWalk) step() (more bool, err error) {
	defer w.engine.db.options.timed(WorkPurgeStep, time.Now())
	open := w.engine.db.View() // keeps the engine open
	defer open.Release()
	if err := open.Err(); err != nil {
		return false, err
	}
	if open.pinned.engine != w.engine {
		return true, nil // it was replaced just now
	}
	// The current view may be older than the step before this one.
	v := w.engine.pinAnew(open.pinned.commit, *open.State(), open.Leases()).view()
	defer v.Release()
	w.batch = w.engine.pebble.NewBatch()
	w.freed, w.removed = 0, 0
	more, err = w.look(v)
	if err == nil {
		err = v.Err()
	}
	if err != nil {
		_ = w.batch.Close()
		return false, err
	}
	from := w.revision
	if !more {
		// The target itself is looked at again next time: what lies at it is not dead yet.
		from = w.target
	}
	progress := &w.engine.purge
	freed := progress.bytes.Load() + w.freed
	_ = w.batch.Set(purgeKey, progress.row(from, freed), nil)
	if err := w.engine.apply(w.batch); err != nil {
		return false, err
	}
	progress.from = from
	progress.bytes.Store(freed)
	w.engine.db.purgedRows.Add(w.removed)
	return more, nil
}

// look goes over one step's events, and leaves the position after them. more is false at the target's end.
func (w *purgeWalk) look(v *View) (more bool, err error) {
	lower := LogKey(nil, w.revision, w.sub)
	_, upper := logThrough(w.target)
	events := v.Scan(lower, upper)
	defer events.Close()
	history := v.Scan(HistoryBounds(nil, nil))
	defer history.Close()
	newer := v.Scan([]byte{tableHistory}, []byte{tableHistory + 1}, Reverse)
	defer newer.Close()

	for n := 0; events.Next(); n++ {
		revision, sub, ok := SplitLog(events.Key())
		if !ok {
			return false, fmt.Errorf("%w: log key %x", ErrCorrupt, events.Key())
		}
		if n == purgeStepEvents {
			w.revision, w.sub = revision, sub
			w.endRun()
			return true, nil
		}
		event, err := DecodeEvent(events.Value())
		if err != nil {
			return false, err
		}
		w.key = HistoryKey(w.key[:0], event.Key, revision, sub)
		dead, err := w.isDead(&event, revision, newer)
		if err != nil {
			return false, err
		}
		if err := w.endPredecessor(&event, history); err != nil {
			return false, err
		}
		if !dead {
			w.endRun()
			continue
		}
		w.dead = append(w.dead, bytes.Clone(events.Key()))
		_ = w.batch.Delete(w.key, nil)
		w.removed++
		w.freed += int64(len(events.Key()) + len(events.Value()) + historyRowBytes(event.Key, len(events.Value())))
	}
	w.endRun()
	return false, nil
}

// isDead says whether the event whose history row is w.key can be removed.
func (w *purgeWalk) isDead(event *Event, revision int64, newer *Iterator) (bool, error) {
	if revision >= w.target {
		return false, nil
	}
	if event.Type == EventDelete {
		return true, nil
	}
	// Newer versions stand before older ones.
	if !newer.SeekLT(w.key) {
		return false, nil
	}
	row, err := decodeHistory(newer.Key(), newer.Value(), w.scratch)
	if err != nil {
		return false, err
	}
	w.scratch = row.key
	return row.revision <= w.target && bytes.Equal(row.key, event.Key), nil
}

// endPredecessor removes the version before the event whose history row is w.key, if the walk has not passed it itself.
func (w *purgeWalk) endPredecessor(event *Event, history *Iterator) error {
	// The row of the event itself is there: it is removed in its own step only, and steps see what was before them.
	if !history.SeekGE(w.key) || !bytes.Equal(history.Key(), w.key) || !history.Next() {
		return nil
	}
	row, err := decodeHistory(history.Key(), history.Value(), w.scratch)
	if err != nil {
		return err
	}
	w.scratch = row.key
	if row.revision >= w.start || row.revision >= w.target || !bytes.Equal(row.key, event.Key) {
		return nil
	}
	_ = w.batch.Delete(LogKey(nil, row.revision, row.sub), nil)
	_ = w.batch.Delete(history.Key(), nil)
	w.removed++
	w.freed += int64(row.rowBytes)
	return nil
}

// endRun removes the log rows of a run of dead neighbours.
func (w *purgeWalk) endRun() {
	if len(w.dead) >= purgeRangeEvents {
		_ = w.batch.DeleteRange(w.dead[0], append(w.dead[len(w.dead)-1], 0), nil)
	} else {
		for _, key := range w.dead {
			_ = w.batch.Delete(key, nil)
		}
	}
	w.dead = w.dead[:0]
}

// logThrough holds the events up to a revision, included.
func logThrough(revision int64) (lower, upper []byte) {
	return []byte{tableLog}, prefixEnd(appendInt64([]byte{tableLog}, revision))
}

// uvarintLen is the length of a number in binary.AppendUvarint's form.
func uvarintLen(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }
