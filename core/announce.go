package core

import (
	"context"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// announceRetry is how long a member waits before it tries again to say who it is.
const announceRetry = time.Second

// announce tells the cluster who this member is: once it is ready, and again whenever what is stored differs.
func (s *Store) announce(ctx context.Context) {
	warned := false
	for {
		var again <-chan time.Time
		if op := s.announcement(); op != nil {
			result, err := s.Do(ctx, oneOp(op))
			if err == nil {
				err = result.Err
			}
			if err != nil {
				again = time.After(announceRetry)
				if !warned && ctx.Err() == nil {
					s.logger.Warn("the cluster could not be told who this member is; trying again", "err", err)
				}
			}
			warned = err != nil
		}
		select {
		case <-ctx.Done():
			return
		case <-s.roster.changed:
		case <-again:
		}
	}
}

// announcement is the command that makes what is stored of this member right, nil when it is.
func (s *Store) announcement() *corepb.Op {
	stored, ok := s.Member(s.identity.Member)
	if !ok {
		return nil // removed, or the state is not here yet
	}
	// A member that is alone can say where it is found; otherwise that is changed by MemberUpdate, with care.
	if len(s.Members()) == 1 && len(s.cfg.PeerURLs) > 0 && !sameURLs(stored.PeerURLs, s.cfg.PeerURLs) {
		return &corepb.Op{Op: &corepb.Op_MemberUpdate{MemberUpdate: &corepb.MemberUpdate{Id: stored.ID, PeerUrls: s.cfg.PeerURLs}}}
	}
	p := &s.cfg.Published
	wanted := stored
	wanted.Name, wanted.ClientURLs, wanted.Version, wanted.Listeners = s.identity.Name, p.ClientURLs, p.Version, p.Listeners
	if sameMember(&stored, &wanted) {
		return nil
	}
	return &corepb.Op{Op: &corepb.Op_MemberPublish{MemberPublish: &corepb.MemberPublish{Member: wanted.message()}}}
}
