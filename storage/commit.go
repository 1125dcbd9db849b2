package storage

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// Commit writes the batch, with its State, as one atomic step, and makes the new state what View returns. It does not
// wait for the disk: see the package documentation for why that loses nothing. After an error nobody can tell how much
// of the batch a later start will find, except that it is all of it or nothing; the database accepts no further writes.
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
	pb := b.encode()
	return b.db.guarded(func() error {
		b.db.committing.Lock()
		defer b.db.committing.Unlock()
		if b.db.current.Load().snapshot == nil {
			return errors.Join(ErrClosed, pb.Close())
		}
		if err := b.engine.apply(pb); err != nil {
			return err
		}
		b.db.publish(b.engine, b.state, leases)
		return nil
	})
}

// encode turns the overlay into a Pebble batch: deleted intervals first, since what was written stands above them.
func (b *Batch) encode() *pebble.Batch {
	size := 256
	b.written.Scan(func(key string, e *entry) bool {
		size += len(key) + len(e.value) + 12
		return true
	})
	pb := b.engine.pebble.NewBatchWithSize(size)
	// An unindexed batch in memory cannot fail to take an operation; its errors are for indexed and closed ones.
	b.intervals.Scan(func(_ string, i interval) bool {
		_ = pb.DeleteRange(stringBytes(i.lower), stringBytes(i.upper), nil)
		return true
	})
	b.written.Scan(func(key string, e *entry) bool {
		switch {
		case e.write == writeSet:
			_ = pb.Set(stringBytes(key), e.value, nil)
		case e.base == baseAbsent || b.covering(stringBytes(key)) != nil:
			// There is nothing below to delete.
		default:
			_ = pb.Delete(stringBytes(key), nil)
		}
		return true
	})
	_ = pb.Set(stateKey, b.state.Append(nil), nil)
	return pb
}
