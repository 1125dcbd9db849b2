package resp

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	"github.com/triglot/triglot/core"
)

// The cluster in Redis' words: the leader is the master, the others are its replicas, and an offset is a place in the log.
// The words are true as far as they go, but every node takes writes and answers reads with the latest state, so a client
// need not follow them. HELLO, by which a client learns what this connection can do, therefore says master on every node;
// ROLE and INFO describe the cluster, for operators, proxies and clients that look for the master themselves.
// Options.AlwaysMaster is for those clients that refuse to write to what calls itself a replica.

var replicationCommands = []*command{
	{
		name: "role", arity: 1, flags: session | flagFast | flagAdminOnly, since: "2.8.12", group: "server",
		summary: "Tells whether this node leads, and who follows or is followed.", run: runRole,
	}, {
		name: "wait", arity: 3, flags: flagNoscript | flagConnection, since: "3.0.0", group: "generic",
		args:    "numreplicas timeout",
		summary: "Waits until so many other nodes have applied what this one has, and tells how many have.",
		run:     runWait,
	},
}

// Words of ROLE and INFO for the way to the master.
const (
	linkUp   = "connected"
	linkDown = "connect"
)

// replicaSeen is another node as the leader sees it.
type replicaSeen struct {
	host, port string
	offset     uint64
	state      string
}

// replication is this node's place in the cluster.
type replication struct {
	master     bool
	offset     uint64        // of the log, as far as this node has it
	replicas   []replicaSeen // those that the leader is connected to
	host, port string        // of the leader, when another node leads
	link       string
}

func (s *Server) replication() replication {
	status := s.store.Status()
	leads := status.Role == core.RoleLeader
	r := replication{master: leads || s.opts.AlwaysMaster, offset: status.AppliedIndex, port: "0", link: linkDown}
	var progress map[uint64]core.Replication
	if leads {
		r.offset = status.RaftIndex
		progress = s.store.Replications(s.ctx)
	}
	for _, peer := range s.store.Peers() {
		host, port := redisAddress(peer.Member)
		switch {
		case peer.ID == status.Leader:
			r.host, r.port = host, port
			if peer.Connected {
				r.link = linkUp
			}
		case leads && peer.Connected:
			at, state := progress[peer.ID], "online"
			if at.Match == 0 {
				state = "wait_bgsave" // it has nothing yet, and is being sent its first state
			}
			r.replicas = append(r.replicas, replicaSeen{host, port, at.Match, state})
		}
	}
	return r
}

// redisAddress is where a member serves Redis clients. One that does not is named by its address for other members, with
// port 0.
func redisAddress(m core.Member) (host, port string) {
	for _, listener := range []string{"resp", "all"} {
		if host, port, err := net.SplitHostPort(m.Listeners[listener]); err == nil {
			return host, port
		}
	}
	for _, peer := range m.PeerURLs {
		if u, err := url.Parse(peer); err == nil {
			return u.Hostname(), "0"
		}
	}
	return "", "0"
}

func runRole(c *conn, _ *request) {
	r := c.srv.replication()
	w := &c.out
	if r.master {
		w.array(3)
		w.bulkString("master")
		w.int(int64(r.offset))
		w.array(len(r.replicas))
		for _, replica := range r.replicas {
			w.strings(replica.host, replica.port, strconv.FormatUint(replica.offset, 10))
		}
		return
	}
	port, _ := strconv.Atoi(r.port)
	w.array(5)
	w.bulkString("slave")
	w.bulkString(r.host)
	w.int(int64(port))
	w.bulkString(r.link)
	w.int(int64(r.offset))
}

func (s *Server) infoReplication(line func(string, any)) {
	r := s.replication()
	if r.master {
		line("role", "master")
	} else {
		status, ago := "up", 0
		if r.link != linkUp {
			status, ago = "down", -1
		}
		line("role", "slave")
		line("master_host", r.host)
		line("master_port", r.port)
		line("master_link_status", status)
		line("master_last_io_seconds_ago", ago)
		line("master_sync_in_progress", 0)
		line("slave_read_repl_offset", r.offset)
		line("slave_repl_offset", r.offset)
		line("slave_priority", 100)
		line("slave_read_only", 0)
		line("replica_announced", 1)
	}
	line("connected_slaves", len(r.replicas))
	for i, replica := range r.replicas {
		line(fmt.Sprintf("slave%d", i), fmt.Sprintf("ip=%s,port=%s,state=%s,offset=%d,lag=0",
			replica.host, replica.port, replica.state, replica.offset))
	}
	line("master_failover_state", "no-failover")
	line("master_replid", fmt.Sprintf("%040x", s.store.ClusterID()))
	line("master_replid2", fmt.Sprintf("%040d", 0))
	line("master_repl_offset", r.offset)
	line("second_repl_offset", -1)
}

// How long WAIT lets pass before it asks the other nodes again. Nothing announces how far they have got.
const (
	waitAgainMin = 5 * time.Millisecond
	waitAgainMax = 200 * time.Millisecond
	waitAskMax   = time.Second
)

// runWait counts the other nodes that have applied all that this one has, the client's writes among it. Half of the voters
// have at least logged that much, as is known without asking, since a write is answered only then.
func runWait(c *conn, q *request) {
	wanted, ok := parseInt(q.args[1])
	if !ok {
		c.out.err(errNotInteger)
		return
	}
	timeout, ok := parseInt(q.args[2])
	switch {
	case !ok:
		c.out.err("ERR timeout is not an integer or out of range")
		return
	case timeout < 0:
		c.out.err("ERR timeout is negative")
		return
	}
	status := c.srv.store.Status()
	certain := int64(status.Voters / 2)
	if wanted <= certain || q.queued {
		c.out.int(certain)
		return
	}
	if c.flush() != nil {
		c.ending = true
		return
	}
	ctx, cancel := context.WithCancel(c.srv.ctx)
	defer cancel()
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(min(timeout, 1<<40))*time.Millisecond)
		defer cancel()
	}
	ahead := c.lookAhead()
	have := c.srv.awaitReplicas(ctx, status.AppliedIndex, wanted, ahead.gone)
	c.out.int(max(have, certain))
	c.ending = !ahead.stop() || c.ending
}

// awaitReplicas waits until so many other nodes have applied the log up to an index, the context ends or the client has
// gone, and says how many have.
func (s *Server) awaitReplicas(ctx context.Context, index uint64, wanted int64, gone <-chan struct{}) (have int64) {
	for pause := waitAgainMin; ; pause = min(2*pause, waitAgainMax) {
		ask, cancel := context.WithTimeout(ctx, waitAskMax)
		have = 0
		for _, member := range s.store.Cluster(ask) {
			if member.ID != s.store.MemberID() && member.Err == nil && member.Status.AppliedIndex >= index {
				have++
			}
		}
		cancel()
		if have >= wanted {
			return have
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return have
		case <-gone:
			return have
		case <-s.closing:
			return have
		}
	}
}
