package storage

import (
	"errors"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// ErrClosed is what reading or writing a closed database gives.
var ErrClosed = errors.New("storage: database is closed")

// View is the state as the last Commit before it left it: a Reader that never changes. A view may be used by several
// goroutines; Release ends it.
type View struct {
	pinned   *pinned
	first    atomic.Pointer[error]
	released atomic.Bool
}

// pinned is what the views between two commits share. The database itself holds one reference until the next commit.
// The count never leaves zero again: whoever loses the race against the last release finds a newer one in its place.
type pinned struct {
	engine *engine
	*hold
	ground   *ground       // nil once the database is closed
	layers   []*layer      // above it, the newest first
	gathered []*historyRun // history rows between them
	state    State
	leases   *Leases
}

// hold is all that must be remembered of what is pinned to tell which commits are still looked at.
type hold struct {
	generation string // name of the engine
	commit     uint64 // number of the commit that left the state, from when the engine was opened
	refs       atomic.Int64
}

// ground is a snapshot of Pebble, shared by the views between two drains. It holds its engine; the engine holds a reference
// to the present one, until another engine takes its place.
type ground struct {
	engine   *engine
	snapshot *pebble.Snapshot
	lookups  lookups
	refs     atomic.Int64
	closed   chan struct{} // closed with the snapshot, some time after the last reference is given up
}

func (e *engine) newGround() *ground {
	g := &ground{engine: e, snapshot: e.pebble.NewSnapshot(), closed: make(chan struct{})}
	g.refs.Store(1)
	e.refs.Add(1)
	return g
}

// retire gives up the engine's reference: another ground is the present one. Closing iterators may have to wait for Pebble.
func (g *ground) retire() {
	db := g.engine.db
	if g.lookups.retire() && db.Err() == nil {
		db.guards.Add(1)
		go func() {
			defer db.guards.Done()
			if err := g.lookups.drop(); err != nil {
				db.logger.Error("closing an iterator failed", "error", err)
			}
			g.release()
		}()
		return
	}
	g.release()
}

// release gives up a reference. The last one closes the snapshot, on a goroutine that Close waits for: after a failure
// Pebble may have parked one of its own under the lock that this needs.
func (g *ground) release() {
	db := g.engine.db
	if g.refs.Add(-1) > 0 || db.Err() != nil {
		return
	}
	db.guards.Add(1)
	go func() {
		defer db.guards.Done()
		if err := g.close(); err != nil {
			db.logger.Error("closing a snapshot failed", "error", err)
		}
		close(g.closed)
		g.engine.release()
	}()
}

func (g *ground) close() error { return errors.Join(g.lookups.drop(), g.snapshot.Close()) }

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
	case p.ground != nil:
		db := p.engine.db
		p.ground.release()
		p.engine.release()
		db.pins.Done()
	}
}

// View is the present state. The caller releases it, soon: as long as it is held, what it sees stays on disk.
func (db *DB) View() *View { return db.pinCurrent().view() }

// pinCurrent takes a reference to the present state.
func (db *DB) pinCurrent() *pinned {
	for {
		// A load that fails to acquire saw a state that a commit replaced in between.
		if p := db.current.Load(); p.acquire() {
			return p
		}
	}
}

func (p *pinned) view() *View {
	v := &View{pinned: p}
	if p.ground == nil {
		v.fail(ErrClosed)
	}
	return v
}

// pin makes what views share, with one reference: the state that a commit left, over a ground that holds what the drains
// before it brought down. The caller holds committing, and the engine.
func (e *engine) pin(commit uint64, on *ground, state State, leases *Leases) *pinned {
	p := &pinned{
		engine: e, hold: &hold{generation: e.name, commit: commit}, ground: on, layers: []*layer{e.active}, gathered: e.gathered, state: state, leases: leases,
	}
	if e.frozen != nil {
		p.layers = append(p.layers, e.frozen)
	}
	p.refs.Store(1)
	on.refs.Add(1)
	e.refs.Add(1)
	e.db.pins.Add(1)
	return p
}

// pinAnew is pin with a ground that shows what else was written to Pebble since the last drain.
func (e *engine) pinAnew(commit uint64, state State, leases *Leases) *pinned {
	e.db.committing.Lock()
	defer e.db.committing.Unlock()
	g := e.newGround()
	defer g.release()
	return e.pin(commit, g, state, leases)
}

// publish makes a state what View returns from now on. The caller holds committing.
func (db *DB) publish(e *engine, commit uint64, state State, leases *Leases) {
	p := e.pin(commit, e.ground, state, leases)
	db.holds.add(p.hold)
	if previous := db.current.Swap(p); previous != nil {
		previous.release()
	}
}

// holds are those of the states that were published, in order, those that nobody looks at any more left out now and then.
type holds struct {
	all  []*hold
	most int // how many there are when they are looked through
}

const holdsMin = 64

func (h *holds) add(next *hold) {
	if len(h.all) >= max(h.most, holdsMin) {
		h.all = slices.DeleteFunc(h.all, func(h *hold) bool { return h.refs.Load() == 0 })
		h.most = 2 * len(h.all)
	}
	h.all = append(h.all, next)
}

// oldestCommit is the oldest that somebody looks at. The caller holds committing.
func (db *DB) oldestCommit() uint64 {
	for len(db.holds.all) > 0 && db.holds.all[0].refs.Load() == 0 {
		db.holds.all[0] = nil
		db.holds.all = db.holds.all[1:]
	}
	if len(db.holds.all) == 0 || db.holds.all[0].generation != db.current.Load().engine.name {
		return 0
	}
	return db.holds.all[0].commit
}

// republish renews the ground of the present state, so that what was purged meanwhile can leave the disk although no
// commit follows.
func (db *DB) republish() {
	db.committing.Lock()
	defer db.committing.Unlock()
	if p := db.current.Load(); p.ground != nil {
		p.engine.raise(p)
	}
}

// raise publishes a state over Pebble as it is now. The caller holds committing.
func (e *engine) raise(p *pinned) {
	old := e.ground
	e.ground = e.newGround()
	e.db.publish(e, p.commit, p.state, p.leases)
	old.retire()
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
	value, present, err := v.pinned.get(key)
	if err != nil {
		v.fail(err)
	}
	return value, present
}

// Scan goes over [lower, upper).
func (v *View) Scan(lower, upper []byte, options ...ScanOption) *Iterator {
	it := &Iterator{reader: v, lower: lower, upper: upper, reverse: isReverse(options)}
	if v.failed() || isEmpty(lower, upper) {
		return it
	}
	if err := it.begin(v.pinned); err != nil {
		v.fail(err)
	}
	return it
}
