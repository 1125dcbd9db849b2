package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// Options say what a Server accepts. All bounds must be positive.
type Options struct {
	MessageBytesMax  int           // of a message that is received
	MaxStreams       uint32        // calls of a connection at a time; further ones wait at the client
	HandshakeTimeout time.Duration // for the first frame of a connection
	// PingMin is how far apart a client's pings must be, at the least, lest its connection be ended. After PingAfter without a word
	// a client is asked whether it is there, and has PingTimeout to answer.
	PingMin, PingAfter, PingTimeout time.Duration

	Unary  []grpc.UnaryServerInterceptor  // around each call, the first outermost
	Stream []grpc.StreamServerInterceptor // around each stream
	HTTP   http.Handler                   // of requests that are no calls; nil = those are not found

	Logger *slog.Logger // nil = none
}

// Server serves the calls of any number of listeners. Services are registered before the first.
type Server struct {
	opts    Options
	methods map[string]*method // by "/service/method"
	info    map[string]grpc.ServiceInfo
	unary   grpc.UnaryServerInterceptor  // all of Options.Unary, nil for none
	stream  grpc.StreamServerInterceptor // all of Options.Stream

	idle    chan *stream // no capacity: a call for a worker that waits
	idlers  atomic.Int32 // workers that wait
	serving sync.WaitGroup

	mu        sync.Mutex // guards the fields below
	stopping  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
}

// method is a row of a service.
type method struct {
	path   string
	server any
	unary  grpc.MethodHandler // nil: a stream
	stream grpc.StreamHandler
	info   grpc.StreamServerInfo // of a stream
}

// New makes a server. It must be given to Shutdown in the end.
func New(opts Options) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts: opts, methods: map[string]*method{}, info: map[string]grpc.ServiceInfo{},
		unary: chainUnary(opts.Unary), stream: chainStream(opts.Stream),
		idle: make(chan *stream), listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
	}
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, server any) {
	info := grpc.ServiceInfo{Metadata: desc.Metadata}
	for _, m := range desc.Methods {
		path := "/" + desc.ServiceName + "/" + m.MethodName
		s.methods[path] = &method{path: path, server: server, unary: m.Handler}
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
	}
	for _, m := range desc.Streams {
		path := "/" + desc.ServiceName + "/" + m.StreamName
		s.methods[path] = &method{path: path, server: server, stream: m.Handler, info: grpc.StreamServerInfo{
			FullMethod: path, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams,
		}}
		info.Methods = append(info.Methods, grpc.MethodInfo{
			Name: m.StreamName, IsClientStream: m.ClientStreams, IsServerStream: m.ServerStreams,
		})
	}
	s.info[desc.ServiceName] = info
}

// GetServiceInfo implements reflection.ServiceInfoProvider.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo { return s.info }

// acceptPause is waited for after an accept that failed and may not fail again (out of file descriptors, mostly).
const acceptPause = 50 * time.Millisecond

// Serve serves the connections of a listener until it is closed, by Shutdown or by anybody; the error is then Accept's.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return errors.Join(l.Close(), net.ErrClosed)
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		l.Close()
	}()
	for {
		nc, err := l.Accept()
		if passing, ok := err.(interface{ Temporary() bool }); ok && passing.Temporary() {
			time.Sleep(acceptPause)
			continue
		}
		if err != nil {
			return err
		}
		s.start(nc)
	}
}

// start serves one connection.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.serving.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// Shutdown closes the listeners, tells clients to open no more streams, and waits for those that are open, and for their
// handlers. When the context ends first the connections are cut, and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.stopping
	s.stopping = true
	for l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(ended)
	}()
	var err error
	select {
	case <-ended:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for c := range s.conns {
			c.fail(errCut)
		}
		s.mu.Unlock()
		<-ended
	}
	if first {
		close(s.idle) // nobody sends to it any more
	}
	return err
}

var errCut = errors.New("h2: the server has stopped")

// overTLS is a connection that says what its handshake has settled, as *tls.Conn does.
type overTLS interface{ ConnectionState() tls.ConnectionState }
