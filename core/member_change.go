package core

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// Changes of who is in the cluster. Any node takes them; those that change who replicates the log go to the leader, which
// looks whether the cluster would survive them, and proposes them together with the change of the log's configuration. In
// the end they are judged when they are applied: see member_ops.go.

// MemberAdd adds a member, which is found at its peer URLs once it starts: a voter, or a learner. It gets a new id. Errors
// are MEMBER_EXISTS, PEER_URL_EXISTS, TOO_MANY_LEARNERS, BAD_PEER_URLS, UNHEALTHY, and those of a command's fate.
func (s *Store) MemberAdd(ctx context.Context, m Member) (Member, error) {
	if err := CheckPeerURLs(m.PeerURLs); err != nil {
		return Member{}, err
	}
	added := Member{
		ID:   memberID(m.PeerURLs, s.identity.Token, s.cfg.NowMillis()),
		Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner,
	}
	op := &corepb.MemberAdd{Member: added.message(), LearnersMax: int32(s.cfg.MaxLearners)}
	err := s.changeMembers(ctx, &corepb.Op{Op: &corepb.Op_MemberAdd{MemberAdd: op}})
	return added, err
}

// MemberPromote makes a learner a voter. Errors are MEMBER_NOT_FOUND, MEMBER_NOT_LEARNER, LEARNER_NOT_READY, UNHEALTHY,
// and those of a command's fate.
func (s *Store) MemberPromote(ctx context.Context, id uint64) error {
	err := s.changeMembers(ctx, &corepb.Op{Op: &corepb.Op_MemberPromote{MemberPromote: &corepb.MemberPromote{Id: id}}})
	if err == nil {
		s.measures.promotions.Add(1)
	}
	return err
}

// MemberRemove removes a member for good. Errors are MEMBER_NOT_FOUND, LAST_VOTER, UNHEALTHY, and those of a command's
// fate.
func (s *Store) MemberRemove(ctx context.Context, id uint64) error {
	return s.changeMembers(ctx, &corepb.Op{Op: &corepb.Op_MemberRemove{MemberRemove: &corepb.MemberRemove{Id: id}}})
}

// MemberUpdate changes where the others find a member. Errors are MEMBER_NOT_FOUND, PEER_URL_EXISTS, BAD_PEER_URLS, and
// those of a command's fate.
func (s *Store) MemberUpdate(ctx context.Context, id uint64, peerURLs []string) error {
	if err := CheckPeerURLs(peerURLs); err != nil {
		return err
	}
	result, err := s.Do(ctx, oneOp(&corepb.Op{Op: &corepb.Op_MemberUpdate{MemberUpdate: &corepb.MemberUpdate{Id: id, PeerUrls: peerURLs}}}))
	if err != nil {
		return err
	}
	return result.Err
}

// changeMembers has the leader carry a change out, and returns when it shows here too.
func (s *Store) changeMembers(ctx context.Context, op *corepb.Op) error {
	request := &corepb.PeerRequest{Request: &corepb.PeerRequest_MemberChange{MemberChange: oneOp(op)}}
	_, err := s.askLeader(ctx, request, false)
	if errors.Is(err, ErrUnknownFate) {
		// The leader was gone before it could answer. It may have been removed itself, and be this member.
		if op.GetMemberRemove().GetId() == s.identity.Member && errors.Is(s.Err(), ErrRemoved) || s.catchUp(ctx) == nil && s.shows(op) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if s.shows(op) {
		return nil // nor could a round be waited for where the change has cost the quorum: one member and one to be started
	}
	if err := s.catchUp(ctx); err != nil && s.Err() == nil {
		// The change stands, whether or not it can be seen from here: the member that it removed may be this one.
		s.logger.Warn("the cluster was changed, but this member does not see it yet", "err", err)
	}
	return nil
}

// shows says whether a change is part of the state here.
func (s *Store) shows(op *corepb.Op) bool {
	switch op := op.Op.(type) {
	case *corepb.Op_MemberAdd: // its id is nobody else's
		_, ok := s.Member(op.MemberAdd.Member.Id)
		return ok
	case *corepb.Op_MemberPromote:
		m, ok := s.Member(op.MemberPromote.Id)
		return ok && !m.Learner
	case *corepb.Op_MemberRemove:
		return s.isRemoved(op.MemberRemove.Id)
	}
	return false
}

// changeRetry is how long the leader waits for a change before this one that the log has not finished with.
const changeRetry = 20 * time.Millisecond

// changeMembersHere carries out a change as the leader. Changes wait for each other.
func (s *Store) changeMembersHere(ctx context.Context, txn *corepb.Txn) error {
	wait := s.patience(ctx)
	defer wait.release()
	op, changes, err := changesOf(txn)
	if err != nil {
		return err
	}
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
	case <-wait.Done():
		return s.noQuorum(wait, wait.Err())
	}
	term := s.leadership.leadsIn()
	if term == 0 {
		return errNotLeading
	}
	// What is judged here beforehand must be judged by a state that is nobody's past.
	index, err := s.confirm(wait, term)
	if err != nil {
		return err
	}
	if err := s.awaitApplied(wait, index); err != nil {
		return s.noQuorum(wait, err)
	}
	if err := s.judgeChange(wait, op); err != nil {
		return err
	}
	for {
		err := s.proposeChange(wait, txn, changes)
		if !errors.Is(err, raftlog.ErrChangePending) {
			return err
		}
		select {
		case <-time.After(changeRetry):
		case <-wait.Done():
			return s.noQuorum(wait, err)
		}
	}
}

// changesOf says what a command means for the log's configuration.
func changesOf(txn *corepb.Txn) (*corepb.Op, []raftlog.Change, error) {
	if txn == nil || len(txn.Then) != 1 || len(txn.Otherwise) != 0 || len(txn.Guards) != 0 {
		return nil, nil, errNotAChange
	}
	op := txn.Then[0]
	switch o := op.Op.(type) {
	case *corepb.Op_MemberAdd:
		kind := raftlog.AddVoter
		if o.MemberAdd.GetMember().GetLearner() {
			kind = raftlog.AddLearner
		}
		return op, []raftlog.Change{{Kind: kind, ID: o.MemberAdd.GetMember().GetId()}}, nil
	case *corepb.Op_MemberPromote:
		return op, []raftlog.Change{{Kind: raftlog.AddVoter, ID: o.MemberPromote.Id}}, nil
	case *corepb.Op_MemberRemove:
		return op, []raftlog.Change{{Kind: raftlog.Remove, ID: o.MemberRemove.Id}}, nil
	}
	return nil, nil, errNotAChange
}

// proposeChange proposes a change and waits for what becomes of it.
func (s *Store) proposeChange(ctx context.Context, txn *corepb.Txn, changes []raftlog.Change) error {
	payload, err := txn.MarshalVT()
	if err != nil {
		return &Error{Code: CodeBadArguments, Detail: err.Error()}
	}
	p := newPending(1)
	if err := s.waiting.enter(p); err != nil {
		return err
	}
	if err := s.log.ProposeChange(ctx, changes, p.first, payload); err != nil {
		s.waiting.forget(p)
		switch {
		case errors.Is(err, raftlog.ErrChangePending):
			return err
		case errors.Is(err, raftlog.ErrNotLeader), errors.Is(err, raftlog.ErrNoLeader):
			return errNotLeading
		case errors.Is(err, raftlog.ErrInvalidChange):
			return &Error{Code: CodeBadArguments, Detail: err.Error()}
		case ctx.Err() != nil:
			return &Error{Code: CodeUnknownFate, Detail: err.Error()}
		}
		return refusal(err)
	}
	results, err := p.Wait(ctx)
	if err != nil {
		if errors.Is(err, ErrNoLeader) {
			// Only a member that does not lead any more drops a change: the next leader may be asked again.
			return errNotLeading
		}
		return err
	}
	return results[0].Err
}

// judgeChange refuses a change that would fail, or that would leave the cluster without a quorum that can be reached.
func (s *Store) judgeChange(ctx context.Context, op *corepb.Op) error {
	view, err := s.views.at(ctx, s.done, 0)
	if err != nil {
		return s.noQuorum(ctx, err)
	}
	defer view.Release()
	t := tx{r: view}
	if err := t.judge(op.Op); err != nil {
		return err
	}
	m := readMembership(view)
	voters, reached, settled := 0, 0, 0
	for _, member := range m.members {
		if member.Learner {
			continue
		}
		voters++
		if s.reaches(member.ID) {
			reached++
		}
		if s.reachesFor(member.ID, s.cfg.MembersSettle) {
			settled++
		}
	}
	switch op := op.Op.(type) {
	case *corepb.Op_MemberAdd:
		if s.cfg.MembersSettle > 0 && voters > 1 && settled < (voters+1)/2+1 {
			return s.unsettled(voters - settled)
		}
		// One voter alone may become two, as in etcd: there is no other way to grow, but for a learner.
		if op.MemberAdd.Member.Learner || voters == 1 {
			return nil
		}
		voters++
	case *corepb.Op_MemberPromote:
		if err := s.learnerReady(ctx, op.MemberPromote.Id); err != nil {
			return err
		}
		voters++
		if s.reaches(op.MemberPromote.Id) {
			reached++
		}
	case *corepb.Op_MemberRemove:
		gone, _ := m.find(op.MemberRemove.Id)
		if gone.Learner || !s.reaches(gone.ID) {
			return nil // it helps no quorum
		}
		if s.cfg.MembersSettle > 0 && settled-1 < (voters-1)/2+1 {
			return s.unsettled(voters - settled)
		}
		voters, reached = voters-1, reached-1
	}
	if quorum := voters/2 + 1; reached < quorum {
		return &Error{Code: CodeUnhealthy, Detail: fmt.Sprintf(
			"%d of the %d voters that there would be can be reached, and %d are needed", reached, voters, quorum)}
	}
	return nil
}

func (s *Store) unsettled(voters int) error {
	return &Error{Code: CodeUnhealthy, Detail: fmt.Sprintf("%d voters have not been connected for %s yet", voters, s.cfg.MembersSettle)}
}

// reachesFor says whether a member has been reached for so long.
func (s *Store) reachesFor(id uint64, long time.Duration) bool {
	if id == s.identity.Member {
		return true
	}
	if s.cfg.Transport == nil {
		return false
	}
	contact := s.cfg.Transport.Contact(id)
	return contact.Connected && time.Since(contact.Since) >= long
}

// reaches says whether a member can be reached at present.
func (s *Store) reaches(id uint64) bool {
	if id == s.identity.Member {
		return true
	}
	return s.cfg.Transport != nil && s.cfg.Transport.Contact(id).Connected
}

// learnerReady refuses to give a learner a vote before its log holds nine tenths of the leader's, as etcd does: until then
// it could stand in the way of a quorum.
func (s *Store) learnerReady(ctx context.Context, id uint64) error {
	progress, err := s.log.Progress(ctx)
	if err != nil {
		if errors.Is(err, raftlog.ErrNotLeader) {
			return errNotLeading
		}
		return s.noQuorum(ctx, err)
	}
	own, learner := progress[s.identity.Member].Match, progress[id].Match
	if learner < own-own/10 || learner == 0 {
		return &Error{Code: CodeLearnerNotReady, Detail: fmt.Sprintf("its log holds entry %d of %d", learner, own)}
	}
	return nil
}

// MoveLeader hands the leadership over to a voter; to 0, whoever is best. BAD_TRANSFEREE, TRANSFER_FAILED, NO_LEADER.
func (s *Store) MoveLeader(ctx context.Context, to uint64) error {
	_, err := s.askLeader(ctx, &corepb.PeerRequest{Request: &corepb.PeerRequest_MoveLeader{MoveLeader: to}}, false)
	return err
}

func (s *Store) moveLeaderHere(ctx context.Context, to uint64) error {
	if s.leadership.leadsIn() == 0 {
		return errNotLeading
	}
	if to != 0 {
		switch m, ok := s.Member(to); {
		case !ok:
			return &Error{Code: CodeBadTransferee, Detail: "there is no such member"}
		case m.Learner:
			return &Error{Code: CodeBadTransferee, Detail: "the member is a learner"}
		case to == s.identity.Member:
			return &Error{Code: CodeBadTransferee, Detail: "the member leads already"}
		}
	} else if s.roster.current.Load().voters() < 2 {
		return &Error{Code: CodeBadTransferee, Detail: "there is no other voter"}
	}
	wait := s.patience(ctx)
	defer wait.release()
	err := s.log.TransferLeadership(wait, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raftlog.ErrNotLeader):
		return errNotLeading
	}
	return &Error{Code: CodeTransferFailed, Detail: err.Error()}
}
