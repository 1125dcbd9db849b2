package core

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheLogIsWhereItIsToBeOrTheStartIsRefused(t *testing.T) {
	dir, aside, further := t.TempDir(), filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	start := func(logDir string) error {
		s, err := Open(Config{Dir: dir, LogDir: logDir, Name: "test"})
		if err != nil {
			return err
		}
		if _, err := s.Do(t.Context(), oneOp(putOp("k", "v"))); err != nil {
			t.Error(err)
		}
		return s.Close()
	}
	refused := func(logDir string, words ...string) {
		t.Helper()
		err := start(logDir)
		for _, word := range words {
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, want %q", logDir, err, word)
			}
		}
	}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(aside, 0o700); err != nil { // as a disk's place is there
		t.Fatal(err)
	}
	for range 2 {
		if err := start(aside); err != nil {
			t.Fatal(err)
		}
	}
	if isThere(filepath.Join(dir, "log")) || !isThere(aside) {
		t.Error("the log is not where it is to be")
	}
	refused("", aside, "move it")
	refused(further, aside, "move it")
	move(aside, further)
	if err := start(further); err != nil {
		t.Errorf("after it was moved: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(aside, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	refused(aside, "only one of them")
	move(further, filepath.Join(dir, "log"))
	if err := start(""); err != nil {
		t.Errorf("back in the data directory: %v", err)
	}
	move(filepath.Join(dir, "log"), filepath.Join(dir, "lost"))
	refused("", "no log")
	refused(further, "no log")
}
