package storage

import (
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
