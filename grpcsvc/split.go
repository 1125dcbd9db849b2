package grpcsvc

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// One port for gRPC and for everything else of HTTP, as etcd has it. A connection that opens as HTTP/2 does is for package h2, which
// serves calls and hands on other requests, since both may come on one connection. All others are net/http's.

// http2Opening is what every HTTP/2 connection begins with: the first line of its preface, which no HTTP/1 request has.
const http2Opening = "PRI * HTTP/2.0"

// opensHTTP2 says whether a connection that has sent so much speaks HTTP/2, once that is known.
func opensHTTP2(sent []byte) (isHTTP2, known bool) {
	common := min(len(sent), len(http2Opening))
	if string(sent[:common]) != http2Opening[:common] {
		return false, true
	}
	return true, len(sent) >= len(http2Opening)
}

// acceptPause is waited for after an accept that failed and may not fail again (out of file descriptors, mostly).
const acceptPause = 50 * time.Millisecond

// splitter hands the connections of a listener to two servers. Closing one of its outlets, as a server does when it
// ends, closes the listener and the other outlet.
type splitter struct {
	listener     net.Listener
	patience     time.Duration // for what decides where a connection goes
	http2, http1 *outlet

	sorting sync.WaitGroup // one goroutine for each connection that is being looked at
	once    sync.Once
	closed  chan struct{}

	mu     sync.Mutex // guards looked
	looked map[net.Conn]struct{}
}

func newSplitter(l net.Listener, patience time.Duration) *splitter {
	s := &splitter{listener: l, patience: patience, closed: make(chan struct{}), looked: map[net.Conn]struct{}{}}
	s.http2, s.http1 = newOutlet(l.Addr(), s.close), newOutlet(l.Addr(), s.close)
	return s
}

// run accepts until the listener is closed, and returns why it ended, when no goroutine of it is left.
func (s *splitter) run() error {
	defer s.sorting.Wait()
	defer s.close()
	for {
		conn, err := s.listener.Accept()
		if passing, ok := err.(interface{ Temporary() bool }); ok && passing.Temporary() {
			select {
			case <-time.After(acceptPause):
				continue
			case <-s.closed:
			}
		}
		if err != nil {
			return err
		}
		s.sorting.Go(func() { s.sort(conn) })
	}
}

// close ends everything but connections that were handed over.
func (s *splitter) close() {
	s.once.Do(func() {
		close(s.closed)
		s.listener.Close()
		s.http2.end()
		s.http1.end()
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.looked {
			conn.Close()
		}
	})
}

// look notes that a connection is looked at, so that close reaches it, until the function it gives is called. It says
// false when close has been.
func (s *splitter) look(conn net.Conn) (done func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return nil, false
	default:
	}
	s.looked[conn] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.looked, conn)
	}, true
}

// sort finds out where a connection belongs and hands it over, or closes it.
func (s *splitter) sort(conn net.Conn) {
	done, ok := s.look(conn)
	if !ok {
		conn.Close()
		return
	}
	to, opened, err := s.destination(conn)
	done()
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil { // it is gone, or silent for too long: there is nobody to tell
		conn.Close()
		return
	}
	to.hand(opened)
}

// destination reads from a connection until it is known where it belongs. What was read is read again from opened.
func (s *splitter) destination(conn net.Conn) (to *outlet, opened net.Conn, err error) {
	if err := conn.SetDeadline(time.Now().Add(s.patience)); err != nil {
		return nil, nil, err
	}
	if secure, ok := conn.(overTLS); ok && secure.ConnectionState().NegotiatedProtocol == "h2" {
		return s.http2, conn, nil
	}
	first := make([]byte, 0, len(http2Opening))
	for {
		n, err := conn.Read(first[len(first):cap(first)])
		first = first[:len(first)+n]
		isHTTP2, known := opensHTTP2(first)
		switch {
		case known && !isHTTP2:
			return s.http1, opening(conn, conn, first), nil
		case known:
			return s.http2, opening(conn, conn, first), nil
		case err != nil:
			return nil, nil, err
		}
	}
}

// reader is what bytes come from.
type reader interface{ Read([]byte) (int, error) }

// openedConn is a connection of which the first bytes were read: they are read again first. One goroutine reads at a time.
type openedConn struct {
	net.Conn
	replay []byte
	rest   reader // the connection, or what reads from it
}

// overTLS is a connection that says what its handshake has settled, as *tls.Conn does.
type overTLS interface{ ConnectionState() tls.ConnectionState }

// openedTLSConn is an openedConn that says what its handshake has settled.
type openedTLSConn struct {
	*openedConn
	overTLS
}

func opening(conn net.Conn, rest reader, replay []byte) net.Conn {
	opened := &openedConn{Conn: conn, replay: replay, rest: rest}
	if secure, ok := conn.(overTLS); ok {
		return openedTLSConn{opened, secure}
	}
	return opened
}

func (c *openedConn) Read(p []byte) (int, error) {
	if len(c.replay) == 0 {
		return c.rest.Read(p)
	}
	n := copy(p, c.replay)
	if c.replay = c.replay[n:]; len(c.replay) == 0 {
		c.replay = nil
	}
	return n, nil
}

// outlet is the net.Listener of one server behind a splitter. It holds no connection: who hands one over waits until it
// is taken.
type outlet struct {
	addr    net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	onClose func() // nil: nothing
}

func newOutlet(addr net.Addr, onClose func()) *outlet {
	return &outlet{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{}), onClose: onClose}
}

// hand gives a connection to the server, and closes it when the server takes no more.
func (o *outlet) hand(conn net.Conn) {
	select {
	case o.conns <- conn:
	case <-o.closed:
		conn.Close()
	}
}

// Accept waits for the next connection; after Close it answers net.ErrClosed.
func (o *outlet) Accept() (net.Conn, error) {
	select {
	case conn := <-o.conns:
		return conn, nil
	case <-o.closed:
		return nil, net.ErrClosed
	}
}

func (o *outlet) end() { o.once.Do(func() { close(o.closed) }) }

// Close ends Accept, and what the outlet belongs to. Closing twice is harmless.
func (o *outlet) Close() error {
	o.end()
	if o.onClose != nil {
		o.onClose()
	}
	return nil
}

// Addr is the listener's address.
func (o *outlet) Addr() net.Addr { return o.addr }
