package transport

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// peer is another member: the links to it, and what is known of the way.
type peer struct {
	t      *Transport
	id     uint64
	log    *slog.Logger
	counts *counts
	links  [2]*link // urgent, bulk

	lifetime context.Context // ends when it leaves the address book, or the transport ends
	cancel   context.CancelCauseFunc

	roundTrip  atomic.Int64  // nanoseconds, of the last ping; 0 before the first
	connecting chan struct{} // holds a token while a connection for questions is looked for

	mu        sync.Mutex // guards what follows
	named     bool       // the node knows of it; otherwise it is a guest
	urls      []string   // that the node says
	claimed   []string   // that it says itself
	calls     *questions // nil before the first
	sending   *sending   // the snapshot that is on its way
	condition condition
	reason    peerpb.Refusal_Reason // of the condition refused
	connected bool                  // of the urgent link
	since     time.Time             // of connected
}

// condition is what the operator was told last of the way to a member.
type condition int

const (
	unknown condition = iota
	connected
	lost
	refused
)

func (t *Transport) newPeer(id uint64) *peer {
	p := &peer{t: t, id: id, since: time.Now(), log: t.log.With("peer", memberName(id)), counts: t.counts.of(id), connecting: make(chan struct{}, 1)}
	p.lifetime, p.cancel = context.WithCancelCause(t.lifetime)
	p.links = [2]*link{newLink(p, classUrgent), newLink(p, classBulk)}
	return p
}

func (p *peer) link(urgent bool) *link {
	if urgent {
		return p.links[0]
	}
	return p.links[1]
}

// start runs the links. The caller has entered.
func (p *peer) start() {
	for _, l := range p.links {
		p.t.running.Go(l.run)
	}
}

// renew ends all connections and makes new ones at once.
func (p *peer) renew(why error) {
	for _, l := range p.links {
		l.renew(why)
	}
	p.closeCalls()
	p.mu.Lock()
	s := p.sending
	p.mu.Unlock()
	if s != nil {
		s.renew(why)
	}
}

// end is for a member that left the address book.
func (p *peer) end(why error) {
	p.cancel(why)
	p.closeCalls()
}

func (p *peer) contact() raftlog.Contact {
	p.mu.Lock()
	defer p.mu.Unlock()
	return raftlog.Contact{Connected: p.connected, Since: p.since, RoundTrip: time.Duration(p.roundTrip.Load())}
}

// up notes that the urgent connection was accepted.
func (p *peer) up(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected, p.since = true, time.Now()
	p.condition = connected
	p.log.Info("connected to member", "address", address)
}

// down notes that a link, or an attempt to make one, ended. The operator is told once for each change: of two links and
// many attempts, only the first to find it out.
func (p *peer) down(class class, why error) {
	refusal := refusalOf(why)
	p.mu.Lock()
	if class == classUrgent && p.connected {
		p.connected, p.since = false, time.Now()
	}
	was, reason := p.condition, p.reason
	switch {
	case p.lifetime.Err() != nil || p.t.accepting.Err() != nil:
		p.mu.Unlock()
		return // it was ended from here
	case refusal != nil:
		p.condition, p.reason = refused, refusal.reason
	case class == classUrgent:
		p.condition = lost
	}
	now := p.condition
	p.mu.Unlock()

	switch {
	case now == refused && refusal != nil && (was != refused || reason != refusal.reason):
		p.log.Error("no connection to member", "reason", refusal.words)
		if refusal.reason == peerpb.Refusal_REMOVED {
			p.t.handler.Removed()
		}
	case now == lost && was == connected:
		p.log.Warn("connection to member lost", "err", why)
	case now == lost && was == unknown:
		p.log.Info("member cannot be reached yet", "err", why)
	case now == lost && was != lost:
		p.log.Warn("member cannot be reached", "err", why)
	default:
		p.log.Debug("no connection to member", "class", class.String(), "err", why)
	}
}
