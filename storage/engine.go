package storage

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// engine is one generation of the state: a Pebble database in a directory of its own inside the DB's. There is one that
// commits go to, which Install replaces. What works with the state of a moment (a view, a purge step) holds the engine
// that it began with, and an engine that was replaced lives on until the last of them has ended; then it is closed and
// its directory removed.
type engine struct {
	db     *DB
	name   string // of its directory, without a path
	pebble *pebble.DB
	refs   atomic.Int64 // snapshots of it, and one more while it is the current one
	purge  purger

	// installed is the index of the snapshot that this generation began as, 0 if it began empty.
	installed uint64
}

// openEngine opens a generation, with one reference, the caller's.
func (db *DB) openEngine(name string) (*engine, error) {
	e := &engine{db: db, name: name}
	e.refs.Store(1)
	if err := db.guarded(func() (err error) {
		e.pebble, err = pebble.Open(e.dir(), db.options.engine(db))
		return err
	}); err != nil {
		return nil, fmt.Errorf("storage: opening %s: %w", e.dir(), err)
	}
	return e, nil
}

func (e *engine) dir() string { return e.db.path(e.name) }

// load reads what is held in memory: the state, the leases, how far history was purged.
func (e *engine) load() (State, *Leases, error) {
	state, err := e.readState(&pebble.IterOptions{})
	if err != nil {
		return State{}, nil, err
	}
	leases, err := newLeases()
	if err != nil {
		return State{}, nil, err
	}
	p := e.pin(state, leases)
	defer p.release()
	if err := leases.load(p); err != nil {
		return State{}, nil, err
	}
	return state, leases, e.purge.load(e)
}

// readState reads the state row: what an iterator with these options sees of it.
func (e *engine) readState(options *pebble.IterOptions) (State, error) {
	return readState(e.pebble, options)
}

func readState(from pebble.Reader, options *pebble.IterOptions) (State, error) {
	options.LowerBound, options.UpperBound = stateKey, prefixEnd(stateKey)
	it, err := from.NewIter(options)
	if err != nil {
		return State{}, fmt.Errorf("storage: reading the state: %w", err)
	}
	state := initialState()
	if it.First() {
		value, valueErr := it.ValueAndErr()
		if valueErr == nil {
			state, valueErr = DecodeState(value)
		}
		err = valueErr
	}
	if err = errors.Join(err, it.Error(), it.Close()); err != nil {
		return State{}, fmt.Errorf("storage: reading the state: %w", err)
	}
	return state, nil
}

// apply hands a batch to Pebble, without waiting for the disk. An error ends the database.
func (e *engine) apply(pb *pebble.Batch) error {
	err := e.pebble.Apply(pb, pebble.NoSync)
	if err == nil {
		return pb.Close()
	}
	err = fmt.Errorf("storage: write: %w", err)
	e.db.fail(err)
	return err
}

// release gives up a reference. The last one ends an engine that was replaced, on a goroutine that Close waits for:
// whoever releases a view does not wait for a directory to be removed.
func (e *engine) release() {
	switch n := e.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("storage: engine released too often")
	case e.db.Err() != nil: // it stays as it lies; the next start removes it
	default:
		e.db.guards.Add(1)
		go func() {
			defer e.db.guards.Done()
			err := e.pebble.Close()
			if err == nil {
				err = e.db.options.FS.RemoveAll(e.dir())
			}
			if err != nil {
				e.db.logger.Warn("a replaced state could not be removed; the next start tries again", "directory", e.dir(), "error", err)
			}
		}()
	}
}
