package resp

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/coretest"
)

// cluster is a server before each store of a cluster in one process.
type cluster struct {
	*coretest.Cluster
	nodes []*node
}

func startCluster(t *testing.T, members int, opts Options) *cluster {
	t.Helper()
	listeners := make([]net.Listener, members)
	c := &cluster{}
	c.Cluster = coretest.Start(t, members, func(i int, cfg *core.Config) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
		cfg.Published.Listeners = map[string]string{"resp": l.Addr().String()}
	})
	for i, store := range c.Stores {
		n := &node{t: t, store: store, srv: New(store, opts), addr: listeners[i].Addr().String()}
		c.nodes = append(c.nodes, n)
		served := make(chan struct{})
		go func() {
			defer close(served)
			n.srv.Serve(listeners[i])
		}()
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := n.srv.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			<-served
		})
	}
	return c
}

func (c *cluster) follower() int { return (c.Leader() + 1) % len(c.nodes) }

func TestEveryNodeTakesWritesAndReadsTheLatest(t *testing.T) {
	c := startCluster(t, 3, Options{})
	clients := []*client{c.nodes[0].dial(), c.nodes[1].dial(), c.nodes[2].dial()}
	for i := range 30 {
		clients[i%3].do("incr n", fmt.Sprintf(":%d", i+1))
		clients[(i+1)%3].do("get n", fmt.Sprintf("$%d %d", len(fmt.Sprint(i+1)), i+1))
	}
}

func TestRolesAreThoseOfTheCluster(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader := c.Leader()
	_, leaderPort, _ := net.SplitHostPort(c.nodes[leader].addr)
	for i, n := range c.nodes {
		client := n.dial()
		if i == leader {
			// The members publish their addresses once they are ready, and the leader hears from the others.
			eventually(t, "two replicas in INFO", func() bool {
				info := client.bulk("info replication")
				found := strings.Contains(info, "role:master\r\nconnected_slaves:2\r\n")
				for _, other := range c.nodes {
					_, port, _ := net.SplitHostPort(other.addr)
					found = found && (other == n || strings.Contains(info, "ip=127.0.0.1,port="+port+",state=online,offset="))
				}
				return found
			})
			client.send("role\r\n")
			client.reads("*3 $6 master")
			continue
		}
		eventually(t, "the master in INFO", func() bool {
			return strings.Contains(client.bulk("info replication"), "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:"+leaderPort+
				"\r\nmaster_link_status:up\r\n")
		})
		client.send("role\r\n")
		client.reads("*5 $5 slave $9 127.0.0.1 :" + leaderPort + " $9 connected")
	}
	n := c.nodes[c.follower()]
	hello := n.dial()
	hello.send("hello\r\n")
	hello.reads("*14 $6 server $5 redis $7 version $5 7.4.0 $5 proto :2 $2 id :2 $4 mode $10 standalone $4 role $6 master")
	other := New(n.store, Options{AlwaysMaster: true})
	if r := other.replication(); !r.master {
		t.Error("a follower calls itself a replica although it is to be a master always")
	}
	if err := other.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWaitCountsTheNodesThatHaveWhatTheClientWrote(t *testing.T) {
	c := startCluster(t, 3, Options{})
	for _, n := range c.nodes {
		client := n.dial()
		client.do("set k v", "+OK")
		client.script([]exchange{{"wait 0 0", ":1"}, {"wait 1 0", ":1"}, {"wait 2 0", ":2"}, {"wait 2 10000", ":2"}})
		client.script([]exchange{{"multi", "+OK"}, {"wait 2 0", "+QUEUED"}, {"exec", "*1 :1"}})
	}
	cut := c.follower()
	c.Cut(cut)
	client := c.nodes[c.Leader(c.others(cut)...)].dial()
	client.script([]exchange{{"set k w", "+OK"}, {"wait 1 0", ":1"}, {"wait 2 300", ":1"}})
	client.send("wait 2 0\r\n") // until it is healed
	c.Heal()
	client.reads(":2")
	client.do("ping", "+PONG")
}

func TestAClientThatWaitsMayHangUp(t *testing.T) {
	c := startCluster(t, 3, Options{})
	n := c.nodes[c.Leader()]
	client := n.dial()
	client.do("set k v", "+OK")
	client.send("wait 9 0\r\n")
	client.nc.Close()
	eventually(t, "no client is left", func() bool { return len(n.srv.all()) == 0 })
}

// others are the places of all members but one.
func (c *cluster) others(than int) (others []int) {
	for i := range c.nodes {
		if i != than {
			others = append(others, i)
		}
	}
	return others
}

func TestWithoutAQuorumCommandsFailAsNotExecutedAndInfoAnswers(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader := c.Leader()
	known := c.nodes[c.follower()].dial()
	known.do("set k v", "+OK")
	for i := range c.nodes {
		c.Cut(i)
	}
	alone := make([]*client, 2)
	for k, i := range []int{leader, (leader + 1) % 3} {
		for left, changed := c.Stores[i].LeaderWatch(); left != 0; left, changed = c.Stores[i].LeaderWatch() {
			<-changed
		}
		alone[k] = c.nodes[i].dial()
		alone[k].send("set k w\r\nget k\r\nttl k\r\nincr n\r\n")
	}
	for _, c := range alone {
		for range 4 {
			c.reads("-CLUSTERDOWN the cluster has no leader; the command was not executed")
		}
		info := c.bulk("info")
		if !strings.Contains(info, "role:slave\r\nmaster_host:\r\nmaster_port:0\r\nmaster_link_status:down\r\n") ||
			!strings.Contains(info, "db0:keys=1,") {
			t.Error(info)
		}
		c.do("ping", "+PONG")
	}
	local := New(c.Stores[leader], Options{LocalReads: true})
	defer local.Shutdown(t.Context())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go local.Serve(listener)
	reader := (&node{t: t, addr: listener.Addr().String()}).dial()
	reader.do("get k", "$1 v")
	c.Heal()
	eventually(t, "it heals by itself", func() bool {
		known.send("incr n\r\n")
		return strings.HasPrefix(known.line(), ":")
	})
	known.do("get k", "$1 v")
}

// A command whose fate nobody knows is told from one that was certainly not executed.
func TestAWriteThatMayHaveTakenEffectSaysSo(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader := c.Leader()
	n := c.nodes[leader]
	client := n.dial()
	client.do("set k v", "+OK")
	c.Cut(leader)
	client.send("set k w\r\n") // it is in the leader's log, and maybe nowhere else
	client.nc.SetReadDeadline(time.Now().Add(patience))
	if line := client.line(); !strings.HasPrefix(line, "-ERR outcome unknown") && !strings.HasPrefix(line, "-CLUSTERDOWN") {
		t.Errorf("answered %q", line)
	}
}
