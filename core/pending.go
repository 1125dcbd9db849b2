package core

import (
	"context"
	"sync"
	"sync/atomic"
)

// Pending is a group of commands on their way through the log.
type Pending struct {
	results []*TxnResult
	open    atomic.Int32 // commands without a result
	once    sync.Once
	done    chan struct{}
	err     error // set before done closes

	first   uint64 // sequence number of the first command
	waiting *waiters
}

func newPending(n int) *Pending {
	p := &Pending{results: make([]*TxnResult, n), done: make(chan struct{})}
	p.open.Store(int32(n))
	return p
}

// Done is closed when every result is there, or it is known that some never will be.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait gives the results, in the order of the commands. When the context ends first the commands may still take effect:
// the error is ErrUnknownFate, unless they were refused.
func (p *Pending) Wait(ctx context.Context) ([]*TxnResult, error) {
	select {
	case <-p.done:
	default:
		select {
		case <-p.done:
		case <-ctx.Done():
			p.waiting.forget(p)
			p.fail(&Error{Code: CodeUnknownFate, Detail: context.Cause(ctx).Error()})
			<-p.done
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.results, nil
}

func (p *Pending) complete(place int, result *TxnResult) {
	p.results[place] = result
	if p.open.Add(-1) == 0 {
		p.once.Do(func() { close(p.done) })
	}
}

func (p *Pending) fail(err error) {
	p.once.Do(func() {
		p.err = err
		close(p.done)
	})
}

// waiters finds the group that a sequence number belongs to.
type waiters struct {
	mu     sync.Mutex // guards the fields below
	next   uint64     // sequence number to give
	places map[uint64]*Pending
	closed error // set once nothing will be answered any more
}

func newWaiters() *waiters { return &waiters{places: map[uint64]*Pending{}} }

// enter gives a group its sequence numbers, which are consecutive.
func (w *waiters) enter(p *Pending) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed != nil {
		return w.closed
	}
	p.waiting = w
	p.first = w.next + 1
	for range p.results {
		w.next++
		w.places[w.next] = p
	}
	return nil
}

// take removes and returns the group that waits for a command, with the command's place in it; nil when nobody does.
func (w *waiters) take(seq uint64) (*Pending, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.places[seq]
	if p == nil {
		return nil, 0
	}
	delete(w.places, seq)
	return p, int(seq - p.first)
}

// forget drops a group that nobody waits for any more.
func (w *waiters) forget(p *Pending) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range p.results {
		delete(w.places, p.first+uint64(i))
	}
}

// close fails every group that waits and every later one.
func (w *waiters) close(err, later error) {
	w.mu.Lock()
	pending := w.places
	w.places, w.closed = map[uint64]*Pending{}, later
	w.mu.Unlock()
	for _, p := range pending {
		p.fail(err)
	}
}
