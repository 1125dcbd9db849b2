package etcdfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// ErrNoHash means that there is no SHA-256 behind a file: it is one of a data directory and no snapshot.
var ErrNoHash = errors.New("there is no hash behind the etcd database: it was copied and not saved by a snapshot")

// A bbolt file begins with a page whose header takes 16 bytes, and then this number in the machine's order of bytes.
const (
	boltMagicAt = 16
	boltMagic   = 0xED0CDAED
)

// Is says whether a file begins as an etcd database does. A file that cannot be read is none; opening it tells why.
func Is(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, boltMagicAt+4)
	_, err = io.ReadFull(f, head)
	return err == nil && order.Uint32(head[boltMagicAt:]) == boltMagic
}

// ReadOptions are what may be different when a file is read.
type ReadOptions struct {
	SkipHashCheck bool                    // take a file without a hash behind it, or with another one
	Progress      func(done, total int64) // bytes that were read; may be nil
}

// Read checks an etcd database and gives what is in it to use, which it is good for until use returns. A file that is not
// as it was written is core.ErrDamagedBackup; one without a hash is ErrNoHash.
func Read(ctx context.Context, path string, options ReadOptions, use func(*core.Contents) error) error {
	r := &reader{ctx: ctx, progress: options.Progress}
	if r.progress == nil {
		r.progress = func(int64, int64) {}
	}
	digest, err := r.hash(path, options.SkipHashCheck)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if r.pages, err = openPages(file, r.total); err != nil {
		return damaged(err)
	}
	contents, err := r.contents()
	if err != nil {
		return err
	}
	contents.Info.Digest, contents.Info.TotalBytes = digest, r.total
	if err := use(contents); err != nil {
		return err
	}
	r.progress(r.total, r.total)
	return nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", core.ErrDamagedBackup, err) }

type reader struct {
	ctx         context.Context
	pages       *pages
	progress    func(done, total int64)
	done, total int64 // bytes; done counts everything twice: once for the hash, and once for what is in it
}

// hash checks the SHA-256 at a file's end. It returns that of the whole content, in hexadecimal.
func (r *reader) hash(path string, skip bool) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return "", err
	}
	content, hashed := stat.Size(), stat.Size()%512 == sha256.Size
	switch {
	case hashed:
		content -= sha256.Size
	case !skip:
		return "", ErrNoHash
	}
	r.total = stat.Size()
	sum := sha256.New()
	if _, err := io.Copy(sum, &measured{r, io.LimitReader(file, content)}); err != nil {
		return "", err
	}
	want := make([]byte, sha256.Size)
	if hashed && !skip {
		if _, err := io.ReadFull(file, want); err != nil {
			return "", err
		}
		if !bytes.Equal(want, sum.Sum(nil)) {
			return "", fmt.Errorf("%w: its SHA-256 digest is wrong", core.ErrDamagedBackup)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// measured reports what is read, and ends with the context.
type measured struct {
	r    *reader
	from io.Reader
}

func (m *measured) Read(p []byte) (int, error) {
	if err := context.Cause(m.r.ctx); err != nil {
		return 0, err
	}
	n, err := m.from.Read(p)
	m.r.did(n)
	return n, err
}

func (r *reader) did(n int) {
	r.done += int64(n)
	r.progress(r.done/2, r.total)
}

// contents reads all but the history, and looks where that ends.
func (r *reader) contents() (*core.Contents, error) {
	history, err := r.pages.bucket(bucketKey)
	if err != nil {
		return nil, damaged(err)
	}
	meta, err := r.pages.bucket(bucketMeta)
	if err != nil {
		return nil, damaged(err)
	}
	if history == nil || meta == nil {
		return nil, fmt.Errorf("%w: it is a bbolt file, but not of etcd", core.ErrNotABackup)
	}
	c := &core.Contents{Versions: r.versions(history)}
	if err := r.ends(c, history, meta); err != nil {
		return nil, damaged(err)
	}
	for _, table := range []struct {
		name []byte
		row  func(k, v []byte) error
	}{
		{bucketAuth, func(k, v []byte) (err error) {
			switch {
			case bytes.Equal(k, authEnabled):
				c.AuthEnabled = bytes.Equal(v, []byte{1})
			case bytes.Equal(k, authRevision):
				c.AuthRevision, err = parseNumber(v)
			}
			return err
		}},
		{bucketLease, func(k, v []byte) error {
			lease, err := parseLease(k, v)
			c.Leases = append(c.Leases, lease)
			return err
		}},
		{bucketUsers, func(_, v []byte) error {
			user, err := parseUser(v)
			c.Users = append(c.Users, user)
			return err
		}},
		{bucketRoles, func(_, v []byte) error {
			role, err := parseRole(v)
			c.Roles = append(c.Roles, role)
			return err
		}},
	} {
		bucket, err := r.pages.bucket(table.name)
		if err == nil && bucket != nil { // an old etcd may never have had any
			err = bucket.each(func(k, v []byte, _ bool) error { return table.row(k, v) })
		}
		if err != nil {
			return nil, fmt.Errorf("%w: bucket %s: %w", core.ErrDamagedBackup, table.name, err)
		}
	}
	return c, nil
}

// ends finds the revisions between which the history is, and which entry of the log was the last.
func (r *reader) ends(c *core.Contents, history, meta *bucket) error {
	c.Info.Revision, c.Info.Version = 1, "etcd"
	last, err := history.last()
	if err == nil && last != nil {
		c.Info.Revision, _, _, err = parseRevision(last)
	}
	if err != nil {
		return err
	}
	err = meta.each(func(k, v []byte, _ bool) (err error) {
		switch {
		case bytes.Equal(k, metaFinished), bytes.Equal(k, metaScheduled):
			var compacted int64
			compacted, _, _, err = parseRevision(v)
			c.Info.Compacted = max(c.Info.Compacted, compacted)
		case bytes.Equal(k, metaIndex):
			c.Info.Index, err = parseNumber(v)
		case bytes.Equal(k, metaTerm):
			c.Info.Term, err = parseNumber(v)
		case bytes.Equal(k, metaStorageVersion):
			c.Info.Version = "etcd " + string(v)
		}
		return err
	})
	// What was changed last may have been deletions, which compaction has removed.
	c.Info.Revision = max(c.Info.Revision, c.Info.Compacted)
	return err
}

// versions goes over the history.
func (r *reader) versions(history *bucket) iter.Seq2[*storage.Event, error] {
	return func(yield func(*storage.Event, error) bool) {
		enough := errors.New("enough")
		err := history.each(func(k, v []byte, _ bool) error {
			r.did(len(k) + len(v))
			event, err := parseChange(k, v)
			if err == nil && !yield(event, nil) {
				err = enough
			}
			return err
		})
		if err != nil && !errors.Is(err, enough) {
			yield(nil, damaged(err))
		}
	}
}

// Inspect reads a file through, checks everything in it, and says what it is.
func Inspect(ctx context.Context, path string, options ReadOptions) (info core.BackupInfo, err error) {
	err = Read(ctx, path, options, func(c *core.Contents) error {
		keys := map[string]struct{}{}
		for event, err := range c.Versions {
			switch {
			case err != nil:
				return err
			case event.Type == storage.EventDelete:
				delete(keys, string(event.Key))
			case len(event.Key) > 0:
				keys[string(event.Key)] = struct{}{}
			}
		}
		info = c.Info
		info.Keys = int64(len(keys))
		return nil
	})
	return info, err
}
