package storage

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// yieldingFilter makes whoever writes tables, compactions above all, let others run every few rows. The runtime would take its
// processor away after 10 ms; a command passes through several goroutines, and would wait that long for each.
//
// Every row of a table goes through its filter: there is no other place where Pebble calls us so often. When compactions are
// behind they yield to nobody, or else they might stop writers in the end.
type yieldingFilter struct {
	pebble.FilterPolicy
	db *DB
}

// yieldRows is how many rows are written in between: some tens of microseconds.
const yieldRows = 32

func (f yieldingFilter) NewWriter(kind pebble.FilterType) pebble.FilterWriter {
	return &yieldingWriter{FilterWriter: f.FilterPolicy.NewWriter(kind), db: f.db}
}

type yieldingWriter struct {
	pebble.FilterWriter
	db   *DB
	rows int
}

func (w *yieldingWriter) AddKey(key []byte) {
	w.FilterWriter.AddKey(key)
	if w.rows++; w.rows%yieldRows == 0 && !w.db.behind.Load() {
		runtime.Gosched()
	}
}
