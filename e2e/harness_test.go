package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// binary is the server under test, built once from the checkout, or the one that TRIGLOT_BINARY names.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	redis.SetLogger(quietRedis{})
	if binary = os.Getenv("TRIGLOT_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "triglot-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "triglot")
	build := exec.Command("go", "build", "-o", binary, "./cmd/triglot")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// patience bounds every wait for an event: longer than anything takes that works at all.
const patience = 60 * time.Second

// server is a running triglot process on ports and in a directory of its own.
type server struct {
	t    testing.TB
	dir  string
	args []string

	resp, etcd, zk, shared, metrics string // addresses

	mu     sync.Mutex // guards output
	output bytes.Buffer
	file   *os.File // where the output goes instead, if it is not nil

	process *exec.Cmd
	exited  chan struct{} // closed when the process has ended
	exit    error
}

// startServer runs a server and stops it with the test. Extra arguments follow those that name ports and directory.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	ports := freePorts(t, 6)
	s := &server{
		t: t, dir: t.TempDir(), args: args,
		resp: ports[0], etcd: ports[1], zk: ports[2], shared: ports[3], metrics: ports[4],
	}
	s.args = append([]string{
		"serve", "--data-dir", filepath.Join(s.dir, "data"), "--listen-resp", s.resp, "--listen-etcd", s.etcd,
		"--listen-zk", s.zk, "--listen", s.shared, "--listen-metrics", s.metrics, "--listen-peer", ports[5],
	}, args...)
	s.start()
	t.Cleanup(s.stop)
	return s
}

// start runs the process and returns when it serves.
func (s *server) start() {
	s.t.Helper()
	s.spawn()
	s.awaitPing()
}

// spawn runs the process.
func (s *server) spawn() {
	s.t.Helper()
	s.process = exec.Command(binary, s.args...)
	s.process.Stdout, s.process.Stderr = s, s
	if s.file != nil {
		s.process.Stdout, s.process.Stderr = s.file, s.file
	}
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(process *exec.Cmd) {
		s.exit = process.Wait()
		close(exited)
	}(s.process)
}

// awaitPing returns when the process answers.
func (s *server) awaitPing() {
	s.t.Helper()
	exited := s.exited
	deadline := time.Now().Add(patience)
	for {
		conn, err := net.DialTimeout("tcp", s.resp, time.Second)
		if err == nil {
			_, err = conn.Write([]byte("PING\r\n"))
			reply := make([]byte, 7)
			if err == nil {
				_ = conn.SetReadDeadline(deadline)
				_, err = conn.Read(reply)
			}
			conn.Close()
			if err == nil {
				return
			}
		}
		select {
		case <-exited:
			s.t.Fatalf("the server ended while starting: %v\n%s", s.exit, s.log())
		case <-time.After(5 * time.Millisecond): // nothing tells when a port opens
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server did not start\n%s", s.log())
		}
	}
}

// kill ends the process at once, as kill -9 does.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	<-s.exited
}

// stop ends the process in an orderly way.
func (s *server) stop() {
	select {
	case <-s.exited:
		return
	default:
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		if s.exit != nil {
			s.t.Errorf("the server ended with %v\n%s", s.exit, s.log())
		}
	case <-time.After(patience):
		s.t.Errorf("the server did not end after SIGTERM\n%s", s.log())
		s.kill()
	}
}

// Write takes the process's output.
func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.Write(p)
}

// log is what the process said. Of a long log in a file it is the end.
func (s *server) log() string {
	if s.file != nil {
		return logEnd(s.file.Name())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output.String()
}

// portsGiven are those that freePorts has given out: most are listened on only later, or not at the moment.
var portsGiven sync.Map

// freePorts finds loopback addresses that nobody listens on, below the range from which the kernel takes ports for
// outgoing connections: a server that is down must find its ports free when it comes back.
func freePorts(t testing.TB, n int) (addresses []string) {
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
		if _, given := portsGiven.LoadOrStore(address, true); given {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer listener.Close()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

// etcdClient connects with the etcd project's own client.
func etcdClient(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// redisClient connects with go-redis.
func redisClient(t testing.TB, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: address, MaxRetries: -1, ReadTimeout: patience})
	t.Cleanup(func() { c.Close() })
	return c
}

type quietLogger struct{}

func (quietLogger) Printf(string, ...any) {}

// quietRedis keeps go-redis from telling of each connection that a member which is down refuses.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

// zkClient connects with go-zookeeper and returns once the session is there.
func zkClient(t testing.TB, address string) *zk.Conn {
	t.Helper()
	c, _ := zkSession(t, address, 10*time.Second)
	return c
}

func zkSession(t testing.TB, address string, timeout time.Duration) (*zk.Conn, <-chan zk.Event) {
	t.Helper()
	c, events, err := zk.Connect([]string{address}, timeout, zk.WithLogger(quietLogger{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for {
		select {
		case event := <-events:
			if event.State == zk.StateHasSession {
				return c, events
			}
		case <-time.After(patience):
			t.Fatal("no ZooKeeper session")
		}
	}
}

// open is the ACL of every node here.
var open = zk.WorldACL(zk.PermAll)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// must takes the value of a call that has to succeed.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// await receives one value.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatalf("%s: the channel closed", what)
		}
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

// lookPath finds a program of a peer. Without it the test is skipped, unless the environment says that it must run.
func lookPath(t testing.TB, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	text := fmt.Sprintf("%s is not installed: this comparison is not made", strings.Join(names, " or "))
	if os.Getenv("TRIGLOT_REAL_CLIENTS") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
	panic("unreachable")
}
