package storage

import "github.com/cockroachdb/pebble/v2"

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
		LiveBytes:         m.Total().TablesSize,
		MemtableBytes:     int64(m.MemTable.Size),
		CacheBytes:        m.BlockCache.Size,
		CacheHits:         m.BlockCache.Hits,
		CacheMisses:       m.BlockCache.Misses,
		HistoryBytes:      db.HistoryBytes(),
		ReadAmplification: m.ReadAmp(),
		Flushes:           m.Flush.Count,
		Compactions:       m.Compact.Count,
		WriteStalls:       db.stalls.Load(),
	}
}
