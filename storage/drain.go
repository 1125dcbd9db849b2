package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// How a layer gets to Pebble: as finished tables, which Pebble takes in as one step. There is a table for each group of ours
// that lies together, so that the log, to which rows are only added, gets to the last level at once, where it stays: it is
// half of what is written, and no compaction moves it. The rows of the history, which follow from it, come later: see gather.go.
//
// A layer that is small, because somebody could not wait, goes through a memtable instead: four files and their syncs would
// cost more. So does every layer when the engine has a log of its own, which after a crash must hold all that it wrote.

// freeze gives commits a new layer and sends the present one to Pebble. It waits for the one before it. It runs guarded.
func (e *engine) freeze() error {
	e.db.committing.Lock()
	defer e.db.committing.Unlock()
	return e.freezeLocked()
}

// freezeLocked is freeze for who holds committing, which it lets go of while it waits.
func (e *engine) freezeLocked() error {
	if err := e.awaitDrained(); err != nil {
		return err
	}
	if e.active.isEmpty() {
		return nil
	}
	e.frozen, e.active, e.drained = e.active, newLayer(e.active), make(chan struct{})
	e.drains++
	e.db.guards.Add(1)
	e.refs.Add(1)
	go e.drainFrozen(e.frozen, e.drains, e.drained)
	return nil
}

// awaitDrained returns when no layer is frozen. The caller holds committing, which is let go of meanwhile.
func (e *engine) awaitDrained() error {
	for e.frozen != nil {
		if err := e.await(e.drained); err != nil {
			return err
		}
	}
	return nil
}

// await returns when something is closed, without what the caller holds meanwhile, which is committing.
func (e *engine) await(end <-chan struct{}) error {
	e.db.committing.Unlock()
	select {
	case <-end:
	case <-e.db.failure.happened:
	}
	e.db.committing.Lock()
	return e.db.Err()
}

// drainLocked brings all that was committed to Pebble. The caller holds committing, which is let go of meanwhile.
func (e *engine) drainLocked() error {
	if err := e.freezeLocked(); err != nil {
		return err
	}
	if err := e.awaitDrained(); err != nil {
		return err
	}
	return e.fileAllLocked()
}

// drain is drainLocked for who does not hold committing. It runs guarded.
func (e *engine) drain() error {
	e.db.committing.Lock()
	defer e.db.committing.Unlock()
	return e.drainLocked()
}

// drainFrozen writes a layer to Pebble, on a goroutine of its own that Close waits for. An error ends the database, and who
// waits hears of that.
func (e *engine) drainFrozen(l *layer, number uint64, drained chan<- struct{}) {
	db := e.db
	defer db.guards.Done()
	if err := e.writeParts(e.partsOf(l), l.held, number); err != nil {
		return
	}
	runs := l.history()
	db.committing.Lock()
	defer db.committing.Unlock()
	e.frozen = nil
	e.gather(runs)
	e.raiseLocked()
	close(drained)
	e.release()
}

// raiseLocked publishes the present state over Pebble as it is now, unless it is another engine's. The caller holds committing.
func (e *engine) raiseLocked() {
	e.noteLayers()
	if p := e.db.current.Load(); p.engine == e && p.ground != nil {
		e.raise(p)
	}
}

// writeParts writes parts to Pebble as one step, by the memory that they held as tables or as a batch. An error ends the database.
func (e *engine) writeParts(parts []part, held int, number uint64) error {
	if e.db.options.EngineWAL || held < int(e.db.options.MemtableBytes)/ingestFraction {
		return e.writeRows(parts)
	}
	return e.ingestRows(parts, number)
}

// ingestFraction says which part of a full layer is enough to make tables of it.
const ingestFraction = 4

// sorted gives the newest versions, without what is not needed below, and the rows of the log, each in the order of the keys.
// Nobody writes to the layer any more.
func (l *layer) sorted() (rows, log []*layerRow) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	rows = make([]*layerRow, 0, len(l.made))
	for _, row := range l.made {
		if !row.gone && (!row.lone || !row.deleted) {
			rows = append(rows, row)
		}
	}
	log = slices.Clone(l.log)
	sortRows(rows)
	sortRows(log)
	return rows, log
}

func sortRows(rows []*layerRow) {
	byKey := func(a, b *layerRow) int { return cmp.Compare(a.key, b.key) }
	if !slices.IsSortedFunc(rows, byKey) {
		slices.SortFunc(rows, byKey)
	}
}

// part is what a drain writes of a group of tables, in the order of the keys.
type part struct {
	group int
	rows  iter.Seq[layerFound]
}

// partsOf gives what is to be written of a layer. Each part has rows.
func (e *engine) partsOf(l *layer) []part {
	rows, log := l.sorted()
	parts := []part{{groupMeta, slices.Values([]layerFound{historyReach(e.historyTo.Load()), {key: string(stateKey), value: l.state.Append(nil)}})}}
	above, _ := slices.BinarySearchFunc(rows, string([]byte{tableLog}), func(row *layerRow, key string) int { return cmp.Compare(row.key, key) })
	for _, p := range []struct {
		group int
		rows  []*layerRow
	}{{groupBelow, rows[:above]}, {groupLog, log}, {groupAbove, rows[above:]}} {
		if len(p.rows) > 0 {
			parts = append(parts, part{p.group, newestOf(p.rows)})
		}
	}
	return parts
}

func newestOf(rows []*layerRow) iter.Seq[layerFound] {
	return func(yield func(layerFound) bool) {
		for _, row := range rows {
			if !yield(layerFound{row.key, row.value, row.deleted}) {
				return
			}
		}
	}
}

// writeRows writes as a batch.
func (e *engine) writeRows(parts []part) error {
	pb := e.pebble.NewBatch()
	// An unindexed batch in memory cannot fail to take an operation; its errors are for indexed and closed ones.
	for _, p := range parts {
		for row := range p.rows {
			if row.deleted {
				_ = pb.Delete(stringBytes(row.key), nil)
			} else {
				_ = pb.Set(stringBytes(row.key), row.value, nil)
			}
		}
	}
	return e.apply(pb)
}

// ingestFillMax is how full L0 may be when tables are added to it; from 1 on Pebble compacts it, and so always makes room again.
// (Its number of sublevels would not do: tables of which each overlaps with the one before alone make many, and bother nobody.)
// Pebble stops writers that go through a memtable when compactions are behind, and does not stop tables.
const ingestFillMax = 5.0

// awaitCompactions returns when L0 has room for more.
func (e *engine) awaitCompactions() error {
	for e.pebble.Metrics().Levels[0].FillFactor >= ingestFillMax {
		select {
		case <-e.db.compacted:
		case <-e.db.failure.happened:
		}
		if err := e.db.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ingestRows writes as tables.
func (e *engine) ingestRows(parts []part, number uint64) error {
	if err := e.awaitCompactions(); err != nil {
		return err
	}
	paths, err := e.writeTables(parts, number)
	if err == nil {
		err = e.pebble.Ingest(context.Background(), paths)
	}
	if err != nil {
		err = fmt.Errorf("storage: write: %w", err)
		e.db.fail(err)
		return err
	}
	e.db.noteFlush()
	return nil
}

// groups are where the tables of ours begin that share tables of Pebble. Compactions keep to them: a table that had rows on both
// sides of the log would be in the way of the log's, which could not get to the last level then. The state is written with every
// layer and lies apart, or else each layer would overlap with all others.
var groups = [...][]byte{{tableMeta}, {tableMeta + 1}, {tableLog}, {tableLog + 1}, {tableHistory + 1}}

// Places in groups.
const (
	groupMeta = iota
	groupBelow
	groupLog
	groupHistory
	groupAbove
)

// groupOf says in which group a key is.
func groupOf(key string) int {
	group := 0
	for group+1 < len(groups) && key >= bytesString(groups[group+1]) {
		group++
	}
	return group
}

// groupOfKey tells Pebble where the group of a key ends.
func groupOfKey(key []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	if next := groupOf(bytesString(key)) + 1; next < len(groups) {
		end = groups[next]
	}
	return policy, end, nil
}

func (e *engine) writeTables(parts []part, number uint64) (paths []string, err error) {
	for _, p := range parts {
		path := e.db.path(fmt.Sprintf("%s%06d-%d", layerPrefix, number, p.group))
		if err := e.writeTable(path, p); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// writeTable writes a table that is on disk for good when it returns.
func (e *engine) writeTable(path string, p part) error {
	f, err := e.db.options.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	level := 0
	if p.group == groupLog {
		level = lastLevel
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), e.options.MakeWriterOptions(level, e.pebble.TableFormat()))
	for row := range p.rows {
		if row.deleted {
			err = w.Delete(stringBytes(row.key))
		} else {
			err = w.Set(stringBytes(row.key), row.value)
		}
		if err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}

const lastLevel = 6
