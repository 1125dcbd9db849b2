package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestDirectoryInUseIsRefused(t *testing.T) {
	for name, options := range map[string]Options{
		"in memory": {Dir: "db", FS: vfs.NewMem()},
		"on disk":   {Dir: filepath.Join(t.TempDir(), "db")},
	} {
		db := open(t, options)
		_, err := Open(options)
		if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), options.Dir) {
			t.Errorf("%s: %v", name, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := open(t, options).Close(); err != nil {
			t.Errorf("%s: after closing: %v", name, err)
		}
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(dir, formatFile)
	if err := os.WriteFile(stamp, fmt.Appendf(nil, "%s%d\n", formatPreamble, formatVersion+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrNewerFormat) || !strings.Contains(err.Error(), dir) {
		t.Errorf("a newer format: %v", err)
	}
	if err := os.WriteFile(stamp, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a senseless format: %v", err)
	}
	// A refusal lets go of the lock.
	if err := os.WriteFile(stamp, fmt.Appendf(nil, "%s%d\n", formatPreamble, formatVersion), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir})
}

func TestAnOlderFormatThatIsReadIsBroughtUpToDate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	if err := open(t, Options{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	stamp := filepath.Join(dir, formatFile)
	for found, want := range map[int]error{formatOldest: nil, formatOldest - 1: ErrOlderFormat} {
		if err := os.WriteFile(stamp, fmt.Appendf(nil, "%s%d\n", formatPreamble, found), 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(Options{Dir: dir})
		if !errors.Is(err, want) {
			t.Errorf("format %d: %v", found, err)
		}
		if err != nil {
			continue
		}
		db.Close()
		if text, err := os.ReadFile(stamp); err != nil || string(text) != fmt.Sprintf("%s%d\n", formatPreamble, formatVersion) {
			t.Errorf("it says %q, %v", text, err)
		}
	}
}

func TestUnusableDirectoryIsNotCalledLocked(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: filepath.Join(file, "db")}); err == nil || errors.Is(err, ErrLocked) {
		t.Errorf("a directory below a file: %v", err)
	}
}

func TestEmptyStoreStartsAtRevisionOne(t *testing.T) {
	db := open(t, Options{})
	v := db.View()
	defer v.Release()
	if !reflect.DeepEqual(*v.State(), initialState()) || v.State().Revision != 1 {
		t.Errorf("got %+v", *v.State())
	}
}

func TestEngineLogMayBeSwitchedAtAnyStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	for i := range 6 {
		db := open(t, Options{Dir: dir, EngineWAL: i%2 == 0})
		v := db.View()
		if i > 0 {
			wantValue(t, v, "last", fmt.Sprint(i-1))
		}
		v.Release()
		set(t, db, "last", fmt.Sprint(i))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMetricsFollowTheData(t *testing.T) {
	db := open(t, Options{})
	b := db.NewBatch()
	for i := range 1000 {
		b.Set(CurrentKey(nil, 0, fmt.Append(nil, i)), fmt.Append(nil, i, i, i))
	}
	b.AppendEvent(&Event{Type: EventPut, Key: []byte("a"), Revision: 2})
	commit(t, b)
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	m := db.Metrics()
	if m.LiveBytes == 0 || m.DiskBytes < m.LiveBytes || m.Flushes == 0 || m.HistoryBytes == 0 || m.MemtableBytes == 0 {
		t.Errorf("got %+v", m)
	}
}
