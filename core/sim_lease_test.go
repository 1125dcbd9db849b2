package core

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// simHolder keeps a lease alive through any member, and knows until when it has to live.
type simHolder struct {
	c   *simCluster
	id  int64
	key []byte
	ttl time.Duration
	own *simMember // which it asks most of the time: it may be cut off from the others

	mu      sync.Mutex // guards the fields below
	granted bool
	stopped bool      // revoked, or let go: it may end
	until   time.Time // by its own account it lives until then at least
	lastTry time.Time // when it was renewed last, perhaps
}

// simLeases are all holders, by lease.
type simLeases struct {
	c  *simCluster
	mu sync.Mutex // guards holders
	// holders also has those whose lease is over.
	holders map[int64]*simHolder
}

// run has one lease after the other.
func (l *simLeases) run(client int, dice *rand.Rand) {
	for n := 0; l.c.wait(time.Duration(dice.IntN(200)) * time.Millisecond); n++ {
		h := &simHolder{
			c: l.c, id: int64(1_000_000*(client+1) + n), key: fmt.Appendf(nil, "/lease/%d.%d", client, n),
			ttl: time.Duration(1000+dice.IntN(2500)) * time.Millisecond,
		}
		l.mu.Lock()
		l.holders[h.id] = h
		l.mu.Unlock()
		h.live(dice)
		l.c.count(func(c *simCounts) { c.leases++ })
	}
}

func (h *simHolder) live(dice *rand.Rand) {
	defer func() {
		h.mu.Lock()
		h.stopped = true
		h.mu.Unlock()
	}()
	if !h.grant(dice) {
		return
	}
	for range dice.IntN(40) {
		if !h.c.wait(h.ttl / time.Duration(2+dice.IntN(8))) {
			return
		}
		if !h.renew(dice) {
			return
		}
	}
}

// cling keeps a lease alive through one member alone, that is about to be cut off, for as long as it says that it can.
func (l *simLeases) cling(life *simLife) {
	dice := l.c.newDice()
	id := 1_000_000_000 + dice.Int64N(1_000_000_000)
	h := &simHolder{c: l.c, id: id, key: fmt.Appendf(nil, "/lease/%d", id), ttl: time.Second, own: life.m}
	l.mu.Lock()
	l.holders[id] = h
	l.mu.Unlock()
	if !h.grantBy(life) {
		return
	}
	for h.c.wait(50*time.Millisecond) && h.renewBy(life) {
		if time.Until(h.until) < 0 {
			return
		}
	}
}

// grant makes the lease, with a key.
func (h *simHolder) grant(dice *rand.Rand) bool {
	life := h.c.pick(dice)
	return life != nil && h.grantBy(life)
}

func (h *simHolder) grantBy(life *simLife) bool {
	ctx, cancel := context.WithTimeout(h.c.ctx, 3*time.Second)
	defer cancel()
	asked := time.Now()
	h.own = life.m
	result, err := life.store.Do(ctx, oneOp(opLeaseGrant(&corepb.LeaseGrant{Id: h.id, TtlMillis: h.ttl.Milliseconds()})))
	h.mu.Lock()
	h.lastTry = time.Now()
	h.granted = err == nil && result.Err == nil && !life.dead.Load()
	h.until = asked.Add(h.ttl)
	h.mu.Unlock()
	if err == nil && result.Err == nil {
		put := opPut(&corepb.Put{Key: h.key, Value: []byte("held"), Lease: h.id})
		_, _ = life.store.Do(ctx, oneOp(put)) // with a slow network it may come too late
	}
	return h.granted
}

// renew sends a heartbeat. What counts is when it was sent: the leader cannot have renewed the lease before.
func (h *simHolder) renew(dice *rand.Rand) bool {
	life := h.c.pick(dice)
	if own := h.own.current(); dice.IntN(4) > 0 {
		life = own
	}
	return life == nil || h.renewBy(life)
}

func (h *simHolder) renewBy(life *simLife) bool {
	ctx, cancel := context.WithTimeout(h.c.ctx, time.Second)
	defer cancel()
	asked := time.Now()
	_, err := life.store.KeepAlive(ctx, h.id)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lastTry = time.Now()
	switch {
	case life.dead.Load():
	case err == nil:
		h.until = asked.Add(h.ttl)
	case errors.Is(err, ErrLeaseNotFound):
		if h.lastTry.Before(h.until) {
			h.c.complain("lease %d is not found on %s, but it was renewed until %s", h.id, life.m.name, h.until.Sub(simEpoch))
		}
		return false
	}
	return true
}

// ended is told by a store that a lease is over.
func (l *simLeases) ended(life *simLife, ids []int64) {
	now := time.Now()
	for _, id := range ids {
		l.mu.Lock()
		h := l.holders[id]
		l.mu.Unlock()
		if h == nil {
			continue
		}
		h.mu.Lock()
		if h.granted && now.Before(h.until) && !life.dead.Load() {
			l.c.complain("lease %d ended on %s at %s, but it was renewed until %s", id, life.m.name, now.Sub(simEpoch), h.until.Sub(simEpoch))
		}
		h.mu.Unlock()
	}
}

// left names the leases that outlived their holders.
func (l *simLeases) left(s *Store) (ids []int64) {
	for lease := range s.db.Leases().All() {
		l.mu.Lock()
		h := l.holders[lease.ID]
		l.mu.Unlock()
		if h != nil {
			ids = append(ids, lease.ID)
		}
	}
	return ids
}
