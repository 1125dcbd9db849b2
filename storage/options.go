package storage

import (
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say where and how a database is kept. Only Dir must be given.
type Options struct {
	Dir           string
	FS            vfs.FS // the operating system's when nil; another one to inject crashes and errors
	CacheBytes    int64  // block cache, 0 for 32 MiB
	MemtableBytes int64  // what gathers in memory before it is written out, 0 for 8 MiB
	RowCacheBytes int64  // rows read or written lately, 0 for 32 MiB, negative for none
	EngineWAL     bool   // keep Pebble's own log too: slower, and needed for nothing; may be switched at any start
	Logger        *slog.Logger
	// Timed, which may be nil, is told how long pieces of work took, on whichever goroutine did them.
	Timed   func(work Work, took time.Duration)
	OnFlush func() // called after memtable flushes, on a goroutine of the database; several may share a call

	// noTableStats is for tests that let opening fail: Pebble then frees what its statistics still use, and panics.
	noTableStats bool
}

const (
	// memtablesUsual is how many memtables there usually are: one being written, one being flushed.
	memtablesUsual       = 2
	defaultCacheBytes    = 32 << 20
	defaultMemtableBytes = 8 << 20
	defaultRowCacheBytes = 32 << 20
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = defaultMemtableBytes
	}
	switch {
	case o.RowCacheBytes == 0:
		o.RowCacheBytes = defaultRowCacheBytes
	case o.RowCacheBytes < 0:
		o.RowCacheBytes = 0
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.OnFlush == nil {
		o.OnFlush = func() {}
	}
	return o
}

// engine gives Pebble's options.
func (o Options) engine(db *DB) *pebble.Options {
	// A second compaction begins only when L0 is behind: a large one further down must not keep writers waiting.
	compactionsMax := max(2, min(runtime.GOMAXPROCS(0)/2, 4))
	p := &pebble.Options{
		FS:                 o.FS,
		FormatMajorVersion: engineFormat,
		DisableWAL:         !o.EngineWAL,
		Logger:             engineLogger{db},
		EventListener:      db.listener(),
		// Pebble takes the memory of its memtables out of the cache's: without room for them on top, two memtables of the
		// default size leave a default cache nothing, and a point read that should take 2 µs decompresses an index block.
		CacheSize:    o.CacheBytes + memtablesUsual*o.MemtableBytes,
		MemTableSize: uint64(o.MemtableBytes),

		DisableTableStats:           o.noTableStats,
		MemTableStopWritesThreshold: 3,
		// Each compaction of L0 rewrites what it overlaps in the level below, so eight layers are gathered first: half as many
		// as is said here. What is read often is in the cache of rows and does not see the levels. Writers are stopped only
		// when hopelessly behind.
		L0CompactionThreshold: 16,
		// Tables that hardly overlap are not many at any key, and each of them costs a scan.
		L0CompactionFileThreshold:  64,
		L0StopWritesThreshold:      64,
		FlushSplitBytes:            2 << 20,
		CompactionConcurrencyRange: func() (int, int) { return 1, compactionsMax },
	}
	// Nine tenths of the data end up in the last level: there compression pays. What is above is soon written again.
	compression := pebble.UniformDBCompressionSettings(sstable.NoCompression)
	compression.Name = "triglot"
	compression.Levels[len(compression.Levels)-1] = sstable.BalancedCompression
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return compression })
	p.Experimental.SpanPolicyFunc = groupOfKey
	for i := range p.Levels {
		// Filters in the last level too: creating keys, and so asking for absent ones, is common here.
		p.Levels[i].FilterPolicy = yieldingFilter{bloom.FilterPolicy(10), db}
		p.Levels[i].BlockSize = 8 << 10
		p.Levels[i].IndexBlockSize = 64 << 10
	}
	return p
}
