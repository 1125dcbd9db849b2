package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A snapshot on its way in lies in a directory of its own:
//
//	incoming-<index>-<term>/manifest   what it will consist of
//	incoming-<index>-<term>/files/     what is there of it, and later the engine directory that Install takes
//
// A file that has all its bytes is synced at once, so that a crash costs what was under way and no more. What is found
// after a crash may hold zeros where bytes were not synced: nothing is trusted before Finish has read it again.

// Incoming is a snapshot on its way in. It is used by one goroutine at a time.
type Incoming struct {
	db       *DB
	manifest manifest
	sizes    map[string]int64
	writing  string // the file that is open
	file     vfs.File
	have     map[string]int64 // what is there of each file; those that are complete are synced
	finished bool             // nothing more is wanted
	failure  error            // it was replaced or the database closed; guarded by incoming.mu
}

// incoming is what the database knows of snapshots on their way in.
type incoming struct {
	mu       sync.Mutex          // guards the fields below, and everything in the directories
	current  *Incoming           // the last one that Receive gave, nil when it is closed
	finished map[string]manifest // by directory: those that wait to be installed, at most finishedMax
}

// Two snapshots may have been accepted by the log and not installed yet. A third would take the time of two transfers.
const finishedMax = 2

const (
	manifestFile = "manifest"
	filesDir     = "files"
)

// ErrReplaced means that another snapshot is received now.
var ErrReplaced = errors.New("storage: another snapshot is being received")

// Receive opens the staging place of a snapshot. Only one is received at a time: another one's is discarded, and the
// same one's, as told by its meta and files, is continued. A snapshot that the state holds already, or that has been
// finished, wants nothing: its Incoming has everything.
func (db *DB) Receive(meta SnapshotMeta, files []SnapshotFile) (*Incoming, error) {
	m := manifest{meta: meta, files: files}
	if err := m.validate(); err != nil {
		return nil, err
	}
	open := db.View()
	applied, err := open.State().AppliedIndex, errors.Join(open.Err(), db.Err())
	open.Release()
	if err != nil {
		return nil, err
	}

	s := &db.incoming
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.end(ErrReplaced)
		s.current = nil
	}
	for name, waiting := range s.finished {
		if waiting.meta.Index <= applied {
			delete(s.finished, name)
		}
	}
	in := &Incoming{db: db, manifest: m, sizes: map[string]int64{}, have: map[string]int64{}}
	for _, f := range files {
		in.sizes[f.Name] = f.Bytes
	}
	waiting, isFinished := s.finished[m.dirName()]
	switch {
	case meta.Index <= applied, isFinished && bytes.Equal(waiting.append(nil), m.append(nil)):
		in.finished = true
		in.have = in.sizes
	default:
		if err := in.prepare(); err != nil {
			return nil, fmt.Errorf("storage: preparing to receive a snapshot: %w", err)
		}
	}
	s.current = in
	return in, nil
}

// prepare makes the directory, or finds what is there. incoming.mu is held.
func (in *Incoming) prepare() error {
	db, fsys := in.db, in.db.options.FS
	delete(db.incoming.finished, in.manifest.dirName()) // another one with the same name
	if err := db.removeIncoming(func(name string) bool {
		_, waits := db.incoming.finished[name]
		return waits || name == in.manifest.dirName()
	}); err != nil {
		return err
	}
	dir, files := in.dir(), in.dir(filesDir)
	stored, err := readText(fsys, in.dir(manifestFile))
	if err == nil && stored == string(in.manifest.append(nil)) {
		if err := makeDir(fsys, files); err != nil { // an install takes it away
			return err
		}
		return in.find()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsys.RemoveAll(dir); err != nil {
		return err
	}
	if err := makeDir(fsys, files); err != nil {
		return err
	}
	return replaceFile(fsys, dir, manifestFile, in.manifest.append(nil))
}

// find looks at what an earlier transfer left.
func (in *Incoming) find() error {
	fsys := in.db.options.FS
	names, err := fsys.List(in.dir(filesDir))
	if err != nil {
		return err
	}
	for _, name := range names {
		size, wanted := in.sizes[name]
		info, err := fsys.Stat(in.dir(filesDir, name))
		if err != nil {
			return err
		}
		if !wanted || info.Size() > size || info.IsDir() {
			if err := fsys.RemoveAll(in.dir(filesDir, name)); err != nil {
				return err
			}
			continue
		}
		in.have[name] = info.Size()
	}
	return nil
}

func (in *Incoming) dir(elements ...string) string {
	return in.db.path(append([]string{in.manifest.dirName()}, elements...)...)
}

// Have says how much of a file is there: its first bytes.
func (in *Incoming) Have(name string) int64 { return in.have[name] }

// Write appends to a file, at the offset that Have gives. The data may be changed when it returns.
func (in *Incoming) Write(name string, offset int64, data []byte) error {
	in.db.incoming.mu.Lock()
	defer in.db.incoming.mu.Unlock()
	size, listed := in.sizes[name]
	switch {
	case in.failure != nil:
		return in.failure
	case !listed:
		return fmt.Errorf("storage: %q is no file of the snapshot", name)
	case offset != in.have[name]:
		return fmt.Errorf("storage: snapshot file %s: bytes from %d on, but there are %d", name, offset, in.have[name])
	case int64(len(data)) > size-offset:
		return fmt.Errorf("storage: snapshot file %s: more than its %d bytes", name, size)
	case len(data) == 0:
		return nil
	}
	if err := in.write(name, offset, data); err != nil {
		return fmt.Errorf("storage: writing snapshot file %s: %w", name, err)
	}
	return nil
}

func (in *Incoming) write(name string, offset int64, data []byte) (err error) {
	if in.writing != name {
		if err := in.closeFile(); err != nil {
			return err
		}
		if in.file, err = in.db.options.FS.OpenReadWrite(in.dir(filesDir, name), vfs.WriteCategoryUnspecified); err != nil {
			return err
		}
		in.writing = name
	}
	if _, err := in.file.WriteAt(data, offset); err != nil {
		return err
	}
	in.have[name] = offset + int64(len(data))
	if in.have[name] == in.sizes[name] {
		begun := time.Now()
		if err := errors.Join(in.file.Sync(), in.closeFile()); err != nil {
			return err
		}
		in.db.options.timed(WorkReceiveSync, begun)
		return syncDir(in.db.options.FS, in.dir(filesDir))
	}
	return nil
}

func (in *Incoming) closeFile() error {
	file := in.file
	in.file, in.writing = nil, ""
	if file == nil {
		return nil
	}
	return file.Close()
}

// Finish checks that everything is there and right, and makes it durable. After an error what was wrong is gone, and
// the rest can be continued with.
func (in *Incoming) Finish() error {
	s := &in.db.incoming
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.failure != nil {
		return in.failure
	}
	if in.finished {
		return nil
	}
	if err := in.finish(); err != nil {
		return fmt.Errorf("storage: received snapshot: %w", err)
	}
	in.finished = true
	if s.finished == nil {
		s.finished = map[string]manifest{}
	}
	s.finished[in.manifest.dirName()] = in.manifest
	for len(s.finished) > finishedMax {
		oldest := ""
		for name, m := range s.finished {
			if oldest == "" || m.meta.Index < s.finished[oldest].meta.Index {
				oldest = name
			}
		}
		delete(s.finished, oldest)
	}
	return nil
}

func (in *Incoming) finish() error {
	fsys := in.db.options.FS
	if err := in.closeFile(); err != nil {
		return err
	}
	var wrong error
	for _, want := range in.manifest.files {
		if want.Bytes == 0 && in.have[want.Name] == 0 {
			// Some files say all they say by their name.
			f, err := fsys.Create(in.dir(filesDir, want.Name), vfs.WriteCategoryUnspecified)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			if err != nil {
				return err
			}
		}
		if in.have[want.Name] < want.Bytes {
			wrong = errors.Join(wrong, fmt.Errorf("%s has %d of %d bytes", want.Name, in.have[want.Name], want.Bytes))
			continue
		}
		got, err := checksumFile(context.Background(), fsys, in.dir(filesDir), want.Name)
		if err != nil {
			return err
		}
		if got == want {
			continue
		}
		wrong = errors.Join(wrong, fmt.Errorf("%w: %s arrived damaged", ErrCorrupt, want.Name))
		delete(in.have, want.Name)
		if err := fsys.Remove(in.dir(filesDir, want.Name)); err != nil {
			return errors.Join(wrong, err)
		}
	}
	if wrong != nil {
		return wrong
	}
	// What an earlier life wrote completely may not have been synced by it.
	for _, f := range in.manifest.files {
		if err := syncFile(fsys, in.dir(filesDir, f.Name)); err != nil {
			return err
		}
	}
	if err := syncDir(fsys, in.dir(filesDir)); err != nil {
		return err
	}
	found, err := readFormat(fsys, in.dir(filesDir))
	if err != nil {
		return err
	}
	return acceptFormat("the snapshot", found)
}

func syncFile(fsys vfs.FS, path string) error {
	f, err := fsys.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close lets go of open files. What was written stays for a later Receive.
func (in *Incoming) Close() error {
	s := &in.db.incoming
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == in {
		s.current = nil
	}
	return in.end(ErrClosed)
}

// end makes an Incoming useless. incoming.mu is held.
func (in *Incoming) end(why error) error {
	if in.failure != nil {
		return nil
	}
	in.failure = why
	return in.closeFile()
}

// close ends what its owner did not.
func (s *incoming) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		_ = s.current.end(ErrClosed)
		s.current = nil
	}
}

// removeIncoming removes the directories that are not to be kept. incoming.mu is held, or nobody else is there yet.
func (db *DB) removeIncoming(keep func(name string) bool) error {
	names, err := db.options.FS.List(db.options.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, incomingPrefix) && !keep(name) {
			if err := db.options.FS.RemoveAll(db.path(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidyIncoming removes what earlier runs received in part, unless a transfer may go on with it.
func (db *DB) tidyIncoming(applied uint64) error {
	var newest manifest
	if err := db.removeIncoming(func(name string) bool {
		text, err := readText(db.options.FS, db.path(name, manifestFile))
		if err != nil {
			return false
		}
		m, err := decodeManifest([]byte(text))
		useful := err == nil && m.dirName() == name && m.meta.Index > max(applied, newest.meta.Index)
		if useful {
			newest = m
		}
		return useful
	}); err != nil {
		return fmt.Errorf("storage: removing what an earlier run received: %w", err)
	}
	return nil
}
