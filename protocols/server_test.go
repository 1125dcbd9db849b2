package protocols

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 10 * time.Second // far more than anything here takes; a failure, not a pace

// logs collects what a server logs.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a server with a shared port and one dedicated port per protocol.
type rig struct {
	*Server
	logs  *logs
	addrs map[Protocol]string
}

func start(t *testing.T, opts Options) *rig {
	t.Helper()
	r := &rig{logs: &logs{}, addrs: make(map[Protocol]string)}
	opts.Logger = slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.Server = NewServer(opts)
	for _, protocol := range []Protocol{Shared, RESP, Etcd, ZK} {
		addr, err := r.Listen(protocol, "listen", "127.0.0.1:0", Security{})
		if err != nil {
			t.Fatal(err)
		}
		r.addrs[protocol] = addr.String()
	}
	r.Start()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		r.Shutdown(ended)
	})
	return r
}

func (r *rig) dial(t *testing.T, protocol Protocol) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", r.addrs[protocol])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// echo serves a protocol like an adapter would: it answers its name, then everything that it reads.
func (r *rig) echo(t *testing.T, protocol Protocol) {
	t.Helper()
	listener := r.Listener(protocol)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, string(protocol)+":")
				io.Copy(conn, conn)
			}()
		}
	}()
}

func (r *rig) accept(t *testing.T, protocol Protocol) *tcpConn {
	t.Helper()
	type accepted struct {
		conn net.Conn
		err  error
	}
	got := make(chan accepted, 1)
	go func() {
		conn, err := r.Listener(protocol).Accept()
		got <- accepted{conn, err}
	}()
	select {
	case a := <-got:
		if a.err != nil {
			t.Fatal(a.err)
		}
		t.Cleanup(func() { a.conn.Close() })
		return a.conn.(*tcpConn)
	case <-time.After(patience):
		t.Fatalf("no connection for %q; log:\n%s", protocol, r.logs)
		return nil
	}
}

func send(t *testing.T, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("received %q (%v), want %q", got[:n], err, want)
	}
}

func closedByServer(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := io.Copy(io.Discard, conn); n > 0 || isTimeout(err) {
		t.Fatalf("connection is not closed: %d bytes, %v", n, err)
	}
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

func TestTheSharedPortServesEachProtocolByItsFirstBytes(t *testing.T) {
	r := start(t, Options{})
	for _, protocol := range All {
		r.echo(t, protocol)
	}
	cases := []struct {
		name  string
		sent  string
		serve Protocol
	}{
		{"gRPC", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Etcd},
		{"HTTP/1", "GET /health HTTP/1.1\r\n\r\n", Etcd},
		{"long HTTP/1", "GET /" + strings.Repeat("a", 5000) + " HTTP/1.1\r\n\r\n", Etcd},
		{"ZooKeeper", connectRequest(45), ZK},
		{"four-letter word", "ruok\n", ZK},
		{"RESP", "*1\r\n$4\r\nPING\r\n", RESP},
		{"inline", "dump key\r\n", RESP},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn := r.dial(t, Shared)
			send(t, conn, c.sent)
			receive(t, conn, string(c.serve)+":"+c.sent)
			send(t, conn, "and on")
			receive(t, conn, "and on")
		})
		if Recognise([]byte(c.sent[:4])).IfSilent != "" {
			continue // a pause behind the word would be its end
		}
		t.Run(c.name+", byte by byte", func(t *testing.T) {
			conn := r.dial(t, Shared)
			for i := range min(len(c.sent), 100) {
				send(t, conn, c.sent[i:i+1])
			}
			send(t, conn, c.sent[min(len(c.sent), 100):])
			receive(t, conn, string(c.serve)+":"+c.sent)
		})
	}
}

func TestADedicatedPortServesItsProtocolWithoutLooking(t *testing.T) {
	r := start(t, Options{})
	for _, protocol := range All {
		r.echo(t, protocol)
		conn := r.dial(t, protocol)
		receive(t, conn, string(protocol)+":") // before a byte was sent
		send(t, conn, "\xff\x16")
		receive(t, conn, "\xff\x16")
	}
}

func TestABareFourLetterWordIsAnsweredWithoutANewline(t *testing.T) {
	r := start(t, Options{})
	r.echo(t, ZK)
	conn := r.dial(t, Shared)
	send(t, conn, "ruok")
	receive(t, conn, "zk:ruok")

	half := r.dial(t, Shared)
	send(t, half, "stat")
	half.CloseWrite()
	receive(t, half, "zk:stat")
}

func TestForeignProtocolsAreClosedWithAReasonInTheLog(t *testing.T) {
	for sent, reason := range map[string]string{"\x16\x03\x01": refusedTLS, "\xde\xad": "0xde"} {
		r := start(t, Options{})
		conn := r.dial(t, Shared)
		send(t, conn, sent)
		closedByServer(t, conn)
		if !strings.Contains(r.logs.String(), reason) {
			t.Errorf("log does not say %q:\n%s", reason, r.logs)
		}
	}
}

func TestAClientThatSaysTooLittleIsClosedAtTheHandshakeTimeout(t *testing.T) {
	r := start(t, Options{HandshakeTimeout: 100 * time.Millisecond})
	silent, partial := r.dial(t, Shared), r.dial(t, Shared)
	send(t, partial, "PRI")
	closedByServer(t, silent)
	closedByServer(t, partial)
	if log := r.logs.String(); !strings.Contains(log, "it sent nothing") || !strings.Contains(log, "not clear in time") {
		t.Errorf("log:\n%s", log)
	}
}

func TestTheHandshakeTimeoutIsOverOnceTheProtocolIsKnown(t *testing.T) {
	r := start(t, Options{HandshakeTimeout: 50 * time.Millisecond})
	client := r.dial(t, Shared)
	send(t, client, "PING")
	conn := r.accept(t, RESP)
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	answer := time.AfterFunc(150*time.Millisecond, func() { io.WriteString(client, "x") })
	defer answer.Stop()
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read after the handshake time-out: %v", err)
	}
}

func TestConnectionsOverTheLimitAreClosedWithAWarning(t *testing.T) {
	r := start(t, Options{MaxConnections: 2})
	r.dial(t, RESP)
	first := r.accept(t, RESP)
	send(t, r.dial(t, Shared), "*")
	r.accept(t, RESP)
	for range 3 {
		closedByServer(t, r.dial(t, Etcd))
	}
	if said := strings.Count(r.logs.String(), "--max-connections"); said != 1 {
		t.Errorf("warned %d times, want once:\n%s", said, r.logs)
	}

	first.Close()
	r.dial(t, RESP)
	r.accept(t, RESP)
}

func TestWarningsSayHowManyWereLeftUnsaid(t *testing.T) {
	out := &logs{}
	w := warning{logger: slog.New(slog.NewTextHandler(out, nil)), interval: time.Hour}
	for range 4 {
		w.log("too many")
	}
	w.mu.Lock()
	w.next = time.Time{}
	w.mu.Unlock()
	w.log("too many")
	if got := out.String(); strings.Count(got, "too many") != 2 || !strings.Contains(got, "more_since_last_time=3") {
		t.Errorf("log:\n%s", got)
	}
}

func TestOpenConnectionsAreListedCountedAndClosable(t *testing.T) {
	r := start(t, Options{})
	a := r.dial(t, ZK)
	r.accept(t, ZK)
	b := r.dial(t, Shared)
	send(t, b, "PRI * HTTP/2.0")
	etcd := r.accept(t, Etcd)

	infos := r.Conns()
	if len(infos) != 2 || r.Count(ZK) != 1 || r.Count(Etcd) != 1 || r.Count(RESP) != 0 {
		t.Fatalf("listed %+v", infos)
	}
	if i := infos[0]; i.Protocol != ZK || i.Shared || i.Remote != a.LocalAddr().String() || i.Since.IsZero() {
		t.Errorf("first is %+v", i)
	}
	if i := infos[1]; i != etcd.conn.Info() || !i.Shared || i.Local != r.addrs[Shared] || i.ID == infos[0].ID {
		t.Errorf("second is %+v", i)
	}
	if !r.CloseConn(infos[0].ID) || r.CloseConn(infos[0].ID) {
		t.Error("a connection is closed by its number once")
	}
	closedByServer(t, a)
	if got := r.Conns(); len(got) != 1 || got[0].ID != etcd.conn.ID() {
		t.Errorf("listed after the close: %+v", got)
	}
}

func TestAListenerTellsTheAddressOfItsOwnPortFirst(t *testing.T) {
	s := NewServer(Options{})
	defer s.Shutdown(context.Background())
	if addr := s.Listener(ZK).Addr().(*net.TCPAddr); addr.Port != 0 {
		t.Errorf("an address before any port: %v", addr)
	}
	shared, err := s.Listen(Shared, "listen", "127.0.0.1:0", Security{})
	if err != nil {
		t.Fatal(err)
	}
	own, err := s.Listen(RESP, "listen-resp", "127.0.0.1:0", Security{})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Listener(RESP).Addr(); got.String() != own.String() {
		t.Errorf("the address of a protocol with a port: %v, want %v", got, own)
	}
	if got := s.Listener(ZK).Addr(); got.String() != shared.String() {
		t.Errorf("the address of a protocol without a port: %v, want %v", got, shared)
	}
}

func TestARecognisedConnectionIsStillATCPConnection(t *testing.T) {
	r := start(t, Options{})
	client := r.dial(t, Shared)
	send(t, client, "*replayed")
	conn := r.accept(t, RESP)

	var _ io.ReaderFrom = conn
	if noDelay := sockopt(t, conn, syscall.IPPROTO_TCP, syscall.TCP_NODELAY); noDelay == 0 {
		t.Error("TCP_NODELAY is off")
	}
	if keepAlive := sockopt(t, conn, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE); keepAlive == 0 {
		t.Error("SO_KEEPALIVE is off")
	}

	piece := make([]byte, 3) // smaller than what was looked at
	if n, err := conn.Read(piece); n != 3 || err != nil || string(piece) != "*re" {
		t.Fatalf("read %q, %v", piece[:n], err)
	}
	client.CloseWrite()
	var rest bytes.Buffer
	if n, err := io.Copy(&rest, conn); err != nil || rest.String() != "played" || n != 6 {
		t.Fatalf("copied %d, %q, %v", n, rest.String(), err)
	}
	buffers := net.Buffers{[]byte("one "), []byte("write")}
	if _, err := buffers.WriteTo(conn); err != nil {
		t.Fatal(err)
	}
	receive(t, client, "one write")
}

func sockopt(t *testing.T, conn syscall.Conn, level, option int) (value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, option) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestATakenPortIsReportedWithItsFlagAndAddress(t *testing.T) {
	r := start(t, Options{})
	_, err := r.Listen(RESP, "listen-resp", r.addrs[ZK], Security{})
	if err == nil || !strings.Contains(err.Error(), "--listen-resp") || !strings.Contains(err.Error(), r.addrs[ZK]) ||
		!strings.Contains(err.Error(), "already in use") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error: %v", err)
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:port", "127.0.0.1:99999"} {
		if _, err := Bind("listen-zk", bad, false); err == nil || !strings.Contains(err.Error(), "--listen-zk") || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestClientsThatConnectBeforeStartAreServedAfterIt(t *testing.T) {
	s := NewServer(Options{})
	addr, err := s.Listen(RESP, "listen-resp", "127.0.0.1:0", Security{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Server: s, logs: &logs{}, addrs: map[Protocol]string{RESP: addr.String()}}
	client := r.dial(t, RESP)
	send(t, client, "early")
	s.Start()
	conn := r.accept(t, RESP)
	receive(t, conn, "early")
	client.Close()
	conn.Close()
	if err := s.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestStopAcceptingLeavesServedConnectionsAlone(t *testing.T) {
	r := start(t, Options{})
	r.echo(t, RESP)
	served := r.dial(t, RESP)
	receive(t, served, "resp:")
	undecided := r.dial(t, Shared)
	send(t, undecided, "PRI")
	waitUntil(t, func() bool { return len(r.Conns()) == 2 })

	r.StopAccepting()
	r.StopAccepting() // harmless
	closedByServer(t, undecided)
	if conn, err := net.Dial("tcp", r.addrs[RESP]); err == nil {
		conn.Close()
		t.Error("the port is still open")
	}
	if _, err := r.Listener(RESP).Accept(); err != net.ErrClosed {
		t.Errorf("Accept after the end: %v", err)
	}
	send(t, served, "still here")
	receive(t, served, "still here")
}

func TestShutdownWaitsForConnectionsToEnd(t *testing.T) {
	r := start(t, Options{})
	client := r.dial(t, RESP)
	conn := r.accept(t, RESP)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	waitUntil(t, r.isStopping)
	select {
	case <-done:
		t.Fatal("Shutdown did not wait for the open connection")
	default:
	}
	conn.Close()
	conn.Close() // harmless
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	closedByServer(t, client)
}

func TestShutdownCutsWhatIsOpenWhenItsTimeIsOver(t *testing.T) {
	r := start(t, Options{})
	client := r.dial(t, RESP)
	r.accept(t, RESP)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); err == nil || !strings.Contains(err.Error(), "1 connections") {
		t.Fatalf("error: %v", err)
	}
	closedByServer(t, client)
}

// waitUntil polls a condition that no channel announces.
func waitUntil(t *testing.T, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("condition did not come true")
		}
	}
}
