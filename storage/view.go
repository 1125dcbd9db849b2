package storage

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// ErrClosed is what reading or writing a closed database gives.
var ErrClosed = errors.New("storage: database is closed")

// View is the state as the last Commit before it left it: a Reader that never changes. All views taken between two
// commits share one Pebble snapshot. A view may be used by several goroutines; Release ends it.
type View struct {
	pinned   *pinned
	first    atomic.Pointer[error]
	released atomic.Bool
}

// pinned is what the views between two commits share. The database itself holds one reference until the next commit.
// The count never leaves zero again: whoever loses the race against the last release finds a newer one in its place.
type pinned struct {
	engine   *engine
	refs     atomic.Int64
	snapshot *pebble.Snapshot // nil once the database is closed
	state    State
	leases   *Leases
}

func (p *pinned) acquire() bool {
	for {
		n := p.refs.Load()
		if n == 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *pinned) release() {
	switch n := p.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("storage: view released too often")
	case p.snapshot != nil:
		// After a failure Pebble may have parked a goroutine under its lock; the process is about to end anyway.
		db := p.engine.db
		if db.Err() == nil {
			if err := p.snapshot.Close(); err != nil {
				db.logger.Error("closing a snapshot failed", "error", err)
			}
		}
		p.engine.release()
		db.pins.Done()
	}
}

// View is the present state. The caller releases it, soon: as long as it is held, what it sees stays on disk.
func (db *DB) View() *View {
	for {
		// A load that fails to acquire saw a state that a commit replaced in between.
		if p := db.current.Load(); p.acquire() {
			return p.view()
		}
	}
}

func (p *pinned) view() *View {
	v := &View{pinned: p}
	if p.snapshot == nil {
		v.fail(ErrClosed)
	}
	return v
}

// pin takes a snapshot of the engine as it stands, with one reference. The caller holds the engine.
func (e *engine) pin(state State, leases *Leases) *pinned {
	p := &pinned{engine: e, snapshot: e.pebble.NewSnapshot(), state: state, leases: leases}
	p.refs.Store(1)
	e.refs.Add(1)
	e.db.pins.Add(1)
	return p
}

// publish makes a state what View returns from now on. The caller holds committing.
func (db *DB) publish(e *engine, state State, leases *Leases) {
	if previous := db.current.Swap(e.pin(state, leases)); previous != nil {
		previous.release()
	}
}

// republish renews the snapshot of the present state, so that what was purged meanwhile can leave the disk although no
// commit follows.
func (db *DB) republish() {
	db.committing.Lock()
	defer db.committing.Unlock()
	if p := db.current.Load(); p.snapshot != nil {
		db.publish(p.engine, p.state, p.leases)
	}
}

// Clone is another view of the same state, to be released by itself.
func (v *View) Clone() *View {
	v.pinned.refs.Add(1) // cannot be zero while v is held
	return v.pinned.view()
}

// Release gives the view back. Iterators on it must have been closed.
func (v *View) Release() {
	if v.released.Swap(true) {
		panic("storage: view released twice")
	}
	v.pinned.release()
}

// State is the state at the view. It must not be modified.
func (v *View) State() *State { return &v.pinned.state }

// Leases are the leases and sessions at the view.
func (v *View) Leases() *Leases { return v.pinned.leases }

// Err is the first failure of a read of this view.
func (v *View) Err() error {
	if err := v.first.Load(); err != nil {
		return *err
	}
	return nil
}

func (v *View) fail(err error) { v.first.CompareAndSwap(nil, &err) }

func (v *View) failed() bool { return v.first.Load() != nil }

// Get gives a copy of the value under a key.
func (v *View) Get(key []byte) ([]byte, bool) {
	if v.failed() {
		return nil, false
	}
	value, closer, err := v.pinned.snapshot.Get(key)
	if err != nil {
		if !errors.Is(err, pebble.ErrNotFound) {
			v.fail(fmt.Errorf("storage: read: %w", err))
		}
		return nil, false
	}
	value = append(make([]byte, 0, len(value)), value...)
	_ = closer.Close()
	return value, true
}

// Scan goes over [lower, upper).
func (v *View) Scan(lower, upper []byte, options ...ScanOption) *Iterator {
	it := &Iterator{reader: v, lower: lower, upper: upper, reverse: isReverse(options)}
	if v.failed() || isEmpty(lower, upper) {
		return it
	}
	base, err := v.pinned.snapshot.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		v.fail(fmt.Errorf("storage: scan: %w", err))
		return it
	}
	it.base = base
	return it
}
