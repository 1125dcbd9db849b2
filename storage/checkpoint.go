package storage

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Checkpoint writes a copy of the database into a directory that must not exist. It holds everything committed before the
// call, opens with Open, and shares its files with the original where the file system has hard links. It runs beside
// reads and commits.
func (db *DB) Checkpoint(dir string) error {
	open := db.View() // keeps the engine open
	defer open.Release()
	// A checkpoint is made of files, and without a log what is in memory is in no file yet.
	if err := db.Flush(); err != nil {
		return err
	}
	return db.guarded(func() error {
		if err := db.pebble.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
			return fmt.Errorf("storage: checkpoint to %s: %w", dir, err)
		}
		return writeFormat(db.options.FS, dir)
	})
}
