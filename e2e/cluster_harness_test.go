package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
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

	lastWords func() string // of a test that failed, to be read below all logs
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
		c.members = append(c.members, c.newMember(place, freePorts(t, 5)))
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
	m := &member{name: fmt.Sprintf("m%d", c.born), place: place, peer: freePorts(c.t, 1)[0]}
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
	if c.lastWords != nil {
		c.t.Logf("%s", c.lastWords())
	}
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
