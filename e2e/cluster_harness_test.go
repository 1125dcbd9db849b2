package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// A cluster is several processes of the built program on loopback, each with a directory and ports of its own, and with
// a proxy before its peer port (cluster_links_test.go).

// member is one process of a cluster. Its place is what clients know: the addresses of the client ports. Who is
// replaced leaves the place to another member, with another name, directory and peer address.
type member struct {
	*server
	name        string
	place       int
	peer, front string // the peer port, and the proxy before it, which is what the member advertises
	data        string
	up          atomic.Bool // not killed by the test, nor stopped
	paused      atomic.Bool
	admin       *grpc.ClientConn // to its etcd port
}

// cluster is the members in the order of their places.
type cluster struct {
	t     testing.TB
	dir   string
	token string
	args  []string
	*links

	mu      sync.Mutex // guards members
	members []*member
	born    int // members so far
}

// startCluster runs so many members and returns when all of them serve. Extra arguments go to each.
func startCluster(t testing.TB, size int, args ...string) *cluster {
	t.Helper()
	c := newCluster(t, size, args...)
	for _, m := range c.members {
		c.spawn(m)
	}
	for _, m := range c.members {
		m.awaitPing()
	}
	return c
}

// newCluster prepares the members of a cluster without running them.
func newCluster(t testing.TB, size int, args ...string) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "triglot-cluster")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, token: filepath.Base(dir), args: args}
	t.Cleanup(c.tidy)
	c.links = newLinks(t, c.pids)
	for place := range size {
		c.members = append(c.members, c.newMember(place, steadyPorts(t, 5)))
	}
	if size > 1 {
		list := c.initialCluster()
		for _, m := range c.members {
			c.tellCluster(m, list, "new")
		}
	}
	t.Cleanup(c.stop) // before the links are closed
	return c
}

// newMember makes a member for a place. The ports are those of the clients.
func (c *cluster) newMember(place int, ports []string) *member {
	c.t.Helper()
	c.born++
	m := &member{name: fmt.Sprintf("m%d", c.born), place: place, peer: steadyPorts(c.t, 1)[0]}
	m.front = c.proxy(m.name, m.peer)
	m.data = filepath.Join(c.dir, m.name)
	file, err := os.OpenFile(filepath.Join(c.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { file.Close() })
	m.server = &server{
		t: c.t, dir: c.dir, file: file,
		resp: ports[0], etcd: ports[1], zk: ports[2], shared: ports[3], metrics: ports[4],
	}
	m.args = append([]string{
		"serve", "--name", m.name, "--data-dir", m.data, "--listen-resp", m.resp, "--listen-etcd", m.etcd,
		"--listen-zk", m.zk, "--listen", m.shared, "--listen-metrics", m.metrics, "--listen-peer", m.peer,
	}, c.args...)
	m.admin = dialEtcd(c.t, m.etcd)
	return m
}

// tellCluster gives a member the flags that name its cluster.
func (c *cluster) tellCluster(m *member, list, state string) {
	m.args = append(m.args, "--advertise-peer", m.front, "--initial-cluster", list, "--initial-cluster-state", state,
		"--initial-cluster-token", c.token)
}

// initialCluster lists the members as --initial-cluster takes them.
func (c *cluster) initialCluster() string {
	var list []string
	for _, m := range c.all() {
		list = append(list, m.name+"="+m.front)
	}
	return strings.Join(list, ",")
}

// all gives the members in the order of their places.
func (c *cluster) all() []*member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*member(nil), c.members...)
}

func (c *cluster) pids() map[string]int {
	pids := map[string]int{}
	for _, m := range c.all() {
		if m.up.Load() && m.process != nil {
			pids[m.name] = m.process.Process.Pid
		}
	}
	return pids
}

// --- what can happen to a process ---

// spawn runs a member without waiting for it.
func (c *cluster) spawn(m *member) {
	c.t.Helper()
	fmt.Fprintf(m.file, "--- started by the test at %s\n", time.Now().Format(time.StampMilli))
	c.mu.Lock() // who asks for the pids must not see half of it
	m.server.spawn()
	m.up.Store(true)
	c.mu.Unlock()
}

// start runs a member and returns when it serves.
func (c *cluster) start(m *member) {
	c.t.Helper()
	c.spawn(m)
	m.awaitPing()
}

// kill is kill -9.
func (c *cluster) kill(m *member) {
	m.up.Store(false)
	m.server.kill()
	m.paused.Store(false)
	fmt.Fprintf(m.file, "--- killed by the test at %s\n", time.Now().Format(time.StampMilli))
}

// pause is SIGSTOP: the process stands still, and its connections with it.
func (c *cluster) pause(m *member) {
	_ = m.process.Process.Signal(syscall.SIGSTOP)
	m.paused.Store(true)
}

func (c *cluster) resume(m *member) {
	_ = m.process.Process.Signal(syscall.SIGCONT)
	m.paused.Store(false)
}

// leave ends a member in an orderly way.
func (c *cluster) leave(m *member) {
	c.t.Helper()
	m.up.Store(false)
	m.server.stop()
}

// stop ends what still runs. All at once: each that is left alone would have to wait for a quorum.
func (c *cluster) stop() {
	c.heal()
	var stopping sync.WaitGroup
	for _, m := range c.all() {
		if !m.up.Load() {
			continue
		}
		c.resume(m)
		stopping.Go(func() { c.leave(m) })
	}
	stopping.Wait()
}

// broken are words that no member may say, whatever is done to it.
var broken = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE).*`)

// checkLogs looks for members that broke: one that was killed soon after took its exit status with it.
func (c *cluster) checkLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.dir, "*.log"))
	for _, path := range logs {
		text, err := os.ReadFile(path)
		if err != nil {
			c.t.Error(err)
		}
		if said := broken.Find(text); said != nil {
			c.t.Errorf("%s: %s", filepath.Base(path), said)
		}
	}
}

// tidy removes the directory, unless the test failed: then it is kept, and the ends of the logs are shown.
func (c *cluster) tidy() {
	c.checkLogs()
	if !c.t.Failed() {
		os.RemoveAll(c.dir)
		return
	}
	for _, m := range c.all() {
		c.t.Logf("%s said:\n%s", m.name, m.log())
	}
	c.t.Logf("logs and data are kept in %s", c.dir)
}

// logEnd gives the end of a log file.
func logEnd(path string) string {
	const most = 6 << 10
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	if size, err := file.Seek(0, io.SeekEnd); err == nil {
		_, _ = file.Seek(max(0, size-most), io.SeekStart)
	}
	text, _ := io.ReadAll(file)
	return string(text)
}

// --- who leads ---

// dialEtcd connects without any of the retries of etcd's own client.
func dialEtcd(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// askPatience bounds a question to a member that may be dead, paused or cut off.
const askPatience = 500 * time.Millisecond

// status asks a member for itself.
func (m *member) status() (*pb.StatusResponse, error) {
	ctx, cancel := contextFor(askPatience)
	defer cancel()
	return pb.NewMaintenanceClient(m.admin).Status(ctx, &pb.StatusRequest{})
}

// leader is the member that says that it leads, in the highest term if several do; nil for none.
func (c *cluster) leader() *member {
	var leader *member
	term := uint64(0)
	for _, m := range c.all() {
		if !m.up.Load() || m.paused.Load() {
			continue
		}
		s, err := m.status()
		if err == nil && s.Leader == s.Header.MemberId && s.Leader != 0 && s.RaftTerm > term {
			leader, term = m, s.RaftTerm
		}
	}
	return leader
}

// eventually tries until it works. It is for what no event tells of.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = try(); err == nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// awaitLeader returns when a member leads that the others follow.
func (c *cluster) awaitLeader() (leader *member) {
	c.t.Helper()
	eventually(c.t, "a leader that all follow", func() error {
		if leader = c.leader(); leader == nil {
			return fmt.Errorf("none")
		}
		id, err := leader.status()
		if err != nil {
			return err
		}
		for _, m := range c.all() {
			if !m.up.Load() || m.paused.Load() {
				continue
			}
			if s, err := m.status(); err != nil || s.Leader != id.Leader {
				return fmt.Errorf("%s: %v, %v", m.name, s, err)
			}
		}
		return nil
	})
	return leader
}

// followers are the members that run and are not this one.
func (c *cluster) followers(leader *member) (followers []*member) {
	for _, m := range c.all() {
		if m != leader && m.up.Load() {
			followers = append(followers, m)
		}
	}
	return followers
}

// id is a member's own.
func (m *member) id(t testing.TB) uint64 {
	t.Helper()
	var id uint64
	eventually(t, "the id of "+m.name, func() error {
		s, err := m.status()
		if err == nil {
			id = s.Header.MemberId
		}
		return err
	})
	return id
}

// steadyPorts finds loopback addresses below the range from which the kernel takes ports for outgoing connections: a
// member that is down must find its ports free when it comes back.
func steadyPorts(t testing.TB, n int) (addresses []string) {
	t.Helper()
	first := 32768
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if low, err := strconv.Atoi(strings.Fields(string(text))[0]); err == nil && low > 20000 {
			first = low
		}
	}
	for tries := 0; len(addresses) < n; tries++ {
		if tries > 1000 {
			t.Fatal("no free ports")
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(first-10000)))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}
