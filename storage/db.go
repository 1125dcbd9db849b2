package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// DB is one directory of state.
type DB struct {
	options Options
	logger  *slog.Logger
	lock    *pebble.Lock
	failure failure

	current    atomic.Pointer[pinned] // what View returns, and with it the engine that commits go to
	committing sync.Mutex             // from writing a state until it is in current
	purging    sync.Mutex             // around PurgeHistory
	pins       sync.WaitGroup         // snapshots held by views, and by current
	guards     sync.WaitGroup         // calls of Pebble under way, see guarded
	closed     atomic.Bool
	stalls     atomic.Int64
	purgedRows atomic.Int64
	holds      holds                   // guarded by committing
	compacted  chan struct{}           // capacity 1: a compaction has ended
	spare      atomic.Pointer[overlay] // of the last batch, for the next one

	files     atomic.Uint64 // counts the changes of what files there are
	behind    atomic.Bool   // compactions are, as of the last change
	tables    atomic.Int64  // bytes of the tables of the present state, as they were measured last
	measuring sync.Mutex    // held from a measurement until it is stored
	resized   chan struct{} // capacity 1: they have changed since

	flushed    chan struct{} // capacity 1: any number of flushes are one piece of news
	flushEnd   chan struct{} // closed to stop the flush watcher
	flushEnded chan struct{} // closed by the flush watcher

	exports  exports
	incoming incoming
}

// viewsWait is how long Close waits for views to be released.
const viewsWait = 5 * time.Second

// Open opens the database in a directory, making it if need be. Errors worth telling apart: ErrLocked, ErrNewerFormat,
// ErrCorrupt.
func Open(options Options) (*DB, error) {
	options = options.withDefaults()
	db := &DB{
		options:    options,
		logger:     options.Logger,
		failure:    failure{happened: make(chan struct{})},
		flushed:    make(chan struct{}, 1),
		resized:    make(chan struct{}, 1),
		compacted:  make(chan struct{}, 1),
		flushEnd:   make(chan struct{}),
		flushEnded: make(chan struct{}),
	}
	lock, err := lockDir(options.FS, options.Dir)
	if err != nil {
		return nil, err
	}
	db.lock = lock
	if err := db.open(); err != nil {
		if !db.failure.parked.Load() {
			_ = lock.Close()
		}
		return nil, err
	}
	db.measure()
	go db.watchFlushes()
	return db, nil
}

func (db *DB) open() error {
	if err := checkFormat(db.options.FS, db.options.Dir); err != nil {
		return err
	}
	generation, err := db.findGeneration()
	if err != nil {
		return err
	}
	e, err := db.openEngine(generation.engine)
	if err != nil {
		return err
	}
	e.installed = generation.installed
	state, leases, err := e.load()
	if err == nil {
		err = db.tidyIncoming(state.AppliedIndex)
	}
	if err != nil {
		return errors.Join(err, e.discard())
	}
	db.publish(e, 0, state, leases)
	return nil
}

// DurableApplied is the index of the last entry whose effects are known to survive a crash: those of everything up to it
// have been flushed. The raft log may be truncated up to it, and no further.
func (db *DB) DurableApplied() (uint64, error) {
	open := db.View() // keeps the engine open
	defer open.Release()
	if err := open.Err(); err != nil {
		return 0, err
	}
	state, err := open.pinned.engine.readState(&pebble.IterOptions{OnlyReadGuaranteedDurable: true})
	if err != nil {
		return 0, err
	}
	// Asked after reading: a failed write may have been retried into a success that is none.
	if err := db.Err(); err != nil {
		return 0, err
	}
	return state.AppliedIndex, nil
}

// Flush writes what is in memory out and waits until everything committed before is durable.
func (db *DB) Flush() error {
	open := db.View() // keeps the engine open
	defer open.Release()
	if err := open.Err(); err != nil {
		return err
	}
	return db.guarded(func() error {
		if err := open.pinned.engine.drain(); err != nil {
			return err
		}
		if err := open.pinned.engine.pebble.Flush(); err != nil {
			return fmt.Errorf("storage: flush: %w", err)
		}
		return nil
	})
}

// defragmentPatience is how long Defragment waits for those who read what was there before it. It is enough for requests;
// whoever copies the whole state may take hours.
const defragmentPatience = time.Second

// Defragment rewrites everything on disk, so that what was overwritten, deleted or purged takes no room any more, unless a
// view that lasts still shows it. Readers and writers go on. It reads and writes everything once, and ends early when ctx does. The
// files that it replaced are removed soon after.
func (db *DB) Defragment(ctx context.Context) error {
	before := db.View()
	old, err := before.pinned.ground, before.Err()
	before.Release()
	if err != nil {
		return err
	}
	if err := db.Flush(); err != nil { // what is still above the tables takes part
		return err
	}
	if err := db.awaitReaders(ctx, old); err != nil {
		return err
	}
	open := db.View() // keeps the engine open
	defer open.Release()
	if err := open.Err(); err != nil {
		return err
	}
	defer db.measure()
	return db.guarded(func() error {
		if err := open.pinned.engine.pebble.Compact(ctx, []byte{0}, []byte{0xff}, false); err != nil {
			return fmt.Errorf("storage: defragment: %w", err)
		}
		return nil
	})
}

// awaitReaders waits until nobody reads old any more, if a flush has put another ground in its place, but not for long.
func (db *DB) awaitReaders(ctx context.Context, old *ground) error {
	now := db.View()
	same := now.Err() == nil && now.pinned.ground == old
	now.Release()
	if same { // nothing was flushed: what it shows is the present state
		return nil
	}
	patience := time.NewTimer(defragmentPatience)
	defer patience.Stop()
	select {
	case <-old.closed:
	case <-patience.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.failure.happened:
		return db.Err()
	}
	return nil
}

// watchFlushes calls OnFlush after flushes, and measures what they and compactions have left. It is a goroutine of its own because Pebble reports flushes under its locks.
func (db *DB) watchFlushes() {
	defer close(db.flushEnded)
	for {
		select {
		case <-db.flushed:
			if db.Err() == nil {
				db.options.OnFlush()
			}
		case <-db.resized:
			db.measure()
		case <-db.flushEnd:
			return
		}
	}
}

// Close flushes, so that the next start has nothing to replay, and closes the directory. Commits and purges must have
// ended; views should have been released. OnFlush is not called any more once Close has returned.
func (db *DB) Close() error {
	if db.closed.Swap(true) {
		return ErrClosed
	}
	close(db.flushEnd)
	<-db.flushEnded
	if err := db.Err(); err != nil {
		return db.abandon(err)
	}
	if err := db.Flush(); err != nil {
		return db.abandon(err)
	}
	err := db.guarded(func() error {
		db.committing.Lock()
		defer db.committing.Unlock()
		last := db.current.Load()
		ended := &pinned{engine: last.engine, hold: &hold{generation: last.engine.name}, leases: last.leases, state: last.state}
		ended.refs.Store(1)
		db.current.Swap(ended).release()
		return nil
	})
	if err != nil {
		return db.abandon(err)
	}
	if !db.viewsReleased() {
		return fmt.Errorf("storage: closing %s: views are still held", db.options.Dir)
	}
	db.exports.close()
	db.incoming.close()
	e := db.current.Load().engine
	e.ground.release()
	db.guards.Wait()
	return db.guarded(func() error { return errors.Join(e.pebble.Close(), db.lock.Close()) })
}

func (db *DB) viewsReleased() bool {
	released := make(chan struct{})
	go func() {
		db.pins.Wait()
		close(released)
	}()
	timer := time.NewTimer(viewsWait)
	defer timer.Stop()
	select {
	case <-released:
		return true
	case <-timer.C:
		return false
	}
}

// abandon leaves a failed database as it lies: the engine may hang in a stalled write or a parked goroutine, and whatever
// it would still write cannot be trusted. The directory's lock goes with the process.
func (db *DB) abandon(err error) error {
	return fmt.Errorf("storage: closed after a failure: %w", err)
}
