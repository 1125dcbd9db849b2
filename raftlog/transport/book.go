package transport

import (
	"fmt"
	"maps"
	"slices"

	"github.com/triglot/triglot/raftlog"
)

// The address book: the members that the node names, and guests. A guest is a member that calls and that the node does not
// name, because the list that it goes by is old: it was cut off while the other one was added, or it joins. The other one
// may be the leader, from which alone a newer list can come, and which goes on only when it is answered. So it is answered
// where it says that it is found, for as long as it calls.

const (
	guestsMax   = 64
	urlsMax     = 16 // of a Hello
	urlBytesMax = 1024
)

// SetPeers starts what is needed for new members, ends what was for those that are not in the list, and turns to the new
// addresses of those that moved. One that is not in the list but has connections open to this member stays as a guest, unless
// it was removed.
func (t *Transport) SetPeers(list []raftlog.Peer) {
	if !t.enter() {
		return
	}
	defer t.running.Done()
	t.book.Lock()
	defer t.book.Unlock()
	was := *t.peers.Load()
	now := make(map[uint64]*peer, len(list))
	for _, entry := range list {
		if entry.ID == 0 || entry.ID == t.identity.member {
			continue
		}
		p := was[entry.ID]
		if p == nil {
			p = t.newPeer(entry.ID)
			p.name(entry.URLs)
			p.start()
		} else {
			p.name(entry.URLs)
		}
		now[entry.ID] = p
	}
	for id, p := range was {
		switch {
		case now[id] != nil:
		case t.visits[id] > 0 && !t.identity.isRemoved(id):
			p.unname()
			now[id] = p
		default:
			p.end(fmt.Errorf("%w: it is no member any more", raftlog.ErrUnreachable))
		}
	}
	t.peers.Store(&now)
}

// visit notes that a member has opened a connection, and where it says that it is found. The function is to be called when
// the connection has ended.
func (t *Transport) visit(from uint64, urls []string) (leave func()) {
	if !t.enter() {
		return func() {}
	}
	defer t.running.Done()
	urls = t.usable(urls)
	t.book.Lock()
	defer t.book.Unlock()
	if t.visits == nil {
		t.visits = map[uint64]int{}
	}
	t.visits[from]++
	peers := *t.peers.Load()
	if p := peers[from]; p != nil {
		p.claim(urls)
		if !p.contact().Connected {
			for _, l := range p.links {
				l.hurry() // it is back
			}
		}
	} else if len(urls) > 0 && t.guests() < guestsMax {
		p = t.newPeer(from)
		p.claim(urls)
		p.log.Info("a member that is not known here yet calls, and is answered", "urls", urls)
		t.put(from, p)
		p.start()
	}
	return func() { t.leave(from) }
}

// leave notes the end of a connection. A guest goes with its last one.
func (t *Transport) leave(from uint64) {
	t.book.Lock()
	defer t.book.Unlock()
	if t.visits[from]--; t.visits[from] > 0 {
		return
	}
	delete(t.visits, from)
	if p := (*t.peers.Load())[from]; p != nil && !p.isNamed() {
		p.end(fmt.Errorf("%w: it does not call any more, and is not known here", raftlog.ErrUnreachable))
		t.put(from, nil)
	}
}

// put replaces the map of peers by one that has p, or nothing, for a member.
func (t *Transport) put(id uint64, p *peer) {
	peers := maps.Clone(*t.peers.Load())
	if p == nil {
		delete(peers, id)
	} else {
		peers[id] = p
	}
	t.peers.Store(&peers)
}

func (t *Transport) guests() (n int) {
	for _, p := range *t.peers.Load() {
		if !p.isNamed() {
			n++
		}
	}
	return n
}

// usable leaves out of a Hello's addresses what cannot be one.
func (t *Transport) usable(urls []string) (good []string) {
	for _, u := range urls {
		if len(good) < urlsMax && len(u) <= urlBytesMax && !slices.Contains(good, u) {
			if _, err := parseURL(u, t.opts.TLS != nil); err == nil {
				good = append(good, u)
			}
		}
	}
	return good
}

// addresses are where a member may be found: as the node says, and then as it says itself, which may be newer.
func (p *peer) addresses() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addressesLocked()
}

func (p *peer) addressesLocked() []string {
	all := slices.Clone(p.urls)
	for _, u := range p.claimed {
		if !slices.Contains(all, u) {
			all = append(all, u)
		}
	}
	return all
}

// name makes p a member that the node names. If its addresses change, it turns to the new ones at once.
func (p *peer) name(urls []string) {
	p.readdress(func() { p.named, p.urls = true, slices.Clone(urls) })
}

func (p *peer) unname() {
	p.readdress(func() { p.named, p.urls = false, nil })
}

// claim notes where the member itself says that it is found, for the next attempt.
func (p *peer) claim(urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claimed = urls
}

func (p *peer) readdress(change func()) {
	p.mu.Lock()
	before := p.addressesLocked()
	change()
	after := p.addressesLocked()
	connected := p.connected
	p.mu.Unlock()
	switch {
	case len(before) == 0 || slices.Equal(before, after):
	case connected && len(after) > 0 && after[0] == before[0]:
		// Further addresses are for when this one fails.
	default:
		p.log.Info("member has other peer addresses", "urls", after)
		p.renew(errMoved)
	}
}

func (p *peer) isNamed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.named
}
