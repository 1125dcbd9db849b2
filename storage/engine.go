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
	db      *DB
	name    string // of its directory, without a path
	pebble  *pebble.DB
	options *pebble.Options
	refs    atomic.Int64 // what is pinned of it, grounds, and one more while it is the current one
	cache   *rowCache
	purge   purger

	// Guarded by DB.committing: where commits go to, what is on its way to Pebble, and Pebble below both.
	active  *layer
	frozen  *layer        // nil if there is none
	drained chan struct{} // closed when the frozen layer is in Pebble
	drains  uint64        // layers and runs sent to Pebble so far
	ground  *ground
	above   atomic.Int64 // bytes of the two layers, and of what is gathered

	gathered  []*historyRun // history rows of what is below the layers that are not in Pebble; shared with views
	filed     chan struct{} // closed when those of them that are being filed are in Pebble, nil if none are
	historyTo atomic.Int64  // the revision up to which those in Pebble go at least

	// installed is the index of the snapshot that this generation began as, 0 if it began empty.
	installed uint64
}

// openEngine opens a generation, with one reference, the caller's.
func (db *DB) openEngine(name string) (*engine, error) {
	e := &engine{db: db, name: name, cache: newRowCache(db.options.RowCacheBytes), active: newLayer(nil)}
	e.refs.Store(1)
	if err := db.guarded(func() (err error) {
		e.options = db.options.engine(db)
		e.pebble, err = pebble.Open(e.dir(), e.options)
		return err
	}); err != nil {
		return nil, fmt.Errorf("storage: opening %s: %w", e.dir(), err)
	}
	e.ground = e.newGround()
	return e, nil
}

// discard closes an engine that nobody has come to use.
func (e *engine) discard() error { return errors.Join(e.ground.close(), e.pebble.Close()) }

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
	p := e.pin(0, e.ground, state, leases)
	defer p.release()
	if err := errors.Join(leases.load(p), e.loadHistory(p)); err != nil {
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

// stored reads a row as it is stored. The value is the caller's own copy.
func (p *pinned) stored(key []byte) (value []byte, present bool, err error) {
	cache := p.engine.cache
	cached := cache.caches(key)
	if cached {
		if value, present, known := cache.get(key, p.commit); known {
			return value, present, nil
		}
	}
	if id, ok := SplitLease(key); ok {
		if _, granted := p.leases.Get(id); !granted {
			return nil, false, nil // most leases are asked for before they are granted: nothing on disk has to say so
		}
	}
	present, err = p.lookUp(key, func(stored []byte) { value = append(make([]byte, 0, len(stored)), stored...) })
	if cached && err == nil {
		cache.found(key, p.commit, value, present)
	}
	return value, present, err
}

// lookUp lets use have the value of a row, if there is one, where it lies.
func (p *pinned) lookUp(key []byte, use func(stored []byte)) (present bool, err error) {
	for _, l := range p.layers {
		if stored, present, known := l.get(key, p.commit); known {
			if present {
				use(stored)
			}
			return present, nil
		}
	}
	if key[0] == tableHistory {
		for _, r := range p.gathered {
			if stored, present := r.get(key); present {
				use(stored)
				return true, nil
			}
		}
	}
	rows, err := p.ground.lookup(key)
	if err != nil {
		return false, err
	}
	stored, present, err := rows.find(key)
	if present {
		use(stored)
	}
	return present, errors.Join(err, p.ground.leave(rows))
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

// retire ends the engine's being the current one.
func (e *engine) retire() {
	e.ground.retire()
	e.release()
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
