package transport

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// class tells the two ways of messages apart.
type class int

const (
	classUrgent class = iota
	classBulk
)

func (c class) String() string { return [...]string{"urgent", "bulk"}[c] }

var (
	errMoved   = errors.New("the member has other addresses now")
	errDrained = errors.New("this member stops")
)

// link carries the messages of one class to one member: over a connection of its own, and then another one,
// as long as the member is in the address book.
type link struct {
	p     *peer
	class class
	queue *queue
	first atomic.Uint32 // which of the addresses is tried first
	ended chan struct{} // closed when run has returned

	renewed chan struct{} // holds a token when the next attempt need not wait

	mu      sync.Mutex // guards what follows
	session context.CancelCauseFunc
}

func newLink(p *peer, c class) *link {
	bytesMax := p.t.opts.QueueBytesMax
	if c == classUrgent {
		bytesMax = min(bytesMax, urgentBytesMax)
	}
	return &link{
		p: p, class: c, queue: newQueue(p.t.opts.QueueMax, bytesMax),
		ended: make(chan struct{}), renewed: make(chan struct{}, 1),
	}
}

// hurry ends the wait for the next attempt, if there is one.
func (l *link) hurry() {
	select {
	case l.renewed <- struct{}{}:
	default:
	}
}

// renew ends the session, if there is one, and makes another one at once.
func (l *link) renew(why error) {
	l.hurry()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session != nil {
		l.session(why)
	}
}

func (l *link) begin(cancel context.CancelCauseFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = cancel
}

// run holds one session after the other. What is queued survives the end of a session, because most often the next one
// begins at once; when that fails, it is dropped.
func (l *link) run() {
	defer close(l.ended)
	t := l.p.t
	wait := newPauses(t.timing.pause, t.timing.pauseMax)
	for t.accepting.Err() == nil && l.p.lifetime.Err() == nil {
		began := time.Now()
		accepted, err := l.hold()
		if t.accepting.Err() != nil || l.p.lifetime.Err() != nil {
			return
		}
		l.p.down(l.class, err)
		l.lose(accepted)
		if accepted && time.Since(began) > t.timing.pauseMax {
			wait.reset()
		}
		if !wait.next(t.accepting, l.p.lifetime, l.renewed) {
			return
		}
	}
}

// lose tells the node that messages may not have arrived: those of a connection that broke, or what waited for one that was
// not to be had.
func (l *link) lose(accepted bool) {
	dropped := 0
	if !accepted {
		dropped = l.queue.close()
		l.p.counts.dropped.Add(uint64(dropped))
	}
	if (accepted || dropped > 0) && l.p.lifetime.Err() == nil {
		l.p.t.handler.Unreachable(l.p.id)
	}
}

// hold connects, and sends until something breaks. accepted says whether the other side took the connection.
func (l *link) hold() (accepted bool, err error) {
	t := l.p.t
	ctx, cancel := context.WithCancelCause(l.p.lifetime)
	defer cancel(nil)
	l.begin(cancel)
	defer l.begin(nil)

	stopWaiting := context.AfterFunc(t.accepting, func() { cancel(errDrained) })
	way, at, err := t.open(ctx, purposeOf(l.class), l.p.id, l.p.addresses(), int(l.first.Load()))
	if !stopWaiting() && err == nil {
		way.Close()
		err = errDrained
	}
	if err != nil {
		if r := refusalOf(err); r != nil && r.reason == peerpb.Refusal_MEMBER {
			l.first.Add(1) // perhaps it is at its next address
		}
		return false, firstOf(context.Cause(ctx), err)
	}
	defer way.Close()
	defer way.closeWith(ctx)()
	var helpers sync.WaitGroup // they end with ctx, which closes the connection
	defer helpers.Wait()
	defer cancel(nil)

	l.queue.open()
	if l.class == classUrgent {
		l.p.up(at)
		helpers.Go(func() { l.p.probe(ctx, cancel, at) })
	}
	helpers.Go(func() { cancel(way.ended()) })
	err = l.pump(ctx, way)
	return true, firstOf(context.Cause(ctx), err)
}

func purposeOf(c class) peerpb.Opening_Purpose {
	if c == classUrgent {
		return peerpb.Opening_URGENT
	}
	return peerpb.Opening_BULK
}

// pump sends what is queued, everything that waits in as few frames as possible.
func (l *link) pump(ctx context.Context, way *wire) error {
	var frame peerpb.Messages
	for {
		frame.Messages = l.queue.take(frame.Messages[:0], frameBytesMax)
		if len(frame.Messages) == 0 {
			select {
			case <-l.queue.filled:
			case <-ctx.Done():
				return nil
			case <-l.p.t.accepting.Done():
				return l.finish(ctx, way)
			}
			continue
		}
		bytes, err := way.send(peerpb.Kind_MESSAGES, &frame)
		if err != nil {
			return lastWord(ctx, err)
		}
		l.p.counts.sentBytes.Add(uint64(bytes))
		l.p.counts.sentMessages.Add(uint64(len(frame.Messages)))
		clear(frame.Messages)
	}
}

// finish ends the connection with everything that was queued, and waits until the other side has it all.
func (l *link) finish(ctx context.Context, way *wire) error {
	l.queue.close()
	if err := way.finish(); err != nil {
		return err
	}
	<-ctx.Done()
	return errDrained
}

// lastWord is for a write that failed: the other side may have said why, and its word is then read by a goroutine that ends
// ctx with it. It comes before the end of the connection, which comes at once.
func lastWord(ctx context.Context, err error) error {
	moment := time.NewTimer(lastWordPatience)
	defer moment.Stop()
	select {
	case <-ctx.Done():
	case <-moment.C:
	}
	return err
}

// firstOf is the error that came first: cause, if there is one.
func firstOf(cause, err error) error {
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if err != nil {
		return err
	}
	return cause
}

// pauses are those between attempts. They double, up to a bound, and vary so that members do not keep step.
type pauses struct{ first, longest, now time.Duration }

func newPauses(first, longest time.Duration) *pauses {
	return &pauses{first: first, longest: longest, now: first}
}

func (b *pauses) reset() { b.now = b.first }

// next waits. A token in renewed ends the wait and begins a new row of attempts. It reports false if a context ended.
func (b *pauses) next(accepting, lifetime context.Context, renewed <-chan struct{}) bool {
	pause := time.NewTimer(b.now - rand.N(b.now/4+1))
	defer pause.Stop()
	select {
	case <-pause.C:
		b.now = min(2*b.now, b.longest)
	case <-renewed:
		b.reset()
	case <-accepting.Done():
		return false
	case <-lifetime.Done():
		return false
	}
	return true
}
