package protocols

import (
	"io"
	"net"
	"sync"
	"time"
)

// Conn is an accepted connection as the server knows it, and as an adapter gets it if it came in over a Unix socket. Bytes
// that were read to recognise the protocol are read again first.
type Conn struct {
	net.Conn // the socket

	id       uint64
	protocol Protocol // "" while it is being recognised; set before the hand-over and never after
	shared   bool
	since    time.Time
	registry *registry

	replay []byte // read already, not yet given to the adapter; touched by the reading goroutine alone

	closeOnce sync.Once
	closeErr  error
}

// ConnInfo describes one connection to whoever lists them.
type ConnInfo struct {
	ID       uint64   // unique while the process lives
	Protocol Protocol // "" while the first bytes are being waited for
	Shared   bool     // came in on the shared port
	Remote   string
	Local    string
	Since    time.Time
}

// ID is the number of the connection, unique while the process lives: what CLIENT ID answers, for example.
func (c *Conn) ID() uint64 { return c.id }

// Info describes the connection.
func (c *Conn) Info() ConnInfo {
	return ConnInfo{
		ID: c.id, Protocol: c.protocol, Shared: c.shared, Since: c.since,
		Remote: c.RemoteAddr().String(), Local: c.LocalAddr().String(),
	}
}

// Read gives the bytes that were looked at first, then the socket's. As with any net.Conn one goroutine reads at a time.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(p, c.replay)
		if c.replay = c.replay[n:]; len(c.replay) == 0 {
			c.replay = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// Close closes the socket and takes the connection off the list. Closing twice is harmless and answers the same.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		c.closeErr = c.Conn.Close()
		c.registry.remove(c)
	})
	return c.closeErr
}

// forAdapter is the connection in the form in which an adapter gets it.
func (c *Conn) forAdapter() net.Conn {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return &tcpConn{TCPConn: tcp, conn: c}
	}
	return c
}

// tcpConn is a Conn over TCP. Past the bytes that were looked at it is the plain *net.TCPConn, with its ReadFrom, vectored
// writes and SyscallConn, and no copy in between.
type tcpConn struct {
	*net.TCPConn
	conn *Conn
}

func (c *tcpConn) Read(p []byte) (int, error) { return c.conn.Read(p) }
func (c *tcpConn) Close() error               { return c.conn.Close() }

// WriteTo is what io.Copy uses; without it the embedded connection's own would skip the bytes looked at.
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) {
	if len(c.conn.replay) == 0 {
		return c.TCPConn.WriteTo(w)
	}
	n, err := w.Write(c.conn.replay)
	if c.conn.replay = c.conn.replay[n:]; err != nil {
		return int64(n), err
	}
	rest, err := c.TCPConn.WriteTo(w)
	return int64(n) + rest, err
}
