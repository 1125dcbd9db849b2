package zkcompat

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/triglot/triglot/core"
)

// Four-letter words share the port with the protocol: a connection that starts with one gets a text and is closed. Read
// as a packet's length, a word would be too long, so there is no mistaking one for the other.

// peerVersion is the ZooKeeper version whose behaviour clients may expect.
const peerVersion = "3.9.5"

// word is what answers a four-letter word.
type word struct {
	write func(*Server, io.Writer)
	alone string // what is answered in its place while there is no leader; empty = the same
}

// notServing is what ZooKeeper's servers answer while they have no leader. Probes look for it.
const notServing = "This ZooKeeper instance is not currently serving requests\n"

// words by name.
var words = map[string]*word{
	"conf": {(*Server).writeConf, notServing},
	"cons": {(*Server).writeCons, notServing},
	"dump": {(*Server).writeDump, notServing},
	"envi": {(*Server).writeEnvi, ""},
	"isro": {func(_ *Server, w io.Writer) { io.WriteString(w, "rw") }, "null"},
	"mntr": {(*Server).writeMntr, notServing},
	"ruok": {func(_ *Server, w io.Writer) { io.WriteString(w, "imok") }, ""},
	"srvr": {(*Server).writeSrvr, notServing},
	"stat": {(*Server).writeStat, notServing},
	"wchc": {(*Server).writeWchc, notServing},
	"wchp": {(*Server).writeWchp, notServing},
	"wchs": {(*Server).writeWchs, notServing},
}

// readWord looks at the first bytes of a connection and returns what answers them if they are a word, nil otherwise.
func (c *conn) readWord() (*word, error) {
	if err := c.awaitUntil(time.Now().Add(c.server.opts.HandshakeTimeout)); err != nil {
		return nil, err
	}
	head, err := c.in.Peek(lengthBytes)
	if err != nil {
		return nil, err
	}
	return words[string(head)], nil
}

func (c *conn) answerWord(w *word) {
	var text bytes.Buffer
	if w.alone != "" && !c.store.HasLeader() {
		text.WriteString(w.alone)
	} else {
		w.write(c.server, &text)
	}
	if c.nc.SetWriteDeadline(time.Now().Add(c.server.opts.HandshakeTimeout)) == nil {
		c.nc.Write(text.Bytes())
	}
}

func (s *Server) versionLine() string {
	return fmt.Sprintf("%s-triglot-%s, built with %s", peerVersion, s.opts.Version, runtime.Version())
}

// look gives what several words show of the store.
func (s *Server) look() (status core.Status, nodes int64) {
	// The shared space's keys, and the root and the reserved nodes, which are not stored. Implicit nodes are not counted.
	status = s.store.Status()
	nodes = 1 + int64(len(reservedNodes))
	if view, err := s.store.View(context.Background(), core.Local); err == nil {
		nodes += view.Count(0)
		view.Close()
	}
	return status, nodes
}

func (s *Server) connections() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Keys(s.conns), func(a, b *conn) int { return a.since.Compare(b.since) })
}

func (s *Server) writeSrvr(w io.Writer) {
	fmt.Fprintf(w, "Zookeeper version: %s\n", s.versionLine())
	s.writeCounts(w)
}

func (s *Server) writeStat(w io.Writer) {
	fmt.Fprintf(w, "Zookeeper version: %s\nClients:\n", s.versionLine())
	for _, c := range s.connections() {
		fmt.Fprintf(w, " %s(queued=%d,recved=%d,sent=%d)\n",
			c.remote(), len(c.requests), c.counters.received.Load(), c.counters.sent.Load())
	}
	io.WriteString(w, "\n")
	s.writeCounts(w)
}

func (s *Server) writeCounts(w io.Writer) {
	status, nodes := s.look()
	least, average, most := s.stats.latency.millis()
	fmt.Fprintf(w, "Latency min/avg/max: %d/%.4g/%d\n", least, average, most)
	fmt.Fprintf(w, "Received: %d\nSent: %d\n", s.stats.received.Load(), s.stats.sent.Load())
	fmt.Fprintf(w, "Connections: %d\nOutstanding: %d\n", len(s.connections()), s.stats.outstanding.Load())
	fmt.Fprintf(w, "Zxid: %#x\nMode: %s\nNode count: %d\n", status.Revision, mode(status), nodes)
}

// monitorLine is a line of mntr; its name there begins with zk_.
type monitorLine struct {
	name  string
	value any
}

func (s *Server) writeMntr(w io.Writer) {
	status, nodes := s.look()
	least, average, most := s.stats.latency.millis()
	m := s.Metrics()
	sessions, ephemerals := 0, 0
	s.eachSession(func(_ int64, keys [][]byte) {
		sessions++
		ephemerals += len(keys)
	})
	for _, line := range append([]monitorLine{
		{"version", s.versionLine()},
		{"server_state", mode(status)},
		{"ephemerals_count", ephemerals},
		{"num_alive_connections", m.Connections},
		{"avg_latency", fmt.Sprintf("%.4g", average)},
		{"outstanding_requests", m.Outstanding},
		{"znode_count", nodes},
		{"global_sessions", sessions},
		{"packets_sent", m.PacketsSent},
		{"packets_received", m.PacketsReceived},
		{"watch_count", m.Watches},
		{"auth_failed_count", m.AuthFailures},
		{"min_latency", least},
		{"max_latency", most},
		{"approximate_data_size", status.LiveBytes},
		{"local_sessions", 0},
		{"uptime", time.Since(s.started).Milliseconds()},
		{"open_file_descriptor_count", openFiles()},
		{"max_file_descriptor_count", maxFiles()},
	}, s.quorumLines(status)...) {
		fmt.Fprintf(w, "zk_%s\t%v\n", line.name, line.value)
	}
	for _, op := range m.Ops {
		fmt.Fprintf(w, "zk_cnt_%s_requests\t%d\nzk_cnt_%s_errors\t%d\n", op.Name, op.Count, op.Name, op.Errors)
	}
}

// openFiles counts the descriptors of this process, -1 where the system does not tell.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries) - 1 // one is the directory's own
}

// maxFiles is how many descriptors this process may have.
func maxFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return -1
	}
	return int64(limit.Cur)
}

func (s *Server) writeConf(w io.Writer) {
	for _, setting := range s.opts.Settings {
		fmt.Fprintf(w, "%s=%s\n", setting.Name, setting.Value)
	}
	fmt.Fprintf(w, "minSessionTimeout=%d\nmaxSessionTimeout=%d\n",
		s.opts.SessionTimeoutMin.Milliseconds(), s.opts.SessionTimeoutMax.Milliseconds())
	fmt.Fprintf(w, "jute.maxbuffer=%d\nserverId=%d\n", s.opts.PacketBytesMax, s.opts.ServerID)
	s.writeMembership(w)
}

func (s *Server) writeEnvi(w io.Writer) {
	host, _ := os.Hostname()
	fmt.Fprintf(w, "Environment:\nzookeeper.version=%s\nhost.name=%s\n", s.versionLine(), host)
	fmt.Fprintf(w, "go.version=%s\nos.name=%s\nos.arch=%s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (c *conn) remote() string { return fmt.Sprintf("/%s[1]", c.nc.RemoteAddr()) }

func (s *Server) writeCons(w io.Writer) {
	for _, c := range s.connections() {
		fmt.Fprintf(w, " %s(queued=%d,recved=%d,sent=%d",
			c.remote(), len(c.requests), c.counters.received.Load(), c.counters.sent.Load())
		if op := c.counters.lastOp.Load(); op != nil {
			least, average, most := c.counters.latency.millis()
			session, timeout := c.identity()
			fmt.Fprintf(w, ",sid=%#x,lop=%s,est=%d,to=%d,lcxid=%#x,lzxid=%#x,lresp=%d,llat=%d,minlat=%d,avglat=%.0f,maxlat=%d",
				session, op.short, c.since.UnixMilli(), timeout.Milliseconds(), uint32(c.counters.lastXid.Load()),
				uint64(c.counters.lastZxid.Load()), c.counters.lastAnswer.Load(),
				time.Duration(c.counters.lastTook.Load()).Milliseconds(), least, average, most)
		}
		io.WriteString(w, ")\n")
	}
	io.WriteString(w, "\n")
}

// eachSession visits the sessions that this node knows of, in order of their ids, with the keys that are attached to them.
func (s *Server) eachSession(visit func(id int64, keys [][]byte)) {
	view, err := s.store.View(context.Background(), core.Local)
	if err != nil {
		return
	}
	defer view.Close()
	for lease := range view.Leases() {
		if lease.IsSession() {
			visit(lease.ID, view.LeaseKeys(lease.ID))
		}
	}
}

// dumpWait is how long dump waits for the leader, which alone knows when sessions expire.
const dumpWait = time.Second

func (s *Server) writeDump(w io.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), dumpWait)
	defer cancel()
	left := map[int64]int64{}
	leases, _ := s.store.Leases(ctx) // without the leader the expiries are left out
	for _, lease := range leases {
		left[lease.ID] = lease.RemainingMillis
	}
	var ephemerals bytes.Buffer
	owners := 0
	io.WriteString(w, "SessionTracker dump:\n")
	s.eachSession(func(id int64, keys [][]byte) {
		fmt.Fprintf(w, "%#x", id)
		if millis, ok := left[id]; ok {
			fmt.Fprintf(w, " expires in %d ms", millis)
		}
		io.WriteString(w, "\n")
		if len(keys) == 0 {
			return
		}
		owners++
		fmt.Fprintf(&ephemerals, "%#x:\n", id)
		for _, key := range keys {
			fmt.Fprintf(&ephemerals, "\t%s\n", key)
		}
	})
	fmt.Fprintf(w, "ephemeral nodes dump:\nSessions with Ephemerals (%d):\n%s", owners, ephemerals.Bytes())
}

// watched lists the watches of all connections as pairs of session and path.
func (s *Server) watched() (pairs []watchedPath) {
	for _, c := range s.connections() {
		session, _ := c.identity()
		for _, path := range c.watches.paths() {
			pairs = append(pairs, watchedPath{session, path})
		}
	}
	return pairs
}

type watchedPath struct {
	session int64
	path    string
}

func (s *Server) writeWchs(w io.Writer) {
	sessions, paths, total := map[int64]bool{}, map[string]bool{}, 0
	for _, pair := range s.watched() {
		sessions[pair.session], paths[pair.path] = true, true
		total++
	}
	fmt.Fprintf(w, "%d connections watching %d paths\nTotal watches:%d\n", len(sessions), len(paths), total)
}

func (s *Server) writeWchc(w io.Writer) {
	var last int64
	for _, pair := range s.watched() { // comes session by session
		if pair.session != last {
			fmt.Fprintf(w, "%#x\n", pair.session)
			last = pair.session
		}
		fmt.Fprintf(w, "\t%s\n", pair.path)
	}
	io.WriteString(w, "\n")
}

func (s *Server) writeWchp(w io.Writer) {
	pairs := s.watched()
	slices.SortFunc(pairs, func(a, b watchedPath) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.session, b.session))
	})
	last := ""
	for i, pair := range pairs {
		if i == 0 || pair.path != last {
			fmt.Fprintf(w, "%s\n", pair.path)
			last = pair.path
		}
		fmt.Fprintf(w, "\t%#x\n", pair.session)
	}
	io.WriteString(w, "\n")
}
