package core

import (
	"fmt"
	"os"
	"path/filepath"
)

// Where the log is: in the data directory, or in a directory of its own, on a disk of its own perhaps. The data directory
// remembers which. A start that looks in another place must not find nothing there and begin a log anew: this member would
// forget how it voted, and what it acknowledged.

func logDir(dir, own string) string {
	if own != "" {
		return own
	}
	return filepath.Join(dir, "log")
}

// followLog lets the log be in another place than before, if it was moved there.
func (s *Store) followLog() error {
	was, is := logDir(s.cfg.Dir, s.identity.LogDir), logDir(s.cfg.Dir, s.cfg.LogDir)
	if s.identity.LogDir == s.cfg.LogDir {
		return nil
	}
	left, moved := isThere(was), isThere(is)
	switch {
	case left && moved:
		return fmt.Errorf("there is a log in %s, where it was, and one in %s, where it is to be: only one of them is this member's", was, is)
	case left:
		return fmt.Errorf("the log is in %s and is to be in %s: move it while the member is down, or start as before", was, is)
	}
	s.identity.LogDir = s.cfg.LogDir
	return writeIdentity(s.cfg.FS, s.cfg.Dir, s.identity)
}

// isThere says whether a directory holds a log. One that is empty may be a disk's place.
func isThere(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "wal"))
	return !os.IsNotExist(err)
}
