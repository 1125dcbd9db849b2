package core

import (
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// tx carries out one command, on a batch when it is applied and on a view when it only reads. What it does is a pure
// function of the state it reads, the command and the entry's stamp: it has no clock, no source of chance and no
// configuration.
type tx struct {
	r   storage.Reader
	b   *storage.Batch // nil on a view
	now int64          // stamp of the entry, or the reader's clock; Unix milliseconds
	// term of the entry.
	term   uint64
	caller *corepb.Caller // on whose behalf; nil is nobody
	cache  *grantCache    // what callers may do; nil = worked out anew
	whole  *corepb.Txn    // the command, in the log
	// reconfigures says that the log's configuration changes with the command, if the command succeeds.
	reconfigures bool

	revision int64                      // that the command's changes take; 0 until the first change
	sub      int32                      // events of this revision so far
	events   []*storage.Event           // in order
	before   map[string]*storage.Record // what keys of space 0 held before the Txn; nil until it comes back to one
	leases   []leaseChange              // made and ended, in order
	moves    []sessionMove              // sessions that have another owner, in order
	logins   []loginChange              // of users, in order
	members  bool                       // the tables of members were written
	alarms   bool                       // the table of alarms was written
	deadline int64                      // the soonest deadline set, 0 for none

	hashCheck uint64 // the last HashCheck, 0 for none
	scratch   []byte // for keys that are looked up or written, and not kept
	encoded   []byte // for values on their way into the batch
}

// run carries out a Txn and everything nested in it. When the Txn is undone the state is as before.
func (t *tx) run(txn *corepb.Txn) *TxnResult {
	result := newTxnResult()
	start := t.mark()
	if err := t.refuseCorrupt(txn); err != nil {
		result.Err, result.FailedOp = err, -1
	} else if err := t.refuseGrowth(txn); err != nil {
		result.Err, result.FailedOp = err, -1
	} else if err := t.sessionHolds(txn); err != nil {
		result.Err, result.FailedOp = err, -1
	} else if err := t.authorize(txn); err != nil {
		result.Err, result.FailedOp = err, -1
	} else {
		t.decideAndRun(txn, result)
	}
	if result.Err != nil {
		t.undo(start)
	}
	t.keep(start)
	result.Revision = t.r.State().Revision
	result.Changed = t.revision != 0
	return result
}

// position is a point of a command to which it can be taken back.
type position struct {
	batch                 int
	revision              int64
	sub                   int32
	events, leases, moves int
	logins                int
	deadline              int64
	members, alarms       bool
	hashCheck             uint64
}

func (t *tx) mark() position {
	if t.b == nil {
		return position{}
	}
	return position{
		batch: t.b.Mark(), revision: t.revision, sub: t.sub,
		events: len(t.events), leases: len(t.leases), moves: len(t.moves), logins: len(t.logins), deadline: t.deadline, members: t.members,
		alarms: t.alarms, hashCheck: t.hashCheck,
	}
}

func (t *tx) undo(to position) {
	if t.b == nil {
		return
	}
	t.b.Undo(to.batch)
	t.revision, t.sub, t.deadline, t.members = to.revision, to.sub, to.deadline, to.members
	t.alarms, t.hashCheck = to.alarms, to.hashCheck
	t.events, t.leases, t.moves = t.events[:to.events], t.leases[:to.leases], t.moves[:to.moves]
	t.logins = t.logins[:to.logins]
	t.before = nil // made again from the events that are left
}

// keep says that the command will not be taken back to a point any more.
func (t *tx) keep(at position) {
	if t.b != nil {
		t.b.Keep(at.batch)
	}
}

// decision says whether the guards of a Txn hold, and the same of those nested in the branch that this chooses, in order.
type decision struct {
	holds  bool
	nested []decision
}

// decideAndRun judges the guards of a Txn and runs the branch that they choose. It leaves undoing to its caller.
func (t *tx) decideAndRun(txn *corepb.Txn, result *TxnResult) {
	decided := t.decide(txn)
	if result.FailedOp, result.Err = t.check(txn, &decided); result.Err == nil {
		t.branch(txn, &decided, result)
	}
}

// decide evaluates the guards of a Txn. When the Txn stands or falls as a whole, those of the Txns nested in it are
// evaluated too, all before the first op, as etcd does. Otherwise it is a queue of commands, as Redis' MULTI makes them,
// and each nested Txn is decided when its turn comes.
func (t *tx) decide(txn *corepb.Txn) decision {
	d := decision{holds: t.holdAll(txn.Guards)}
	if !txn.AbortOnError {
		return d
	}
	for _, op := range branchOf(txn, d.holds) {
		if nested, ok := op.Op.(*corepb.Op_Txn); ok {
			d.nested = append(d.nested, t.decide(nested.Txn))
		}
	}
	return d
}

// check looks at what can be refused before the first op, in the order of the ops, as etcd does: the revisions that ranges
// ask for, which are judged by the revision before the Txn, the leases of puts, and the keys that puts build on. Only a Txn that is undone as a whole
// is refused for them.
func (t *tx) check(txn *corepb.Txn, d *decision) (failedOp int, err error) {
	if !txn.AbortOnError {
		return 0, nil
	}
	nested := d.nested
	for i, op := range branchOf(txn, d.holds) {
		switch op := op.Op.(type) {
		case *corepb.Op_Range:
			err = t.readable(op.Range.Revision)
		case *corepb.Op_Put:
			if op.Put.Lease != 0 && !t.leaseExists(op.Put.Lease) {
				err = ErrLeaseNotFound
			}
			if err == nil && (op.Put.IgnoreValue || op.Put.IgnoreLease) {
				if rec := t.head(byte(op.Put.Space), op.Put.Key); rec == nil || rec.Kind != storage.KindBytes {
					err = ErrKeyNotFound
				}
			}
		case *corepb.Op_Txn:
			_, err = t.check(op.Txn, &nested[0])
			nested = nested[1:]
		}
		if err != nil {
			return i, err
		}
	}
	return 0, nil
}

func branchOf(txn *corepb.Txn, holds bool) []*corepb.Op {
	if holds {
		return txn.Then
	}
	return txn.Otherwise
}

// branch runs the ops that were decided on. It stops at the first failing op when the Txn is to be undone then.
func (t *tx) branch(txn *corepb.Txn, d *decision, result *TxnResult) {
	result.Succeeded = d.holds
	nested := d.nested
	ops := branchOf(txn, d.holds)
	if result.Results = result.one[:0]; len(ops) > 1 {
		result.Results = make([]Result, 0, len(ops))
	}
	for i, op := range ops {
		result.Results = append(result.Results, Result{})
		out := &result.Results[i]
		switch inner, ok := op.Op.(*corepb.Op_Txn); {
		case !ok:
			t.do(op, out)
		case txn.AbortOnError:
			out.Txn = &TxnResult{}
			t.branch(inner.Txn, &nested[0], out.Txn)
			nested = nested[1:]
			out.Err = out.Txn.Err
		default:
			out.Txn = &TxnResult{}
			t.alone(inner.Txn, out.Txn)
			out.Err = out.Txn.Err
		}
		if out.Err != nil && txn.AbortOnError {
			result.Err, result.FailedOp = out.Err, i
			return
		}
	}
}

// alone runs a Txn nested in one that goes on whatever becomes of it.
func (t *tx) alone(txn *corepb.Txn, result *TxnResult) {
	start := t.mark()
	t.decideAndRun(txn, result)
	if result.Err != nil {
		t.undo(start)
	}
	t.keep(start)
}

// takeRevision gives the command its revision, at its first change.
func (t *tx) takeRevision() int64 {
	if t.revision == 0 {
		state := t.b.State()
		state.Revision++
		t.revision = state.Revision
	}
	return t.revision
}

// do carries out one op other than a nested Txn.
func (t *tx) do(whole *corepb.Op, out *Result) {
	switch op := whole.Op.(type) {
	case *corepb.Op_Get:
		t.get(op.Get, out)
	case *corepb.Op_Range:
		t.rangeKeys(op.Range, out)
	case *corepb.Op_Count:
		out.Int = t.r.State().Counts[op.Count.Space]
	case *corepb.Op_Scan:
		t.scan(op.Scan, out)
	case *corepb.Op_RandomKey:
		t.randomKey(op.RandomKey, out)
	case *corepb.Op_HashGet:
		t.hashGet(op.HashGet, out)
	case *corepb.Op_HashRange:
		t.hashRange(op.HashRange, out)
	case *corepb.Op_ListRange:
		t.listRange(op.ListRange, out)

	case *corepb.Op_Put:
		t.putOp(op.Put, out)
	case *corepb.Op_Delete:
		t.deleteOp(op.Delete, out)
	case *corepb.Op_Expire:
		t.expire(op.Expire, out)
	case *corepb.Op_Transfer:
		t.transfer(op.Transfer, out)
	case *corepb.Op_Flush:
		t.flush(op.Flush, out)

	case *corepb.Op_Append:
		t.appendBytes(op.Append, out)
	case *corepb.Op_SetRange:
		t.setRange(op.SetRange, out)
	case *corepb.Op_Add:
		t.add(op.Add, out)
	case *corepb.Op_AddFloat:
		t.addFloat(op.AddFloat, out)

	case *corepb.Op_HashSet:
		t.hashSet(op.HashSet, out)
	case *corepb.Op_HashDelete:
		t.hashDelete(op.HashDelete, out)
	case *corepb.Op_HashAdd:
		t.hashAdd(op.HashAdd, out)
	case *corepb.Op_HashAddFloat:
		t.hashAddFloat(op.HashAddFloat, out)

	case *corepb.Op_ListPush:
		t.listPush(op.ListPush, out)
	case *corepb.Op_ListPop:
		t.listPop(op.ListPop, out)
	case *corepb.Op_ListMove:
		t.listMove(op.ListMove, out)
	case *corepb.Op_ListSet:
		t.listSet(op.ListSet, out)
	case *corepb.Op_ListInsert:
		t.listInsert(op.ListInsert, out)
	case *corepb.Op_ListRemove:
		t.listRemove(op.ListRemove, out)
	case *corepb.Op_ListTrim:
		t.listTrim(op.ListTrim, out)

	case *corepb.Op_NodeCreate:
		t.nodeCreate(op.NodeCreate, out)
	case *corepb.Op_NodeDelete:
		t.nodeDelete(op.NodeDelete, out)
	case *corepb.Op_NodeSetData:
		t.nodeSetData(op.NodeSetData, out)
	case *corepb.Op_NodeCheck:
		t.nodeCheck(op.NodeCheck, out)

	case *corepb.Op_LeaseGrant:
		t.leaseGrant(op.LeaseGrant, out)
	case *corepb.Op_LeaseRevoke:
		t.leaseRevoke(op.LeaseRevoke, out)
	case *corepb.Op_LeaseCheckpoint:
		t.leaseCheckpoint(op.LeaseCheckpoint, out)
	case *corepb.Op_SessionResume:
		t.sessionResume(op.SessionResume, out)

	case *corepb.Op_Publish:
		t.publish(op.Publish, out)
	case *corepb.Op_Compact:
		t.compact(op.Compact, out)
	case *corepb.Op_Reap:
		t.reap(op.Reap, out)

	case *corepb.Op_MemberAdd, *corepb.Op_MemberPromote, *corepb.Op_MemberRemove:
		t.changeMember(op, out)
	case *corepb.Op_MemberUpdate:
		t.memberUpdate(op.MemberUpdate, out)
	case *corepb.Op_Alarm:
		t.alarm(op.Alarm, out)
	case *corepb.Op_HashCheck:
		t.hashCheckOp(op.HashCheck, out)
	case *corepb.Op_MemberPublish:
		t.memberPublish(op.MemberPublish, out)

	case *corepb.Op_AuthEnable, *corepb.Op_AuthDisable, *corepb.Op_UserAdd, *corepb.Op_UserDelete,
		*corepb.Op_UserSetPassword, *corepb.Op_UserGrantRole, *corepb.Op_UserRevokeRole, *corepb.Op_RoleAdd,
		*corepb.Op_RoleDelete, *corepb.Op_RoleGrant, *corepb.Op_RoleRevoke, *corepb.Op_Login:
		t.auth(whole, out)
	default:
		// A command of a newer version than this node's.
		out.Err = &Error{Code: CodeBadArguments, Detail: "this node does not know the operation"}
	}
}

// readOnly reports whether a Txn can be answered from a view.
func readOnly(txn *corepb.Txn) bool {
	return readOnlyOps(txn.Then) && readOnlyOps(txn.Otherwise)
}

func readOnlyOps(ops []*corepb.Op) bool {
	for _, op := range ops {
		switch op := op.Op.(type) {
		case *corepb.Op_Get, *corepb.Op_Range, *corepb.Op_Scan, *corepb.Op_RandomKey,
			*corepb.Op_Count, *corepb.Op_HashGet, *corepb.Op_HashRange, *corepb.Op_ListRange, *corepb.Op_NodeCheck:
		case *corepb.Op_Txn:
			if !readOnly(op.Txn) {
				return false
			}
		default:
			return false
		}
	}
	return true
}
