package resp

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/triglot/triglot/core"
)

var serverCommands = []*command{
	{
		name: "info", arity: -1, flags: always | flagDangerous, since: "1.0.0", group: "server", args: "[section...]",
		summary: "Describes the server and its state.", run: runInfo,
	}, {
		name: "time", arity: 1, flags: always | flagFast, since: "2.6.0", group: "server",
		summary: "Tells the time, in Unix seconds and microseconds.",
		run: func(c *conn, _ *request) {
			now := time.Now()
			c.out.strings(fmt.Sprint(now.Unix()), fmt.Sprint(now.Nanosecond()/1000))
		},
	}, {
		name: "lolwut", arity: -1, flags: readsFast, since: "5.0.0", group: "server", args: "[VERSION version]",
		summary: "Shows the version.",
		run: func(c *conn, _ *request) {
			c.out.text("Triglot " + c.srv.opts.Version + ", speaking Redis " + redisVersion + "\n")
		},
	}, {
		name: "config", arity: -2, since: "2.0.0", group: "server", summary: "Is about settings.", subs: configSubs,
	},
}

func newRunID() string {
	var b [20]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// infoSections are those of INFO, in order. A section writes lines of name:value.
var infoSections = []struct {
	name  string
	write func(*Server, func(name string, value any))
}{
	{"Server", (*Server).infoServer},
	{"Clients", (*Server).infoClients},
	{"Memory", (*Server).infoMemory},
	{"Persistence", (*Server).infoPersistence},
	{"Stats", (*Server).infoStats},
	{"Replication", (*Server).infoReplication},
	{"Cluster", func(_ *Server, line func(string, any)) { line("cluster_enabled", 0) }},
	{"Keyspace", (*Server).infoKeyspace},
	{"Triglot", (*Server).infoTriglot},
}

func runInfo(c *conn, q *request) {
	wanted := map[string]bool{}
	for _, word := range q.args[1:] {
		wanted[strings.ToLower(string(word))] = true
	}
	all := len(wanted) == 0 || wanted["all"] || wanted["default"] || wanted["everything"]
	var b strings.Builder
	for _, section := range infoSections {
		if !all && !wanted[strings.ToLower(section.name)] {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString("# " + section.name + "\r\n")
		section.write(c.srv, func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) })
	}
	c.out.text(b.String())
}

func (s *Server) infoServer(line func(string, any)) {
	line("redis_version", redisVersion)
	line("redis_git_sha1", "00000000")
	line("redis_git_dirty", 0)
	line("redis_mode", "standalone")
	line("triglot_version", s.opts.Version)
	line("os", runtime.GOOS+" "+runtime.GOARCH)
	line("arch_bits", 64)
	line("go_version", runtime.Version())
	line("process_id", os.Getpid())
	line("run_id", s.runID)
	line("tcp_port", s.port())
	line("server_time_usec", time.Now().UnixMicro())
	line("uptime_in_seconds", int64(time.Since(s.started).Seconds()))
	line("uptime_in_days", int64(time.Since(s.started).Hours()/24))
}

// port is that of a TCP listener, 0 when there is none.
func (s *Server) port() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.listeners {
		if addr, ok := l.Addr().(*net.TCPAddr); ok {
			return addr.Port
		}
	}
	return 0
}

func (s *Server) infoClients(line func(string, any)) {
	var subscribers, tracking int
	all := s.all()
	for _, c := range all {
		subscribers += btoi(c.public.isSubscriber())
		tracking += btoi(c.public.tracking.Load() != nil)
	}
	line("connected_clients", len(all))
	line("blocked_clients", s.blockers.waiting())
	line("tracking_clients", tracking)
	line("pubsub_clients", subscribers)
}

func (s *Server) infoMemory(line func(string, any)) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	line("used_memory", m.HeapAlloc)
	line("used_memory_human", fmt.Sprintf("%.2fM", float64(m.HeapAlloc)/(1<<20)))
	line("used_memory_rss", m.Sys-m.HeapReleased)
	line("maxmemory", 0)
	line("maxmemory_policy", "noeviction")
}

func (s *Server) infoPersistence(line func(string, any)) {
	line("loading", 0)
	line("async_loading", 0)
	line("rdb_bgsave_in_progress", 0)
	line("rdb_last_bgsave_status", "ok")
	line("aof_enabled", 1)
	line("aof_last_write_status", "ok")
}

func (s *Server) infoStats(line func(string, any)) {
	s.pubsub.mu.Lock()
	channels, patterns := len(s.pubsub.channels), len(s.pubsub.patterns)
	s.pubsub.mu.Unlock()
	line("total_connections_received", s.stats.connections.Load())
	line("total_commands_processed", s.stats.commands.Load())
	line("total_error_replies", s.stats.errors.Load())
	line("client_output_buffer_limit_disconnections", s.stats.dropped.Load())
	line("pubsub_messages", s.stats.published.Load())
	line("pubsub_feed_losses", s.stats.lostFeeds.Load())
	line("pubsub_channels", channels)
	line("pubsub_patterns", patterns)
	line("tracking_total_items", s.tracked.count())
}

// infoKeyspace counts what this node has: INFO is asked for when there is no quorum, above all.
func (s *Server) infoKeyspace(line func(string, any)) {
	view, err := s.store.View(s.ctx, core.Local)
	if err != nil {
		return
	}
	defer view.Close()
	for db := range databases {
		if n := view.Count(byte(db)); n > 0 {
			line(fmt.Sprintf("db%d", db), fmt.Sprintf("keys=%d,expires=0,avg_ttl=0", n))
		}
	}
}

func (s *Server) infoTriglot(line func(string, any)) {
	status := s.store.Status()
	line("member_id", fmt.Sprintf("%x", status.MemberID))
	line("cluster_id", fmt.Sprintf("%x", status.ClusterID))
	line("leader_id", fmt.Sprintf("%x", status.Leader))
	line("cluster_role", status.Role)
	line("voters", status.Voters)
	line("learners", status.Learners)
	line("raft_term", status.Term)
	line("raft_index", status.RaftIndex)
	line("applied_index", status.AppliedIndex)
	line("revision", status.Revision)
	line("compacted_revision", status.Compacted)
	line("disk_bytes", status.DiskBytes)
	line("live_bytes", status.LiveBytes)
	line("history_bytes", status.HistoryBytes)
}
