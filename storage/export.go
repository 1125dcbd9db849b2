package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Export is the state at one moment as files: a checkpoint of the engine in a directory inside the database's. It takes
// hard links, so that making one copies nothing, and space only as far as the engine has moved on by the time it is
// released. Its methods may be called from any goroutine.
type Export struct {
	db    *DB
	dir   string
	state State
	files []SnapshotFile
}

// exports are those that have not been released.
type exports struct {
	mu   sync.Mutex // guards the fields below
	last int
	open map[*Export]struct{}
}

// lockFile is what Pebble leaves in a directory that it opened. It is no part of the state.
const lockFile = "LOCK"

// Export gives the state as files: one that holds everything committed before the call, perhaps more. It runs beside
// reads and commits, and reads every file once for its checksum. The caller releases it.
func (db *DB) Export(ctx context.Context) (*Export, error) {
	open := db.View() // keeps the engine open
	defer open.Release()
	// A checkpoint is made of files, and without a log what is in memory is in no file yet.
	if err := db.Flush(); err != nil {
		return nil, err
	}
	x := db.exports.add(db)
	err := db.guarded(func() error {
		if err := open.pinned.engine.pebble.Checkpoint(x.dir, pebble.WithFlushedWAL()); err != nil {
			return fmt.Errorf("storage: checkpoint to %s: %w", x.dir, err)
		}
		return writeFormat(db.options.FS, x.dir)
	})
	if err == nil {
		err = x.identify()
	}
	if err == nil {
		err = x.list(ctx)
	}
	if err != nil {
		x.Release()
		return nil, err
	}
	return x, nil
}

func (s *exports) add(db *DB) *Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*Export]struct{}{}
	}
	s.last++
	x := &Export{db: db, dir: db.path(fmt.Sprintf("%s%06d", exportPrefix, s.last))}
	s.open[x] = struct{}{}
	return x
}

// close releases what its owners did not.
func (s *exports) close() {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, x := range open {
		x.Release()
	}
}

// identify reads the state row of the checkpoint. Commits went on while it was made, so only it can tell which state it
// is; and what opens here will open elsewhere.
func (x *Export) identify() error {
	options := x.db.options.engine(x.db)
	options.ReadOnly = true
	options.CacheSize = 1 << 20 // for one row
	options.EventListener = nil // what happens here is told by the errors
	checkpoint, err := pebble.Open(x.dir, options)
	if err != nil {
		return fmt.Errorf("storage: opening checkpoint %s: %w", x.dir, err)
	}
	x.state, err = readState(checkpoint, &pebble.IterOptions{})
	return errors.Join(err, checkpoint.Close())
}

// list finds the files and their checksums.
func (x *Export) list(ctx context.Context) error {
	names, err := x.db.options.FS.List(x.dir)
	if err != nil {
		return fmt.Errorf("storage: listing %s: %w", x.dir, err)
	}
	for _, name := range names {
		if name == lockFile {
			continue
		}
		f, err := checksumFile(ctx, x.db.options.FS, x.dir, name)
		if err != nil {
			return err
		}
		x.files = append(x.files, f)
	}
	slices.SortFunc(x.files, func(a, b SnapshotFile) int { return cmp.Compare(a.Name, b.Name) })
	whole := manifest{meta: x.Meta(), files: x.files}
	return whole.validate()
}

// checksumFile reads a file through.
func checksumFile(ctx context.Context, fsys vfs.FS, dir, name string) (SnapshotFile, error) {
	path := fsys.PathJoin(dir, name)
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return SnapshotFile{}, fmt.Errorf("storage: reading %s: %w", path, err)
	}
	sum := crc32.New(ChecksumTable)
	n, err := io.CopyBuffer(sum, interruptible{ctx, f}, make([]byte, 256<<10))
	if err = errors.Join(err, f.Close()); err != nil {
		return SnapshotFile{}, fmt.Errorf("storage: reading %s: %w", path, err)
	}
	return SnapshotFile{Name: name, Bytes: n, Checksum: sum.Sum32()}, nil
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx  context.Context
	file io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.file.Read(p)
}

// Meta says which state it is.
func (x *Export) Meta() SnapshotMeta {
	return SnapshotMeta{Index: x.state.AppliedIndex, Term: x.state.AppliedTerm, Conf: x.state.Conf}
}

// State is the state row. It must not be modified.
func (x *Export) State() *State { return &x.state }

// Files are the files, by name. The slice must not be modified.
func (x *Export) Files() []SnapshotFile { return x.files }

// Open opens one of the files for reading.
func (x *Export) Open(name string) (vfs.File, error) {
	at := func(f SnapshotFile, name string) int { return cmp.Compare(f.Name, name) }
	if _, found := slices.BinarySearchFunc(x.files, name, at); !found {
		return nil, fmt.Errorf("storage: %s is no file of the snapshot", name)
	}
	return x.db.options.FS.Open(x.db.options.FS.PathJoin(x.dir, name))
}

// Release removes the files. It may be called more than once, and after Close of the database, which does it itself.
func (x *Export) Release() {
	s := &x.db.exports
	s.mu.Lock() // over the removal too: once the database is closed the name may be another's
	defer s.mu.Unlock()
	if _, held := s.open[x]; !held {
		return
	}
	delete(s.open, x)
	if err := x.db.options.FS.RemoveAll(x.dir); err != nil {
		x.db.logger.Warn("a checkpoint could not be removed; the next start tries again", "directory", x.dir, "error", err)
	}
}
