package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The directory of a database:
//
//	FORMAT             the version of all that is stored
//	CURRENT            names the engine directory that holds the state, and says which snapshot it began as, if any
//	engine-000001/     a generation of the state
//	export-000001/     a checkpoint that is being read; see Export
//	incoming-…/        a snapshot on its way in; see Receive
//	layer-000001-0     a table on its way into the engine; see drain.go
//
// CURRENT is replaced by a rename: that is the moment at which an installed snapshot becomes the state. Whatever it does
// not name is a leftover of an export or of an install that did not get that far, and Open removes it.
const (
	currentFile    = "CURRENT"
	enginePrefix   = "engine-"
	exportPrefix   = "export-"
	incomingPrefix = "incoming-"
	layerPrefix    = "layer-"
)

// current is what the file of that name says: one word for each line.
//
//	engine-000002
//	installed 17
type current struct {
	engine    string
	installed uint64 // index of the snapshot that the engine began as, 0 for none
}

func (c current) text() string {
	if c.installed == 0 {
		return c.engine + "\n"
	}
	return fmt.Sprintf("%s\ninstalled %d\n", c.engine, c.installed)
}

func parseCurrent(text string) (current, error) {
	bad := fmt.Errorf("%w: %q does not name an engine directory", ErrCorrupt, text)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	c := current{engine: lines[0]}
	if _, ok := generationOf(c.engine); !ok || len(lines) > 2 {
		return current{}, bad
	}
	if len(lines) == 2 {
		number, ok := strings.CutPrefix(lines[1], "installed ")
		index, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil || index == 0 {
			return current{}, bad
		}
		c.installed = index
	}
	if c.text() != text { // there is one way to write it
		return current{}, bad
	}
	return c, nil
}

func engineName(generation uint64) string { return fmt.Sprintf("%s%06d", enginePrefix, generation) }

func generationOf(engine string) (uint64, bool) {
	digits, ok := strings.CutPrefix(engine, enginePrefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && n > 0 && engineName(n) == engine
}

// path is where something in the database's directory is.
func (db *DB) path(elements ...string) string {
	return db.options.FS.PathJoin(append([]string{db.options.Dir}, elements...)...)
}

// findGeneration says which engine to open, making the first one in a new directory, and removes leftovers.
func (db *DB) findGeneration() (current, error) {
	names, err := db.options.FS.List(db.options.Dir)
	if err != nil {
		return current{}, fmt.Errorf("storage: listing %s: %w", db.options.Dir, err)
	}
	var c current
	text, err := readText(db.options.FS, db.path(currentFile))
	switch {
	case err == nil:
		if c, err = parseCurrent(text); err != nil {
			return current{}, fmt.Errorf("%w (in %s)", err, db.path(currentFile))
		}
		if !slices.Contains(names, c.engine) {
			return current{}, fmt.Errorf("%w: %s is missing", ErrCorrupt, db.path(c.engine))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return current{}, err
	default:
		if c, err = db.firstGeneration(names); err != nil {
			return current{}, err
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, exportPrefix) || strings.HasPrefix(name, layerPrefix) || strings.HasPrefix(name, enginePrefix) && name != c.engine {
			if err := db.options.FS.RemoveAll(db.path(name)); err != nil {
				return current{}, fmt.Errorf("storage: removing what an earlier run left: %w", err)
			}
		}
	}
	return c, nil
}

// firstGeneration makes the first engine directory, empty. Nothing is written into one before CURRENT names it.
func (db *DB) firstGeneration(names []string) (current, error) {
	fsys := db.options.FS
	for _, name := range names {
		if !strings.HasPrefix(name, enginePrefix) {
			continue
		}
		inside, err := fsys.List(db.path(name))
		if err != nil {
			return current{}, fmt.Errorf("storage: listing %s: %w", db.path(name), err)
		}
		if len(inside) > 0 {
			return current{}, fmt.Errorf("%w: there is %s, but %s is missing", ErrCorrupt, db.path(name), db.path(currentFile))
		}
	}
	c := current{engine: engineName(1)}
	err := makeDir(fsys, db.path(c.engine))
	if err == nil {
		err = syncDir(fsys, db.options.Dir) // it may be there since a crash, and not for good
	}
	if err != nil {
		return current{}, fmt.Errorf("storage: making %s: %w", db.path(c.engine), err)
	}
	return c, db.writeCurrent(c)
}

// writeCurrent is the commit point of an install. After an error it may have happened or not.
func (db *DB) writeCurrent(c current) error {
	return replaceFile(db.options.FS, db.options.Dir, currentFile, []byte(c.text()))
}

// replaceFile writes a file such that it is found as it was or as it is now, whole, whatever happens; on return it is
// as it is now for good.
func replaceFile(fsys vfs.FS, dir, name string, content []byte) error {
	path := fsys.PathJoin(dir, name)
	f, err := fsys.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(content)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err == nil {
		err = fsys.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	if err != nil {
		return fmt.Errorf("storage: writing %s: %w", path, err)
	}
	return nil
}

func readText(fsys vfs.FS, path string) (string, error) {
	f, err := fsys.Open(path)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("storage: reading %s: %w", path, err)
	}
	return string(text), nil
}
