package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"golang.org/x/time/rate"

	"github.com/triglot/triglot/raftlog"
)

// Options says where a transport serves and what it may use. Zero values mean what is said beside them.
type Options struct {
	// Listeners are where other members find this one, one at least. The transport closes them.
	Listeners []net.Listener
	// PeerURLs are where this member is found: what its members' list has of it. A member that does not have that list yet
	// is told by this member's calls.
	PeerURLs []string
	// TLS makes all connections of members mutual TLS. Then peer URLs begin with https or unixs, otherwise with http or unix.
	// nil: none.
	TLS *TLSConfig
	// SnapshotBytesPerSecond bounds what all snapshots that are sent from here take together. 0: no bound.
	SnapshotBytesPerSecond int64
	// MessageBytesMax bounds one message, question or answer. It has to be above the largest entry. 64 MiB.
	MessageBytesMax int
	// QueueMax and QueueBytesMax bound what waits for one member. What is more is dropped, and told to the node, which
	// sends it again later. 4096 messages, 64 MiB.
	QueueMax, QueueBytesMax int

	Logger *slog.Logger // none
}

const (
	messageBytesDefault = 64 << 20
	queueDefault        = 4096
	queueBytesDefault   = 64 << 20
	urgentBytesMax      = 8 << 20

	// frameBytesMax is what messages that wait are put together to; a message that is larger goes alone. It is also what
	// an entry that is kept may keep in memory with it.
	frameBytesMax = 1 << 20
)

// timing is how patient a transport is. Tests are less so.
type timing struct {
	pause, pauseMax   time.Duration // between attempts to connect: the first, and the longest
	connect           time.Duration // for one attempt
	ping, pingTimeout time.Duration
	drain             time.Duration // for what is queued, when the transport stops
	snapshotPatience  time.Duration // without progress, before a snapshot is given up
	call              time.Duration // for a question whose context has no end
}

var usual = timing{
	pause: 50 * time.Millisecond, pauseMax: time.Second, connect: 2 * time.Second,
	ping: time.Second, pingTimeout: 3 * time.Second,
	drain: 500 * time.Millisecond, snapshotPatience: 30 * time.Second, call: 10 * time.Second,
}

// Transport implements raftlog.Transport over TCP, TLS or Unix sockets.
type Transport struct {
	opts    Options
	timing  timing
	log     *slog.Logger
	limiter limiter // of outgoing snapshots; nil = none

	identity identity // of this member; set by Start
	handler  raftlog.Handler
	inbound  inbound

	peers  atomic.Pointer[map[uint64]*peer] // replaced as a whole under book
	counts countsByMember

	accepting context.Context // ends when Stop begins
	refuse    context.CancelFunc
	lifetime  context.Context // ends when what was queued has been sent, or Stop will not wait for it any more
	end       context.CancelFunc

	book   sync.Mutex     // held while peers is replaced; guards what follows
	visits map[uint64]int // connections for messages that are open from each member

	mu      sync.Mutex // guards what follows
	started bool
	stopped bool
	done    chan struct{}
	running sync.WaitGroup // all goroutines of this package, and calls that may call the handler; grows only while !stopped
}

var _ raftlog.Transport = (*Transport)(nil)

// limiter is what is used of a rate.Limiter.
type limiter interface {
	WaitN(ctx context.Context, n int) error
}

// New makes a transport. It owns the listeners from now on. An error is about the options.
func New(opts Options) (*Transport, error) {
	if len(opts.Listeners) == 0 {
		return nil, errors.New("transport: no listener")
	}
	if opts.MessageBytesMax < 0 || opts.QueueMax < 0 || opts.QueueBytesMax < 0 || opts.SnapshotBytesPerSecond < 0 {
		return nil, errors.New("transport: a limit is negative")
	}
	setDefault(&opts.MessageBytesMax, messageBytesDefault)
	setDefault(&opts.QueueMax, queueDefault)
	setDefault(&opts.QueueBytesMax, queueBytesDefault)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.TLS != nil {
		if err := opts.TLS.check(); err != nil {
			return nil, err
		}
	}
	t := &Transport{opts: opts, timing: usual, log: opts.Logger, done: make(chan struct{})}
	if perSecond := opts.SnapshotBytesPerSecond; perSecond > 0 {
		t.limiter = rate.NewLimiter(rate.Limit(perSecond), chunkBytes(perSecond))
	}
	t.peers.Store(&map[uint64]*peer{})
	t.accepting, t.refuse = context.WithCancel(context.Background())
	t.lifetime, t.end = context.WithCancel(context.Background())
	return t, nil
}

func setDefault(v *int, to int) {
	if *v == 0 {
		*v = to
	}
}

// Start begins to serve.
func (t *Transport) Start(h raftlog.Handler) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.started || t.stopped {
		return errors.New("transport: started twice, or after its end")
	}
	t.started = true
	t.handler = h
	t.identity.cluster, t.identity.member = h.Identity()
	t.identity.urls, t.identity.isRemoved = t.opts.PeerURLs, h.IsRemoved
	for _, l := range t.opts.Listeners {
		t.running.Go(func() { t.listen(l) })
	}
	return nil
}

// enter lets a call use the handler, or a goroutine begin, unless the transport stops. leave is t.running.Done.
func (t *Transport) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.stopped {
		return false
	}
	t.running.Add(1)
	return true
}

func (t *Transport) spawn(f func()) bool {
	if !t.enter() {
		return false
	}
	go func() {
		defer t.running.Done()
		f()
	}()
	return true
}

func (t *Transport) peer(id uint64) *peer { return (*t.peers.Load())[id] }

// Send queues messages. Handler.Unreachable is called from here for what cannot be queued, once for each member.
func (t *Transport) Send(messages []*raftpb.Message) {
	if !t.enter() {
		return
	}
	defer t.running.Done()
	var dropped []uint64
	for _, m := range messages {
		to := m.GetTo()
		if !t.send(t.peer(to), m) && !slices.Contains(dropped, to) {
			dropped = append(dropped, to)
		}
	}
	for _, to := range dropped {
		t.handler.Unreachable(to)
	}
}

func (t *Transport) send(p *peer, m *raftpb.Message) bool {
	if p == nil {
		return false
	}
	size := weight(m)
	if size > t.opts.MessageBytesMax {
		t.log.Error("a message to a member is too large to be sent", "peer", memberName(p.id), "type", m.GetType().String(),
			"bytes", size, "limit", t.opts.MessageBytesMax)
	} else if p.link(urgent(m)).queue.put(m) {
		return true
	}
	p.counts.dropped.Add(1)
	return false
}

// Contact says how a member was reached lately.
func (t *Transport) Contact(id uint64) raftlog.Contact {
	p := t.peer(id)
	if p == nil {
		return raftlog.Contact{}
	}
	return p.contact()
}

// Stop sends what is queued where that takes no long time, and ends everything.
func (t *Transport) Stop() {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		<-t.done
		return
	}
	t.stopped = true
	started := t.started
	t.mu.Unlock()
	defer close(t.done)
	defer t.end()

	t.refuse()
	if !started {
		for _, l := range t.opts.Listeners {
			l.Close()
		}
		return
	}
	drained := make(chan struct{})
	var links sync.WaitGroup
	for p := range maps.Values(*t.peers.Load()) {
		for _, l := range p.links {
			links.Go(func() { <-l.ended })
		}
	}
	go func() {
		links.Wait()
		close(drained)
	}()
	patience := time.NewTimer(t.timing.drain)
	defer patience.Stop()
	select {
	case <-drained:
	case <-patience.C:
	}
	t.end()
	t.running.Wait()
	<-drained
}

// memberName is how member ids are written in log lines: as etcd lists them.
func memberName(id uint64) string { return fmt.Sprintf("%x", id) }
