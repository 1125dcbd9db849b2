package core

import (
	"context"
	"fmt"
	"iter"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Contents are what another system's copy of its data holds: the shared space with its history, leases, users and roles.
// Restore makes a store of them, with the same revisions. Where it comes from is believed no more than a backup's file:
// what cannot be in a store is ErrDamagedBackup.
type Contents struct {
	// Info says what it is: Revision, Compacted, Index and Term become those of the store, Digest tells its cluster from any
	// other, and Keys is counted while it is restored.
	Info BackupInfo

	AuthEnabled  bool
	AuthRevision uint64
	Users        []*corepb.User
	Roles        []*corepb.Role
	Leases       []storage.Lease // ID, TTLMillis and RemainingMillis are looked at

	// Versions goes over the changes in the order of (revision, sub), with what View.Versions gives of each. The first
	// version that is left of a key may be any. A change of the empty key stands for its revision only.
	Versions iter.Seq2[*storage.Event, error]
}

// loadStepBytes and loadStepEvents bound what is loaded as one step.
const (
	loadStepBytes  = 4 << 20
	loadStepEvents = 4096
)

// loadContents makes them the state of a new database, all but the members.
func loadContents(ctx context.Context, db *storage.DB, c *Contents) error {
	if c.Info.Revision < 1 || c.Info.Revision > RevisionMax || c.Info.Compacted < 0 || c.Info.Compacted > c.Info.Revision {
		return fmt.Errorf("%w: it is of revision %d, compacted at %d", ErrDamagedBackup, c.Info.Revision, c.Info.Compacted)
	}
	l := &loader{db: db}
	l.begin()
	defer func() { l.tx.b.Discard() }()
	if err := l.callers(c); err != nil {
		return err
	}
	if err := l.leases(c.Leases); err != nil {
		return err
	}
	for event, err := range c.Versions {
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = l.version(event)
		}
		if err != nil {
			return err
		}
	}
	state := l.tx.b.State()
	if state.Revision > c.Info.Revision {
		return fmt.Errorf("%w: it is of revision %d and has a change of revision %d", ErrDamagedBackup, c.Info.Revision, state.Revision)
	}
	state.Revision, state.Compacted, state.StampMillis = c.Info.Revision, c.Info.Compacted, loadStampMillis
	state.AppliedIndex, state.AppliedTerm = max(c.Info.Index, 1), max(c.Info.Term, 1)
	c.Info.Keys = state.Counts[0]
	if err := l.commit(); err != nil {
		return err
	}
	return db.Adopt()
}

// loadStampMillis is the stamp of everything that is loaded. Contents do not tell when anything was, and the members that are
// made of them, each at its own time, must come to the same bytes. 0 would mean that there was nothing.
const loadStampMillis = 1

// loader writes a state from what it was made of.
type loader struct {
	db *storage.DB
	tx *tx
	at struct { // of the last change
		revision int64
		sub      int32
	}
	events, bytes int // of the present step
}

func (l *loader) begin() {
	batch := l.db.NewBatch()
	l.tx = &tx{r: batch, b: batch, now: loadStampMillis}
	l.events, l.bytes = 0, 0
}

func (l *loader) commit() error {
	if err := l.tx.b.Err(); err != nil {
		return err
	}
	return l.tx.b.Commit()
}

// version writes one change of a key, with everything that follows from it.
func (l *loader) version(e *storage.Event) error {
	if e.Revision < l.at.revision || e.Revision == l.at.revision && e.Sub <= l.at.sub || e.Revision < 1 || e.Sub < 0 {
		return fmt.Errorf("%w: revision %d sub %d comes after revision %d sub %d", ErrDamagedBackup, e.Revision, e.Sub, l.at.revision, l.at.sub)
	}
	if e.Revision != l.at.revision && (l.events >= loadStepEvents || l.bytes >= loadStepBytes) {
		if err := l.commit(); err != nil {
			return err
		}
		l.begin()
	}
	if e.Revision != l.at.revision {
		l.tx.b.State().Revision = e.Revision - 1
		l.tx.revision, l.tx.before, l.tx.events = 0, nil, nil
	}
	l.at.revision, l.at.sub = e.Revision, e.Sub
	l.events++
	l.bytes += len(e.Key) + len(e.Record.Value)
	l.tx.sub = e.Sub
	if len(e.Key) == 0 {
		l.tx.takeRevision()
		return nil
	}
	before := l.tx.storedHead(0, e.Key)
	if e.Type == storage.EventDelete {
		if before != nil {
			l.tx.change(0, e.Key, before, nil, "")
			return nil
		}
		// What it deleted is compacted; who watches from here on is told of it all the same.
		l.tx.b.AppendEvent(&storage.Event{
			Type: storage.EventDelete, Key: e.Key, Revision: l.tx.takeRevision(), Sub: e.Sub,
			Record: storage.Record{ModRevision: e.Revision},
		})
		return nil
	}
	r := &e.Record
	if r.Version < 1 || r.CreateRevision < 1 || r.CreateRevision > e.Revision || r.ModRevision != e.Revision {
		return fmt.Errorf("%w: key %q has version %d, was created at revision %d and changed at %d, which is said of revision %d",
			ErrDamagedBackup, e.Key, r.Version, r.CreateRevision, r.ModRevision, e.Revision)
	}
	after := &storage.Record{
		Kind: storage.KindBytes, CreateRevision: r.CreateRevision, CreateMillis: loadStampMillis, Version: r.Version, Lease: r.Lease,
		Value: r.Value,
	}
	l.tx.change(0, e.Key, before, after, "")
	if after.Lease != 0 && !l.tx.leaseExists(after.Lease) {
		// It is over, and this version with it: the history has both, the present neither.
		detached := *after
		detached.Lease = 0
		l.tx.writeRecord(0, e.Key, &detached)
		l.tx.writeFinders(0, e.Key, after, &detached)
	}
	return nil
}

func (l *loader) leases(leases []storage.Lease) error {
	for _, lease := range leases {
		var out Result
		l.tx.leaseGrant(&corepb.LeaseGrant{Id: lease.ID, TtlMillis: lease.TTLMillis}, &out)
		if out.Err != nil {
			return fmt.Errorf("%w: lease %016x with a TTL of %d ms: %w", ErrDamagedBackup, uint64(lease.ID), lease.TTLMillis, out.Err)
		}
		l.tx.leaseCheckpoint(&corepb.LeaseCheckpoint{Id: lease.ID, GrantedMillis: loadStampMillis, RemainingMillis: lease.RemainingMillis}, &out)
	}
	return nil
}

// callers writes users and roles, and whether they matter.
func (l *loader) callers(c *Contents) error {
	for _, u := range c.Users {
		if u.Name == "" {
			return fmt.Errorf("%w: a user has no name", ErrDamagedBackup)
		}
		l.tx.storeUser(u)
	}
	for _, r := range c.Roles {
		if r.Name == "" {
			return fmt.Errorf("%w: a role has no name", ErrDamagedBackup)
		}
		l.tx.storeRole(r)
	}
	state := l.tx.b.State()
	state.AuthEnabled, state.AuthRevision = c.AuthEnabled, max(c.AuthRevision, 1)
	return nil
}
