package etcdfile

import (
	"context"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// storageVersion is the form that files are written in. It is etcd 3.6's, which 3.7 reads as its own: so that 3.4, 3.5
// and 3.6 restore them too.
const storageVersion = "3.6.0"

// Make makes a view of a store an etcd database, in a file in dir (empty: where the system has temporary files) that has no
// name: it is gone when it is closed, or with the process. There is in it what etcd's API shows: the shared space with its
// history, leases, users and roles; sessions become leases, and keys with a deadline lose it. The file is read from its
// beginning, and is not synced.
func Make(ctx context.Context, dir string, view *core.View) (*os.File, error) {
	file, err := os.CreateTemp(dir, "snapshot-*.db")
	if err != nil {
		return nil, err
	}
	size, err := fill(ctx, file.Name(), view)
	if err == nil {
		err = file.Truncate(size) // the last pages may be free ones, which are not written
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making the etcd database: %w", err), file.Close())
	}
	return file, nil
}

// fill writes a view to a file, the name of which it takes away. It returns the database's size in bytes.
func fill(ctx context.Context, path string, view *core.View) (size int64, err error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true, NoGrowSync: true, FreelistType: bolt.FreelistMapType})
	if err = errors.Join(err, os.Remove(path)); err != nil {
		if db != nil {
			db.Close()
		}
		return 0, err
	}
	w := &writer{ctx: ctx, db: db}
	err = w.all(view)
	w.rollback()
	if err == nil {
		err = db.View(func(tx *bolt.Tx) error {
			size = tx.Size()
			return nil
		})
	}
	return size, errors.Join(err, db.Close())
}

// A transaction is written at these bounds: it holds its rows in memory.
const (
	stepBytes = 8 << 20
	stepRows  = 20_000
)

// writer writes rows, the first failure of which it keeps.
type writer struct {
	ctx context.Context
	db  *bolt.DB
	tx  *bolt.Tx
	err error

	rows, bytes int // of the transaction
}

func (w *writer) all(view *core.View) error {
	w.begin()
	for _, name := range buckets {
		if w.err == nil {
			_, w.err = w.tx.CreateBucket(name)
		}
	}
	w.versions(view)
	for lease := range view.Leases() {
		key, value := leaseRow(&lease)
		w.put(bucketLease, key, value)
	}
	view.Users(func(u *corepb.User) { w.add(bucketUsers)(userRow(u)) })
	view.Roles(func(r *corepb.Role) { w.add(bucketRoles)(roleRow(r)) })
	enabled, revision := view.Auth()
	w.put(bucketAuth, authEnabled, map[bool][]byte{false: {0}, true: {1}}[enabled])
	w.put(bucketAuth, authRevision, number(revision))

	index, term := view.Applied()
	w.put(bucketMeta, metaIndex, number(index))
	w.put(bucketMeta, metaTerm, number(term))
	w.put(bucketMeta, metaStorageVersion, []byte(storageVersion))
	if compacted := view.Compacted(); compacted > 0 {
		w.put(bucketMeta, metaScheduled, compactedAt(compacted))
		if purged := view.Purged(); purged > 0 {
			w.put(bucketMeta, metaFinished, compactedAt(purged)) // etcd goes on from there
		}
	}
	if w.err == nil {
		w.err = view.Err()
	}
	w.commit()
	return w.err
}

// versions writes the history. etcd takes the revision of the last row for its own. Where that is an earlier one, because
// what changed since is nothing that etcd sees, a deletion of the empty key stands for it: that key is in no range.
func (w *writer) versions(view *core.View) {
	last := int64(1)
	for event := range view.Versions() {
		if w.err != nil {
			return
		}
		if len(event.Key) == 0 {
			continue // Redis has such a key, and etcd does not
		}
		w.add(bucketKey)(changeRow(event))
		last = event.Revision
	}
	if revision := view.Revision(); w.err == nil && last < revision {
		w.add(bucketKey)(changeRow(&storage.Event{Type: storage.EventDelete, Revision: revision}))
	}
}

// add is put of what makes a row.
func (w *writer) add(bucket []byte) func(key, value []byte, err error) {
	return func(key, value []byte, err error) {
		if w.err == nil && err != nil {
			w.err = err
		}
		w.put(bucket, key, value)
	}
}

func (w *writer) put(bucket, key, value []byte) {
	if w.err == nil && (w.rows >= stepRows || w.bytes >= stepBytes) {
		w.commit()
		w.begin()
	}
	if w.err != nil {
		return
	}
	w.rows++
	w.bytes += len(key) + len(value)
	into := w.tx.Bucket(bucket)
	into.FillPercent = 0.9 // as etcd: rows come in order
	w.err = into.Put(key, value)
}

func (w *writer) begin() {
	if w.err == nil {
		w.err = context.Cause(w.ctx)
	}
	if w.err != nil {
		return
	}
	w.rows, w.bytes = 0, 0
	w.tx, w.err = w.db.Begin(true)
}

func (w *writer) commit() {
	if w.err != nil {
		return
	}
	w.err, w.tx = w.tx.Commit(), nil
}

// rollback ends a transaction that did not come to its end.
func (w *writer) rollback() {
	if w.tx != nil {
		_ = w.tx.Rollback()
	}
}
