package storage

import (
	"fmt"
	"iter"

	"github.com/hashicorp/go-memdb"
)

// Leases is the lease table in memory, at one state: an immutable memdb snapshot. It is rebuilt from Pebble at Open and
// follows the lease table with every commit. It holds one object for each lease; the keys tied to a lease stay on disk.
type Leases struct {
	mem *memdb.MemDB
}

const (
	leaseTable       = "lease"
	leaseIDIndex     = "id"
	leaseSessionOnly = "session"
)

func newLeases() (*Leases, error) {
	mem, err := memdb.NewMemDB(&memdb.DBSchema{Tables: map[string]*memdb.TableSchema{
		leaseTable: {Name: leaseTable, Indexes: map[string]*memdb.IndexSchema{
			leaseIDIndex:     {Name: leaseIDIndex, Unique: true, Indexer: leaseIndexer{}},
			leaseSessionOnly: {Name: leaseSessionOnly, Unique: true, AllowMissing: true, Indexer: leaseIndexer{sessionsOnly: true}},
		}},
	}})
	if err != nil {
		return nil, fmt.Errorf("storage: lease index: %w", err)
	}
	return &Leases{mem: mem}, nil
}

// leaseIndexer orders leases by id without reflection.
type leaseIndexer struct{ sessionsOnly bool }

// FromObject implements memdb.SingleIndexer.
func (x leaseIndexer) FromObject(object any) (bool, []byte, error) {
	l, ok := object.(*Lease)
	if !ok {
		return false, nil, fmt.Errorf("storage: lease index holds a %T", object)
	}
	if x.sessionsOnly && !l.IsSession() {
		return false, nil, nil
	}
	return true, appendInt64(nil, l.ID), nil
}

// FromArgs implements memdb.Indexer.
func (leaseIndexer) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if id, ok := args[0].(int64); ok {
			return appendInt64(nil, id), nil
		}
	}
	return nil, fmt.Errorf("storage: lease index wants one int64")
}

// Get looks a lease up. Its password must not be modified.
func (l *Leases) Get(id int64) (Lease, bool) {
	txn := l.mem.Txn(false)
	defer txn.Abort()
	object, err := txn.First(leaseTable, leaseIDIndex, id)
	if err != nil || object == nil { // an error is a lookup that does not fit the schema above: there is none
		return Lease{}, false
	}
	return *object.(*Lease), true
}

// All goes over every lease, sessions included, in the order of ids.
func (l *Leases) All() iter.Seq[Lease] { return l.over(leaseIDIndex) }

// Sessions goes over the leases that are sessions, in the order of ids.
func (l *Leases) Sessions() iter.Seq[Lease] { return l.over(leaseSessionOnly) }

func (l *Leases) over(index string) iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		txn := l.mem.Txn(false)
		defer txn.Abort()
		it, err := txn.Get(leaseTable, index)
		if err != nil {
			return
		}
		for object := it.Next(); object != nil; object = it.Next() {
			if !yield(*object.(*Lease)) {
				return
			}
		}
	}
}

// Leases are the leases and sessions at the present state.
func (db *DB) Leases() *Leases { return db.current.Load().leases }

// load fills the index from the lease table.
func (l *Leases) load(p *pinned) error {
	v := p.view()
	txn := l.mem.Txn(true)
	defer txn.Abort()
	it := v.Scan(LeaseBounds())
	defer it.Close()
	for it.Next() {
		if err := insertLease(txn, it.Value()); err != nil {
			return err
		}
	}
	if err := v.Err(); err != nil {
		return err
	}
	txn.Commit()
	return nil
}

func insertLease(txn *memdb.Txn, value []byte) error {
	l, err := DecodeLease(append([]byte(nil), value...))
	if err != nil {
		return err
	}
	return txn.Insert(leaseTable, &l)
}

// with is the index after a batch: itself when the batch leaves leases alone.
func (l *Leases) with(b *Batch) (*Leases, error) {
	lower, upper := LeaseBounds()
	var removed []interval
	b.intervals.Scan(func(_ string, i interval) bool {
		if i.lower < bytesString(upper) && i.upper > bytesString(lower) {
			removed = append(removed, i)
		}
		return true
	})
	var written []*entry
	for _, e := range b.touched {
		if e.key[0] == tableLease && e.write != writeNone {
			written = append(written, e)
		}
	}
	if len(removed) == 0 && len(written) == 0 {
		return l, nil
	}

	next := &Leases{mem: l.mem.Snapshot()}
	txn := next.mem.Txn(true)
	defer txn.Abort()
	for lease := range l.All() {
		if len(removed) == 0 {
			break
		}
		key := bytesString(LeaseKey(nil, lease.ID))
		for _, i := range removed {
			if key >= i.lower && key < i.upper {
				if err := txn.Delete(leaseTable, &lease); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, e := range written {
		if e.write == writeSet {
			if err := insertLease(txn, e.value); err != nil {
				return nil, err
			}
			continue
		}
		if id, ok := SplitLease(stringBytes(e.key)); ok {
			if _, err := txn.DeleteAll(leaseTable, leaseIDIndex, id); err != nil {
				return nil, err
			}
		}
	}
	txn.Commit()
	return next, nil
}
