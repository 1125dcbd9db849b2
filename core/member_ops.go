package core

import (
	"maps"
	"slices"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// The commands that change who is in the cluster. They are judged when they are applied, on every replica alike. Members
// are no keys: these commands take no revision and make no events.

// errNotAChange is answered to what changes who replicates the log without coming with the log's own change.
var errNotAChange = &Error{Code: CodeBadArguments, Detail: "the operation is proposed with a change of the log's configuration, and alone"}

// eachMember goes over the members, in the order of their ids.
func eachMember(r storage.Reader, visit func(*corepb.Member)) {
	iter := r.Scan(storage.MemberBounds())
	defer iter.Close()
	for iter.Next() {
		m := &corepb.Member{}
		if err := m.UnmarshalVT(iter.Value()); err == nil { // what does not decode was not written by this program
			visit(m)
		}
	}
}

func (t *tx) member(id uint64) *corepb.Member {
	t.scratch = storage.MemberKey(t.scratch[:0], id)
	value, ok := t.r.Get(t.scratch)
	if !ok {
		return nil
	}
	m := &corepb.Member{}
	if err := m.UnmarshalVT(value); err != nil {
		return nil
	}
	return m
}

// encodeMember gives the stored form, the same for the same member on every replica: a map is marshalled in any order, so
// its entries are put behind the rest one by one.
func encodeMember(m *corepb.Member) []byte {
	plain := &corepb.Member{
		Id: m.Id, Name: m.Name, PeerUrls: m.PeerUrls, ClientUrls: m.ClientUrls, Learner: m.Learner, Version: m.Version,
	}
	out, _ := plain.MarshalVT() // marshalling these fields cannot fail
	for _, name := range slices.Sorted(maps.Keys(m.Listeners)) {
		entry, _ := (&corepb.Member{Listeners: map[string]string{name: m.Listeners[name]}}).MarshalVT()
		out = append(out, entry...)
	}
	return out
}

// storeMember writes a member's row.
func storeMember(b *storage.Batch, m *corepb.Member) {
	b.Set(storage.MemberKey(nil, m.Id), encodeMember(m))
}

func (t *tx) setMember(m *corepb.Member) {
	storeMember(t.b, m)
	t.members = true
}

// urlsTaken looks for another member at one of the addresses.
func (t *tx) urlsTaken(id uint64, urls []string) bool {
	taken := false
	eachMember(t.r, func(other *corepb.Member) {
		if other.Id == id {
			return
		}
		for _, url := range other.PeerUrls {
			taken = taken || slices.Contains(urls, url)
		}
	})
	return taken
}

// memberChange is one of the ops that change who replicates the log.
type memberChange any

// changeMember carries one out, when the log's configuration changes with it.
func (t *tx) changeMember(op memberChange, out *Result) {
	if !t.reconfigures {
		out.Err = errNotAChange
		return
	}
	switch op := op.(type) {
	case *corepb.Op_MemberAdd:
		t.memberAdd(op.MemberAdd, out)
	case *corepb.Op_MemberPromote:
		t.memberPromote(op.MemberPromote, out)
	case *corepb.Op_MemberRemove:
		t.memberRemove(op.MemberRemove, out)
	}
}

// judge says, on any state, whether one of them would succeed.
func (t *tx) judge(op memberChange) error {
	switch op := op.(type) {
	case *corepb.Op_MemberAdd:
		return t.judgeAdd(op.MemberAdd)
	case *corepb.Op_MemberPromote:
		return t.judgePromote(op.MemberPromote)
	case *corepb.Op_MemberRemove:
		return t.judgeRemove(op.MemberRemove)
	}
	return errNotAChange
}

func (t *tx) memberAdd(op *corepb.MemberAdd, out *Result) {
	if out.Err = t.judgeAdd(op); out.Err != nil {
		return
	}
	t.setMember(op.Member)
	out.OK = true
}

// judgeAdd is also asked on a view, before the command is proposed, as the other judgements are.
func (t *tx) judgeAdd(op *corepb.MemberAdd) error {
	if op.Member == nil || op.Member.Id == 0 {
		return &Error{Code: CodeBadArguments, Detail: "a member needs an id"}
	}
	t.scratch = storage.RemovedKey(t.scratch[:0], op.Member.Id)
	if _, removed := t.r.Get(t.scratch); removed {
		return &Error{Code: CodeMemberRemoved}
	}
	if t.member(op.Member.Id) != nil {
		return &Error{Code: CodeMemberExists}
	}
	if t.urlsTaken(op.Member.Id, op.Member.PeerUrls) {
		return &Error{Code: CodePeerURLExists}
	}
	if op.Member.Learner && op.LearnersMax > 0 {
		learners := int32(1)
		eachMember(t.r, func(m *corepb.Member) {
			if m.Learner {
				learners++
			}
		})
		if learners > op.LearnersMax {
			return &Error{Code: CodeTooManyLearners}
		}
	}
	return nil
}

func (t *tx) memberPromote(op *corepb.MemberPromote, out *Result) {
	if out.Err = t.judgePromote(op); out.Err != nil {
		return
	}
	m := t.member(op.Id)
	m.Learner = false
	t.setMember(m)
	out.OK = true
}

func (t *tx) judgePromote(op *corepb.MemberPromote) error {
	m := t.member(op.Id)
	switch {
	case m == nil:
		return &Error{Code: CodeMemberNotFound}
	case !m.Learner:
		return &Error{Code: CodeMemberNotLearner}
	}
	return nil
}

func (t *tx) memberRemove(op *corepb.MemberRemove, out *Result) {
	if out.Err = t.judgeRemove(op); out.Err != nil {
		return
	}
	t.b.Delete(storage.MemberKey(nil, op.Id))
	t.b.Set(storage.RemovedKey(nil, op.Id), nil)
	t.clearAlarms(op.Id)
	t.members = true
	out.OK = true
}

func (t *tx) judgeRemove(op *corepb.MemberRemove) error {
	m := t.member(op.Id)
	if m == nil {
		return &Error{Code: CodeMemberNotFound}
	}
	voters := 0
	eachMember(t.r, func(m *corepb.Member) {
		if !m.Learner {
			voters++
		}
	})
	if !m.Learner && voters == 1 {
		return &Error{Code: CodeLastVoter}
	}
	return nil
}

func (t *tx) memberUpdate(op *corepb.MemberUpdate, out *Result) {
	m := t.member(op.Id)
	switch {
	case m == nil:
		out.Err = &Error{Code: CodeMemberNotFound}
	case t.urlsTaken(op.Id, op.PeerUrls):
		out.Err = &Error{Code: CodePeerURLExists}
	default:
		m.PeerUrls = op.PeerUrls
		t.setMember(m)
		out.OK = true
	}
}

func (t *tx) memberPublish(op *corepb.MemberPublish, out *Result) {
	if op.Member == nil {
		out.Err = &Error{Code: CodeBadArguments, Detail: "no member"}
		return
	}
	m := t.member(op.Member.Id)
	if m == nil {
		out.Err = &Error{Code: CodeMemberNotFound}
		return
	}
	m.Name, m.ClientUrls = op.Member.Name, op.Member.ClientUrls
	m.Version, m.Listeners = op.Member.Version, op.Member.Listeners
	t.setMember(m)
	out.OK = true
}
