package storage

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Metrics are numbers about the database as it stands.
type Metrics struct {
	DiskBytes         int64 // files on disk, those waiting for removal included
	LiveBytes         int64 // files of the present state
	MemtableBytes     int64
	CacheBytes        int64 // in use
	CacheHits         int64
	CacheMisses       int64
	HistoryBytes      int64 // of DiskBytes, roughly: log and history before compression
	ReadAmplification int   // files a read may have to look at
	Flushes           int64
	Compactions       int64
	WriteStalls       int64
	OpenSnapshots     int64 // of Pebble, for views: many share one
	PurgedRows        int64 // events and versions that PurgeHistory removed since the database was opened
}

// Work is a sort of work in the background whose time Options.Timed is told.
type Work int

const (
	WorkPurgeStep   Work = iota // one batch of PurgeHistory
	WorkReceiveSync             // the sync of a file of a snapshot on its way in
)

// timed counts the time since a moment; for a defer.
func (o *Options) timed(work Work, begun time.Time) {
	if o.Timed != nil {
		o.Timed(work, time.Since(begun))
	}
}

// Metrics gathers the numbers. It takes tens of microseconds. A closed or failed database has none.
func (db *DB) Metrics() Metrics {
	open := db.View() // keeps the engine open
	defer open.Release()
	if open.Err() != nil {
		return Metrics{}
	}
	var m *pebble.Metrics
	if err := db.guarded(func() error { m = open.pinned.engine.pebble.Metrics(); return nil }); err != nil {
		return Metrics{}
	}
	return Metrics{
		DiskBytes:         int64(m.DiskSpaceUsage()),
		LiveBytes:         liveBytes(m),
		MemtableBytes:     int64(m.MemTable.Size),
		CacheBytes:        m.BlockCache.Size,
		CacheHits:         m.BlockCache.Hits,
		CacheMisses:       m.BlockCache.Misses,
		HistoryBytes:      db.HistoryBytes(),
		ReadAmplification: m.ReadAmp(),
		Flushes:           m.Flush.Count,
		Compactions:       m.Compact.Count,
		WriteStalls:       db.stalls.Load(),
		OpenSnapshots:     int64(m.Snapshots.Count),
		PurgedRows:        db.purgedRows.Load(),
	}
}

// liveBytes is the size of the files that the present state consists of.
func liveBytes(m *pebble.Metrics) int64 {
	return m.Total().TablesSize + int64(m.BlobFiles.Local.LiveSize)
}

// Size is how many bytes the present state takes: its tables on disk, and what is on its way into them. What was
// overwritten or purged counts until a compaction has come across it. It costs a few nanoseconds.
func (db *DB) Size() int64 {
	return db.tables.Load() + db.current.Load().engine.above.Load()
}

// noteLayers reckons what the layers above Pebble hold. The caller holds committing, without which nobody writes to them.
func (e *engine) noteLayers() {
	held := e.active.held
	if e.frozen != nil {
		held += e.frozen.held
	}
	e.above.Store(int64(held + bytesOf(e.gathered)))
}

// noteSize says that the tables have changed. Pebble's numbers cannot be asked for where it says so.
func (db *DB) noteSize() {
	db.files.Add(1)
	select {
	case db.resized <- struct{}{}:
	default:
	}
}

// measure looks how large the tables are, and lets go of those that were replaced. The figure that stays is the latest.
func (db *DB) measure() {
	db.measuring.Lock()
	defer db.measuring.Unlock()
	open := db.View() // keeps the engine open
	defer open.Release()
	if open.Err() != nil {
		return
	}
	_ = db.guarded(func() error { // which fails with the database alone
		m := open.pinned.engine.pebble.Metrics()
		db.tables.Store(liveBytes(m))
		db.behind.Store(m.Levels[0].FillFactor >= ingestFillMax/2)
		return open.pinned.ground.lookups.drop()
	})
}
