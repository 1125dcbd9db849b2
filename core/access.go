package core

import (
	"github.com/triglot/triglot/core/corepb"
)

// Access: what each command needs of its caller while authentication is on.

// authorize is the one place where commands are judged by their caller, in the log and on views alike. It looks at both
// branches of a Txn, so that what a caller may do does not depend on what is stored.
func (t *tx) authorize(txn *corepb.Txn) error {
	if !t.r.State().AuthEnabled {
		return nil
	}
	return t.authorizeTxn(txn)
}

func (t *tx) authorizeTxn(txn *corepb.Txn) error {
	for _, g := range txn.Guards {
		if err := t.permit(g.Key, g.End, false); err != nil {
			return err
		}
	}
	for _, ops := range [2][]*corepb.Op{txn.Then, txn.Otherwise} {
		for _, op := range ops {
			if err := t.authorizeOp(op, txn); err != nil {
				return err
			}
		}
	}
	return nil
}

// permit says whether the caller may read, or write, a range of keys.
func (t *tx) permit(key, end []byte, write bool) error {
	state := t.r.State()
	if !state.AuthEnabled {
		return nil
	}
	switch {
	case t.caller == nil || t.caller.AuthRevision == 0:
		return ErrUserEmpty
	case t.caller.AuthRevision < state.AuthRevision:
		return ErrAuthRevisionOld
	}
	if g := t.callerGrant(); g == nil || !g.mayDo(key, end, write) {
		return ErrPermissionDenied
	}
	return nil
}

func (t *tx) callerGrant() *grant {
	return t.cache.at(t.r.State().AuthRevision).of(t, t.caller.User)
}

// permitRoot says whether the caller has the role root. Unlike permit it has no view of how old the caller's knowledge is,
// as in etcd.
func (t *tx) permitRoot() error {
	switch {
	case !t.r.State().AuthEnabled:
		return nil
	case t.caller == nil || t.caller.User == "":
		return ErrUserEmpty
	}
	switch g := t.callerGrant(); {
	case g == nil:
		return ErrUserNotFound
	case !g.root:
		return ErrPermissionDenied
	}
	return nil
}

// permitSomebody says whether the caller is anybody at all.
func (t *tx) permitSomebody() error {
	if t.r.State().AuthEnabled && (t.caller == nil || t.caller.AuthRevision == 0) {
		return ErrUserEmpty
	}
	return nil
}

// permitAttached says whether the caller may read, or write, every key of a lease: to write on means that whoever ends a
// lease removes its keys.
func (t *tx) permitAttached(lease int64, write bool) error {
	if lease == 0 || t.permitRoot() == nil {
		return nil
	}
	for _, attached := range t.attachments(lease) {
		if err := t.permit(attached.key, nil, write); err != nil {
			return err
		}
	}
	return nil
}

// everyKey is the range that what looks at a whole space needs.
var everyKey = []byte{0}

// access is what an op does with keys.
type access uint8

const (
	reads access = 1 << iota
	writes
)

// need says whether the caller may do it with a range of keys.
func (t *tx) need(what access, key, end []byte) error {
	if what&writes != 0 {
		if err := t.permit(key, end, true); err != nil {
			return err
		}
	}
	if what&reads != 0 {
		return t.permit(key, end, false)
	}
	return nil
}

// with adds an access that an option of an op asks for.
func (a access) with(asked bool, more access) access {
	if asked {
		return a | more
	}
	return a
}

// authorizeOp judges one op of a Txn. What answers with something of a value reads it; a length or a count is not that.
func (t *tx) authorizeOp(op *corepb.Op, txn *corepb.Txn) error {
	switch op := op.Op.(type) {
	case *corepb.Op_Get:
		return t.need(reads, op.Get.Key, nil)
	case *corepb.Op_Range:
		return t.need(reads, op.Range.Key, op.Range.End)
	case *corepb.Op_Scan, *corepb.Op_RandomKey, *corepb.Op_Count:
		return t.need(reads, everyKey, everyKey)
	case *corepb.Op_HashGet:
		return t.need(reads, op.HashGet.Key, nil)
	case *corepb.Op_HashRange:
		return t.need(reads, op.HashRange.Key, nil)
	case *corepb.Op_ListRange:
		return t.need(reads, op.ListRange.Key, nil)

	case *corepb.Op_Put:
		return t.authorizePut(op.Put)
	case *corepb.Op_Delete:
		return t.need(writes.with(op.Delete.WantPrev, reads), op.Delete.Key, op.Delete.End)
	case *corepb.Op_Expire:
		return t.need(writes, op.Expire.Key, nil)
	case *corepb.Op_Transfer:
		if err := t.need(reads.with(!op.Transfer.Copy, writes), op.Transfer.From, nil); err != nil {
			return err
		}
		return t.need(writes, op.Transfer.To, nil)
	case *corepb.Op_Flush:
		return t.need(writes, everyKey, everyKey)

	case *corepb.Op_Append:
		return t.need(writes, op.Append.Key, nil)
	case *corepb.Op_SetRange:
		return t.need(writes, op.SetRange.Key, nil)
	case *corepb.Op_Add:
		return t.need(reads|writes, op.Add.Key, nil)
	case *corepb.Op_AddFloat:
		return t.need(reads|writes, op.AddFloat.Key, nil)

	case *corepb.Op_HashSet:
		return t.need(writes, op.HashSet.Key, nil)
	case *corepb.Op_HashDelete:
		return t.need(writes, op.HashDelete.Key, nil)
	case *corepb.Op_HashAdd:
		return t.need(reads|writes, op.HashAdd.Key, nil)
	case *corepb.Op_HashAddFloat:
		return t.need(reads|writes, op.HashAddFloat.Key, nil)

	case *corepb.Op_ListPush:
		return t.need(writes, op.ListPush.Key, nil)
	case *corepb.Op_ListPop:
		for _, key := range op.ListPop.Keys {
			if err := t.need(reads|writes, key, nil); err != nil {
				return err
			}
		}
		return nil
	case *corepb.Op_ListMove:
		if err := t.need(reads|writes, op.ListMove.From, nil); err != nil {
			return err
		}
		return t.need(writes, op.ListMove.To, nil)
	case *corepb.Op_ListSet:
		return t.need(writes, op.ListSet.Key, nil)
	case *corepb.Op_ListInsert:
		return t.need(writes, op.ListInsert.Key, nil)
	case *corepb.Op_ListRemove:
		return t.need(writes, op.ListRemove.Key, nil)
	case *corepb.Op_ListTrim:
		return t.need(writes, op.ListTrim.Key, nil)

	case *corepb.Op_NodeCreate:
		path := op.NodeCreate.Path
		if op.NodeCreate.Sequential { // the path goes on with digits, or with a minus sign and digits
			return t.need(writes, []byte(path+"-"), []byte(path+string(rune('9'+1))))
		}
		return t.need(writes, []byte(path), nil)
	case *corepb.Op_NodeDelete:
		return t.need(writes, []byte(op.NodeDelete.Path), nil)
	case *corepb.Op_NodeSetData:
		return t.need(writes, []byte(op.NodeSetData.Path), nil)
	case *corepb.Op_NodeCheck:
		return t.need(reads, []byte(op.NodeCheck.Path), nil)

	case *corepb.Op_LeaseRevoke:
		// An expiry is the store's own, and a session may always be ended by whoever holds it.
		if op.LeaseRevoke.Term != 0 || (txn.Session != 0 && txn.Session == op.LeaseRevoke.Id) {
			return nil
		}
		return t.permitAttached(op.LeaseRevoke.Id, true)
	case *corepb.Op_LeaseGrant, *corepb.Op_SessionResume:
		return nil // no keys; a session comes before its holder says who they are

	case *corepb.Op_Txn:
		return t.authorizeTxn(op.Txn)
	case *corepb.Op_Publish:
		return t.permitSomebody()

	case *corepb.Op_Compact, *corepb.Op_Reap, *corepb.Op_LeaseCheckpoint, *corepb.Op_Alarm, *corepb.Op_HashCheck,
		*corepb.Op_MemberAdd, *corepb.Op_MemberPromote, *corepb.Op_MemberRemove, *corepb.Op_MemberUpdate, *corepb.Op_MemberPublish:
		return nil // the store's own, or judged by the adapter

	case *corepb.Op_Login:
		return nil // the password was checked
	}
	return t.permitRoot() // users and roles, and what this node does not know
}

// authorizePut: whoever writes on a lease must be allowed to write all that it holds already, since they could not end it
// otherwise.
func (t *tx) authorizePut(op *corepb.Put) error {
	if err := t.need(writes, op.Key, nil); err != nil {
		return err
	}
	if err := t.permitAttached(op.Lease, true); err != nil {
		return err
	}
	return t.need(access(0).with(op.WantPrev, reads), op.Key, nil)
}

// As says on whose behalf the view is read. Without it nobody reads.
func (v *View) As(caller *corepb.Caller) { v.tx.caller = caller }

// Permit says whether the caller may read, or write, a range of keys: USER_EMPTY, AUTH_REVISION_OLD, PERMISSION_DENIED.
func (v *View) Permit(key, end []byte, write bool) error { return v.tx.permit(key, end, write) }

// PermitRoot says whether the caller has the role root: USER_EMPTY, USER_NOT_FOUND, PERMISSION_DENIED.
func (v *View) PermitRoot() error { return v.tx.permitRoot() }

// PermitAttached says whether the caller may read, or write, all keys of a lease.
func (v *View) PermitAttached(lease int64, write bool) error {
	return v.tx.permitAttached(lease, write)
}

// mayRead is Permit for methods that have no error to answer: Err tells it.
func (v *View) mayRead(key, end []byte) bool {
	if !v.at.State().AuthEnabled {
		return true
	}
	if err := v.tx.permit(key, end, false); err != nil {
		v.denied = err
		return false
	}
	return true
}

// User reads a user, nil when there is none.
func (v *View) User(name string) *corepb.User { return v.tx.user(name) }

// Role reads a role, nil when there is none.
func (v *View) Role(name string) *corepb.Role { return v.tx.role(name) }

// Users goes over the users, in the order of their names.
func (v *View) Users(visit func(*corepb.User)) { eachUser(v.at, visit) }

// Roles goes over the roles, in the order of their names.
func (v *View) Roles(visit func(*corepb.Role)) { eachRole(v.at, visit) }

// Auth says whether authentication is on, and which revision users and roles have.
func (v *View) Auth() (enabled bool, revision uint64) {
	state := v.at.State()
	return state.AuthEnabled, state.AuthRevision
}
