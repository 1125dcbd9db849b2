package storage

import "github.com/cockroachdb/pebble/v2"

// Commit makes the batch, with its State, one atomic step, and the new state what View returns. It does not wait for the
// disk: see the package documentation for why that loses nothing. After an error nobody can tell how much of the batch a
// later start will find, except that it is all of it or nothing; the database accepts no further writes.
func (b *Batch) Commit() error {
	if b.ended {
		return errBatchEnded
	}
	defer b.end()
	if b.err != nil {
		return b.err
	}
	leases, err := b.db.Leases().with(b)
	if err != nil {
		return err
	}
	// Whoever holds committing may hang in Pebble after a failure; then only a guarded wait ends.
	if b.intervals.Len() == 0 && b.db.committing.TryLock() {
		if !b.engine.isFull() {
			defer b.db.committing.Unlock()
			return b.commitLocked(leases)
		}
		b.db.committing.Unlock()
	}
	return b.db.guarded(func() error { return b.commitPatiently(leases) })
}

// isFull says that the active layer is to be frozen. The caller holds committing.
func (e *engine) isFull() bool { return e.active.bytes() >= int(e.db.options.MemtableBytes) }

// commitPatiently waits for what the commit needs. It runs guarded.
func (b *Batch) commitPatiently(leases *Leases) error {
	db, e := b.db, b.engine
	db.committing.Lock()
	defer db.committing.Unlock()
	if b.intervals.Len() > 0 {
		return b.commitBelow(leases)
	}
	if e.isFull() {
		if e.frozen != nil {
			db.stalls.Add(1)
		}
		if err := e.freezeLocked(); err != nil {
			return err
		}
	}
	return b.commitLocked(leases)
}

// commitLocked writes the batch to the active layer. The caller holds committing.
func (b *Batch) commitLocked(leases *Leases) error {
	if err := b.allowed(); err != nil {
		return err
	}
	b.engine.active.write(b, b.base.commit+1, b.db.oldestCommit())
	b.engine.noteLayers()
	b.publish(leases)
	return nil
}

// allowed says whether the batch may be committed still. The caller holds committing.
func (b *Batch) allowed() error {
	if b.db.current.Load().ground == nil {
		return ErrClosed
	}
	return b.db.Err()
}

func (b *Batch) publish(leases *Leases) {
	b.remember()
	b.db.publish(b.engine, b.base.commit+1, b.state, leases)
}

// commitBelow writes a batch that deletes whole intervals. Only Pebble can: all that was committed before goes there first.
// The caller holds committing.
func (b *Batch) commitBelow(leases *Leases) error {
	e := b.engine
	if err := e.drainLocked(); err != nil {
		return err
	}
	if err := b.allowed(); err != nil {
		return err
	}
	if err := e.apply(b.encode()); err != nil {
		return err
	}
	old := e.ground
	e.ground = e.newGround()
	b.publish(leases)
	old.retire()
	return nil
}

// encode turns the overlay into a Pebble batch: deleted intervals first, since what was written stands above them.
func (b *Batch) encode() *pebble.Batch {
	pb := b.engine.pebble.NewBatch()
	// An unindexed batch in memory cannot fail to take an operation; its errors are for indexed and closed ones.
	b.intervals.Scan(func(_ string, i interval) bool {
		_ = pb.DeleteRange(stringBytes(i.lower), stringBytes(i.upper), nil)
		return true
	})
	for _, e := range b.touched {
		switch {
		case e.write == writeNone:
		case e.write == writeSet:
			_ = pb.Set(stringBytes(e.key), e.value, nil)
		case e.base == baseAbsent || b.covering(stringBytes(e.key)) != nil:
			// There is nothing below to delete.
		default:
			_ = pb.Delete(stringBytes(e.key), nil)
		}
	}
	for i := range b.rows {
		e := &b.rows[i]
		_ = pb.Set(stringBytes(e.key), e.value, nil)
		key, value := b.rowRoom.historyOf(e.key, e.value)
		_ = pb.Set(stringBytes(key), value, nil)
	}
	_ = pb.Set(stateKey, b.state.Append(nil), nil)
	return pb
}

// remember enters what the batch wrote into the cache of rows.
func (b *Batch) remember() {
	cache, commit := b.engine.cache, b.base.commit+1
	b.intervals.Scan(func(_ string, i interval) bool {
		for table := i.lower[0]; table <= tableLast && string(table) < i.upper; table++ {
			cache.clear(table, commit)
		}
		return true
	})
	for _, e := range b.touched {
		if key := stringBytes(e.key); e.write != writeNone && cache.caches(key) {
			cache.wrote(key, commit, e.value, e.write == writeSet)
		}
	}
}
