package h2

import (
	"bytes"
	"context"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pipes is a listener of connections in memory, which hold nothing: what is written waits for who reads it.
type pipes struct {
	conns  chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func newPipes() *pipes {
	ctx, cancel := context.WithCancel(context.Background())
	return &pipes{make(chan net.Conn), ctx, cancel}
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-p.conns:
		return nc, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}

// dial gives a client's end.
func (p *pipes) dial(t testing.TB) net.Conn {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	p.conns <- server
	return client
}

// overPipe serves one client over a pipe that has read what it is greeted with, and reads nothing more by itself.
func overPipe(t testing.TB, opts Options, s *service) (*harness, *raw) {
	t.Helper()
	p := newPipes()
	h := startOn(t, p, opts, s)
	c := newRaw(t, p.dial(t))
	for greeted := false; !greeted; {
		f, isUpdate := c.next().(*http2.WindowUpdateFrame)
		greeted = isUpdate && f.StreamID == connectionStream
	}
	c.greet()
	return h, c
}

// script gives the bytes that a client would send.
func script(t testing.TB, send func(*raw)) []byte {
	t.Helper()
	var b bytes.Buffer
	c := &raw{t: t, Framer: http2.NewFramer(&b, nil)}
	c.AllowIllegalWrites = true
	c.encoder = hpack.NewEncoder(&c.block)
	send(c)
	return b.Bytes()
}
