package zkcompat

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/triglot/triglot/core"
)

func TestTheTimeoutIsNegotiatedWithinBounds(t *testing.T) {
	s := startServer(t, Options{SessionTimeoutMin: time.Second, SessionTimeoutMax: 3 * time.Second})
	for _, test := range []struct{ asked, want time.Duration }{
		{time.Millisecond, time.Second}, {2 * time.Second, 2 * time.Second}, {time.Hour, 3 * time.Second}, {-time.Second, time.Second},
	} {
		if c := s.connectAs(hello{timeout: test.asked}); c.timeout != test.want {
			t.Errorf("asked for %v, got %v", test.asked, c.timeout)
		}
	}
}

func TestASessionHasAPositiveIDWithTheServersNumberAndAPassword(t *testing.T) {
	s := startServer(t, Options{ServerID: 5})
	a, b := s.connect(), s.connectAs(hello{old: true})
	if a.session>>56 != 5 || b.session>>56 != 5 || a.session == b.session {
		t.Errorf("sessions %#x and %#x", a.session, b.session)
	}
	if len(a.password) != 16 || slices.Equal(a.password, b.password) {
		t.Errorf("passwords %x and %x", a.password, b.password)
	}
}

func TestASessionIsTakenOverByItsPassword(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/e", "", modeEphemeral)
	back := s.connectAs(hello{session: c.session, password: c.password, timeout: 30 * time.Second})
	if back.session != c.session || back.timeout != 30*time.Second || !slices.Equal(back.password, c.password) {
		t.Errorf("session %#x, timeout %v, password %x", back.session, back.timeout, back.password)
	}
	if millis, err := s.store.KeepAlive(t.Context(), c.session); err != nil || millis != 30_000 {
		t.Errorf("the session lives for %d ms: %v", millis, err)
	}
	c.wantClosed()
	if _, stat := back.get("/e", false); stat.EphemeralOwner != back.session {
		t.Errorf("the ephemeral node is %#x's", stat.EphemeralOwner)
	}
	back.nc.Close()
	again := s.connectAs(hello{session: c.session, password: c.password})
	if !again.exists("/e", false) {
		t.Error("the session's node went with a connection")
	}
}

func TestAWrongPasswordIsRefusedAndHarmsNobody(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	for _, h := range []hello{
		{session: c.session, password: make([]byte, 16)},
		{session: c.session, password: c.password[:15]},
		{session: c.session},
		{session: 12345, password: c.password},
		{session: -1, password: c.password},
	} {
		thief := dial(t, s.addr)
		thief.hello(h)
		if thief.session != 0 || thief.timeout != 0 || len(thief.password) != 16 || slices.Max(thief.password) != 0 {
			t.Errorf("%+v: session %#x, timeout %v, password %x", h, thief.session, thief.timeout, thief.password)
		}
		thief.wantClosed()
	}
	c.take()
}

func TestALeaseWithoutAPasswordIsNoSession(t *testing.T) {
	s := startServer(t, Options{})
	s.do(grantLease(99, time.Minute))
	c := dial(t, s.addr)
	c.hello(hello{session: 99})
	if c.session != 0 {
		t.Error("an etcd lease was taken for a session")
	}
}

func TestAClientThatHasSeenMoreIsNotServed(t *testing.T) {
	s := startServer(t, Options{})
	c := dial(t, s.addr)
	c.packet(func(e *encoder) {
		e.int32(0)
		e.int64(1 << 40)
		e.int32(10_000)
		e.int64(0)
		e.bytes(nil)
		e.bool(false)
	})
	if d, err := c.tryReceive(); err == nil {
		t.Errorf("an answer of %d bytes", len(d.rest))
	}
}

func TestClosingASessionRemovesItsNodesBeforeTheAnswer(t *testing.T) {
	s := startServer(t, Options{})
	c, other := s.connect(), s.connect()
	c.create("/e", "", modeEphemeral)
	other.exists("/e", true)
	last := c.send(opCreate, createBody("/e2", "", modeEphemeral))
	xid := c.send(opCloseSession, nil)
	c.send(opCreate, createBody("/late", "", modePersistent))
	c.want(c.answer(last), codeOK)
	c.want(c.answer(xid), codeOK)
	if other.exists("/e", false) || other.exists("/e2", false) || other.exists("/late", false) {
		t.Error("a node is there after the session was closed")
	}
	wantEvents(t, other.take(), event{eventDeleted, "/e"})
	c.wantClosed()
	again := dial(t, s.addr)
	again.hello(hello{session: c.session, password: c.password})
	if again.session != 0 {
		t.Error("a closed session was resumed")
	}
}

func TestASilentSessionExpiresWithItsNodesAndItsConnection(t *testing.T) {
	s := startServer(t, Options{SessionTimeoutMin: 200 * time.Millisecond})
	c, other := s.connectAs(hello{timeout: 200 * time.Millisecond}), s.connect()
	c.create("/e", "", modeEphemeral)
	other.exists("/e", true)
	if e := other.event(); e != (event{eventDeleted, "/e"}) {
		t.Errorf("%v", e)
	}
	c.wantClosed()
	again := dial(t, s.addr)
	again.hello(hello{session: c.session, password: c.password})
	if again.session != 0 {
		t.Error("an expired session was resumed")
	}
}

func TestPingsKeepASessionAliveWithoutLogEntries(t *testing.T) {
	s := startServer(t, Options{SessionTimeoutMin: time.Second})
	c := s.connectAs(hello{timeout: time.Second})
	c.create("/e", "", modeEphemeral)
	before := s.store.Status().RaftIndex
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); <-ticker.C {
		wantEvents(t, c.take())
	}
	if after := s.store.Status().RaftIndex; after != before {
		t.Errorf("%d log entries while there were only pings", after-before)
	}
	if !c.exists("/e", false) {
		t.Error("the session expired")
	}
}

func TestASessionThatIsRevokedElsewhereLosesItsConnection(t *testing.T) {
	s := startServer(t, Options{})
	c, other := s.connect(), s.connect()
	c.create("/e", "", modeEphemeral)
	s.do(revoke(c.session))
	c.wantClosed()
	if other.exists("/e", false) {
		t.Error("the node outlived the session")
	}
}

// A session may end while a write of it is on its way. The write then fails and the connection ends.
func TestAWriteOfADeadSessionFails(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connectAs(hello{timeout: 40 * time.Second})
	s.mu.Lock()
	delete(s.sessions, c.session) // the connection is not told
	s.mu.Unlock()
	s.do(revoke(c.session))
	c.want(c.call(opCreate, createBody("/late", "", modePersistent)), codeSessionExpired)
	c.wantClosed()
	if s.connect().exists("/late", false) {
		t.Error("a dead session's write took effect")
	}
}

func TestSessionsOutliveARestartOfTheServer(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	c.create("/e", "", modeEphemeral)
	other := &testServer{Server: New(s.store, s.opts), t: t}
	other.addr = other.listen()
	back := other.connectAs(hello{session: c.session, password: c.password})
	if !back.exists("/e", false) {
		t.Error("the session's node is gone")
	}
	if err := other.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	other.served.Wait()
	back.wantClosed()
	if _, ok, err := s.store.LeaseRemaining(t.Context(), c.session); !ok || err != nil {
		t.Errorf("the session ended with the server: %v", err)
	}
}

// A server over the same store is what another node is to this one: it learns of moves and ends as they are applied.
func (s *testServer) another(opts Options) *testServer {
	opts.Logger = s.log
	other := &testServer{Server: New(s.store, opts), t: s.t}
	other.addr = other.listen()
	s.t.Cleanup(func() {
		if err := other.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
		other.served.Wait()
	})
	return other
}

func TestASessionThatMovesToAnotherNodeLosesItsOldConnection(t *testing.T) {
	s := startServer(t, Options{})
	other := s.another(Options{})
	c := s.connect()
	c.create("/e", "", modeEphemeral)
	for range 3 { // there and back again
		back := other.connectAs(hello{session: c.session, password: c.password})
		c.wantClosed()
		if !back.exists("/e", false) {
			t.Fatal("the session's node went with its connection")
		}
		c, s, other = back, other, s
	}
	c.take()
}

// A connection may have a write on its way that its session's move overtakes.
func TestAWriteOfTheOldConnectionIsRefusedAfterTheMove(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	s.mu.Lock()
	delete(s.sessions, c.session) // the old connection is not told
	s.mu.Unlock()
	back := s.another(Options{}).connectAs(hello{session: c.session, password: c.password})
	c.want(c.call(opCreate, createBody("/late", "", modePersistent)), codeSessionMoved)
	c.wantClosed()
	if back.exists("/late", false) {
		t.Error("a write of the old connection took effect")
	}
}

func TestTheOldConnectionCannotCloseTheSession(t *testing.T) {
	s := startServer(t, Options{})
	c := s.connect()
	s.mu.Lock()
	delete(s.sessions, c.session)
	s.mu.Unlock()
	back := s.another(Options{}).connectAs(hello{session: c.session, password: c.password})
	c.want(c.call(opCloseSession, nil), codeSessionMoved)
	c.wantClosed()
	back.take()
}

// Of connections that resume one session at the same time, the one whose move comes last has it, and no other.
func TestOneOfManyConnectionsHasTheSession(t *testing.T) {
	s := startServer(t, Options{})
	servers := []*testServer{s, s.another(Options{}), s.another(Options{})}
	c := s.connect()
	clients := make([]*client, 12)
	var connecting sync.WaitGroup
	for i := range clients {
		clients[i] = dial(t, servers[i%len(servers)].addr)
		clients[i].sayHello(hello{session: c.session, password: c.password})
		connecting.Go(func() { clients[i].tryReceive() }) // an answer, or the end
	}
	connecting.Wait()
	c.wantClosed()
	view := must(s.store.View(t.Context(), core.Local))(t)
	defer view.Close()
	lease, _ := view.Lease(c.session)
	open := 0
	for i, server := range servers {
		server.mu.Lock()
		if held := server.sessions[c.session]; held != nil {
			open++
			if held.owner != lease.Owner {
				t.Errorf("server %d has the session for %x, and its owner is %x", i, held.owner, lease.Owner)
			}
		}
		if len(server.arriving) != 0 {
			t.Errorf("server %d still waits for %d connections", i, len(server.arriving))
		}
		server.mu.Unlock()
	}
	if open != 1 {
		t.Errorf("%d connections have the session", open)
	}
}

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestAnIDThatIsTakenIsDrawnAgain(t *testing.T) {
	seen := map[int64]bool{}
	for range 1000 {
		id := newSessionID(0x81)
		if id <= 0 || seen[id] || id>>56 != 1 {
			t.Fatalf("id %#x", id)
		}
		seen[id] = true
	}
	if codeOf(core.ErrLeaseExists) != codeSystemError {
		t.Error("a client would see another error than it should")
	}
}
