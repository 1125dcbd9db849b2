package core

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/triglot/triglot/core/corepb"
)

// Heartbeats of leases and sessions. They are not logged: the leader keeps the deadlines. It confirms that it still leads
// after it has renewed a lease and before it says so. Whoever leads after it was elected later than that, and gives the
// lease its full TTL from then on: a lease that a client was told is renewed never ends early.

// KeepAlive gives a lease or session its full TTL again, and says what that is. ErrLeaseNotFound when it is over;
// NO_LEADER when that cannot be found out within the request time-out, in which case it may have been renewed.
//
// On a node that does not lead, the leases that gather while a request is on its way to the leader go with the next.
func (s *Store) KeepAlive(ctx context.Context, id int64) (ttlMillis int64, err error) {
	wait := s.patience(ctx)
	defer wait.release()
	if s.leadership.leadsIn() != 0 {
		ttls, err := s.renewHere(wait, []int64{id})
		if err == nil {
			return renewed(ttls[0])
		}
		if !errors.Is(err, ErrNoLeader) || wait.Err() != nil {
			return 0, err
		}
	}
	call := &keepCall{id: id, done: make(chan struct{})}
	s.keeper.enter(s, call)
	select {
	case <-call.done:
		if call.err != nil {
			return 0, call.err
		}
		return renewed(call.ttlMillis)
	case <-wait.Done():
		return 0, s.noQuorum(wait, wait.Err())
	}
}

func renewed(ttlMillis int64) (int64, error) {
	if ttlMillis == 0 {
		return 0, ErrLeaseNotFound
	}
	return ttlMillis, nil
}

// KeepAliveAll does what KeepAlive does for many leases at once. The answer has one TTL for each, 0 = there is no such
// lease.
func (s *Store) KeepAliveAll(ctx context.Context, ids []int64) (ttlMillis []int64, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	request := &corepb.PeerRequest{Request: &corepb.PeerRequest_KeepAlive{KeepAlive: &corepb.KeepAliveRequest{Ids: ids}}}
	answer, err := s.askLeader(ctx, request, true)
	if err != nil {
		return nil, err
	}
	ttlMillis = answer.GetKeepAlive().GetTtlMillis()
	if len(ttlMillis) != len(ids) {
		return nil, &Error{Code: CodeNoLeader, Detail: "the leader's answer has another number of leases"}
	}
	return ttlMillis, nil
}

// keeper gathers heartbeats on a node that does not lead.
type keeper struct {
	mu      sync.Mutex // guards the fields below
	waiting []*keepCall
	running bool // a goroutine takes care of those who wait
	closed  bool
}

type keepCall struct {
	id        int64
	ttlMillis int64
	err       error
	done      chan struct{} // closed when the two are set
}

func (k *keeper) enter(s *Store, call *keepCall) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		call.err = ErrStopped
		close(call.done)
		return
	}
	k.waiting = append(k.waiting, call)
	if !k.running {
		k.running = true
		s.own(s.ctx, func(context.Context) { k.run(s) })
	}
}

// close refuses further heartbeats; those on their way end with the store.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// run sends what has gathered, until nothing has. Each request ends by its time-out or with the store.
func (k *keeper) run(s *Store) {
	for {
		k.mu.Lock()
		calls := k.waiting
		k.waiting = nil
		k.running = len(calls) > 0
		k.mu.Unlock()
		if len(calls) == 0 {
			return
		}
		ids := make([]int64, len(calls))
		for i, call := range calls {
			ids[i] = call.id
		}
		ttls, err := s.KeepAliveAll(s.ctx, ids)
		for i, call := range calls {
			if call.err = err; err == nil {
				call.ttlMillis = ttls[i]
			}
			close(call.done)
		}
	}
}

// renewHere renews leases as the leader; 0 is for those that are over.
func (s *Store) renewHere(ctx context.Context, ids []int64) (ttlMillis []int64, err error) {
	term := s.leadership.leadsIn()
	if term == 0 {
		return nil, errNotLeading
	}
	ttlMillis = make([]int64, len(ids))
	open := make([]int, len(ids)) // places of those that are not decided
	for i := range ids {
		open[i] = i
	}
	for {
		var absent, again []int
		var unsettled []<-chan struct{}
		var noted []leaseChange
		for _, i := range open {
			switch r := s.lessor.renew(ids[i]); {
			case r.settled != nil:
				unsettled = append(unsettled, r.settled)
				again = append(again, i)
			case r.ttl == 0:
				absent = append(absent, i)
			default:
				ttlMillis[i] = r.ttl.Milliseconds()
				if r.noted != nil {
					noted = append(noted, *r.noted)
				}
			}
		}
		if err := s.takeBack(ctx, noted, term); err != nil {
			return nil, err
		}
		index, err := s.confirm(ctx, term)
		if err != nil {
			return nil, err
		}
		if len(absent) > 0 {
			// It may have been granted a moment ago, and that not be applied here yet.
			if err := s.awaitApplied(ctx, index); err != nil {
				return nil, err
			}
			again = append(again, slices.DeleteFunc(absent, func(i int) bool {
				_, ok := s.lessor.remaining(ids[i])
				return !ok
			})...)
		}
		// What is over ends in a moment, unless this node is deposed.
		for _, settled := range unsettled {
			select {
			case <-settled:
			case <-s.done:
				return nil, ErrStopped
			case <-ctx.Done():
				return nil, s.noQuorum(ctx, ctx.Err())
			}
		}
		if len(again) == 0 {
			return ttlMillis, nil
		}
		open = again
	}
}

// confirm makes sure that this node still leads in a term, and gives an index that holds all that was acknowledged so far.
func (s *Store) confirm(ctx context.Context, term uint64) (index uint64, err error) {
	if index, err = s.log.ReadIndex(ctx); err != nil {
		return 0, s.noQuorum(ctx, err)
	}
	if s.leadership.leadsIn() != term {
		return 0, errNotLeading
	}
	return index, nil
}

// LeaseLeft is a lease or session with what is left of its time.
type LeaseLeft struct {
	ID              int64
	RemainingMillis int64
}

// LeaseRemaining asks the leader how much of its TTL a lease has left. The error is NO_LEADER.
func (s *Store) LeaseRemaining(ctx context.Context, id int64) (remainingMillis int64, ok bool, err error) {
	times, err := s.leaseTimes(ctx, []int64{id})
	if err != nil {
		return 0, false, err
	}
	if len(times.RemainingMillis) != 1 || times.RemainingMillis[0] < 0 {
		return 0, false, nil
	}
	return times.RemainingMillis[0], true, nil
}

// Leases asks the leader for all leases and sessions, soonest to end first. The error is NO_LEADER.
func (s *Store) Leases(ctx context.Context) ([]LeaseLeft, error) {
	times, err := s.leaseTimes(ctx, nil)
	if err != nil {
		return nil, err
	}
	left := make([]LeaseLeft, min(len(times.Ids), len(times.RemainingMillis)))
	for i := range left {
		left[i] = LeaseLeft{ID: times.Ids[i], RemainingMillis: times.RemainingMillis[i]}
	}
	return left, nil
}

func (s *Store) leaseTimes(ctx context.Context, ids []int64) (*corepb.LeaseTimeAnswer, error) {
	request := &corepb.PeerRequest{Request: &corepb.PeerRequest_LeaseTime{LeaseTime: &corepb.LeaseTimeRequest{Ids: ids}}}
	answer, err := s.askLeader(ctx, request, true)
	if err != nil {
		return nil, err
	}
	times := answer.GetLeaseTime()
	if times == nil {
		return nil, &Error{Code: CodeNoLeader, Detail: "the leader's answer is empty"}
	}
	return times, nil
}

// leaseTimesHere answers as the leader.
func (s *Store) leaseTimesHere(ctx context.Context, ids []int64) (*corepb.LeaseTimeAnswer, error) {
	term := s.leadership.leadsIn()
	if term == 0 {
		return nil, errNotLeading
	}
	index, err := s.confirm(ctx, term)
	if err != nil {
		return nil, err
	}
	if err := s.awaitApplied(ctx, index); err != nil {
		return nil, err
	}
	answer := &corepb.LeaseTimeAnswer{Ids: ids}
	if len(ids) == 0 {
		for _, l := range s.lessor.byEnd() {
			answer.Ids = append(answer.Ids, l.ID)
			answer.RemainingMillis = append(answer.RemainingMillis, l.RemainingMillis)
		}
		return answer, nil
	}
	for _, id := range ids {
		left, ok := s.lessor.remaining(id)
		if !ok {
			answer.RemainingMillis = append(answer.RemainingMillis, -1)
			continue
		}
		answer.RemainingMillis = append(answer.RemainingMillis, left.Milliseconds())
	}
	return answer, nil
}
