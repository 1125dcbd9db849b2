package core

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// What members ask of each other beside the log: requests that only the leader can answer, and questions about a member.

// ask asks a member, this one too. The error is the member's own, with its code; one of code NO_LEADER that names the
// member when it cannot be reached; or the context's. In the last two cases the request may have been carried out.
func (s *Store) ask(ctx context.Context, member uint64, request *corepb.PeerRequest) (*corepb.PeerAnswer, error) {
	if member == s.identity.Member {
		answer, err := s.answer(ctx, request)
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
	payload, err := request.MarshalVT()
	if err != nil {
		return nil, &Error{Code: CodeBadArguments, Detail: err.Error()}
	}
	text, err := s.log.Call(ctx, member, payload)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &unreachableError{member, err}
	}
	answer := &corepb.PeerAnswer{}
	if err := answer.UnmarshalVT(text); err != nil {
		return nil, &unreachableError{member, err}
	}
	if e := answer.Error; e != nil {
		return nil, errorFrom(e)
	}
	return answer, nil
}

// unreachableError says that a member was asked and gave no answer.
type unreachableError struct {
	member uint64
	cause  error
}

func (e *unreachableError) Error() string { return fmt.Sprintf("member %x: %v", e.member, e.cause) }

func (e *unreachableError) Unwrap() error { return e.cause }

// errorFrom reads a core error that has come from another member.
func errorFrom(e *corepb.PeerError) error {
	code := Code(e.Code)
	if e.Code == 0 || e.Code >= uint32(len(codeTexts)) || codeTexts[code] == "" {
		return &Error{Code: CodeUnknownFate, Detail: e.Detail} // of a newer version
	}
	return &Error{Code: code, Number: e.Number, Detail: e.Detail}
}

func peerError(err error) *corepb.PeerError {
	var own *Error
	if errors.As(err, &own) {
		return &corepb.PeerError{Code: uint32(own.Code), Number: own.Number, Detail: own.Detail}
	}
	return &corepb.PeerError{Code: uint32(CodeUnknownFate), Detail: err.Error()}
}

// servePeer answers another member. It may be called before the log has started.
func (s *Store) servePeer(ctx context.Context, _ uint64, text []byte) []byte {
	answer, err := func() (*corepb.PeerAnswer, error) {
		request := &corepb.PeerRequest{}
		if err := request.UnmarshalVT(text); err != nil {
			return nil, &Error{Code: CodeBadArguments, Detail: err.Error()}
		}
		select {
		case <-s.logStarted:
		default:
			return nil, &Error{Code: CodeNoLeader, Detail: "the member is starting"}
		}
		ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		defer cancel()
		return s.answer(ctx, request)
	}()
	if err != nil {
		answer = &corepb.PeerAnswer{Error: peerError(err)}
	}
	out, err := answer.MarshalVT()
	if err != nil { // a text that is not UTF-8
		out, _ = (&corepb.PeerAnswer{Error: &corepb.PeerError{Code: uint32(CodeUnknownFate)}}).MarshalVT()
	}
	return out
}

// answer carries out a request here.
func (s *Store) answer(ctx context.Context, request *corepb.PeerRequest) (*corepb.PeerAnswer, error) {
	switch r := request.Request.(type) {
	case *corepb.PeerRequest_KeepAlive:
		ttls, err := s.renewHere(ctx, r.KeepAlive.Ids)
		if err != nil {
			return nil, err
		}
		return &corepb.PeerAnswer{Answer: &corepb.PeerAnswer_KeepAlive{KeepAlive: &corepb.KeepAliveAnswer{TtlMillis: ttls}}}, nil
	case *corepb.PeerRequest_LeaseTime:
		times, err := s.leaseTimesHere(ctx, r.LeaseTime.Ids)
		if err != nil {
			return nil, err
		}
		return &corepb.PeerAnswer{Answer: &corepb.PeerAnswer_LeaseTime{LeaseTime: times}}, nil
	case *corepb.PeerRequest_MemberChange:
		return &corepb.PeerAnswer{}, s.changeMembersHere(ctx, r.MemberChange)
	case *corepb.PeerRequest_MoveLeader:
		return &corepb.PeerAnswer{}, s.moveLeaderHere(ctx, r.MoveLeader)
	case *corepb.PeerRequest_Status:
		return &corepb.PeerAnswer{Answer: &corepb.PeerAnswer_Status{Status: s.statusAnswer()}}, nil
	case *corepb.PeerRequest_StateHash:
		hash, err := s.stateHash(ctx, r.StateHash)
		if err != nil {
			return nil, err
		}
		return &corepb.PeerAnswer{Answer: &corepb.PeerAnswer_StateHash{StateHash: hash}}, nil
	}
	return nil, &Error{Code: CodeBadArguments, Detail: "this member does not know the request"}
}

// errNotLeading is answered to what only a leader can do.
var errNotLeading = &Error{Code: CodeNoLeader, Detail: "the member does not lead"}

// leaderRetry is how long a request that did not reach the leader waits before it is sent again, unless there is another
// leader by then.
const leaderRetry = 100 * time.Millisecond

// askLeader has the leader carry out a request, whoever that is, waiting for one if there is none. A request that may be
// repeated is sent again until it is answered. Otherwise the error is UNKNOWN_FATE when it is not known whether it was
// carried out. It ends with the context, at the latest after the request time-out.
func (s *Store) askLeader(ctx context.Context, request *corepb.PeerRequest, repeatable bool) (*corepb.PeerAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	for {
		leader, leads, moved := s.leadership.now()
		var err error = ErrNoLeader
		if leader != 0 && (leader != s.identity.Member || leads != 0) {
			ask := s.ask
			if repeatable {
				ask = s.askUntil(moved)
			}
			var answer *corepb.PeerAnswer
			if answer, err = ask(ctx, leader, request); err == nil {
				return answer, nil
			}
			var own *Error
			switch {
			case errors.Is(err, ErrNoLeader): // it was not carried out
			case errors.As(err, &own):
				return nil, err
			case !repeatable:
				return nil, &Error{Code: CodeUnknownFate, Detail: err.Error()}
			}
		} else if leader == 0 || leads == 0 {
			// A change of leader, or of what this node may do as one, is announced; nothing else is worth waiting for.
			if err := s.awaitMove(ctx, moved, 0); err != nil {
				return nil, err
			}
			continue
		}
		if waitErr := s.awaitMove(ctx, moved, leaderRetry); waitErr != nil {
			return nil, waitErr
		}
	}
}

// askUntil gives requests up when another member leads.
func (s *Store) askUntil(moved <-chan struct{}) func(context.Context, uint64, *corepb.PeerRequest) (*corepb.PeerAnswer, error) {
	return func(ctx context.Context, leader uint64, request *corepb.PeerRequest) (*corepb.PeerAnswer, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan struct{})
		var stopped sync.WaitGroup
		stopped.Go(func() {
			select {
			case <-moved:
				cancel()
			case <-ended:
			}
		})
		defer stopped.Wait()
		defer close(ended)
		return s.ask(ctx, leader, request)
	}
}

// awaitMove waits until who leads has changed, or for some time if that is not 0.
func (s *Store) awaitMove(ctx context.Context, moved <-chan struct{}, atMost time.Duration) error {
	var timer <-chan time.Time
	if atMost > 0 {
		timer = time.After(atMost)
	}
	select {
	case <-moved:
	case <-timer:
	case <-s.done:
		return ErrStopped
	case <-ctx.Done():
		return s.noQuorum(ctx, ctx.Err())
	}
	return nil
}
