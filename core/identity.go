package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// identity says which member of which cluster a data directory belongs to. It is made once, before the log, and written
// to a file of its own, because log and state are both found by it.
type identity struct {
	Format  int    `json:"format"`
	Name    string `json:"name"`
	Member  uint64 `json:"member_id"`
	Cluster uint64 `json:"cluster_id"`
}

// identityFormat is the newest layout of a data directory that this version knows.
const identityFormat = 1

// loadIdentity reads the identity of a data directory, or makes one for an empty directory.
func loadIdentity(fs vfs.FS, dir, name string) (identity, error) {
	path := fs.PathJoin(dir, "member.json")
	text, err := readFile(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		id := identity{Format: identityFormat, Name: name, Member: rand.Uint64() | 1, Cluster: rand.Uint64() | 1}
		return id, writeIdentity(fs, dir, path, id)
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return identity{}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if id.Format > identityFormat {
		return identity{}, fmt.Errorf("data directory %s was written by a newer version of triglot (format %d, this version knows %d)",
			dir, id.Format, identityFormat)
	}
	if id.Member == 0 || id.Cluster == 0 {
		return identity{}, fmt.Errorf("%s is damaged: it names no member or no cluster", path)
	}
	id.Name = name
	return id, nil
}

func readFile(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// writeIdentity is atomic: after a crash there is the whole file or none.
func writeIdentity(fs vfs.FS, dir, path string, id identity) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return err
	}
	f, err := fs.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := fs.Rename(path+".new", path); err != nil {
		return err
	}
	parent, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}
