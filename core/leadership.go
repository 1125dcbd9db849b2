package core

import (
	"context"
	"sync"
	"sync/atomic"
)

// leadership knows who leads, and runs what only the leader does. A node leads, in this sense, once it has applied an entry
// of its own term: before that there may be commands that it was given as a follower and has not seen applied.
type leadership struct {
	self uint64
	ctx  context.Context            // of the store; the duties' end with it
	seen atomic.Pointer[seenLeader] // for those who only look

	mu      sync.Mutex // guards the fields below; no other lock is held when it is taken
	leader  uint64     // 0 = none
	term    uint64     // of raft
	applied uint64     // term of the last entry applied
	leads   uint64     // the term in which the duties are on; 0 = they are off
	duties  []*dutyRun
	moved   chan struct{} // closed at the next change of leader, term or duties; made when somebody waits
	stopped bool
	running sync.WaitGroup
}

// seenLeader is a leader, 0 for none, and a channel that is closed when it is another.
type seenLeader struct {
	id      uint64
	changed chan struct{}
}

// duty is something that only the leader does. Any of its functions may be nil.
type duty struct {
	begin func(term uint64)                      // before anything else of the term; must not wait
	run   func(ctx context.Context, term uint64) // on a goroutine of its own; ctx ends with the leadership
	end   func()                                 // as soon as the node leads no more; must not wait
}

type dutyRun struct {
	duty
	cancel context.CancelFunc
	ended  chan struct{} // of the latest run
}

func newLeadership(ctx context.Context, self uint64) *leadership {
	l := &leadership{self: self, ctx: ctx}
	l.seen.Store(&seenLeader{changed: make(chan struct{})})
	return l
}

// add is called before the log starts.
func (l *leadership) add(d duty) { l.duties = append(l.duties, &dutyRun{duty: d}) }

// elected takes what raft says of leader and term. It is called on the raft goroutine and does not wait.
func (l *leadership) elected(leader, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leads != 0 && (leader != l.self || term != l.leads) {
		l.off()
	}
	l.leader, l.term = leader, term
	l.on()
	l.announce()
	if before := l.seen.Load(); before.id != leader {
		l.seen.Store(&seenLeader{id: leader, changed: make(chan struct{})})
		close(before.changed)
	}
}

// applies takes the term of the last entry that was applied and that readers can see.
func (l *leadership) applies(term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term == l.applied {
		return
	}
	l.applied = term
	if l.on() {
		l.announce()
	}
}

// on begins the duties if it is time to.
func (l *leadership) on() bool {
	if l.stopped || l.leads != 0 || l.leader != l.self || l.term == 0 || l.applied != l.term {
		return false
	}
	for _, d := range l.duties {
		if d.begin != nil {
			d.begin(l.term)
		}
	}
	l.leads = l.term
	for _, d := range l.duties {
		if d.run == nil {
			continue
		}
		ctx, cancel := context.WithCancel(l.ctx)
		before, ended, term := d.ended, make(chan struct{}), l.term
		d.cancel, d.ended = cancel, ended
		l.running.Add(1)
		go func() {
			defer l.running.Done()
			defer close(ended)
			defer cancel()
			if before != nil {
				<-before // its context has ended
			}
			if ctx.Err() == nil {
				d.run(ctx, term)
			}
		}()
	}
	return true
}

// off ends the duties.
func (l *leadership) off() {
	l.leads = 0
	for _, d := range l.duties {
		if d.cancel != nil {
			d.cancel()
		}
		if d.end != nil {
			d.end()
		}
	}
}

func (l *leadership) announce() {
	if l.moved != nil {
		close(l.moved)
		l.moved = nil
	}
}

// stop ends the duties for good and waits for them.
func (l *leadership) stop() {
	l.mu.Lock()
	l.stopped = true
	if l.leads != 0 {
		l.off()
	}
	l.announce()
	l.mu.Unlock()
	l.running.Wait()
}

// now says who leads, in which term this node does (0 when it does not, or not yet), and when that may be otherwise.
func (l *leadership) now() (leader, leads uint64, moved <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.moved == nil {
		l.moved = make(chan struct{})
	}
	return l.leader, l.leads, l.moved
}

// leadsIn gives the term in which this node leads, 0 when it does not.
func (l *leadership) leadsIn() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leads
}

// LeaderWatch gives the leader's id, 0 when there is none, and a channel that is closed when it is another.
func (s *Store) LeaderWatch() (leader uint64, changed <-chan struct{}) {
	seen := s.leadership.seen.Load()
	return seen.id, seen.changed
}

// HasLeader says whether this node knows of a leader.
func (s *Store) HasLeader() bool { return s.leadership.seen.Load().id != 0 }

// IsLeader says whether this node leads.
func (s *Store) IsLeader() bool { return s.leadership.seen.Load().id == s.identity.Member }
