package storage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// snapshotBytes is how much a snapshot of these benchmarks holds, roughly: values that do not compress.
const snapshotBytes = 100 << 20

func bigDB(b *testing.B) *DB {
	db := open(b, Options{Dir: filepath.Join(b.TempDir(), "db"), FS: vfs.Default})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range snapshotBytes / 1000 / 100 {
		batch := db.NewBatch()
		batch.State().AppliedIndex++
		for j := range 100 {
			value := make([]byte, 1000)
			for k := 0; k < len(value); k += 8 {
				for n, v := 0, random.Uint64(); n < 8; n, v = n+1, v>>8 {
					value[k+n] = byte(v)
				}
			}
			record := Record{Kind: KindBytes, CreateRevision: 2, ModRevision: 2, Version: 1, Value: value}
			batch.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "key %d %d", i, j)), record.Append(nil))
		}
		commit(b, batch)
	}
	if err := db.Flush(); err != nil {
		b.Fatal(err)
	}
	return db
}

func (x *Export) bytes() (n int64) {
	for _, f := range x.files {
		n += f.Bytes
	}
	return n
}

// BenchmarkExport makes a checkpoint: hard links, and one look at every byte for the checksums.
func BenchmarkExport(b *testing.B) {
	db := bigDB(b)
	for b.Loop() {
		x, err := db.Export(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(x.bytes())
		x.Release()
	}
}

// BenchmarkReceive takes a snapshot in from memory, with its checks and syncs, and installs it.
func BenchmarkReceive(b *testing.B) {
	db := bigDB(b)
	x, err := db.Export(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer x.Release()
	contents := map[string][]byte{}
	for _, f := range x.Files() {
		file, err := x.Open(f.Name)
		if err != nil {
			b.Fatal(err)
		}
		contents[f.Name], err = io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(x.bytes())
	for b.Loop() {
		b.StopTimer()
		to, err := Open(Options{Dir: filepath.Join(b.TempDir(), "to")})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		in, err := to.Receive(x.Meta(), x.Files())
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range x.Files() {
			const piece = 256 << 10
			for at := int64(0); at < f.Bytes; at += piece {
				if err := in.Write(f.Name, at, contents[f.Name][at:min(at+piece, f.Bytes)]); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := errors.Join(in.Finish(), in.Close(), to.Install(x.Meta())); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := to.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkHash hashes a whole state at full speed.
func BenchmarkHash(b *testing.B) {
	db := bigDB(b)
	v := db.View()
	defer v.Release()
	b.SetBytes(snapshotBytes)
	for b.Loop() {
		if _, err := v.Hash(func(int) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
