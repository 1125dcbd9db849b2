package resp

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core"
)

// Server answers Redis clients on any number of listeners.
type Server struct {
	store    *core.Store
	opts     Options
	pubsub   *pubsub
	blockers *blockers
	tracked  trackingTable
	started  time.Time
	runID    string
	stats    stats

	ctx     context.Context // ends when connections are cut
	cancel  context.CancelFunc
	closing chan struct{} // closed when Shutdown begins
	conns   sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	closed    bool
	listeners map[net.Listener]struct{}
	clients   map[int64]*conn
	lastID    int64
}

// stats are what INFO reports beyond what the store knows.
type stats struct {
	connections, commands, errors, dropped, lostFeeds atomic.Int64
	published                                         atomic.Int64
}

// New makes a server. It must be given to Shutdown in the end.
func New(store *core.Store, opts Options) *Server {
	s := &Server{
		store: store, opts: opts.withDefaults(), started: time.Now(), runID: newRunID(),
		closing: make(chan struct{}), listeners: map[net.Listener]struct{}{}, clients: map[int64]*conn{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.pubsub = newPubsub(s, store.Hub())
	s.blockers = newBlockers(store.Hub())
	if classes, ok := parseEventClasses(s.opts.NotifyKeyspaceEvents); ok {
		s.pubsub.setEventClasses(classes)
	} else {
		s.opts.Logger.Error("keyspace notifications stay off", notifySetting, s.opts.NotifyKeyspaceEvents)
	}
	go s.pubsub.run(s.ctx.Done())
	go s.blockers.run(s.ctx.Done())
	return s
}

// Serve accepts connections until the listener closes. It may be called for several listeners. After Shutdown it
// returns net.ErrClosed.
func (s *Server) Serve(listener net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		listener.Close()
		return net.ErrClosed
	}
	s.listeners[listener] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, listener)
		s.mu.Unlock()
		listener.Close()
	}()
	for {
		nc, err := listener.Accept()
		if err != nil {
			return err
		}
		c := s.register(nc)
		if c == nil {
			nc.Close()
			return net.ErrClosed
		}
		go func() {
			defer s.conns.Done()
			c.serve()
		}()
	}
}

// Shutdown refuses new connections, lets each connection finish what it has received, and returns when all have ended.
// When the context ends first they are cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for listener := range s.listeners {
		listener.Close()
	}
	for _, c := range s.clients {
		c.nc.SetReadDeadline(time.Unix(1, 0)) // whoever waits for a request wakes up
	}
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.cancel()
	s.mu.Lock()
	for _, c := range s.clients {
		c.nc.Close()
	}
	s.mu.Unlock()
	<-ended
	<-s.pubsub.done
	<-s.blockers.done
	return err
}

// register makes a connection known, nil when the server is closing.
func (s *Server) register(nc net.Conn) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.lastID++
	c := newConn(s, nc, s.lastID)
	s.clients[c.id] = c
	s.conns.Add(1)
	s.stats.connections.Add(1)
	return c
}

func (s *Server) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c.id)
}

// client finds a connection, nil when there is none of that number.
func (s *Server) client(id int64) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[id]
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// readLevel is how fresh reads are.
func (s *Server) readLevel() core.ReadLevel {
	if s.opts.LocalReads {
		return core.Local
	}
	return core.Linearizable
}
