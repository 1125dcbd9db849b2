package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// open opens a database that is closed at the end of the test, in memory unless told otherwise.
func open(t testing.TB, options Options) *DB {
	t.Helper()
	if options.Dir == "" {
		options.Dir = "db"
		if options.FS == nil {
			options.FS = vfs.NewMem()
		}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	}
	db, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil && err != ErrClosed {
			t.Error(err)
		}
	})
	return db
}

func commit(t testing.TB, b *Batch) {
	t.Helper()
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// set commits one key in a batch of its own.
func set(t testing.TB, db *DB, key, value string) {
	t.Helper()
	b := db.NewBatch()
	b.State().AppliedIndex++
	b.Set(CurrentKey(nil, 0, []byte(key)), []byte(value))
	commit(t, b)
}

func get(t testing.TB, r Reader, key string) (string, bool) {
	t.Helper()
	value, ok := r.Get(CurrentKey(nil, 0, []byte(key)))
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return string(value), ok
}

func wantValue(t testing.TB, r Reader, key, value string) {
	t.Helper()
	if got, ok := get(t, r, key); !ok || got != value {
		t.Fatalf("%s is %q (present %v), want %q", key, got, ok, value)
	}
}

func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("random seed %d", seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 0))
}

// dump gives all that a reader shows of the current table.
func dump(t testing.TB, r Reader, options ...ScanOption) []string {
	t.Helper()
	lower, upper := CurrentBounds(0)
	it := r.Scan(lower, upper, options...)
	defer it.Close()
	var rows []string
	for it.Next() {
		_, key, _ := SplitCurrent(it.Key())
		rows = append(rows, fmt.Sprintf("%s=%s", key, it.Value()))
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// read is get on a view that it does not keep.
func read(t testing.TB, db *DB, key string) (string, bool) {
	t.Helper()
	v := db.View()
	defer v.Release()
	return get(t, v, key)
}

func TestDefragmentGivesBackTheRoomOfWhatIsGone(t *testing.T) {
	db := open(t, Options{})
	chance := rand.NewChaCha8([32]byte{1})
	b := db.NewBatch()
	b.State().AppliedIndex++
	for i := range 4000 {
		value := make([]byte, 1000)
		_, _ = chance.Read(value)
		b.Set(CurrentKey(nil, 0, fmt.Appendf(nil, "%04d", i)), value)
	}
	commit(t, b)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	kept, _ := read(t, db, "1234")
	full := db.Metrics().LiveBytes
	b = db.NewBatch()
	b.State().AppliedIndex++
	for i := range 4000 {
		if i != 1234 {
			b.Delete(CurrentKey(nil, 0, fmt.Appendf(nil, "%04d", i)))
		}
	}
	commit(t, b)
	if err := db.Defragment(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := db.Metrics().LiveBytes; left > full/4 {
		t.Errorf("%d bytes of tables, of %d before nearly all was deleted", left, full)
	}
	if value, ok := read(t, db, "1234"); !ok || value != kept {
		t.Error("what was not deleted is lost")
	}
	if _, ok := read(t, db, "1235"); ok {
		t.Error("what was deleted is there again")
	}
}

// The size follows what is written at once, and what a compaction takes away once Defragment has returned.
func TestTheSizeFollowsWhatIsWrittenAndWhatIsRemoved(t *testing.T) {
	db := open(t, Options{})
	empty := db.Size()
	value := bytes.Repeat([]byte("0123456789"), 10_000)
	write := func(op func(*Batch, []byte)) {
		b := db.NewBatch()
		for i := range 20 {
			op(b, ElementKey(nil, 1, []byte{byte(i)}))
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	write(func(b *Batch, key []byte) { b.Set(key, value) })
	if grown := db.Size() - empty; grown < 20*int64(len(value)) || grown > 21*int64(len(value)) {
		t.Errorf("20 values of %d bytes add %d", len(value), grown)
	}
	write(func(b *Batch, key []byte) { b.Delete(key) })
	if err := db.Defragment(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := db.Size() - empty; left > 20_000 {
		t.Errorf("without them there are %d bytes more than before", left)
	}
}
