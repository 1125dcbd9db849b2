package etcdfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

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
	return err == nil && binary.NativeEndian.Uint32(head[boltMagicAt:]) == boltMagic
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
	return r.guarded(func() error {
		db, err := bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true})
		if err != nil {
			return damaged(err)
		}
		defer db.Close()
		return db.View(func(tx *bolt.Tx) error {
			for err := range tx.Check() {
				return damaged(err)
			}
			r.tx = tx
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
		})
	})
}

func damaged(err error) error { return fmt.Errorf("%w: %w", core.ErrDamagedBackup, err) }

type reader struct {
	ctx         context.Context
	tx          *bolt.Tx
	progress    func(done, total int64)
	done, total int64 // bytes; done counts everything twice: once for the hash, and once for what is in it
}

// guarded makes an error of what bbolt does about pages that make no sense, and the system about those that are not there.
func (r *reader) guarded(read func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if broken := recover(); broken != nil {
			err = fmt.Errorf("%w: %v", core.ErrDamagedBackup, broken)
		}
	}()
	return read()
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
	c := &core.Contents{Versions: r.versions()}
	if r.tx.Bucket(bucketKey) == nil || r.tx.Bucket(bucketMeta) == nil {
		return nil, fmt.Errorf("%w: it is a bbolt file, but not of etcd", core.ErrNotABackup)
	}
	if err := r.meta(c); err != nil {
		return nil, err
	}
	for _, table := range []struct {
		name []byte
		row  func(k, v []byte) error
	}{
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
		bucket := r.tx.Bucket(table.name)
		if bucket == nil {
			continue // of an old etcd that never had any
		}
		if err := bucket.ForEach(table.row); err != nil {
			return nil, fmt.Errorf("%w: bucket %s: %w", core.ErrDamagedBackup, table.name, err)
		}
	}
	return c, nil
}

// meta reads what there is one of.
func (r *reader) meta(c *core.Contents) error {
	meta := r.tx.Bucket(bucketMeta)
	c.Info.Revision = 1
	if last, _ := r.tx.Bucket(bucketKey).Cursor().Last(); last != nil {
		revision, _, _, err := parseRevision(last)
		if err != nil {
			return damaged(err)
		}
		c.Info.Revision = revision
	}
	for _, name := range [][]byte{metaFinished, metaScheduled} {
		if at := meta.Get(name); at != nil {
			revision, _, _, err := parseRevision(at)
			if err != nil {
				return fmt.Errorf("%w: %s: %w", core.ErrDamagedBackup, name, err)
			}
			c.Info.Compacted = max(c.Info.Compacted, revision)
		}
	}
	// What was changed last may have been deletions, which compaction has removed.
	c.Info.Revision = max(c.Info.Revision, c.Info.Compacted)
	c.Info.Version = "etcd"
	if version := meta.Get(metaStorageVersion); version != nil {
		c.Info.Version = "etcd " + string(version)
	}
	numbers := []struct {
		bucket, name []byte
		into         *uint64
	}{
		{bucketMeta, metaIndex, &c.Info.Index}, {bucketMeta, metaTerm, &c.Info.Term}, {bucketAuth, authRevision, &c.AuthRevision},
	}
	for _, n := range numbers {
		bucket := r.tx.Bucket(n.bucket)
		if bucket == nil || bucket.Get(n.name) == nil {
			continue
		}
		var err error
		if *n.into, err = parseNumber(bucket.Get(n.name)); err != nil {
			return fmt.Errorf("%w: %s: %w", core.ErrDamagedBackup, n.name, err)
		}
	}
	if auth := r.tx.Bucket(bucketAuth); auth != nil {
		c.AuthEnabled = bytes.Equal(auth.Get(authEnabled), []byte{1})
	}
	return nil
}

// versions goes over the history.
func (r *reader) versions() iter.Seq2[*storage.Event, error] {
	return func(yield func(*storage.Event, error) bool) {
		rows := r.tx.Bucket(bucketKey).Cursor()
		for k, v := rows.First(); k != nil; k, v = rows.Next() {
			r.did(len(k) + len(v))
			event, err := parseChange(k, v)
			if err != nil {
				err = damaged(err)
			}
			if !yield(event, err) || err != nil {
				return
			}
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
