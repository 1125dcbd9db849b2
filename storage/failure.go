package storage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// failure is the first thing that went wrong below us. A database that has failed accepts no writes and answers nothing
// about what is durable: after a failed write or fsync the operating system may call the next one a success though the
// data is gone, so what Pebble retries cannot be trusted any more. The owner ends the process; the raft log has all.
type failure struct {
	once     sync.Once
	first    atomic.Pointer[error]
	happened chan struct{} // closed with the first failure
	parked   atomic.Bool   // a goroutine of Pebble's has been stopped for good
}

func (db *DB) fail(err error) {
	db.failure.once.Do(func() {
		db.failure.first.Store(&err)
		close(db.failure.happened)
		db.logger.Error("the storage engine has failed; no further writes are accepted", "error", err)
	})
}

// Err is the failure that ended the database, nil as long as it is well.
func (db *DB) Err() error {
	if err := db.failure.first.Load(); err != nil {
		return *err
	}
	return nil
}

// Failed is closed when the database has failed; Err then says why.
func (db *DB) Failed() <-chan struct{} { return db.failure.happened }

// guarded runs what may wait inside Pebble, and returns when it has ended or when the database has failed, whichever is
// first. Pebble retries a flush that fails for ever, so once its memtables are full a write would never return; and a
// goroutine of its own that is parked in Fatalf may hold its locks. The goroutine that f runs on is owned here: Close
// waits for it unless the database has failed.
func (db *DB) guarded(f func() error) error {
	if err := db.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	db.guards.Add(1)
	go func() {
		defer db.guards.Done()
		done <- f()
	}()
	select {
	case err := <-done:
		if err != nil {
			return err
		}
	case <-db.failure.happened:
	}
	return db.Err()
}

// engineLogger passes Pebble's words on: its chatter at debug level, its complaints as errors.
type engineLogger struct{ db *DB }

func (l engineLogger) Infof(format string, args ...any) {
	if l.db.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.db.logger.Debug(fmt.Sprintf(format, args...))
	}
}

func (l engineLogger) Errorf(format string, args ...any) {
	l.db.logger.Error(fmt.Sprintf(format, args...))
}

// Fatalf is called when Pebble cannot go on, as when its manifest cannot be written, and must not return. The goroutine
// is parked for good, so that nothing more reaches the disk, and the owner learns of it.
func (l engineLogger) Fatalf(format string, args ...any) {
	l.db.failure.parked.Store(true)
	l.db.fail(fmt.Errorf("storage: engine: "+format, args...))
	select {}
}

// noteFlush says that more has become durable.
func (db *DB) noteFlush() {
	select {
	case db.flushed <- struct{}{}:
	default: // one is waiting already and will see this flush too
	}
}

// listener learns of flushes and of failures. Pebble calls it under its own locks: it only notes.
func (db *DB) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) {
			db.fail(fmt.Errorf("storage: background work: %w", err))
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			db.fail(fmt.Errorf("%w: %s", ErrCorrupt, info))
		},
		FlushEnd: func(pebble.FlushInfo) {
			db.noteFlush()
			db.noteSize()
		},
		TableIngested: func(pebble.TableIngestInfo) { db.noteSize() },
		CompactionEnd: func(pebble.CompactionInfo) {
			db.noteSize()
			select {
			case db.compacted <- struct{}{}:
			default:
			}
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			db.stalls.Add(1)
			db.logger.Warn("writes wait for the storage engine", "reason", info.Reason)
		},
	}
}
