package core

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// lessor keeps the deadlines of leases. Leases are replicated, their deadlines are not: a node that starts to order
// commands gives every lease its full TTL again. Expiry is a command like any other.
type lessor struct {
	expire func(ctx context.Context, ids []int64) // proposes the end of leases; waits for the outcome

	mu     sync.Mutex // guards the fields below
	leases map[int64]*leaseLife
	queue  leaseQueue    // by a time not later than the lease's end
	wake   chan struct{} // capacity 1: the head of the queue may have changed
}

type leaseLife struct {
	id    int64
	ttl   time.Duration
	end   time.Time // carries the monotonic clock
	due   time.Time // when the queue looks at it; at or before end
	place int       // in the queue, -1 while its end is being proposed
}

func newLessor(expire func(context.Context, []int64)) *lessor {
	return &lessor{expire: expire, leases: map[int64]*leaseLife{}, wake: make(chan struct{}, 1)}
}

func (l *lessor) grant(id, ttlMillis int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ttl := time.Duration(ttlMillis) * time.Millisecond
	if ttl/time.Millisecond != time.Duration(ttlMillis) { // longer than a Duration holds: 292 years
		ttl = 1<<63 - 1
	}
	end := time.Now().Add(ttl)
	life := &leaseLife{id: id, ttl: ttl, end: end, due: end}
	l.leases[id] = life
	heap.Push(&l.queue, life)
	if life.place == 0 {
		notify(l.wake)
	}
}

func (l *lessor) remove(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	life := l.leases[id]
	if life == nil {
		return
	}
	delete(l.leases, id)
	if life.place >= 0 {
		heap.Remove(&l.queue, life.place)
	}
}

// renew gives a lease its full TTL again. One whose time is over is gone, whether or not that was logged already.
func (l *lessor) renew(id int64) (ttl time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	life := l.leases[id]
	now := time.Now()
	if life == nil || life.place < 0 || !now.Before(life.end) {
		return 0, false
	}
	life.end = now.Add(life.ttl) // the queue finds out when the old end comes
	return life.ttl, true
}

// renewAll gives every lease its full TTL again: while the node was not ready to answer, nobody could do so.
func (l *lessor) renewAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, life := range l.leases {
		life.end = now.Add(life.ttl)
	}
}

func (l *lessor) remaining(id int64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	life := l.leases[id]
	if life == nil {
		return 0, false
	}
	return max(0, time.Until(life.end)), true
}

// byEnd lists the leases, soonest to end first.
func (l *lessor) byEnd() []int64 {
	l.mu.Lock()
	lives := make([]leaseLife, 0, len(l.leases))
	for _, life := range l.leases {
		lives = append(lives, *life)
	}
	l.mu.Unlock()
	slices.SortFunc(lives, func(a, b leaseLife) int {
		return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.id, b.id))
	})
	ids := make([]int64, len(lives))
	for i := range lives {
		ids[i] = lives[i].id
	}
	return ids
}

// leasesPerExpiry bounds how many leases one round ends, so that a mass expiry leaves room for other commands.
const leasesPerExpiry = 500

// expiryRetry is how long the lessor waits before it proposes again what could not be proposed.
const expiryRetry = time.Second

// run ends leases when their time comes.
func (l *lessor) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := l.due()
		if len(due) > 0 {
			l.expire(ctx, due)
			if l.requeue(due) == 0 {
				continue
			}
			wait = expiryRetry
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// due takes the leases whose time is over from the queue and says how long to wait for the next.
func (l *lessor) due() (ids []int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.queue) > 0 && len(ids) < leasesPerExpiry {
		life := l.queue[0]
		if now.Before(life.due) {
			return ids, life.due.Sub(now)
		}
		if now.Before(life.end) { // it was renewed
			life.due = life.end
			heap.Fix(&l.queue, 0)
			continue
		}
		heap.Pop(&l.queue)
		ids = append(ids, life.id)
	}
	return ids, time.Hour
}

// requeue puts back leases whose end did not happen, and counts them.
func (l *lessor) requeue(ids []int64) (left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if life := l.leases[id]; life != nil && life.place < 0 {
			life.due = time.Now().Add(expiryRetry)
			heap.Push(&l.queue, life)
			left++
		}
	}
	return left
}

type leaseQueue []*leaseLife

func (q leaseQueue) Len() int           { return len(q) }
func (q leaseQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q leaseQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *leaseQueue) Push(x any) {
	life := x.(*leaseLife)
	life.place = len(*q)
	*q = append(*q, life)
}
func (q *leaseQueue) Pop() any {
	old := *q
	life := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	life.place = -1
	return life
}

// expireLeases proposes the end of leases and waits for it.
func (s *Store) expireLeases(ctx context.Context, ids []int64) {
	txns := make([]*corepb.Txn, len(ids))
	for i, id := range ids {
		txns[i] = oneOp(&corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: id}}})
	}
	if _, err := s.Submit(ctx, txns...).Wait(ctx); err != nil && ctx.Err() == nil {
		s.logger.Warn("leases are over but could not be ended; trying again", "leases", len(ids), "err", err)
	}
}

// leaseEnds are the functions that want to know of ended leases.
type leaseEnds struct {
	mu    sync.Mutex // guards funcs
	funcs []func(ids []int64)
}

func (e *leaseEnds) tell(ids []int64) {
	if len(ids) == 0 {
		return
	}
	e.mu.Lock()
	funcs := e.funcs
	e.mu.Unlock()
	for _, f := range funcs {
		f(ids)
	}
}

// OnLeaseEnd has f called with every lease and session that ends, whichever protocol or time-out ended it. It is called
// on the apply goroutine, after the end is visible to readers, and must not block.
func (s *Store) OnLeaseEnd(f func(ids []int64)) {
	s.leaseEnds.mu.Lock()
	defer s.leaseEnds.mu.Unlock()
	s.leaseEnds.funcs = append(s.leaseEnds.funcs[:len(s.leaseEnds.funcs):len(s.leaseEnds.funcs)], f)
}

// oneOp is the Txn of a single op.
func oneOp(op *corepb.Op) *corepb.Txn {
	return &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true}
}

// KeepAlive gives a lease or session its full TTL again, and says what that is. ErrLeaseNotFound when it is over.
func (s *Store) KeepAlive(ctx context.Context, id int64) (ttlMillis int64, err error) {
	ttl, ok := s.lessor.renew(id)
	if !ok {
		return 0, ErrLeaseNotFound
	}
	return ttl.Milliseconds(), nil
}

// LeaseRemaining says how much of its TTL a lease has left.
func (s *Store) LeaseRemaining(id int64) (remainingMillis int64, ok bool) {
	left, ok := s.lessor.remaining(id)
	return left.Milliseconds(), ok
}

// Leases lists all leases and sessions, soonest to end first.
func (s *Store) Leases() []storage.Lease {
	byID := map[int64]storage.Lease{}
	for lease := range s.db.Leases().All() {
		byID[lease.ID] = lease
	}
	var leases []storage.Lease
	for _, id := range s.lessor.byEnd() {
		if lease, ok := byID[id]; ok {
			leases = append(leases, lease)
		}
	}
	return leases
}
