package storage

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// rowCache holds rows that were read or written lately, absent ones too, in front of an engine: a row of Pebble that is in
// memory still costs a few microseconds to find, and applying a command reads more than it writes. It belongs to an engine.
//
// A row is entered as of a commit, and holds for every reader whose view is that of this commit or a later one: as long as
// it is in the cache no later commit has written it. That is kept up by two rules:
//
//   - Every commit enters what it writes before its view is published. A range that it deletes is not looked for row by
//     row: what is older of that table does not hold any more.
//   - What a reader found is entered only if no later commit than the reader's has written into the row's shard: the row may
//     have been replaced, entered, and pushed out again since.
//
// The rows of a shard lie in a ring (ring.go), which bounds memory.
type rowCache struct {
	seed   maphash.Seed
	shards [rowShards]rowShard
	// cleared says for each table from which commit on its rows hold.
	cleared [tableLast + 1]atomic.Uint64
}

const rowShards = 64

type rowShard struct {
	mu      sync.Mutex // guards what follows
	rows    rowRing
	written uint64 // the last commit that wrote a row of this shard
}

// newRowCache makes a cache of at most so many bytes of rows.
func newRowCache(bytes int64) *rowCache {
	c := &rowCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].rows.limit = int(bytes / rowShards)
	}
	return c
}

// caches says whether rows of a key's table are held. Those are that commands read one by one. Log and history are not
// among them: a purge changes them beside the commits.
func (c *rowCache) caches(key []byte) bool {
	switch key[0] {
	case tableCurrent, tableElement, tableTree, tableLease:
		return c.shards[0].rows.limit > 0
	}
	return false
}

// shard gives the shard of a key, and the hash by which the key is found there.
func (c *rowCache) shard(key []byte) (*rowShard, uint32) {
	hash := maphash.Bytes(c.seed, key)
	return &c.shards[hash>>(64-6)], uint32(hash)
}

// get gives a copy of the value of a row as of a commit. known is false when the cache cannot tell.
func (c *rowCache) get(key []byte, commit uint64) (value []byte, present, known bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rows.find(hash, key)
	if r == nil {
		return nil, false, false
	}
	if as := r.commit(); as > commit || as < c.cleared[key[0]].Load() {
		return nil, false, false
	}
	r.ask()
	if !r.present() {
		return nil, false, true
	}
	stored := r.value()
	return append(make([]byte, 0, len(stored)), stored...), true, true
}

// found enters what a reader whose view is that of a commit found.
func (c *rowCache) found(key []byte, commit uint64, value []byte, present bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written <= commit {
		s.rows.put(hash, commit, key, value, present)
	}
}

// wrote enters what a commit writes.
func (c *rowCache) wrote(key []byte, commit uint64, value []byte, present bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = commit
	s.rows.put(hash, commit, key, value, present)
}

// clear forgets the rows of a table that are older than a commit.
func (c *rowCache) clear(table byte, commit uint64) { c.cleared[table].Store(commit) }
