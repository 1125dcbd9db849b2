package storage

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrNotReceived means that there is no finished snapshot of that index and term.
var ErrNotReceived = errors.New("storage: no such snapshot was received")

// Install makes a received and finished snapshot the state. It belongs to the goroutine that commits, with no batch
// under way. On return what View gives is the new state, and it is durable. Views of the state before stay as they are.
//
// The steps, and what a crash after each of them leaves:
//
//	the files become an engine directory     the old state: CURRENT does not name it, so Open removes it
//	the engine opens, its state row is read  the old state, likewise
//	CURRENT is replaced                      the new state; the old engine directory is removed by Open
//	views give the new state                 the new state
//	the last view of the old one ends        the new state
//
// An error before CURRENT is written leaves the database as it was. One while it is written leaves it failed, since
// nobody can tell which state the next start will find.
func (db *DB) Install(meta SnapshotMeta) error {
	before := db.View()
	defer before.Release()
	if err := errors.Join(before.Err(), db.Err()); err != nil {
		return err
	}
	if meta.Index <= before.State().AppliedIndex {
		return nil // the state holds it already
	}
	old := before.pinned.engine
	generation, ok := generationOf(old.name)
	if !ok {
		return fmt.Errorf("%w: the engine directory is called %q", ErrCorrupt, old.name)
	}
	next := current{engine: engineName(generation + 1), installed: meta.Index}
	e, state, leases, err := db.openReceived(meta, next)
	if err != nil {
		return fmt.Errorf("storage: install: %w", err)
	}
	if err := db.guarded(func() error { return db.writeCurrent(next) }); err != nil {
		db.fail(fmt.Errorf("storage: install: %w", err))
		return db.Err()
	}
	return db.guarded(func() error {
		db.committing.Lock()
		db.publish(e, 0, state, leases)
		db.committing.Unlock()
		old.retire()
		return nil
	})
}

// openReceived turns a finished snapshot into an engine, and checks that it is the state that it is said to be.
func (db *DB) openReceived(meta SnapshotMeta, as current) (*engine, State, *Leases, error) {
	if err := db.takeReceived(meta, as.engine); err != nil {
		return nil, State{}, nil, err
	}
	e, err := db.openEngine(as.engine)
	if err != nil {
		return nil, State{}, nil, errors.Join(err, db.options.FS.RemoveAll(db.path(as.engine)))
	}
	e.installed = as.installed
	state, leases, err := e.load()
	if err == nil && (state.AppliedIndex != meta.Index || state.AppliedTerm != meta.Term || !bytes.Equal(state.Conf, meta.Conf)) {
		err = fmt.Errorf("%w: the snapshot holds the state at index %d of term %d, said was %d of term %d",
			ErrCorrupt, state.AppliedIndex, state.AppliedTerm, meta.Index, meta.Term)
	}
	if err != nil {
		return nil, State{}, nil, errors.Join(err, e.discard(), db.options.FS.RemoveAll(e.dir()))
	}
	return e, state, leases, nil
}

// takeReceived moves the files of a finished snapshot into an engine directory.
func (db *DB) takeReceived(meta SnapshotMeta, engine string) error {
	s, fsys := &db.incoming, db.options.FS
	s.mu.Lock()
	defer s.mu.Unlock()
	received := manifest{meta: meta}
	dir := received.dirName()
	m, finished := s.finished[dir]
	if !finished {
		return fmt.Errorf("%w: index %d of term %d", ErrNotReceived, meta.Index, meta.Term)
	}
	delete(s.finished, dir)
	if !bytes.Equal(m.meta.Conf, meta.Conf) {
		return fmt.Errorf("%w: the snapshot at index %d was received with another configuration", ErrCorrupt, meta.Index)
	}
	if err := fsys.RemoveAll(db.path(engine)); err != nil { // of an install that failed
		return err
	}
	if err := fsys.Rename(db.path(dir, filesDir), db.path(engine)); err != nil {
		return err
	}
	if err := fsys.RemoveAll(db.path(dir)); err != nil {
		return err
	}
	return syncDir(fsys, db.options.Dir)
}

// Adopt makes the state that was committed count as one that was installed: a log that knows nothing of it begins there. It
// is for a state that was made and not replicated, and for its maker, before anybody else has the database. On return the
// state is durable.
func (db *DB) Adopt() error {
	if err := db.Flush(); err != nil {
		return err
	}
	e, index := db.current.Load().engine, db.current.Load().state.AppliedIndex
	if err := db.guarded(func() error { return db.writeCurrent(current{engine: e.name, installed: index}) }); err != nil {
		db.fail(fmt.Errorf("storage: adopt: %w", err))
		return db.Err()
	}
	e.installed = index
	return nil
}

// Installed says which snapshot the state was installed as, as long as no later entry has been applied. A log that does not
// reach it has not been told of it: the process ended in between, or the state came from a backup.
func (db *DB) Installed() (meta SnapshotMeta, ok bool) {
	v := db.View()
	defer v.Release()
	state := v.State()
	if index := v.pinned.engine.installed; index == 0 || index != state.AppliedIndex {
		return SnapshotMeta{}, false
	}
	return SnapshotMeta{Index: state.AppliedIndex, Term: state.AppliedTerm, Conf: state.Conf}, true
}
