package protocols

import (
	"net"
	"sync"
)

// feed is the net.Listener of one protocol: it accepts what the dedicated and the shared port bring for it.
type feed struct {
	protocol Protocol
	conns    chan net.Conn // no capacity: see the package comment
	closed   chan struct{}
	once     sync.Once

	mu          sync.Mutex // guards the addresses
	own, shared net.Addr
}

func newFeed(protocol Protocol) *feed {
	return &feed{protocol: protocol, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// hand gives a connection to the adapter, and closes it when the adapter takes no more.
func (f *feed) hand(conn net.Conn) {
	select {
	case f.conns <- conn:
	case <-f.closed:
		conn.Close()
	}
}

// Accept waits for the next connection; after Close it answers net.ErrClosed.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case <-f.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case conn := <-f.conns:
		return conn, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. The ports stay bound: they are the Server's.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr is the address of the protocol's own port, or else of the shared one: what an adapter that tells clients its port
// should say. Without either it is a placeholder.
func (f *feed) Addr() net.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.own != nil:
		return f.own
	case f.shared != nil:
		return f.shared
	}
	return &net.TCPAddr{}
}

// bound notes an address that brings connections to this listener; the first of its kind counts.
func (f *feed) bound(addr net.Addr, shared bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case shared && f.shared == nil:
		f.shared = addr
	case !shared && f.own == nil:
		f.own = addr
	}
}
