package core

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Random commands of every sort on a few keys of every sort. Nothing is known of the right results here; what always holds
// is checked after every step, as for the scripts. Many short lives rather than one long one, since the checks look at
// everything there is, history included.
func TestRandomCommandsKeepTheInvariants(t *testing.T) {
	for seed := range uint64(rounds(24)) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			g := &generator{s: s, r: rand.New(rand.NewPCG(seed, 11)), keys: randomKeys, users: true}
			for range 150 {
				txn := g.txn(2)
				txn.Caller = g.caller()
				s.now += int64(g.r.IntN(40))
				s.checkUndo(txn)
				s.checkedApply(txn)
				s.checkReadsAgree(g)
			}
			s.checkReplica()
		})
	}
}

// Puts and deletes of any protocol, in a tree where every name is often a node, often implied and often absent.
func TestTheNodeTreeFollowsTheKeys(t *testing.T) {
	for seed := range uint64(rounds(40)) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			t.Parallel()
			s := openTestStore(t)
			g := &generator{s: s, r: rand.New(rand.NewPCG(seed, 12)), keys: pathKeys}
			for range 250 {
				s.now += int64(g.r.IntN(20))
				s.checkedApply(oneOp(g.treeOp()))
				if g.r.IntN(10) == 0 {
					s.now += 30_000
					s.checkedApply(oneOp(g.reap()))
				}
			}
			s.checkReplica()
		})
	}
}

// rounds is fewer in short runs.
func rounds(n int) int {
	if testing.Short() {
		return n / 8
	}
	return n
}

func (s *testStore) checkedApply(txn *corepb.Txn) {
	s.t.Helper()
	nodes := s.nodesNow()
	s.apply(txn)
	s.checkInvariants()
	s.checkNodeEvents(nodes)
}

func (g *generator) treeOp() *corepb.Op {
	key := g.key()
	switch g.r.IntN(10) {
	case 0, 1, 2:
		return opPut(&corepb.Put{Key: key, Value: g.value(), OverCollection: true, TtlMillis: int64(g.r.IntN(2) * g.r.IntN(300))})
	case 3, 4:
		return opDelete(&corepb.Delete{Key: key, AnyKind: true})
	case 5:
		return opTransfer(&corepb.Transfer{From: key, To: g.key(), Copy: g.flip()})
	case 6:
		return opListPush(&corepb.ListPush{Key: key, Values: [][]byte{g.value()}})
	case 7:
		return opDelete(&corepb.Delete{Key: key, End: g.key(), AnyKind: g.flip()})
	default:
		return g.node()
	}
}

var (
	pathKeys   = []string{"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/x", "/a/x/y", "/b/c/d", "/b/c/e", "/b", "/c", "/"}
	randomKeys = []string{"k", "k2", "l", "h", "x", "", "/n", "/n/a", "/n/a/b", "/n/c", "/m/d/e", "/m", "//x", "/"}
)

type generator struct {
	s    *testStore
	r    *rand.Rand
	keys []string

	users bool // change users and roles too, which the keyspace does not depend on unless authentication is on
}

func (g *generator) key() []byte { return []byte(g.keys[g.r.IntN(len(g.keys))]) }
func (g *generator) value() []byte {
	if g.r.IntN(8) == 0 {
		return bytes.Repeat([]byte("large"), 300+g.r.IntN(2)) // kept apart from its record
	}
	return fmt.Append(nil, g.r.IntN(4))
}

func (g *generator) flip() bool   { return g.r.IntN(2) == 0 }
func (g *generator) lease() int64 { return int64(1 + g.r.IntN(4)) }

// space is mostly the shared one.
func (g *generator) space() uint32 { return uint32(g.r.IntN(8) / 7 * (1 + g.r.IntN(2))) }

func (g *generator) values() [][]byte {
	values := make([][]byte, 1+g.r.IntN(3))
	for i := range values {
		values[i] = g.value()
	}
	return values
}

func (g *generator) txn(depth int) *corepb.Txn {
	if depth == 2 && g.r.IntN(15) == 0 {
		return oneOp(g.memberChange())
	}
	if depth == 2 && g.r.IntN(15) == 0 {
		return oneOp(g.alarmOp())
	}
	if depth == 2 && g.users && g.r.IntN(8) == 0 {
		return oneOp(g.authOp())
	}
	txn := &corepb.Txn{AbortOnError: g.flip()}
	if g.r.IntN(20) == 0 {
		txn.Session = g.lease()
		txn.Owner = uint64(g.r.IntN(3))
	}
	for range g.r.IntN(3) {
		txn.Guards = append(txn.Guards, g.guard())
	}
	for range 1 + g.r.IntN(4) {
		op := g.op()
		if depth > 0 && g.r.IntN(6) == 0 {
			op = &corepb.Op{Op: &corepb.Op_Txn{Txn: g.txn(depth - 1)}}
		}
		if g.r.IntN(4) > 0 {
			txn.Then = append(txn.Then, op)
		} else {
			txn.Otherwise = append(txn.Otherwise, op)
		}
	}
	return txn
}

func (g *generator) guard() *corepb.Guard {
	guard := &corepb.Guard{
		Space: g.space(), Key: g.key(), Target: corepb.Guard_Target(g.r.IntN(7)), Comparison: corepb.Guard_Comparison(g.r.IntN(4)),
		Number: int64(g.r.IntN(4)), Value: g.value(), AnyKind: g.flip(),
	}
	if g.r.IntN(3) == 0 {
		guard.End = g.end()
	}
	return guard
}

func (g *generator) end() []byte {
	if g.flip() {
		return []byte{0}
	}
	return g.key()
}

func (g *generator) op() *corepb.Op {
	space, key := g.space(), g.key()
	switch g.r.IntN(25) {
	case 0, 1, 2:
		put := &corepb.Put{
			Space: space, Key: key, Value: g.value(), Condition: corepb.Put_Condition(g.r.IntN(3)), KeepLife: g.r.IntN(4) == 0,
			WantPrev: g.flip(), OverCollection: g.flip(), IgnoreLease: g.r.IntN(10) == 0, IgnoreValue: g.r.IntN(10) == 0,
		}
		switch g.r.IntN(4) {
		case 0:
			put.Lease = g.lease()
		case 1:
			put.TtlMillis = int64(g.r.IntN(200))
		}
		return opPut(put)
	case 3, 4:
		op := &corepb.Delete{Space: space, Key: key, WantPrev: g.flip(), AnyKind: g.flip()}
		if g.r.IntN(8) == 0 {
			op.End = g.end()
		}
		return opDelete(op)
	case 5, 6:
		op := &corepb.Expire{Space: space, Key: key, Relative: true, TtlMillis: int64(g.r.IntN(300) - 20), Persist: g.r.IntN(3) == 0}
		if g.flip() {
			op.Conditions = []corepb.Expire_Condition{corepb.Expire_Condition(g.r.IntN(5))}
		}
		return opExpire(op)
	case 7, 8:
		return opTransfer(&corepb.Transfer{FromSpace: space, From: key, ToSpace: g.space(), To: g.key(), Copy: g.flip(), IfAbsent: g.r.IntN(4) == 0})
	case 9:
		if g.r.IntN(6) > 0 {
			return g.reap()
		}
		return &corepb.Op{Op: &corepb.Op_Flush{Flush: &corepb.Flush{Space: uint32(g.r.IntN(3))}}}
	case 10:
		return &corepb.Op{Op: &corepb.Op_Append{Append: &corepb.Append{Space: space, Key: key, Value: g.value()}}}
	case 11:
		return &corepb.Op{Op: &corepb.Op_Add{Add: &corepb.Add{Space: space, Key: key, Delta: 1}}}
	case 12:
		return &corepb.Op{Op: &corepb.Op_AddFloat{AddFloat: &corepb.AddFloat{Space: space, Key: key, Delta: "0.5"}}}
	case 13:
		return &corepb.Op{Op: &corepb.Op_SetRange{SetRange: &corepb.SetRange{Space: space, Key: key, Offset: int64(g.r.IntN(4)), Value: g.value()}}}
	case 14:
		values := append(g.values(), g.values()...)
		return opHashSet(&corepb.HashSet{Space: space, Key: key, Fields: values[:len(values)/2*2], IfAbsent: g.flip()})
	case 15:
		return opHashDelete(&corepb.HashDelete{Space: space, Key: key, Fields: g.values()})
	case 16:
		return opListPush(&corepb.ListPush{Space: space, Key: key, Values: g.values(), Left: g.flip()})
	case 17:
		return g.list(space, key)
	case 18, 19:
		return g.node()
	case 20, 21:
		return g.leaseOp()
	case 22:
		return &corepb.Op{Op: &corepb.Op_Publish{Publish: &corepb.Publish{Channel: key, Payload: g.value()}}}
	case 23:
		return g.memberOp()
	default:
		return g.read()
	}
}

func (g *generator) leaseOp() *corepb.Op {
	password := []byte(fmt.Sprintf("%016d", g.r.IntN(2)))
	switch g.r.IntN(6) {
	case 5:
		return &corepb.Op{Op: &corepb.Op_LeaseCheckpoint{LeaseCheckpoint: &corepb.LeaseCheckpoint{
			Id: g.lease(), Term: uint64(g.r.IntN(3)), Owner: uint64(g.r.IntN(3)), RemainingMillis: g.r.Int64N(1500), GrantedMillis: 1_000_000,
		}}}
	case 0:
		return opLeaseRevoke(g.lease())
	case 1:
		op := opLeaseRevoke(g.lease())
		op.GetLeaseRevoke().Term = uint64(g.r.IntN(3)) // the entry's is 1
		return op
	case 2:
		return opLeaseGrant(&corepb.LeaseGrant{Id: g.lease(), TtlMillis: 1000})
	case 3:
		return opLeaseGrant(&corepb.LeaseGrant{Id: g.lease(), TtlMillis: 1000, Password: password, Owner: 1})
	default:
		return opSessionResume(&corepb.SessionResume{Id: g.lease(), TtlMillis: 2000, Password: password, Owner: uint64(g.r.IntN(3))})
	}
}

func (g *generator) member() *corepb.Member {
	url := fmt.Sprintf("http://n%d:1", g.r.IntN(6))
	return &corepb.Member{Id: uint64(1 + g.r.IntN(5)), PeerUrls: []string{url}, Learner: g.r.IntN(3) == 0}
}

// memberChange is one that comes with a change of the log's configuration.
func (g *generator) memberChange() *corepb.Op {
	m := g.member()
	switch g.r.IntN(4) {
	case 0:
		return &corepb.Op{Op: &corepb.Op_MemberPromote{MemberPromote: &corepb.MemberPromote{Id: m.Id}}}
	case 1:
		return &corepb.Op{Op: &corepb.Op_MemberRemove{MemberRemove: &corepb.MemberRemove{Id: m.Id}}}
	default:
		return &corepb.Op{Op: &corepb.Op_MemberAdd{MemberAdd: &corepb.MemberAdd{Member: m, LearnersMax: int32(g.r.IntN(3))}}}
	}
}

// memberOp is any of those that may stand among others, and now and then one that may not.
func (g *generator) memberOp() *corepb.Op {
	m := g.member()
	switch g.r.IntN(6) {
	case 0:
		return g.memberChange()
	case 5:
		return g.alarmOp()
	case 1, 2:
		return &corepb.Op{Op: &corepb.Op_MemberUpdate{MemberUpdate: &corepb.MemberUpdate{Id: m.Id, PeerUrls: m.PeerUrls}}}
	default:
		m.Name, m.Version = fmt.Sprint("m", g.r.IntN(3)), "1"
		m.Listeners = map[string]string{"resp": "a:1", "etcd": "b:2", "zk": "c:3", "all": "d:4"}
		return &corepb.Op{Op: &corepb.Op_MemberPublish{MemberPublish: &corepb.MemberPublish{Member: m}}}
	}
}

// alarmOp raises or clears an alarm: CORRUPT, with which most commands are refused, is cleared more often.
func (g *generator) alarmOp() *corepb.Op {
	if g.r.IntN(3) == 0 {
		return alarmOp(AlarmCorrupt, g.member().Id, g.r.IntN(5) == 0)
	}
	return alarmOp(corepb.Alarm_Kind(g.r.IntN(3)), g.member().Id, g.r.IntN(3) == 0)
}

// authOp changes users and roles: "k" and "/n" are what roles may allow, and anna and bert may have them.
func (g *generator) authOp() *corepb.Op {
	user, role := []string{"root", "anna", "bert"}[g.r.IntN(3)], []string{"root", "r", "s"}[g.r.IntN(3)]
	switch g.r.IntN(14) {
	case 0:
		return &corepb.Op{Op: &corepb.Op_AuthEnable{AuthEnable: &corepb.AuthEnable{}}}
	case 1, 2:
		return &corepb.Op{Op: &corepb.Op_AuthDisable{AuthDisable: &corepb.AuthDisable{}}}
	case 3, 4:
		return opUserAdd(&corepb.UserAdd{Name: user, Password: g.value(), NoPassword: g.r.IntN(4) == 0})
	case 5:
		return &corepb.Op{Op: &corepb.Op_UserDelete{UserDelete: &corepb.UserDelete{Name: user}}}
	case 6:
		return &corepb.Op{Op: &corepb.Op_UserSetPassword{UserSetPassword: &corepb.UserSetPassword{Name: user, Password: g.value()}}}
	case 7, 8:
		return opUserGrant(user, role)
	case 9:
		return &corepb.Op{Op: &corepb.Op_UserRevokeRole{UserRevokeRole: &corepb.UserRevokeRole{User: user, Role: role}}}
	case 10:
		return opRoleAdd(role)
	case 11:
		return &corepb.Op{Op: &corepb.Op_RoleDelete{RoleDelete: &corepb.RoleDelete{Name: role}}}
	case 12:
		return &corepb.Op{Op: &corepb.Op_Login{Login: &corepb.Login{User: user, Prefix: "p"}}}
	default:
		return &corepb.Op{Op: &corepb.Op_RoleGrant{RoleGrant: &corepb.RoleGrant{Name: role, Permission: &corepb.Permission{
			Type: corepb.Permission_Type(g.r.IntN(3)), Key: g.key(), End: g.end(),
		}}}}
	}
}

// caller is who a command is from: nobody, or mostly root.
func (g *generator) caller() *corepb.Caller {
	switch g.r.IntN(8) {
	case 0:
		return nil
	case 1:
		return &corepb.Caller{User: "anna", AuthRevision: AuthRevisionAny}
	case 2:
		return &corepb.Caller{User: "bert", AuthRevision: uint64(g.r.IntN(20))}
	}
	return &corepb.Caller{User: "root", AuthRevision: AuthRevisionAny}
}

func (g *generator) list(space uint32, key []byte) *corepb.Op {
	switch g.r.IntN(6) {
	case 0:
		return opListPop(&corepb.ListPop{Space: space, Keys: [][]byte{key, g.key()}, Count: int64(g.r.IntN(3)), Left: g.flip()})
	case 1:
		return opListMove(&corepb.ListMove{Space: space, From: key, To: g.key(), FromLeft: g.flip(), ToLeft: g.flip()})
	case 2:
		return opListSet(&corepb.ListSet{Space: space, Key: key, Index: int64(g.r.IntN(4) - 2), Value: g.value()})
	case 3:
		return opListInsert(&corepb.ListInsert{Space: space, Key: key, Pivot: g.value(), Value: g.value(), Before: g.flip()})
	case 4:
		return opListRemove(&corepb.ListRemove{Space: space, Key: key, Count: int64(g.r.IntN(4) - 2), Value: g.value()})
	default:
		return opListTrim(&corepb.ListTrim{Space: space, Key: key, Start: int64(g.r.IntN(3)), Stop: int64(g.r.IntN(5) - 3)})
	}
}

func (g *generator) node() *corepb.Op {
	path := string(g.key())
	version := int32(g.r.IntN(4) - 2)
	if version == -2 {
		version = -1
	}
	switch g.r.IntN(6) {
	case 0, 1, 2:
		op := &corepb.NodeCreate{Path: path, Data: g.value()}
		switch g.r.IntN(6) {
		case 0:
			op.Owner = g.lease()
		case 1:
			op.Sequential = true
		case 2:
			op.Container = true
		case 3:
			op.TtlMillis = int64(1 + g.r.IntN(300))
		}
		return opNodeCreate(op)
	case 3:
		return opNodeSetData(&corepb.NodeSetData{Path: path, Data: g.value(), Version: version})
	default:
		return opNodeDelete(&corepb.NodeDelete{Path: path, Version: version})
	}
}

// reap proposes what is due now, and, as a proposer that is behind or ahead may, something that is not.
func (g *generator) reap() *corepb.Op {
	view := g.s.db.View()
	defer view.Release()
	reap := &corepb.Reap{}
	lower, upper := storage.DeadlineBounds(g.s.now + int64(g.r.IntN(50)))
	iter := view.Scan(lower, upper)
	defer iter.Close()
	for len(reap.Due) < 5 && iter.Next() {
		millis, space, key, _ := storage.SplitDeadline(iter.Key())
		reap.Due = append(reap.Due, &corepb.Reap_Due{Space: uint32(space), Key: []byte(string(key)), DeadlineMillis: millis})
	}
	if g.r.IntN(4) == 0 {
		reap.Due = append(reap.Due, &corepb.Reap_Due{Space: g.space(), Key: g.key(), DeadlineMillis: g.s.now})
	}
	return &corepb.Op{Op: &corepb.Op_Reap{Reap: reap}}
}

func (g *generator) read() *corepb.Op {
	space, key := g.space(), g.key()
	switch g.r.IntN(7) {
	case 0:
		return opGet(&corepb.Get{Space: space, Key: key})
	case 1:
		return &corepb.Op{Op: &corepb.Op_Scan{Scan: &corepb.Scan{Space: space, Cursor: uint64(g.r.IntN(50)), Limit: int64(g.r.IntN(4))}}}
	case 2:
		return opHashRange(&corepb.HashRange{Space: space, Key: key, Limit: int64(g.r.IntN(3))})
	case 3:
		return opListRange(&corepb.ListRange{Space: space, Key: key, Start: int64(g.r.IntN(3)), Stop: int64(g.r.IntN(5) - 3)})
	case 4:
		return &corepb.Op{Op: &corepb.Op_RandomKey{RandomKey: &corepb.RandomKey{Space: space, Seed: g.r.Uint64()}}}
	case 5:
		return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: &corepb.NodeCheck{Path: string(key), Version: int32(g.r.IntN(3) - 1)}}}
	default:
		op := &corepb.Range{Key: key, Limit: int64(g.r.IntN(3)), KeysOnly: g.flip(), CountOnly: g.r.IntN(4) == 0}
		op.SortTarget, op.SortOrder = corepb.Range_SortTarget(g.r.IntN(5)), corepb.Range_SortOrder(g.r.IntN(3))
		if g.flip() {
			op.End = g.end()
		}
		if g.flip() {
			op.Revision = 1 + g.r.Int64N(g.s.revision()+1)
		}
		return &corepb.Op{Op: &corepb.Op_Range{Range: op}}
	}
}

// checkReadsAgree compares reads on a view with the same reads on a batch without writes.
func (s *testStore) checkReadsAgree(g *generator) {
	s.t.Helper()
	txn := &corepb.Txn{Then: []*corepb.Op{g.read(), g.read(), g.read()}}
	onView := s.view(txn)
	batch := s.db.NewBatch()
	defer batch.Discard()
	onBatch := (&tx{r: batch, b: batch, now: max(s.now, batch.State().StampMillis), caller: s.as}).run(txn)
	if !reflect.DeepEqual(onView, onBatch) {
		s.t.Fatalf("%v gives\n%s\non a view and\n%s\non a batch", txn, describeTxn(onView, txn, ""), describeTxn(onBatch, txn, ""))
	}
}
