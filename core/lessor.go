package core

import (
	"cmp"
	"container/heap"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// lessor keeps the deadlines of leases. Leases are replicated, their deadlines are not: every node keeps some, but only the
// leader's count, and who begins to lead gives every lease its full TTL again. Expiry is a command like any other, which
// does nothing in a later term than that in which it was decided on.
type lessor struct {
	expire func(ctx context.Context, over []leaseChange, term uint64) // proposes the end of leases; waits for the outcome

	renewals atomic.Uint64

	mu     sync.Mutex // guards the fields below
	leads  bool
	leases map[int64]*leaseLife
	queue  leaseQueue    // by a time not later than the lease's end
	wake   chan struct{} // capacity 1: the head of the queue may have changed
	// unsettled are the leases with a settled channel.
	unsettled map[*leaseLife]struct{}
}

type leaseLife struct {
	leaseChange
	ttl     time.Duration
	end     time.Time     // carries the monotonic clock
	due     time.Time     // when the queue looks at it; at or before end
	place   int           // in the queue, -1 while its end is being proposed
	notes   int           // leading: checkpoints of it that were proposed and whose fate is not known; see checkpoint.go
	settled chan struct{} // closed when it is known whether the lease has ended; made when somebody waits
}

func newLessor(expire func(context.Context, []leaseChange, uint64)) *lessor {
	return &lessor{expire: expire, leases: map[int64]*leaseLife{}, wake: make(chan struct{}, 1), unsettled: map[*leaseLife]struct{}{}}
}

// grant begins the time of a lease, or begins it anew with another TTL.
func (l *lessor) grant(c leaseChange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(c.id)
	l.begin(c)
}

func (l *lessor) begin(c leaseChange) {
	ttl := time.Duration(c.ttlMillis) * time.Millisecond
	if ttl/time.Millisecond != time.Duration(c.ttlMillis) { // longer than a Duration holds: 292 years
		ttl = 1<<63 - 1
	}
	end := time.Now().Add(ttl)
	life := &leaseLife{leaseChange: c, ttl: ttl, end: end, due: end}
	l.leases[c.id] = life
	heap.Push(&l.queue, life)
	if life.place == 0 && l.leads {
		notify(l.wake)
	}
}

func (l *lessor) remove(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(id)
}

func (l *lessor) drop(id int64) {
	life := l.leases[id]
	if life == nil {
		return
	}
	delete(l.leases, id)
	if life.place >= 0 {
		heap.Remove(&l.queue, life.place)
	}
	l.settle(life)
}

func (l *lessor) settle(life *leaseLife) {
	if life.settled != nil {
		close(life.settled)
		life.settled = nil
		delete(l.unsettled, life)
	}
}

// replace takes over the leases of another state, and lists those that are no more.
func (l *lessor) replace(leases *storage.Leases) (ended []int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.leases {
		if _, ok := leases.Get(id); !ok {
			ended = append(ended, id)
		}
	}
	for life := range l.unsettled {
		l.settle(life)
	}
	l.leases, l.queue = map[int64]*leaseLife{}, nil
	for lease := range leases.All() {
		l.begin(changeOf(&lease))
	}
	slices.Sort(ended)
	return ended
}

// lead gives every lease its full TTL again: until now nobody could be told here that it was renewed, and whoever led
// before may have told so just before it was deposed. One with a checkpoint was not renewed since, and gets what that says.
func (l *lessor) lead(uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads = true
	now := time.Now()
	l.queue = l.queue[:0]
	for _, life := range l.leases {
		life.end = now.Add(life.left())
		life.notes = 0 // they are of an earlier term, and do nothing in this one
		life.due = life.end
		life.place = len(l.queue)
		l.queue = append(l.queue, life)
	}
	heap.Init(&l.queue)
	notify(l.wake)
}

// follow leaves the leases to another leader. What this one had found to be over is over no more.
func (l *lessor) follow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leads = false
	for life := range l.unsettled {
		l.settle(life)
	}
}

// renewal is what came of giving a lease its full TTL again.
type renewal struct {
	ttl time.Duration // 0 = there is no such lease, or settled is set
	// settled is set for a lease whose time is over, but whose end is not in the log yet. It is closed when that is decided.
	settled <-chan struct{}
	// noted is set when a checkpoint has to be taken back before the renewal may be told.
	noted *leaseChange
}

// renew gives a lease its full TTL again. One whose time is over is not brought back.
func (l *lessor) renew(id int64) renewal {
	l.mu.Lock()
	defer l.mu.Unlock()
	life := l.leases[id]
	if life == nil {
		return renewal{}
	}
	now := time.Now()
	if life.place < 0 || !now.Before(life.end) {
		if life.settled == nil {
			life.settled = make(chan struct{})
			l.unsettled[life] = struct{}{}
		}
		return renewal{settled: life.settled}
	}
	l.renewals.Add(1)
	life.end = now.Add(life.ttl) // the queue finds out when the old end comes
	renewed := renewal{ttl: life.ttl}
	if life.isNoted() {
		change := life.leaseChange
		renewed.noted = &change
	}
	return renewed
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
func (l *lessor) byEnd() []LeaseLeft {
	l.mu.Lock()
	lives := make([]leaseLife, 0, len(l.leases))
	for _, life := range l.leases {
		lives = append(lives, *life)
	}
	l.mu.Unlock()
	slices.SortFunc(lives, func(a, b leaseLife) int {
		return cmp.Or(a.end.Compare(b.end), cmp.Compare(a.id, b.id))
	})
	left := make([]LeaseLeft, len(lives))
	now := time.Now()
	for i := range lives {
		left[i] = LeaseLeft{ID: lives[i].id, RemainingMillis: max(0, lives[i].end.Sub(now)).Milliseconds()}
	}
	return left
}

// leasesPerExpiry bounds how many leases one round ends, so that a mass expiry leaves room for other commands.
const leasesPerExpiry = 500

// expiryRetry is how long the lessor waits before it proposes again what could not be proposed.
const expiryRetry = time.Second

// run ends leases when their time comes, as long as this node leads.
func (l *lessor) run(ctx context.Context, term uint64) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait := l.due(ctx)
		if len(due) > 0 {
			l.expire(ctx, due, term)
			if l.requeue(ctx, due) == 0 {
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
func (l *lessor) due(ctx context.Context) (over []leaseChange, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for len(l.queue) > 0 && len(over) < leasesPerExpiry && ctx.Err() == nil {
		life := l.queue[0]
		if now.Before(life.due) {
			return over, life.due.Sub(now)
		}
		if now.Before(life.end) { // it was renewed
			life.due = life.end
			heap.Fix(&l.queue, 0)
			continue
		}
		heap.Pop(&l.queue)
		over = append(over, life.leaseChange)
	}
	return over, time.Hour
}

// requeue puts back leases whose end did not happen, and counts them. A later leadership has put back all of them itself.
func (l *lessor) requeue(ctx context.Context, over []leaseChange) (left int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() != nil {
		return 0
	}
	for _, c := range over {
		if life := l.leases[c.id]; life != nil && life.place < 0 {
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

// expireLeases proposes the end of leases, as the leader of a term, and waits for it.
func (s *Store) expireLeases(ctx context.Context, over []leaseChange, term uint64) {
	txns := make([]*corepb.Txn, len(over))
	for i, c := range over {
		txns[i] = oneOp(&corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{
			Id: c.id, Term: term, Owner: c.owner, GrantedMillis: c.grantedMillis,
		}}})
	}
	results, err := s.Submit(ctx, txns...).Wait(ctx)
	if err != nil && ctx.Err() == nil {
		s.logger.Warn("leases are over but could not be ended; trying again", "leases", len(over), "err", err)
	}
	for _, result := range results {
		if len(result.Results) == 1 && result.Results[0].OK {
			s.leasesExpired.Add(1)
		}
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

// sessionMoves are the functions that want to know of sessions with another owner.
type sessionMoves struct {
	mu    sync.Mutex // guards funcs
	funcs []func(id int64, owner uint64)
}

func (m *sessionMoves) tell(moves []sessionMove) {
	if len(moves) == 0 {
		return
	}
	m.mu.Lock()
	funcs := m.funcs
	m.mu.Unlock()
	for _, f := range funcs {
		for _, move := range moves {
			f(move.id, move.owner)
		}
	}
}

// OnSessionMoved has f called with every session that gets another owner, on every node, the new owner's included. It is
// called on the apply goroutine, after the move is visible to readers, and must not block.
func (s *Store) OnSessionMoved(f func(id int64, owner uint64)) {
	m := &s.sessionMoves
	m.mu.Lock()
	defer m.mu.Unlock()
	m.funcs = append(m.funcs[:len(m.funcs):len(m.funcs)], f)
}

// oneOp is the Txn of a single op.
func oneOp(op *corepb.Op) *corepb.Txn {
	return &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true}
}
