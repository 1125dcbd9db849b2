package zkcompat

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Every packet of a client renews its session. The leader keeps the deadlines of sessions, and a renewal counts once it has
// confirmed it; asking it for each packet would cost a round trip and a goroutine for each. The renewer therefore gathers
// the connections whose clients have sent something and renews all their sessions with one call, one call at a time.
//
// A connection whose renewals stay unconfirmed for a third of its session's timeout is cut, as a ZooKeeper server that has
// lost the quorum cuts its clients: the client then knows that it may lose its session while the session still lives, for
// a new leader gives every session its full timeout again.
//
// What a client is answered says that its session lives, and for how long from there. So a packet that comes later than two
// fifths of the timeout after the last call that was confirmed waits for the next one: its client was silent for long, or this
// process stood still and the session may be over. When a packet that is answered was read, its session had three fifths of the
// timeout left, or more.

// sessionKeeper is what renews sessions and tells when that can be tried.
type sessionKeeper interface {
	// KeepAliveAll renews sessions and gives the timeout of each, 0 for one that is over.
	KeepAliveAll(ctx context.Context, ids []int64) (ttlMillis []int64, err error)
	// LeaderWatch gives the leader, 0 when there is none, and a channel that is closed when that changes.
	LeaderWatch() (leader uint64, changed <-chan struct{})
}

// renewer renews the sessions of a server's connections.
type renewer struct {
	keeper sessionKeeper
	pause  time.Duration // for which renewals are gathered
	wake   chan struct{} // capacity 1: somebody waits to be renewed
	urgent chan struct{} // capacity 1: a packet waits for that
	born   time.Time

	mu      sync.Mutex // guards the field below, and the times of every renewal
	waiting []*renewal // to be asked for by the next call
}

// renewal is the state of one connection's renewals.
type renewal struct {
	session int64
	timeout time.Duration     // of the session
	end     func(cause error) // ends the connection, without waiting

	sure atomic.Int64 // nanoseconds from the renewer's birth until which packets need not wait

	queued   atomic.Bool   // among the waiting: whatever the client sends now, the next call covers it
	since    time.Time     // when the client sent the first packet that is not confirmed; zero when all are
	next     time.Time     // the same for packets since the call under way began
	deadline *time.Timer   // cuts the connection
	told     chan struct{} // closed when a call was confirmed; nil until a packet waits
}

// errUnconfirmed ends a connection whose session could not be renewed for too long.
var errUnconfirmed = errors.New("the session could not be renewed: no leader answers")

func newRenewer(keeper sessionKeeper, pause time.Duration) *renewer {
	return &renewer{keeper: keeper, pause: pause, wake: make(chan struct{}, 1), urgent: make(chan struct{}, 1), born: time.Now()}
}

// limit is how long renewals may be unconfirmed.
func (c *renewal) limit() time.Duration { return c.timeout / 3 }

// begin tells of a session that was opened or resumed by a command that was made at a time.
func (r *renewer) begin(c *renewal, session int64, timeout time.Duration, at time.Time, end func(cause error)) {
	c.session, c.timeout, c.end = session, timeout, end
	r.confirmed(c, at)
}

// confirmed notes that the leader has renewed a session after a time.
func (r *renewer) confirmed(c *renewal, at time.Time) {
	c.sure.Store(int64(at.Sub(r.born) + 2*c.timeout/5))
}

func (r *renewer) isSure(c *renewal, now time.Time) bool {
	return int64(now.Sub(r.born)) <= c.sure.Load()
}

// hear notes that a client has sent something, and waits if its session has to be confirmed first. It reports false if the context
// ended before that.
func (r *renewer) hear(ctx context.Context, c *renewal, now time.Time) bool {
	for wait := r.touch(c, now); wait != nil; wait = r.touch(c, now) {
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		}
		if r.isSure(c, now) {
			break
		}
	}
	return true
}

// touch notes that a client has sent something. It does not wait; what it gives is to be waited for, if it is not nil.
func (r *renewer) touch(c *renewal, now time.Time) (told <-chan struct{}) {
	if c.queued.Load() && r.isSure(c, now) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.queued.Load() {
		if c.since.IsZero() {
			r.unconfirmed(c, now)
		} else {
			c.next = now
		}
		r.queue(c)
	}
	if r.isSure(c, now) {
		return nil
	}
	if c.told == nil {
		c.told = make(chan struct{})
	}
	select {
	case r.urgent <- struct{}{}:
	default:
	}
	return c.told
}

// unconfirmed begins or goes on with the time for which a connection can do without the leader. The caller holds mu.
func (r *renewer) unconfirmed(c *renewal, since time.Time) {
	c.since, c.next = since, time.Time{}
	left := time.Until(since.Add(c.limit()))
	if c.deadline == nil {
		c.deadline = time.AfterFunc(left, func() { r.overdue(c) })
	} else {
		c.deadline.Reset(left)
	}
}

// queue leaves a connection for the next call. The caller holds mu.
func (r *renewer) queue(c *renewal) {
	c.queued.Store(true)
	r.waiting = append(r.waiting, c)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// overdue cuts a connection, unless it was confirmed while the timer ran out.
func (r *renewer) overdue(c *renewal) {
	r.mu.Lock()
	late := !c.since.IsZero() && time.Since(c.since) >= c.limit()
	r.mu.Unlock()
	if late {
		c.end(errUnconfirmed)
	}
}

// forget lets go of a connection that has ended.
func (r *renewer) forget(c *renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.deadline != nil {
		c.deadline.Stop()
	}
	c.since = time.Time{}
}

// urgentPart is what part of its pause the renewer still gathers when a packet waits.
const urgentPart = 16

// run renews until the context ends.
func (r *renewer) run(ctx context.Context) {
	gathered := time.NewTimer(0)
	defer gathered.Stop()
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		gathered.Reset(r.pause)
		leader, changed := r.keeper.LeaderWatch()
		for leader == 0 {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			leader, changed = r.keeper.LeaderWatch()
		}
		select {
		case <-gathered.C:
		case <-r.urgent:
			gathered.Reset(r.pause / urgentPart)
			select {
			case <-gathered.C:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
		r.round(ctx)
	}
}

// round renews what is waiting.
func (r *renewer) round(ctx context.Context) {
	r.mu.Lock()
	batch := r.waiting
	r.waiting = nil
	ids := make([]int64, len(batch))
	for i, c := range batch {
		ids[i] = c.session
		c.queued.Store(false) // what comes from here on is for a later call
	}
	r.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	begun := time.Now()
	ttls, err := r.keeper.KeepAliveAll(ctx, ids)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range batch {
		if err == nil && ttls[i] != 0 {
			r.confirmed(c, begun)
			if c.told != nil {
				close(c.told)
				c.told = nil
			}
		}
		switch {
		case c.since.IsZero(): // it has ended
		case err != nil:
			c.next = time.Time{}
			if !c.queued.Load() {
				r.queue(c)
			}
		case ttls[i] == 0:
			c.end(errSessionOver)
		case c.next.IsZero():
			c.since = time.Time{}
			c.deadline.Stop()
		default:
			r.unconfirmed(c, c.next)
		}
	}
}
