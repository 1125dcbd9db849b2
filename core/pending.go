package core

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/raftlog"
)

// Pending is a group of commands on their way through the log.
type Pending struct {
	results []*TxnResult
	one     [1]*TxnResult // where results are when there is one
	open    atomic.Int32  // commands without a result
	once    sync.Once
	done    chan struct{}
	err     error // set before done closes

	first   uint64 // sequence number of the first command
	own     int    // commands at the beginning that are the store's
	waiting *waiters
}

func newPending(n int) *Pending {
	p := &Pending{done: make(chan struct{})}
	if p.results = p.one[:]; n != 1 {
		p.results = make([]*TxnResult, n)
	}
	p.open.Store(int32(n))
	return p
}

// Done is closed when every result is there, or it is known that some never will be, at the latest after the request
// time-out.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait gives the results, in the order of the commands. NO_LEADER says that none of the commands will take effect. When
// the context or the request time-out ends before their fate is known they may still: the error is UNKNOWN_FATE.
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
	return p.results[p.own:], nil
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

// waiters finds the group that a sequence number belongs to, and fails groups that wait for too long.
type waiters struct {
	timeout time.Duration

	mu     sync.Mutex // guards the fields below
	next   uint64     // sequence number to give
	places map[uint64]*Pending
	closed error // set once nothing will be answered any more

	// lines are the groups in the order in which they entered. They mostly leave in it too; who has left is found out when
	// he is the first. The timer runs while there is a line, and not from the moment of each group: one that fires now and
	// then is cheaper than one that is set for every command.
	lines   []line
	timer   *time.Timer
	ticking bool
}

// line is a group and when it entered.
type line struct {
	last  uint64 // its last sequence number
	since time.Time
}

func newWaiters(timeout time.Duration) *waiters {
	return &waiters{places: map[uint64]*Pending{}, timeout: timeout}
}

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
	w.skip()
	w.lines = append(w.lines, line{last: w.next, since: time.Now()})
	if !w.ticking {
		w.ticking = true
		w.tick(w.timeout)
	}
	return nil
}

func (w *waiters) tick(after time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(after, w.expire)
		return
	}
	w.timer.Reset(after)
}

// skip drops the groups at the head that have left.
func (w *waiters) skip() {
	n := 0
	for n < len(w.lines) && w.places[w.lines[n].last] == nil {
		n++
	}
	w.lines = w.lines[n:]
}

// expire fails the groups that have waited for too long. What can be said for certain to be in no log has been settled
// before: see raftlog.Config.ProposalTimeout.
func (w *waiters) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed != nil {
		return
	}
	now := time.Now()
	for w.skip(); len(w.lines) > 0 && now.Sub(w.lines[0].since) >= w.timeout; w.skip() {
		p := w.places[w.lines[0].last]
		w.remove(p)
		p.fail(&Error{Code: CodeUnknownFate, Detail: "no outcome within the request time-out"})
	}
	if w.ticking = len(w.lines) > 0; w.ticking {
		w.tick(w.timeout - now.Sub(w.lines[0].since))
	}
}

// settle takes what the log says of proposals that it will never hand over as entries. The first command of a group that
// is not in the log has the others of the group behind it; when it is in the log, so are some of them perhaps.
func (w *waiters) settle(seqs []uint64, fate raftlog.Fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seq := range seqs {
		p := w.places[seq]
		if p == nil {
			continue
		}
		w.remove(p)
		switch {
		case fate == raftlog.Dropped && seq == p.first:
			p.fail(&Error{Code: CodeNoLeader, Detail: "no leader took the command in time"})
		case fate == raftlog.Dropped:
			p.fail(&Error{Code: CodeUnknownFate, Detail: "only a part of the commands was taken by a leader in time"})
		default:
			p.fail(&Error{Code: CodeUnknownFate, Detail: "this member received a snapshot of a later state"})
		}
	}
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
	w.remove(p)
}

func (w *waiters) remove(p *Pending) {
	for i := range p.results {
		delete(w.places, p.first+uint64(i))
	}
}

// close fails every group that waits and every later one.
func (w *waiters) close(err, later error) {
	w.mu.Lock()
	pending := w.places
	w.places, w.closed, w.lines = map[uint64]*Pending{}, later, nil
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	for _, p := range pending {
		p.fail(err)
	}
}
