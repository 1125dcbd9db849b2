package core

import (
	"context"
	"sync"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// The kinds of alarms, as etcd numbers them.
const (
	AlarmNoSpace = corepb.Alarm_NO_SPACE
	AlarmCorrupt = corepb.Alarm_CORRUPT
)

// Alarm says that something is wrong with a member. It stands until an operator clears it.
type Alarm struct {
	Kind   corepb.Alarm_Kind
	Member uint64
}

// alarm raises or clears an alarm. Like members, alarms are no keys: this takes no revision and makes no event.
func (t *tx) alarm(op *corepb.Alarm, out *Result) {
	if op.Kind != AlarmNoSpace && op.Kind != AlarmCorrupt {
		out.Err = &Error{Code: CodeBadArguments, Detail: "no such alarm"}
		return
	}
	key := storage.AlarmKey(nil, byte(op.Kind), op.Member)
	_, raised := t.r.Get(key)
	switch {
	case raised == op.Raised:
		return
	case op.Raised && t.member(op.Member) == nil:
		out.Err = &Error{Code: CodeMemberNotFound}
		return
	case op.Raised:
		t.b.Set(key, nil)
	default:
		t.b.Delete(key)
	}
	t.countAlarm(op.Kind, op.Raised)
	out.OK = true
}

func (t *tx) countAlarm(kind corepb.Alarm_Kind, raised bool) {
	t.alarms = true
	count := &t.b.State().NoSpaceAlarms
	if kind == AlarmCorrupt {
		count = &t.b.State().CorruptAlarms
	}
	if raised {
		*count++
	} else {
		*count--
	}
}

// clearAlarms removes the alarms of a member that goes.
func (t *tx) clearAlarms(member uint64) {
	for _, a := range readAlarms(t.r) {
		if a.Member == member {
			t.b.Delete(storage.AlarmKey(nil, byte(a.Kind), a.Member))
			t.countAlarm(a.Kind, false)
		}
	}
}

// readAlarms lists the alarms, by kind and member.
func readAlarms(r storage.Reader) []Alarm {
	var alarms []Alarm
	iter := r.Scan(storage.AlarmBounds())
	defer iter.Close()
	for iter.Next() {
		if kind, member, ok := storage.SplitAlarm(iter.Key()); ok {
			alarms = append(alarms, Alarm{corepb.Alarm_Kind(kind), member})
		}
	}
	return alarms
}

// errCorrupt is answered while the CORRUPT alarm is raised for any member: what is written then would hide the difference.
var errCorrupt = &Error{Code: CodeCorrupt}

// refuseCorrupt is the one place that refuses commands while replicas are known to differ. Those about the cluster are
// what mends it, and what only reads is answered from views, as etcd does: whoever looks for the difference has to read.
func (t *tx) refuseCorrupt(txn *corepb.Txn) error {
	if t.b == nil || t.b.State().CorruptAlarms == 0 || aboutCluster(txn) || readOnly(txn) {
		return nil
	}
	return errCorrupt
}

// aboutCluster says whether a Txn has ops about the cluster alone, or its users: about what is no key.
func aboutCluster(txn *corepb.Txn) bool {
	if len(txn.Guards) > 0 || len(txn.Then)+len(txn.Otherwise) == 0 {
		return false
	}
	for _, ops := range [][]*corepb.Op{txn.Then, txn.Otherwise} {
		for _, op := range ops {
			switch op.Op.(type) {
			case *corepb.Op_MemberAdd, *corepb.Op_MemberPromote, *corepb.Op_MemberRemove, *corepb.Op_MemberUpdate,
				*corepb.Op_MemberPublish, *corepb.Op_Alarm, *corepb.Op_HashCheck,
				*corepb.Op_AuthEnable, *corepb.Op_AuthDisable, *corepb.Op_UserAdd, *corepb.Op_UserDelete,
				*corepb.Op_UserSetPassword, *corepb.Op_UserGrantRole, *corepb.Op_UserRevokeRole, *corepb.Op_RoleAdd,
				*corepb.Op_RoleDelete, *corepb.Op_RoleGrant, *corepb.Op_RoleRevoke, *corepb.Op_Login:
			default:
				return false
			}
		}
	}
	return true
}

// alarms are those that this node has applied, for those who look, and those who want to know of changes.
type alarms struct {
	mu      sync.Mutex // guards the fields below
	current []Alarm
	changed chan struct{} // closed at the next change; made when somebody wants to know
}

// load reads them again. It runs on the apply goroutine, or before that starts.
func (a *alarms) load(db *storage.DB) {
	view := db.View()
	found := readAlarms(view)
	view.Release()
	a.mu.Lock()
	changed := a.changed
	a.current, a.changed = found, nil
	a.mu.Unlock()
	if changed != nil {
		close(changed)
	}
}

// Alarms lists the alarms that are raised, by kind and member. It must not be modified.
func (s *Store) Alarms() []Alarm {
	s.alarms.mu.Lock()
	defer s.alarms.mu.Unlock()
	return s.alarms.current
}

// AlarmWatch lists them too, with a channel that is closed when they may have changed.
func (s *Store) AlarmWatch() (raised []Alarm, changed <-chan struct{}) {
	s.alarms.mu.Lock()
	defer s.alarms.mu.Unlock()
	if s.alarms.changed == nil {
		s.alarms.changed = make(chan struct{})
	}
	return s.alarms.current, s.alarms.changed
}

// RaiseAlarm raises an alarm, if it is not raised already. MEMBER_NOT_FOUND.
func (s *Store) RaiseAlarm(ctx context.Context, kind corepb.Alarm_Kind, member uint64) error {
	return s.setAlarm(ctx, kind, member, true)
}

// ClearAlarm clears an alarm, if it is raised.
func (s *Store) ClearAlarm(ctx context.Context, kind corepb.Alarm_Kind, member uint64) error {
	return s.setAlarm(ctx, kind, member, false)
}

func (s *Store) setAlarm(ctx context.Context, kind corepb.Alarm_Kind, member uint64, raised bool) error {
	result, err := s.Do(ctx, oneOp(&corepb.Op{Op: &corepb.Op_Alarm{Alarm: &corepb.Alarm{Kind: kind, Member: member, Raised: raised}}}))
	if err != nil {
		return err
	}
	return result.Err
}
