package protocols

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Options are the limits of a Server. Zero values mean the defaults.
type Options struct {
	HandshakeTimeout time.Duration // shared port: how long the first bytes may take; 10 s
	MaxConnections   int           // over all ports; 10000
	ReusePort        bool          // other processes of the same user may have the same TCP ports
	Logger           *slog.Logger
}

const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultMaxConnections   = 10000

	warningInterval = 10 * time.Second

	// After a failed accept (out of file descriptors, mostly) the loop waits, so that it does not spin.
	acceptPause = 50 * time.Millisecond
)

// keepAlive finds peers that went away without a word within 60 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

// Shared is given to Listen for the port that recognises all protocols.
const Shared Protocol = ""

// Server owns the listeners of the three protocols and every connection that came in through them.
type Server struct {
	opts       Options
	logger     *slog.Logger
	registry   *registry
	feeds      map[Protocol]*feed
	refusals   warning // connections that speak none of our protocols
	overflow   warning // connections over the limit
	handshakes warning // of TLS, that failed

	running sync.WaitGroup // accept loops and recognisers

	mu       sync.Mutex
	ports    []port
	started  bool
	stopping chan struct{} // closed by StopAccepting
}

type port struct {
	protocol Protocol
	listener net.Listener
	security Security
	config   *tls.Config // nil without TLS
}

// NewServer makes a server that listens nowhere yet.
func NewServer(opts Options) *Server {
	if opts.HandshakeTimeout <= 0 {
		opts.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if opts.MaxConnections <= 0 {
		opts.MaxConnections = DefaultMaxConnections
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		opts: opts, logger: opts.Logger, registry: newRegistry(opts.MaxConnections), feeds: make(map[Protocol]*feed),
		refusals:   warning{logger: opts.Logger, interval: warningInterval},
		overflow:   warning{logger: opts.Logger, interval: warningInterval},
		handshakes: warning{logger: opts.Logger, interval: warningInterval},
		stopping:   make(chan struct{}),
	}
	for _, protocol := range append([]Protocol{EtcdHTTP}, All...) {
		s.feeds[protocol] = newFeed(protocol)
	}
	return s
}

// Listen binds an address for one protocol, or for all with Shared. Clients may connect from here on; they are served
// after Start. The error names the flag that the address came from.
func (s *Server) Listen(protocol Protocol, flag, address string, security Security) (net.Addr, error) {
	listener, err := Bind(flag, address, s.opts.ReusePort)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := port{protocol: protocol, listener: listener, security: security}
	if security.TLS != nil {
		p.config = security.TLS.serverConfig()
	}
	s.ports = append(s.ports, p)
	for _, f := range s.feeds {
		if protocol == Shared || protocol == f.protocol {
			f.bound(listener.Addr(), protocol == Shared)
		}
	}
	return listener.Addr(), nil
}

// Listener gives what the ports bring for one protocol. It is the same one at every call.
func (s *Server) Listener(protocol Protocol) net.Listener { return s.feeds[protocol] }

// Conns describes the open connections, oldest first.
func (s *Server) Conns() []ConnInfo { return s.registry.list() }

// Count is the number of open connections of one protocol.
func (s *Server) Count(protocol Protocol) int { return s.registry.count(protocol) }

// CloseConn closes the connection of that number, and answers whether there was one.
func (s *Server) CloseConn(id uint64) bool {
	return s.registry.closeWhere(func(c *Conn) bool { return c.id == id }) > 0
}

// Start accepts on every address bound so far.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return
	}
	s.started = true
	for _, p := range s.ports {
		s.running.Go(func() { s.accept(p) })
	}
}

// accept brings the connections of one port until StopAccepting closes it.
func (s *Server) accept(p port) {
	for {
		raw, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.overflow.log("cannot accept a connection", slog.String("local", p.listener.Addr().String()), slog.Any("error", err))
			select {
			case <-time.After(acceptPause):
			case <-s.stopping:
			}
			continue
		}
		protocol := p.protocol
		if p.config != nil {
			protocol = "" // until its handshake is done
		}
		conn := s.registry.add(raw, protocol, p.protocol == Shared)
		switch {
		case conn == nil:
			s.overflow.log("connection closed: there are as many as --max-connections allows",
				slog.Int("max-connections", s.opts.MaxConnections), slog.String("remote", raw.RemoteAddr().String()))
			raw.Close()
		case s.isStopping():
			conn.Close() // StopAccepting may have looked for it before it was listed
		case p.config != nil:
			s.running.Go(func() { s.secure(conn, p) })
		case p.protocol == Shared:
			s.running.Go(func() { s.recognise(conn) })
		default:
			s.feeds[p.protocol].hand(conn.forAdapter())
		}
	}
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// StopAccepting closes the ports and the connections that have not said yet what they speak, and ends the adapters'
// Accept. Connections that an adapter holds go on, so that it can end them in its protocol's own way.
func (s *Server) StopAccepting() {
	s.mu.Lock()
	if s.isStopping() {
		s.mu.Unlock()
		return
	}
	close(s.stopping)
	for _, p := range s.ports {
		p.listener.Close()
	}
	s.mu.Unlock()
	for _, f := range s.feeds {
		f.Close()
	}
	s.registry.closeWhere(func(c *Conn) bool { return c.protocol == Shared })
}

// Shutdown stops accepting, waits for the adapters to close what they hold, and closes the rest when ctx ends; it then
// answers how many that were. Nothing of the server runs after it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.StopAccepting()
	var err error
	select {
	case <-s.registry.drained():
	case <-ctx.Done():
		if cut := s.registry.closeWhere(func(*Conn) bool { return true }); cut > 0 {
			err = fmt.Errorf("%d connections were still open and were cut", cut)
		}
	}
	s.running.Wait()
	return err
}
