package resp

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// publicInfo is what other connections may see of one, and the little that they may do to it.
type publicInfo struct {
	sinceMillis    int64
	remote, local  string
	active         atomic.Int64 // when its last request came
	db             atomic.Int64
	queued         atomic.Int64 // commands in MULTI, -1 outside
	channels       atomic.Int64 // subscriptions
	patterns       atomic.Int64
	resp3          atomic.Bool
	command        atomic.Pointer[command] // the last one
	blocked        atomic.Pointer[waiter]  // while it waits in BLPOP and the like
	noEvict, quiet atomic.Bool             // CLIENT NO-EVICT, CLIENT NO-TOUCH
	tracking       atomic.Pointer[trackingMode]
	seesKeys       atomic.Bool // its user may read every key
	brokenRedirect atomic.Bool // the client that invalidations go to has left

	mu                        sync.Mutex // guards the fields below
	name, library, libVersion string
}

func (p *publicInfo) start(nc net.Conn) {
	p.sinceMillis = nowMillis()
	p.active.Store(p.sinceMillis)
	p.queued.Store(-1)
	p.remote, p.local = nc.RemoteAddr().String(), nc.LocalAddr().String()
}

func (p *publicInfo) subscribed(s *subscriptions) {
	p.channels.Store(int64(len(s.channels)))
	p.patterns.Store(int64(len(s.patterns)))
}

func (p *publicInfo) setName(name string) {
	p.mu.Lock()
	p.name = name
	p.mu.Unlock()
}

func (p *publicInfo) getName() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// isSubscriber reports whether Redis would count the client as of type pubsub.
func (p *publicInfo) isSubscriber() bool { return p.channels.Load()+p.patterns.Load() > 0 }

// line describes a connection as a line of CLIENT LIST. Fields about Redis' own buffers are left out.
func (c *conn) line() string {
	p := &c.public
	now := nowMillis()
	var flags strings.Builder
	mode, redirect := p.tracking.Load(), int64(-1)
	if mode != nil {
		redirect = mode.redirect
	}
	for _, f := range []struct {
		set  bool
		flag byte
	}{
		{p.isSubscriber(), 'P'}, {p.queued.Load() >= 0, 'x'}, {p.blocked.Load() != nil, 'b'}, {mode != nil, 't'},
		{p.brokenRedirect.Load(), 'R'}, {mode != nil && mode.broadcast, 'B'}, {p.noEvict.Load(), 'e'}, {p.quiet.Load(), 'T'},
	} {
		if f.set {
			flags.WriteByte(f.flag)
		}
	}
	if flags.Len() == 0 {
		flags.WriteByte('N')
	}
	command, version := "NULL", 2
	if cmd := p.command.Load(); cmd != nil {
		command = cmd.fullName
	}
	if p.resp3.Load() {
		version = 3
	}
	p.mu.Lock()
	name, library, libVersion := p.name, p.library, p.libVersion
	p.mu.Unlock()
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=%d ssub=0 multi=%d "+
		"cmd=%s user=default redir=%d resp=%d lib-name=%s lib-ver=%s\n",
		c.id, p.remote, p.local, name, (now-p.sinceMillis)/1000, (now-p.active.Load())/1000, flags.String(), p.db.Load(),
		p.channels.Load(), p.patterns.Load(), p.queued.Load(), command, redirect, version, library, libVersion)
}
