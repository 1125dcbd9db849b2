package zkcompat

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/triglot/triglot/core"
)

// Options tune a Server. A zero value means the default given with each field.
type Options struct {
	// ServerID is the high byte of the session ids made here, 1 to 127; 0 means one that is derived from the member's id.
	ServerID byte
	// SessionTimeoutMin and SessionTimeoutMax bound the timeout that a client may ask for; 4 s and 40 s.
	SessionTimeoutMin, SessionTimeoutMax time.Duration
	// HandshakeTimeout is how long a client may take to send its connect request; 10 s.
	HandshakeTimeout time.Duration
	// PacketBytesMax bounds a request; 1,048,575, ZooKeeper's jute.maxbuffer. It should leave the store some room
	// within the size it allows a command: what the store refuses for its size ends the connection.
	PacketBytesMax int
	// InFlightMax bounds the requests of a connection that are in the log, and as many may wait behind them; 256.
	InFlightMax int
	// InFlightBytesMax bounds all of them in bytes; 8 MiB. One request is always taken.
	InFlightBytesMax int
	// WatchesMax bounds the watches of a connection; 100,000.
	WatchesMax int
	// LinearizableReads makes every read see all writes acknowledged before it, by any node. Otherwise reads keep
	// ZooKeeper's promise, the order of the session, and need a sync for more.
	LinearizableReads bool
	// Version is Triglot's own, shown by the four-letter words.
	Version string
	// Settings are lines that the word conf shows beside its own, such as addresses and directories.
	Settings []Setting
	// Logger takes what an operator should see; slog.Default.
	Logger *slog.Logger
}

// Setting is one line of the answer to conf.
type Setting struct{ Name, Value string }

func (o Options) withDefaults(member uint64) Options {
	setDefault(&o.ServerID, byte(member%127)+1)
	setDefault(&o.SessionTimeoutMin, 4*time.Second)
	setDefault(&o.SessionTimeoutMax, 40*time.Second)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.PacketBytesMax, 1_048_575)
	setDefault(&o.InFlightMax, 256)
	setDefault(&o.InFlightBytesMax, 8<<20)
	setDefault(&o.WatchesMax, 100_000)
	setDefault(&o.Version, "dev")
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	o.PacketBytesMax = min(o.PacketBytesMax, math.MaxInt32)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server speaks ZooKeeper's client protocol on connections that others accept.
type Server struct {
	store   *core.Store
	opts    Options
	log     *slog.Logger
	stats   serverStats
	started time.Time
	renewer *renewer

	stopping chan struct{}  // closed by Shutdown
	running  sync.WaitGroup // connections
	stop     func()         // ends the renewer and waits for it

	mu        sync.Mutex // guards the fields below
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	sessions  map[int64]*conn  // the connection that each session has here
	arriving  map[uint64]*conn // by owner: connections whose session is on its way to them
	stopped   bool
}

// New makes a server. It serves nothing yet, and must be given to Shutdown in the end.
func New(store *core.Store, opts Options) *Server {
	s := &Server{
		store: store, opts: opts.withDefaults(store.MemberID()), started: time.Now(), stopping: make(chan struct{}),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
		sessions: map[int64]*conn{}, arriving: map[uint64]*conn{},
	}
	s.log = s.opts.Logger
	s.renewer = newRenewer(store, s.opts.SessionTimeoutMin/renewalsPerTimeout)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.renewer.run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-ended
	}
	store.OnLeaseEnd(s.sessionsOver)
	store.OnSessionMoved(s.sessionMoved)
	return s
}

var errStopping = errors.New("the server is stopping")

// renewalsPerTimeout says how often in the shortest timeout of a session the leader is asked for renewals.
const renewalsPerTimeout = 16

type packetLengthError struct {
	length int32
	max    int
}

func (e *packetLengthError) Error() string {
	return fmt.Sprintf("a packet of %d bytes is not within 0 to %d", e.length, e.max)
}

// acceptRetry is how long Serve waits after a failure to accept that may pass, such as too many open files.
const acceptRetry = 50 * time.Millisecond

// Serve serves the connections of a listener until the listener fails or the server is shut down, when it returns nil.
// It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return errors.Join(l.Close(), errStopping)
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	for {
		nc, err := l.Accept()
		var passing interface{ Temporary() bool }
		switch {
		case err == nil:
			s.start(nc)
		case s.isStopping():
			return nil
		case errors.As(err, &passing) && passing.Temporary():
			s.log.Warn("accepting a zookeeper connection failed", "err", err)
			select {
			case <-time.After(acceptRetry):
			case <-s.stopping:
			}
		default:
			return err
		}
	}
}

// start serves one connection on a goroutine of its own.
func (s *Server) start(nc net.Conn) {
	c := &conn{
		server: s, store: s.store, nc: nc, in: bufio.NewReader(nc), since: time.Now(), timeout: s.opts.HandshakeTimeout,
		log:      s.log.With("remote", nc.RemoteAddr().String()),
		requests: make(chan *request, s.opts.InFlightMax), freed: make(chan struct{}, 1),
		out:     answers{conn: nc, patient: s.opts.HandshakeTimeout},
		watches: watchTable{hub: s.store.Hub(), max: s.opts.WatchesMax},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.out.sent = func(packets int) {
		c.counters.sent.Add(int64(packets))
		s.stats.sent.Add(int64(packets))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// serve is a connection's life: a word, or a handshake and then requests.
func (c *conn) serve() {
	defer c.nc.Close()
	defer c.cancel(nil)
	word, err := c.readWord()
	switch {
	case err != nil:
		return
	case word != nil:
		c.answerWord(word)
		c.linger()
		return
	}
	defer c.server.renewer.forget(&c.renewal)
	defer c.server.leave(c)
	if err := c.connect(); err != nil {
		c.log.Info("zookeeper connection closed", "err", err)
		return
	}
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		c.read()
	}()
	err = c.process()
	c.watches.close()
	if err == nil {
		c.linger()
	} else {
		c.failed(err)
	}
	c.cut(nil)
	<-reader
	c.server.stats.outstanding.Add(-c.unanswered.Load())
}

// cut ends a connection at once.
func (c *conn) cut(cause error) {
	c.cancel(cause)
	c.nc.Close()
}

// lingerMax is how long a connection that the server ends stays half open. Closing it with unread requests in it could
// make the client's system drop the last answers.
const lingerMax = time.Second

// linger lets the client read what was written.
func (c *conn) linger() {
	c.cancel(nil)
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lingerMax)) != nil {
		return
	}
	io.Copy(io.Discard, c.nc)
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// Shutdown stops accepting, answers the requests that have been read, and closes all connections; sessions live on. When
// the context ends first the connections are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.stopping)
	}
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.nc.SetReadDeadline(time.Unix(1, 0)) // ends its reader
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() { // ends with the last connection
		s.running.Wait()
		close(ended)
	}()
	defer s.stop()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.cut(errStopping)
	}
	s.mu.Unlock()
	<-ended
	return ctx.Err()
}
