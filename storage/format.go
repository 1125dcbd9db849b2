package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The version of everything this package stores: tables, codecs, and Pebble's own format. It goes up with any change
// that an older program would misread. The file holds the words below and the number.
const (
	formatVersion  = 5
	formatOldest   = 3 // that is read, and becomes formatVersion: it lacks values that are apart from their records, and history that is not in its table yet
	formatFile     = "FORMAT"
	formatPreamble = "triglot storage "
	engineFormat   = pebble.FormatValueSeparation
)

var (
	// ErrLocked means that another process, or another DB of this one, has the directory open.
	ErrLocked = errors.New("storage: directory is in use by another process")
	// ErrNewerFormat means that a newer version of the program wrote the directory.
	ErrNewerFormat = errors.New("storage: directory was written by a newer version of Triglot")
	// ErrOlderFormat means that the directory is from before the first version with a stable format.
	ErrOlderFormat = errors.New("storage: directory was written by an older version of Triglot and cannot be read any more")
)

// lockDir makes the directory if need be, and locks it.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	if err := makeDir(fsys, dir); err != nil {
		return nil, fmt.Errorf("storage: making %s: %w", dir, err)
	}
	lock, err := pebble.LockDirectory(dir, fsys)
	if err != nil {
		// Opening the lock file fails with a path; what is left is the lock itself.
		if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
			return nil, fmt.Errorf("storage: locking %s: %w", dir, err)
		}
		return nil, fmt.Errorf("%w: %s (%w)", ErrLocked, dir, err)
	}
	return lock, nil
}

// makeDir makes a directory such that it survives a crash: the entry of each new one is synced in its parent.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string
	for d := dir; ; d = fsys.PathDir(d) {
		if _, err := fsys.Stat(d); err == nil || fsys.PathDir(d) == d {
			break
		}
		parents = append(parents, fsys.PathDir(d))
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := syncDir(fsys, parent); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkFormat refuses a directory that this version cannot read, and stamps a new one. The caller holds the lock.
func checkFormat(fsys vfs.FS, dir string) error {
	found, err := readFormat(fsys, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return writeFormat(fsys, dir)
	case err != nil:
		return err
	}
	if err := acceptFormat(dir, found); err != nil || found == formatVersion {
		return err
	}
	return writeFormat(fsys, dir)
}

func acceptFormat(dir string, found int) error {
	switch {
	case found > formatVersion:
		return fmt.Errorf("%w: %s has storage format %d, this version reads format %d", ErrNewerFormat, dir, found, formatVersion)
	case found < formatOldest:
		return fmt.Errorf("%w: %s has storage format %d, this version reads format %d", ErrOlderFormat, dir, found, formatOldest)
	}
	return nil
}

func readFormat(fsys vfs.FS, dir string) (int, error) {
	name := fsys.PathJoin(dir, formatFile)
	text, err := readText(fsys, name)
	if err != nil {
		return 0, err
	}
	number, ok := strings.CutPrefix(strings.TrimSpace(text), formatPreamble)
	version, err := strconv.Atoi(number)
	if !ok || err != nil || version < 1 {
		return 0, fmt.Errorf("%w: %s does not hold a storage format", ErrCorrupt, name)
	}
	return version, nil
}

// writeFormat stamps a directory before anything else is created there, so that there is never one without the other.
func writeFormat(fsys vfs.FS, dir string) error {
	return replaceFile(fsys, dir, formatFile, fmt.Appendf(nil, "%s%d\n", formatPreamble, formatVersion))
}
