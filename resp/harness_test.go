package resp

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/triglot/triglot/core"
)

// patience is how long a test waits for what should come at once.
const patience = 10 * time.Second

// node is a server with a real store.
type node struct {
	t     testing.TB
	store *core.Store
	srv   *Server
	addr  string
}

func startNode(t testing.TB, opts Options) *node {
	t.Helper()
	store, err := core.Open(core.Config{Dir: t.TempDir(), Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, store: store, srv: New(store, opts), addr: listener.Addr().String()}
	served := make(chan struct{})
	go func() {
		defer close(served)
		n.srv.Serve(listener)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.srv.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-served
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return n
}

// client is a raw connection.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func (n *node) dial() *client {
	n.t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { nc.Close() })
	return &client{t: n.t, nc: nc, r: bufio.NewReader(nc)}
}

func (c *client) send(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.nc, raw); err != nil {
		c.t.Fatal(err)
	}
}

// reads expects exactly this next, written in the short form of wire.
func (c *client) reads(want string) {
	c.t.Helper()
	c.expect("", want)
}

func (c *client) expect(request, want string) {
	c.t.Helper()
	want = wire(want)
	c.nc.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	if err != nil || string(got) != want {
		rest, _ := c.r.Peek(c.r.Buffered())
		c.t.Fatalf("%s\ngot  %q\nwant %q (%v)", request, string(got[:n])+string(rest), want, err)
	}
}

// readsEnd expects the connection to end.
func (c *client) readsEnd() {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	if rest, err := io.ReadAll(c.r); err != nil && !strings.Contains(err.Error(), "reset") || len(rest) > 0 {
		c.t.Fatalf("got %q and %v, want the end", rest, err)
	}
}

// do sends an inline request and expects a reply.
func (c *client) do(request, want string) {
	c.t.Helper()
	c.send(request + "\r\n")
	c.expect(request, want)
}

// line reads one line of a reply.
func (c *client) line() string {
	c.t.Helper()
	c.nc.SetReadDeadline(time.Now().Add(patience))
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimRight(s, "\r\n")
}

// run sends a request whose reply does not matter.
func (c *client) run(request string) {
	c.t.Helper()
	c.send(request + "\r\necho .end.\r\n")
	for c.line() != ".end." {
	}
}

// bulk sends a request and returns the bulk string that it answers.
func (c *client) bulk(request string) string {
	c.t.Helper()
	c.send(request + "\r\n")
	n, ok := parseInt([]byte(c.line()[1:]))
	if !ok {
		c.t.Fatal("not a bulk string")
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	return string(b[:n])
}

// wire turns the short form of a reply, with a space for each CR LF, into bytes. Errors keep their spaces.
func wire(short string) string {
	if short == "" {
		return ""
	}
	if short[0] == '-' {
		return short + "\r\n"
	}
	return strings.NewReplacer(" ", "\r\n", "\x1f", " ").Replace(short) + "\r\n"
}

// eventually waits for a condition that no event announces, such as another connection having blocked.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
		<-time.After(time.Millisecond)
	}
}

// exchange is a request with the reply that Redis 7 gives.
type exchange struct{ request, reply string }

func (c *client) script(exchanges []exchange) {
	c.t.Helper()
	for _, e := range exchanges {
		c.do(e.request, e.reply)
	}
}
