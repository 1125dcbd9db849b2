package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// BenchmarkMillionKeys fills a store with a million keys of 256 incompressible bytes through the state machine's writes,
// and reports what a data sheet would: the process' memory at its highest, the size on disk, and the time to restart.
// Run it alone, and once: -bench MillionKeys -benchtime 1x.
func BenchmarkMillionKeys(b *testing.B) {
	const keys = 1_000_000
	for b.Loop() {
		dir := filepath.Join(b.TempDir(), "db")
		db, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		rng := newRand(b)
		started := time.Now()
		for n := 0; n < keys; n += 100 {
			batch := db.NewBatch()
			for i := range 100 {
				value := make([]byte, 256)
				for j := range value {
					value[j] = byte(rng.Uint32())
				}
				put(batch, benchKey(n+i), value)
			}
			commit(b, batch)
		}
		b.ReportMetric(float64(time.Since(started).Milliseconds()), "fill-ms")
		b.ReportMetric(float64(db.Metrics().DiskBytes>>20), "disk-MiB")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		started = time.Now()
		if db, err = Open(Options{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		v := db.View()
		if _, ok := v.Get(CurrentKey(nil, 0, benchKey(keys/2))); !ok {
			b.Fatal("absent")
		}
		b.ReportMetric(float64(time.Since(started).Milliseconds()), "restart-ms")
		for i := range keys / 10 {
			v.Get(CurrentKey(nil, 0, benchKey(i*7919%keys)))
		}
		v.Release()
		b.ReportMetric(residentMaxMiB(b), "rss-max-MiB")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// residentMaxMiB is the most memory that this process has had, 0 where the system does not say.
func residentMaxMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}
