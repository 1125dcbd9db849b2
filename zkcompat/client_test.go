package zkcompat

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// testServer is a server on a store of its own, in a directory of the test's.
type testServer struct {
	*Server
	t      testing.TB
	addr   string
	served sync.WaitGroup // the listeners' goroutines
}

func startServer(t testing.TB, opts Options) *testServer {
	t.Helper()
	quietLog := slog.New(slog.DiscardHandler)
	store, err := core.Open(core.Config{Dir: t.TempDir(), Name: "test", Logger: quietLog})
	if err != nil {
		t.Fatal(err)
	}
	if opts.Logger == nil {
		opts.Logger = quietLog
	}
	s := &testServer{Server: New(store, opts), t: t}
	s.addr = s.listen()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		s.served.Wait()
		if err := store.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// listen serves one more listener.
func (s *testServer) listen() (addr string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.served.Go(func() { s.Serve(l) })
	return l.Addr().String()
}

// do runs ops against the store, as another protocol would.
func (s *testServer) do(ops ...*corepb.Op) *core.TxnResult {
	s.t.Helper()
	result, err := s.store.Do(context.Background(), &corepb.Txn{Then: ops, AbortOnError: true})
	if err == nil {
		err = result.Err
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return result
}

// put is what etcd's Put and Redis' SET become.
func put(key, value string) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte(key), Value: []byte(value)}}}
}

func deleteKey(key string) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte(key)}}}
}

func revoke(session int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: session}}}
}

// logBook is a log to look into.
type logBook struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBook) count(words string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), words)
}

func (b *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// client speaks the protocol as far as the tests need it.
type client struct {
	t        testing.TB
	nc       net.Conn
	in       *bufio.Reader
	xid      int32
	session  int64
	timeout  time.Duration
	password []byte
	seen     int64   // the latest zxid
	events   []event // in order, until taken
}

type event struct {
	number int32
	path   string
}

type reply struct {
	xid     int32
	zxid    int64
	failure code
	body    *decoder
}

// hello is a connect request; the zero value asks for a new session.
type hello struct {
	seen     int64
	timeout  time.Duration // 0 = 10 s
	session  int64
	password []byte
	old      bool // without the readOnly byte
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, in: bufio.NewReader(nc)}
}

// connect opens a session and expects it to be granted.
func (s *testServer) connect() *client {
	s.t.Helper()
	return s.connectAs(hello{})
}

func (s *testServer) connectAs(h hello) *client {
	s.t.Helper()
	c := dial(s.t, s.addr)
	c.hello(h)
	if c.session == 0 {
		s.t.Fatal("the session was refused")
	}
	return c
}

// hello sends the connect request and reads the answer; session stays 0 when it is refused.
func (c *client) hello(h hello) {
	c.t.Helper()
	c.sayHello(h)
	c.readHello(c.receive(), h.old)
}

func (c *client) readHello(d *decoder, old bool) {
	c.t.Helper()
	d.int32()
	c.timeout = time.Duration(d.int32()) * time.Millisecond
	c.session = d.int64()
	c.password = slices.Clone(d.bytes())
	if !old && d.bool() {
		c.t.Error("the server says that it is read-only")
	}
	if !d.ok() || len(d.rest) != 0 {
		c.t.Fatal("the connect answer is malformed")
	}
}

func (c *client) sayHello(h hello) {
	c.t.Helper()
	if h.timeout == 0 {
		h.timeout = 10 * time.Second
	}
	c.packet(func(e *encoder) {
		e.int32(0)
		e.int64(h.seen)
		e.int32(int32(h.timeout.Milliseconds()))
		e.int64(h.session)
		e.bytes(h.password)
		if !h.old {
			e.bool(false)
		}
	})
}

func (c *client) packet(write func(*encoder)) {
	c.t.Helper()
	e := encoder{buf: make([]byte, 4)}
	write(&e)
	binary.BigEndian.PutUint32(e.buf, uint32(len(e.buf)-4))
	c.raw(e.buf)
}

func (c *client) raw(bytes []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(bytes); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads one packet and fails the test when there is none.
func (c *client) receive() *decoder {
	c.t.Helper()
	d, err := c.tryReceive()
	if err != nil {
		c.t.Fatalf("waiting for a packet: %v", err)
	}
	return d
}

func (c *client) tryReceive() (*decoder, error) {
	c.nc.SetReadDeadline(time.Now().Add(patience))
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c.in, packet); err != nil {
		return nil, err
	}
	return &decoder{rest: packet}, nil
}

// send sends a request without waiting.
func (c *client) send(op int32, write func(*encoder)) (xid int32) {
	c.t.Helper()
	c.xid++
	c.sendAs(c.xid, op, write)
	return c.xid
}

func (c *client) sendAs(xid, op int32, write func(*encoder)) {
	c.t.Helper()
	c.packet(func(e *encoder) {
		e.int32(xid)
		e.int32(op)
		if write != nil {
			write(e)
		}
	})
}

// next reads the next answer, or event; an event is kept as well.
func (c *client) next() reply {
	c.t.Helper()
	d := c.receive()
	r := reply{xid: d.int32(), zxid: d.int64(), failure: code(d.int32()), body: d}
	if !d.ok() {
		c.t.Fatal("an answer is malformed")
	}
	c.seen = max(c.seen, r.zxid)
	if r.xid == eventXid {
		number, state := d.int32(), d.int32()
		if state != connectedState || r.zxid != -1 || r.failure != codeOK {
			c.t.Errorf("an event with state %d, zxid %d, error %d", state, r.zxid, r.failure)
		}
		c.events = append(c.events, event{number, d.string()})
	}
	return r
}

// answer reads on to the next answer, and checks that it is the one that is due.
func (c *client) answer(xid int32) reply {
	c.t.Helper()
	for {
		r := c.next()
		if r.xid == eventXid {
			continue
		}
		if r.xid != xid {
			c.t.Fatalf("an answer to request %d, while %d was due", r.xid, xid)
		}
		return r
	}
}

func (c *client) call(op int32, write func(*encoder)) reply {
	c.t.Helper()
	return c.answer(c.send(op, write))
}

// event waits for the next event.
func (c *client) event() event {
	c.t.Helper()
	for len(c.events) == 0 {
		if r := c.next(); r.xid != eventXid {
			c.t.Fatalf("an answer to request %d, while an event was due", r.xid)
		}
	}
	first := c.events[0]
	c.events = c.events[1:]
	return first
}

// take returns the events that have come so far; a ping makes sure that those that are due are among them.
func (c *client) take() []event {
	c.t.Helper()
	c.sendAs(-2, 11, nil)
	c.answer(-2)
	events := c.events
	c.events = nil
	return events
}

// wantClosed waits for the server to end the connection; answers may still come before it.
func (c *client) wantClosed() {
	c.t.Helper()
	for {
		_, err := c.tryReceive()
		var timeout net.Error
		switch {
		case err == nil:
		case errors.As(err, &timeout) && timeout.Timeout():
			c.t.Fatal("the connection is still open")
		default:
			return
		}
	}
}

func (c *client) want(r reply, failure code) reply {
	c.t.Helper()
	if r.failure != failure {
		c.t.Fatalf("error %d, want %d", r.failure, failure)
	}
	return r
}

func openACL(e *encoder) { e.acl(permsAll) }

func createBody(path, data string, mode int32) func(*encoder) {
	return func(e *encoder) {
		e.string(path)
		e.string(data)
		openACL(e)
		e.int32(mode)
	}
}

func pathBody(path string) func(*encoder) { return func(e *encoder) { e.string(path) } }

func watchBody(path string, watch bool) func(*encoder) {
	return func(e *encoder) {
		e.string(path)
		e.bool(watch)
	}
}

func numberBody(path string, number int32) func(*encoder) {
	return func(e *encoder) {
		e.string(path)
		e.int32(number)
	}
}

func setBody(path, data string, version int32) func(*encoder) {
	return func(e *encoder) {
		e.string(path)
		e.string(data)
		e.int32(version)
	}
}

func (c *client) create(path, data string, mode int32) string {
	c.t.Helper()
	return c.want(c.call(opCreate, createBody(path, data, mode)), codeOK).body.string()
}

func (c *client) delete(path string) {
	c.t.Helper()
	c.want(c.call(2, numberBody(path, -1)), codeOK)
}

func (c *client) set(path, data string) core.Stat {
	c.t.Helper()
	return readStat(c.want(c.call(5, setBody(path, data, -1)), codeOK).body)
}

func (c *client) get(path string, watch bool) (string, core.Stat) {
	c.t.Helper()
	r := c.want(c.call(opGetData, watchBody(path, watch)), codeOK)
	return string(r.body.bytes()), readStat(r.body)
}

func (c *client) exists(path string, watch bool) bool {
	c.t.Helper()
	r := c.call(3, watchBody(path, watch))
	if r.failure != codeNoNode {
		c.want(r, codeOK)
	}
	return r.failure == codeOK
}

func (c *client) children(path string, watch bool) []string {
	c.t.Helper()
	r := c.want(c.call(12, watchBody(path, watch)), codeOK)
	names := r.body.strings()
	if stat := readStat(r.body); int(stat.NumChildren) != len(names) {
		c.t.Errorf("%s has %d children and its stat says %d", path, len(names), stat.NumChildren)
	}
	slices.Sort(names)
	return names
}

func readStat(d *decoder) core.Stat {
	return core.Stat{
		Czxid: d.int64(), Mzxid: d.int64(), Ctime: d.int64(), Mtime: d.int64(),
		Version: d.int32(), Cversion: d.int32(), Aversion: d.int32(), EphemeralOwner: d.int64(),
		DataLength: d.int32(), NumChildren: d.int32(), Pzxid: d.int64(),
	}
}
