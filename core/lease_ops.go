package core

import (
	"bytes"
	"crypto/subtle"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// leaseChange is a lease that was made or resumed, or, with no TTL, ended.
type leaseChange struct {
	id, ttlMillis, grantedMillis int64
	owner                        uint64
	resumed                      bool  // it was there before
	remainingMillis              int64 // see storage.Lease
	checkpoint                   bool  // only remainingMillis is another
}

// sessionMove is a session that has another owner.
type sessionMove struct {
	id    int64
	owner uint64
}

// sessionHolds says why a command of a session may not run.
func (t *tx) sessionHolds(txn *corepb.Txn) error {
	if txn.Session == 0 {
		return nil
	}
	if txn.Owner == 0 {
		if !t.leaseExists(txn.Session) {
			return ErrSessionExpired
		}
		return nil
	}
	lease, ok := t.lease(txn.Session)
	switch {
	case !ok:
		return ErrSessionExpired
	case lease.Owner != txn.Owner:
		return ErrSessionMoved
	}
	return nil
}

func (t *tx) lease(id int64) (storage.Lease, bool) {
	t.scratch = storage.LeaseKey(t.scratch[:0], id)
	value, ok := t.r.Get(t.scratch)
	if !ok {
		return storage.Lease{}, false
	}
	lease, err := storage.DecodeLease(bytes.Clone(value))
	return lease, err == nil
}

func (t *tx) leaseExists(id int64) bool {
	t.scratch = storage.LeaseKey(t.scratch[:0], id)
	_, ok := t.r.Get(t.scratch)
	return ok
}

func (t *tx) leaseGrant(op *corepb.LeaseGrant, out *Result) {
	if op.Id == 0 || op.TtlMillis <= 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "a lease needs an id and a positive TTL"}
		return
	}
	if t.leaseExists(op.Id) {
		out.Err = ErrLeaseExists
		return
	}
	lease := storage.Lease{ID: op.Id, TTLMillis: op.TtlMillis, GrantedMillis: t.now, Password: op.Password, Owner: op.Owner}
	t.b.Set(storage.LeaseKey(nil, op.Id), lease.Append(nil))
	t.leases = append(t.leases, changeOf(&lease))
	out.OK = true
}

func changeOf(l *storage.Lease) leaseChange {
	return leaseChange{id: l.ID, ttlMillis: l.TTLMillis, grantedMillis: l.GrantedMillis, owner: l.Owner, remainingMillis: l.RemainingMillis}
}

// sessionResume makes another connection the owner of a session. Its time begins anew, with the time-out given.
func (t *tx) sessionResume(op *corepb.SessionResume, out *Result) {
	if op.Owner == 0 || op.TtlMillis <= 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "a session is resumed by an owner, with a positive TTL"}
		return
	}
	lease, ok := t.lease(op.Id)
	if !ok || !lease.IsSession() || subtle.ConstantTimeCompare(lease.Password, op.Password) != 1 {
		out.Err = ErrSessionExpired
		return
	}
	lease.TTLMillis, lease.Owner, lease.RemainingMillis = op.TtlMillis, op.Owner, 0
	t.b.Set(storage.LeaseKey(nil, op.Id), lease.Append(nil))
	resumed := changeOf(&lease)
	resumed.resumed = true
	t.leases = append(t.leases, resumed)
	t.moves = append(t.moves, sessionMove{id: op.Id, owner: op.Owner})
	out.OK = true
}

func (t *tx) leaseRevoke(op *corepb.LeaseRevoke, out *Result) {
	if op.Term != 0 && op.Term != t.term {
		return // decided by a leader that is no more; the lease has its full time again
	}
	lease, ok := t.lease(op.Id)
	if !ok {
		out.Err = ErrLeaseNotFound
		return
	}
	if op.Term != 0 && (op.Owner != lease.Owner || op.GrantedMillis != lease.GrantedMillis) {
		return // decided before the session was resumed, or of another lease that had the id
	}
	attached := t.attachments(op.Id)
	for space := range byte(storage.Spaces) {
		var found []KeyRecord
		for _, a := range attached {
			if a.space != space {
				continue
			}
			if rec := t.storedHead(space, a.key); rec != nil && rec.Lease == op.Id {
				found = append(found, KeyRecord{Key: a.key, Record: *rec})
			}
		}
		t.removeAll(space, found, "expired")
		out.Int += int64(len(found))
	}
	t.b.Delete(storage.LeaseKey(nil, op.Id))
	t.leases = append(t.leases, leaseChange{id: op.Id})
	out.OK = true
}

func (t *tx) leaseCheckpoint(op *corepb.LeaseCheckpoint, out *Result) {
	lease, ok := t.lease(op.Id)
	if !ok || op.Term != t.term || op.Owner != lease.Owner || op.GrantedMillis != lease.GrantedMillis {
		return // as an expiry would do nothing
	}
	lease.RemainingMillis = max(0, min(op.RemainingMillis, lease.TTLMillis))
	t.b.Set(storage.LeaseKey(nil, op.Id), lease.Append(nil))
	change := changeOf(&lease)
	change.checkpoint = true
	t.leases = append(t.leases, change)
	out.OK = true
}

type attachment struct {
	space byte
	key   []byte
}

// attachments lists the keys of a lease, in key order.
func (t *tx) attachments(lease int64) []attachment {
	var attached []attachment
	iter := t.r.Scan(storage.AttachmentBounds(lease))
	defer iter.Close()
	for iter.Next() {
		_, space, key, _ := storage.SplitAttachment(iter.Key())
		attached = append(attached, attachment{space, bytes.Clone(key)})
	}
	return attached
}

// publish leaves no state: the message rides the event stream at the store's present revision.
func (t *tx) publish(op *corepb.Publish, out *Result) {
	t.events = append(t.events, &storage.Event{
		Type: storage.EventPublish, Key: op.Channel, Revision: t.b.State().Revision,
		Record: storage.Record{Kind: storage.KindBytes, Value: op.Payload},
	})
	out.OK = true
}

func (t *tx) compact(op *corepb.Compact, out *Result) {
	state := t.b.State()
	switch {
	case op.Revision > state.Revision:
		out.Err = ErrFutureRevision
	case op.Revision <= state.Compacted:
		out.Err = &Error{Code: CodeCompacted, Number: state.Compacted}
	default:
		state.Compacted = op.Revision
		out.OK = true
	}
}

// reap removes what was due when it was proposed, unless its life was prolonged meanwhile, and clears the rows of the
// deadline table that brought it up.
func (t *tx) reap(op *corepb.Reap, out *Result) {
	for _, due := range op.Due {
		t.b.Delete(storage.DeadlineKey(nil, due.DeadlineMillis, byte(due.Space), due.Key))
		if due.Space == idleSpace {
			t.reapIdle(due.Key, out)
			continue
		}
		rec := t.storedHead(byte(due.Space), due.Key)
		switch {
		case rec == nil:
		case t.over(rec):
			t.change(byte(due.Space), due.Key, rec, nil, "expired")
			out.Int++
		case rec.DeadlineMillis == due.DeadlineMillis:
			// Proposed ahead of the stamp: keep its row.
			t.setDeadline(due.DeadlineMillis, byte(due.Space), due.Key)
		}
	}
}

func (t *tx) reapIdle(path []byte, out *Result) {
	tree := t.tree(path)
	rec := t.storedHead(0, path)
	if rec == nil || tree.IdleDeadlineMillis == 0 || tree.Children > 0 {
		return
	}
	if tree.IdleDeadlineMillis > t.now {
		t.setDeadline(tree.IdleDeadlineMillis, idleSpace, path)
		return
	}
	t.change(0, path, rec, nil, "expired")
	out.Int++
}
