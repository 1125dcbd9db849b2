package storage

import (
	"encoding/binary"
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
// Memory is bounded by two generations of each shard. New rows go to the younger one; when that is full it becomes the
// elder and the rows of the elder are forgotten, except those that were asked for and so moved to the younger. Rows lie in
// plain bytes and are found by their hash, so that the garbage collector sees two objects for each generation.
type rowCache struct {
	seed       maphash.Seed
	generation int // bytes of rows in one generation of a shard
	shards     [rowShards]rowShard
	// cleared says for each table from which commit on its rows hold.
	cleared [tableLast + 1]atomic.Uint64
}

const rowShards = 64

type rowShard struct {
	mu      sync.Mutex // guards what follows
	younger rows
	elder   rows
	written uint64 // the last commit that wrote a row of this shard
}

// rows are one generation. A row is
//
//	commit  8 bytes
//	room    4 bytes, for key and value
//	key     4 bytes, its length
//	value   4 bytes, its length + 1, 0 for a row that is absent
//
// and then the bytes of key and value.
type rows struct {
	places map[uint64]uint32 // by hash; another row of the same hash is replaced
	bytes  []byte
}

const rowHeaderBytes = 8 + 4 + 4 + 4

// newRowCache makes a cache of at most so many bytes of rows.
func newRowCache(bytes int64) *rowCache {
	return &rowCache{seed: maphash.MakeSeed(), generation: int(bytes / rowShards / 2)}
}

// caches says whether rows of a key's table are held. Those are that commands read one by one. Log and history are not
// among them: a purge changes them beside the commits.
func (c *rowCache) caches(key []byte) bool {
	switch key[0] {
	case tableCurrent, tableElement, tableTree, tableLease:
		return c.generation > 0
	}
	return false
}

func (c *rowCache) shard(key []byte) (*rowShard, uint64) {
	hash := maphash.Bytes(c.seed, key)
	return &c.shards[hash>>(64-6)], hash
}

// get gives a copy of the value of a row as of a commit. known is false when the cache cannot tell.
func (c *rowCache) get(key []byte, commit uint64) (value []byte, present, known bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	row, younger := s.find(key, hash)
	if row == nil {
		return nil, false, false
	}
	as := row.commit()
	if as > commit || as < c.cleared[key[0]].Load() {
		return nil, false, false
	}
	if !younger {
		s.enter(c.generation, hash, as, key, row.value(), row.present())
	}
	if !row.present() {
		return nil, false, true
	}
	stored := row.value()
	return append(make([]byte, 0, len(stored)), stored...), true, true
}

// found enters what a reader whose view is that of a commit found.
func (c *rowCache) found(key []byte, commit uint64, value []byte, present bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.written <= commit {
		s.put(c.generation, hash, commit, key, value, present)
	}
}

// wrote enters what a commit writes.
func (c *rowCache) wrote(key []byte, commit uint64, value []byte, present bool) {
	s, hash := c.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = commit
	s.put(c.generation, hash, commit, key, value, present)
}

// clear forgets the rows of a table that are older than a commit.
func (c *rowCache) clear(table byte, commit uint64) { c.cleared[table].Store(commit) }

// row is one in place.
type row []byte

func (r row) commit() uint64 { return binary.LittleEndian.Uint64(r) }
func (r row) room() int      { return int(binary.LittleEndian.Uint32(r[8:])) }
func (r row) keyBytes() int  { return int(binary.LittleEndian.Uint32(r[12:])) }
func (r row) present() bool  { return binary.LittleEndian.Uint32(r[16:]) != 0 }
func (r row) key() []byte    { return r[rowHeaderBytes:][:r.keyBytes()] }

func (r row) value() []byte {
	n := max(1, binary.LittleEndian.Uint32(r[16:])) - 1
	return r[rowHeaderBytes+r.keyBytes():][:n]
}

// fill writes the row anew; there is room.
func (r row) fill(commit uint64, key, value []byte, present bool) {
	length := uint32(0)
	if present {
		length = uint32(len(value)) + 1
	}
	binary.LittleEndian.PutUint64(r, commit)
	binary.LittleEndian.PutUint32(r[12:], uint32(len(key)))
	binary.LittleEndian.PutUint32(r[16:], length)
	n := copy(r[rowHeaderBytes:], key)
	copy(r[rowHeaderBytes+n:], value)
}

// find looks a row up in both generations.
func (s *rowShard) find(key []byte, hash uint64) (r row, younger bool) {
	if r := s.younger.find(key, hash); r != nil {
		return r, true
	}
	return s.elder.find(key, hash), false
}

func (g *rows) find(key []byte, hash uint64) row {
	place, ok := g.places[hash]
	if !ok {
		return nil
	}
	if r := row(g.bytes[place:]); string(r.key()) == string(key) {
		return r
	}
	return nil
}

// put makes a row what it is as of a commit: in its place if it fits there, or else in a new one.
func (s *rowShard) put(generation int, hash, commit uint64, key, value []byte, present bool) {
	if r := s.younger.find(key, hash); r != nil && len(key)+len(value) <= r.room() {
		r.fill(commit, key, value, present)
		return
	}
	s.enter(generation, hash, commit, key, value, present)
}

// enter adds a row to the younger generation. One that is large for the cache is not kept, nor is what was known of it.
func (s *rowShard) enter(generation int, hash, commit uint64, key, value []byte, present bool) {
	room := (len(key) + len(value) + 15) &^ 7 // numbers in a record grow
	size := rowHeaderBytes + room
	if size > generation/4 {
		delete(s.younger.places, hash)
		delete(s.elder.places, hash)
		return
	}
	if s.younger.places == nil || len(s.younger.bytes)+size > generation {
		s.elder = s.younger
		s.younger = rows{places: make(map[uint64]uint32, len(s.elder.places))}
	}
	delete(s.elder.places, hash) // it must not come to light when another row of this hash takes the place
	g := &s.younger
	place := len(g.bytes)
	g.bytes = append(g.bytes, make([]byte, size)...)
	r := row(g.bytes[place:])
	binary.LittleEndian.PutUint32(r[8:], uint32(room))
	r.fill(commit, key, value, present)
	g.places[hash] = uint32(place)
}
