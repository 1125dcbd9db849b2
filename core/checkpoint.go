package core

import (
	"context"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// Checkpoints of leases. A new leader gives every lease its full time again, so a lease of hours may outlive its holder by
// hours, at every change of the leader anew. With Config.LeaseCheckpointInterval the leader notes in the log what is left of
// leases that were not renewed for so long, and the next leader goes on from there.
//
// A lease that was renewed must not end by an older note. So
//
//   - a renewal of a lease that was noted is told only when the note is taken back, by another entry;
//   - a lease counts as noted from when that is decided, since nobody knows when the note is applied;
//   - what takes a note back is behind it in the log, because both are proposed by who holds Store.noting;
//   - notes of an earlier term do nothing in a later one, and a leader that is deposed tells of no renewal.

// left is how much time a lease gets of a new leader.
func (life *leaseLife) left() time.Duration {
	if life.remainingMillis > 0 {
		return time.Duration(life.remainingMillis) * time.Millisecond
	}
	return life.ttl
}

// isNoted says whether a note stands, or may.
func (life *leaseLife) isNoted() bool { return life.notes > 0 || life.remainingMillis > 0 }

// checkpoint is told that a note was applied, or one that takes others back.
func (l *lessor) checkpoint(c leaseChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if life := l.leases[c.id]; life != nil {
		life.remainingMillis = c.remainingMillis
	}
}

// note lists leases that run for longer than an interval and were not renewed for that long, with what is left of them.
func (l *lessor) note(interval time.Duration) (lives []*leaseLife, changes []leaseChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, life := range l.leases {
		left := life.end.Sub(now)
		if life.place < 0 || life.ttl <= interval || left <= 0 || life.left()-left < interval {
			continue
		}
		life.notes++
		change := life.leaseChange
		change.remainingMillis = max(1, left.Milliseconds())
		lives, changes = append(lives, life), append(changes, change)
	}
	return lives, changes
}

// arrived is told that notes are applied.
func (l *lessor) arrived(lives []*leaseLife) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, life := range lives {
		life.notes = max(0, life.notes-1)
	}
}

// checkpointLeases is a duty of the leader.
func (s *Store) checkpointLeases(ctx context.Context, term uint64) {
	interval := s.cfg.LeaseCheckpointInterval
	if interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		select {
		case s.noting <- struct{}{}:
		case <-ctx.Done():
			return
		}
		lives, changes := s.lessor.note(interval)
		noted := s.submitNotes(ctx, changes, term)
		<-s.noting
		if _, err := noted.Wait(ctx); err == nil {
			s.lessor.arrived(lives) // otherwise they may arrive yet
		} else if ctx.Err() == nil {
			s.logger.Warn("what is left of leases could not be noted; trying again later", "leases", len(lives), "err", err)
		}
	}
}

func (s *Store) submitNotes(ctx context.Context, changes []leaseChange, term uint64) *Pending {
	txns := make([]*corepb.Txn, len(changes))
	for i, c := range changes {
		txns[i] = oneOp(&corepb.Op{Op: &corepb.Op_LeaseCheckpoint{LeaseCheckpoint: &corepb.LeaseCheckpoint{
			Id: c.id, Term: term, Owner: c.owner, GrantedMillis: c.grantedMillis, RemainingMillis: c.remainingMillis,
		}}})
	}
	return s.Submit(ctx, txns...)
}

// takeBack takes notes back, before the renewals of their leases are told.
func (s *Store) takeBack(ctx context.Context, noted []leaseChange, term uint64) error {
	if len(noted) == 0 {
		return nil
	}
	for i := range noted {
		noted[i].remainingMillis = 0
	}
	select {
	case s.noting <- struct{}{}:
	case <-ctx.Done():
		return s.noQuorum(ctx, ctx.Err())
	}
	p := s.submitNotes(ctx, noted, term)
	<-s.noting
	_, err := p.Wait(ctx)
	return err
}
