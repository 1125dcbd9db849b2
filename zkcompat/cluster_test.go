package zkcompat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/triglot/triglot/core/coretest"
)

// cluster is a server before each store of a cluster in one process.
type cluster struct {
	*coretest.Cluster
	servers []*testServer
}

func startCluster(t *testing.T, members int, opts Options) *cluster {
	t.Helper()
	c := &cluster{Cluster: coretest.Start(t, members)}
	for _, store := range c.Stores {
		s := &testServer{Server: New(store, opts), t: t}
		s.addr = s.listen()
		c.servers = append(c.servers, s)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			s.served.Wait()
		})
	}
	return c
}

// follower gives the place of a member that does not lead.
func (c *cluster) follower() int { return (c.Leader() + 1) % len(c.servers) }

// others are the places of all members but one.
func (c *cluster) others(than int) (others []int) {
	for i := range c.servers {
		if i != than {
			others = append(others, i)
		}
	}
	return others
}

func TestASessionMovesFromNodeToNode(t *testing.T) {
	c := startCluster(t, 3, Options{})
	at := c.servers[0].connect()
	at.create("/e", "", modeEphemeral)
	for i := range 6 {
		path := fmt.Sprintf("/p%d", i)
		at.create(path, "", modePersistent)
		back := c.servers[(i+1)%3].resume(at)
		at.wantClosed()
		if !back.exists("/e", false) || !back.exists(path, false) {
			t.Fatal("the session does not see what it wrote before it moved")
		}
		at = back
	}
}

// resume takes a client's session to another server, as a client does: one that lags behind what the client has seen closes
// the connection, and is tried again.
func (s *testServer) resume(c *client) *client {
	s.t.Helper()
	for tries := time.Now().Add(patience); time.Now().Before(tries); {
		back := dial(s.t, s.addr)
		back.sayHello(hello{session: c.session, password: c.password, timeout: c.timeout, seen: c.seen})
		if answer, err := back.tryReceive(); err == nil {
			back.readHello(answer, false)
			if back.session != c.session {
				s.t.Fatal("the session is lost")
			}
			return back
		}
	}
	s.t.Fatal("the session was not taken")
	return nil
}

func TestSessionsOutliveTheirLeader(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader, node := c.Leader(), c.follower()
	client := c.servers[node].connectAs(hello{timeout: 30 * time.Second})
	client.create("/e", "", modeEphemeral)
	c.servers[leader].shutdownNow()
	c.Stop(leader)
	c.Leader(c.others(leader)...)
	client.create("/after", "", modePersistent) // by the same connection
	if millis, err := c.Stores[node].KeepAlive(t.Context(), client.session); err != nil || millis != 30_000 {
		t.Errorf("%d ms, %v", millis, err)
	}
	if !client.exists("/e", false) {
		t.Error("the ephemeral node is gone")
	}
}

// A node that is cut off serves local reads for a while, gives its clients up, and takes no new ones. Their sessions live
// on, and the clients find them on another node.
func TestANodeThatIsCutOffGivesItsClientsUp(t *testing.T) {
	c := startCluster(t, 3, Options{SessionTimeoutMin: 6 * time.Second})
	node := c.follower()
	s, elsewhere := c.servers[node], c.servers[c.Leader()]
	client := s.connectAs(hello{timeout: 6 * time.Second})
	client.create("/e", "", modeEphemeral)
	idle := s.connectAs(hello{timeout: 40 * time.Second})
	c.Cut(node)
	if !client.exists("/e", false) {
		t.Error("no local read after the cut")
	}
	pinging(client)
	for leader, changed := s.store.LeaderWatch(); leader != 0; leader, changed = s.store.LeaderWatch() {
		<-changed
	}
	idle.wantRefused(s)
	for word, want := range map[string]string{
		"srvr": notServing, "mntr": notServing, "stat": notServing, "isro": "null", "ruok": "imok",
	} {
		if got := s.word(word); got != want {
			t.Errorf("%s answers %q", word, got)
		}
	}
	back := elsewhere.resume(client)
	if !back.exists("/e", false) {
		t.Error("the session lost its node")
	}
	if !idle.exists("/e", false) {
		t.Error("a client whose timeout is long was not served any more")
	}
	c.Heal()
	c.Leader()
	back.create("/healed", "", modePersistent)
	idle.want(idle.call(9, func(e *encoder) { e.string("/") }), codeOK)
	if !idle.exists("/healed", false) {
		t.Error("after a sync the node does not show what was written elsewhere")
	}
}

// A session that the leader was not asked about for a while may be over: its client is told nothing that relies on it.
func TestANodeThatIsCutOffDoesNotAnswerAClientThatWasSilent(t *testing.T) {
	const timeout = 3 * time.Second
	c := startCluster(t, 3, Options{SessionTimeoutMin: timeout})
	node := c.follower()
	client := c.servers[node].connectAs(hello{timeout: timeout})
	client.create("/e", "", modeEphemeral)
	c.servers[node].awaitRenewed()
	c.Cut(node)
	time.Sleep(timeout * 6 / 10) // the silence, two fifths of the timeout and more than the renewer gathers
	client.send(3, func(e *encoder) { e.string("/e"); e.bool(false) })
	if _, err := client.tryReceive(); err == nil {
		t.Error("an answer, and nobody knows whether the session lives")
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

// awaitRenewed waits until the leader has confirmed the sessions of all that clients have sent.
func (s *testServer) awaitRenewed() {
	s.t.Helper()
	unconfirmed := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.renewer.mu.Lock()
		defer s.renewer.mu.Unlock()
		for c := range s.conns {
			if !c.renewal.since.IsZero() {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(patience); unconfirmed(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("the sessions are not renewed")
		}
	}
}

// pinging sends pings until the connection ends.
func pinging(c *client) {
	c.t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := c.nc.Write([]byte{0, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11}); err != nil {
			return
		}
		if _, err := c.tryReceive(); err != nil {
			return
		}
		<-ticker.C
	}
}

// wantRefused expects that a new connection is closed without an answer.
func (c *client) wantRefused(s *testServer) {
	c.t.Helper()
	late := dial(c.t, s.addr)
	late.sayHello(hello{session: c.session, password: c.password})
	if _, err := late.tryReceive(); err == nil {
		c.t.Error("a connection was taken without a leader")
	}
}

func TestTheWordsTellThePartsOfTheCluster(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader := c.Leader()
	for i, s := range c.servers {
		want := []string{"zk_server_state\tfollower\n", "zk_quorum_size\t3\n", "zk_peer_state\tfollowing - broadcast\n"}
		if i == leader {
			want = []string{
				"zk_server_state\tleader\n", "zk_followers\t2\n", "zk_learners\t2\n", "zk_synced_followers\t2\n",
				"zk_synced_observers\t0\n", "zk_peer_state\tleading - broadcast\n",
			}
		}
		mntr := s.word("mntr")
		for _, line := range want {
			if !strings.Contains(mntr, line) {
				t.Errorf("member %d: no %q in %s", i, line, mntr)
			}
		}
		part := "Mode: follower\n"
		if i == leader {
			part = "Mode: leader\n"
		}
		if srvr := s.word("srvr"); !strings.Contains(srvr, part) {
			t.Errorf("member %d: %s", i, srvr)
		}
		if conf := s.word("conf"); strings.Count(conf, ":participant") != 3 || !strings.Contains(conf, "peerType=0\n") {
			t.Errorf("member %d: %s", i, conf)
		}
	}
}

func TestServersMakeSessionIDsOfTheirOwn(t *testing.T) {
	c := startCluster(t, 3, Options{})
	for _, s := range c.servers {
		if id := s.connect().session; id>>56 != int64(s.store.MemberID()%127)+1 {
			t.Errorf("member %x made session %#x", s.store.MemberID(), id)
		}
	}
}

// shutdownNow ends a server whose store is about to be stopped, whatever is still open.
func (s *testServer) shutdownNow() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
}

// wordWith asks until an answer has a line, and gives the last answer.
func (s *testServer) wordWith(word, line string) (answer string) {
	for until := time.Now().Add(patience); !strings.Contains(answer, line) && time.Now().Before(until); {
		answer = s.word(word)
	}
	return answer
}

func TestALearnerIsAnObserver(t *testing.T) {
	c := startCluster(t, 1, Options{})
	store := c.Stores[c.Join(true)]
	s := &testServer{Server: New(store, Options{}), t: t}
	s.addr = s.listen()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		s.served.Wait()
	})
	// The learner serves before it has applied the entry that made it one, and before the leader has its answer to that.
	if srvr := s.wordWith("srvr", "Mode: observer\n"); !strings.Contains(srvr, "Mode: observer\n") {
		t.Error(srvr)
	}
	if mntr := s.word("mntr"); !strings.Contains(mntr, "zk_peer_state\tobserving - broadcast\n") {
		t.Error(mntr)
	}
	mntr := c.servers[0].wordWith("mntr", "zk_synced_observers\t1\n")
	for _, line := range []string{"zk_server_state\tleader\n", "zk_synced_observers\t1\n", "zk_followers\t0\n"} {
		if !strings.Contains(mntr, line) {
			t.Errorf("no %q in %s", line, mntr)
		}
	}
	client := s.connect()
	client.create("/e", "", modeEphemeral)
	if back := c.servers[0].resume(client); !back.exists("/e", false) {
		t.Error("the session lost its node")
	}
}
