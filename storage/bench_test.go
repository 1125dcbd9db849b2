package storage

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
)

const benchKeys = 100_000

// put does what the state machine does for one put of a plain key: record, log, history, and for a new key its place in
// the order of creation.
func put(b *Batch, key, value []byte) {
	state := b.State()
	state.Revision++
	current := CurrentKey(make([]byte, 0, 2+len(key)), 0, key)
	record := Record{Kind: KindBytes, CreateRevision: state.Revision, Version: 1, CreateMillis: 1700000000000}
	if old, ok := b.Head(current); ok {
		previous, err := DecodeRecord(old)
		if err != nil {
			panic(err)
		}
		record.CreateRevision, record.Version = previous.CreateRevision, previous.Version+1
	} else {
		b.Set(ScanKey(make([]byte, 0, 10+len(key)), 0, state.Revision, key), nil)
		state.Counts[0]++
	}
	record.ModRevision, record.ModMillis, record.Value = state.Revision, 1700000000000, value
	e := &Event{Type: EventPut, Key: key, Revision: state.Revision, Record: record}
	b.AppendEvent(e)
	b.SetLogged(current, e)
}

func benchKey(n int) []byte { return fmt.Appendf(nil, "/registry/pods/default/%08d", n) }

func benchDB(b *testing.B) *DB { return benchDBOf(b, benchKeys, 256) }

func benchDBOf(b *testing.B, keys, size int) *DB {
	db, err := Open(Options{Dir: filepath.Join(b.TempDir(), "db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	for n := 0; n < keys; n += 1000 {
		batch := db.NewBatch()
		for i := range 1000 {
			put(batch, benchKey(n+i), make([]byte, size))
		}
		commit(b, batch)
	}
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	// The keys fit the cache: what is measured is our path and Pebble's, not the disk.
	v := db.View()
	defer v.Release()
	it := v.Scan(CurrentBounds(0))
	defer it.Close()
	for it.Next() {
		it.Value()
	}
	return db
}

func BenchmarkCommit64Puts(b *testing.B) {
	for name, keys := range map[string]int{"over": benchKeys, "new": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			db := benchDB(b)
			rng := rand.New(rand.NewPCG(1, 2))
			value := make([]byte, 256)
			b.ReportAllocs()
			for b.Loop() {
				batch := db.NewBatch()
				for range 64 {
					put(batch, benchKey(rng.IntN(keys)), value)
				}
				commit(b, batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/put")
		})
	}
}

func BenchmarkCommitOnePut(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		batch := db.NewBatch()
		put(batch, benchKey(rng.IntN(benchKeys)), value)
		commit(b, batch)
	}
}

func BenchmarkViewGet(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	key := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		v := db.View()
		key = CurrentKey(key[:0], 0, benchKey(rng.IntN(benchKeys)))
		if _, ok := v.Get(key); !ok {
			b.Fatal("absent")
		}
		v.Release()
	}
}

func BenchmarkViewScan100(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	_, upper := CurrentBounds(0)
	b.ReportAllocs()
	for b.Loop() {
		v := db.View()
		it := v.Scan(CurrentKey(nil, 0, benchKey(rng.IntN(benchKeys-100))), upper)
		for i := 0; i < 100 && it.Next(); i++ {
			if len(it.Value()) < 256 {
				b.Fatal("short")
			}
		}
		it.Close()
		v.Release()
	}
}

// BenchmarkViewScan100Apart is a scan of values that are apart from their records.
func BenchmarkViewScan100Apart(b *testing.B) {
	const keys, size = 5000, 4096
	db := benchDBOf(b, keys, size)
	rng := rand.New(rand.NewPCG(1, 2))
	_, upper := CurrentBounds(0)
	b.ReportAllocs()
	for b.Loop() {
		v := db.View()
		it := v.Scan(CurrentKey(nil, 0, benchKey(rng.IntN(keys-100))), upper)
		for i := 0; i < 100 && it.Next(); i++ {
			if len(it.Value()) < size {
				b.Fatal("short")
			}
		}
		it.Close()
		v.Release()
	}
}

func BenchmarkBatchScan100(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	_, upper := CurrentBounds(0)
	batch := db.NewBatch()
	for i := range 1000 {
		put(batch, benchKey(i*100), make([]byte, 256))
	}
	b.ReportAllocs()
	for b.Loop() {
		it := batch.Scan(CurrentKey(nil, 0, benchKey(rng.IntN(benchKeys-100))), upper)
		for i := 0; i < 100 && it.Next(); i++ {
			if len(it.Value()) < 256 {
				b.Fatal("short")
			}
		}
		it.Close()
	}
}

func BenchmarkRecordAt(b *testing.B) {
	db := benchDB(b)
	rng := rand.New(rand.NewPCG(1, 2))
	v := db.View()
	defer v.Release()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := v.RecordAt(benchKey(rng.IntN(benchKeys)), v.State().Revision); !ok {
			b.Fatal("absent")
		}
	}
}

func BenchmarkPurgeEvent(b *testing.B) {
	db := benchDB(b)
	batch := db.NewBatch()
	batch.State().Compacted = batch.State().Revision
	commit(b, batch)
	if err := db.PurgeHistory(b.Context(), db.current.Load().state.Revision); err != nil {
		b.Fatal(err)
	}
	for n := 0; n < b.N; n += 1000 {
		batch := db.NewBatch()
		for i := range min(1000, b.N-n) {
			put(batch, benchKey((n+i)%benchKeys), make([]byte, 256))
		}
		batch.State().Compacted = batch.State().Revision
		commit(b, batch)
	}
	b.ResetTimer()
	revision := db.current.Load().state.Revision
	if err := db.PurgeHistory(b.Context(), revision); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRecordCodec(b *testing.B) {
	r := records["a changed key"]
	r.Value = make([]byte, 256)
	buf := make([]byte, 0, 512)
	for b.Loop() {
		buf = r.Append(buf[:0])
		if got, err := DecodeRecord(buf); err != nil || got.Version != r.Version {
			b.Fatal(err)
		}
	}
}
