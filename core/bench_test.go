package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

const benchKeys = 100_000

// benchDB is a database with 100000 keys of 10 bytes and values of 100.
func benchDB(b *testing.B) *storage.DB {
	b.Helper()
	db, err := storage.Open(storage.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	value := make([]byte, 100)
	for from := 0; from < benchKeys; from += 1000 {
		batch := db.NewBatch()
		batch.State().AppliedIndex++
		for i := from; i < from+1000; i++ {
			(&tx{r: batch, b: batch, now: 1}).run(oneOp(opPut(&corepb.Put{Key: benchKey(i), Value: value})))
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	return db
}

func benchKey(i int) []byte { return fmt.Appendf(nil, "key%07d", i%benchKeys) }

// BenchmarkApply64Puts applies a step of 64 puts, as one run of entries brings them.
func BenchmarkApply64Puts(b *testing.B) {
	db := benchDB(b)
	value := make([]byte, 100)
	payloads := make([][]byte, benchKeys)
	for i := range payloads {
		payloads[i], _ = oneOp(opPut(&corepb.Put{Key: benchKey(i * 7919), Value: value})).MarshalVT()
	}
	m, done := &machine{measures: newMeasures(), begun: time.Now(), db: db}, &step{}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		batch := db.NewBatch()
		batch.State().AppliedIndex++
		done.events = done.events[:0]
		for range 64 {
			if _, err := m.applyOne(batch, payloads[n%benchKeys], false, done); err != nil {
				b.Fatal(err)
			}
			n++
		}
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/put")
}

func BenchmarkGet(b *testing.B) {
	db := benchDB(b)
	view := db.View()
	defer view.Release()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n += 7919
		t := tx{r: view, now: 2}
		if t.run(oneOp(opGet(&corepb.Get{Key: benchKey(n)}))).Results[0].Record == nil {
			b.Fatal("absent")
		}
	}
}

func BenchmarkRange100(b *testing.B) {
	db := benchDB(b)
	view := db.View()
	defer view.Release()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = (n + 7919) % (benchKeys - 100)
		t := tx{r: view, now: 2}
		op := &corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{Key: benchKey(n), End: benchKey(n + 100)}}}
		if got := t.run(oneOp(op)).Results[0].Count; got != 100 {
			b.Fatal(got)
		}
	}
}

// BenchmarkQueue pushes at one end of a list of 100000 and pops at the other.
func BenchmarkQueue(b *testing.B) {
	db := benchDB(b)
	fill := make([][]byte, benchKeys)
	for i := range fill {
		fill[i] = benchKey(i)
	}
	key := []byte("queue")
	apply := func(op *corepb.Op) {
		batch := db.NewBatch()
		batch.State().AppliedIndex++
		(&tx{r: batch, b: batch, now: 1}).run(oneOp(op))
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	apply(opListPush(&corepb.ListPush{Key: key, Values: fill}))
	b.ReportAllocs()
	for b.Loop() {
		apply(opListPush(&corepb.ListPush{Key: key, Values: fill[:1], Left: true}))
		apply(opListPop(&corepb.ListPop{Keys: [][]byte{key}, Count: 1}))
	}
}
