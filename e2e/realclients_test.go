package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// tool runs a client program of a peer and gives what it prints on standard output.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// tools are the peers' own command-line clients, on one server.
type tools struct {
	t                     *testing.T
	s                     *server
	redis, etcdctl, zkCli string
}

func startTools(t *testing.T) tools {
	redis := lookPath(t, "redis-cli")
	etcdctl := lookPath(t, "etcdctl")
	zkCli := lookPath(t, "zkCli.sh", "/usr/share/zookeeper/bin/zkCli.sh")
	return tools{t, startServer(t), redis, etcdctl, zkCli}
}

func (c tools) Redis(args ...string) string {
	c.t.Helper()
	host, port, _ := net.SplitHostPort(c.s.resp)
	return strings.TrimRight(tool(c.t, c.redis, append([]string{"-h", host, "-p", port}, args...)...), "\n")
}

func (c tools) Etcd(args ...string) string {
	c.t.Helper()
	return strings.TrimRight(tool(c.t, c.etcdctl, append([]string{"--endpoints", c.s.etcd}, args...)...), "\n")
}

// connectionNews is what zkCli's other thread prints when the connection is up, at times in the middle of an answer.
var connectionNews = regexp.MustCompile(`\n?(WATCHER::|WatchedEvent [^\n]*)\n`)

// ZooKeeper gives the last line that the client prints as an answer. Lines of its log come before it.
func (c tools) ZooKeeper(args ...string) string {
	c.t.Helper()
	answer := ""
	text := tool(c.t, c.zkCli, append([]string{"-server", c.s.zk}, args...)...)
	for line := range strings.Lines(connectionNews.ReplaceAllString(text, "")) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			answer = line
		}
	}
	return answer
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s gave %q, want %q", what, got, want)
	}
}

func TestTheProgramsOfThePeersShareOneKey(t *testing.T) {
	c := startTools(t)

	expect(t, "redis-cli set", c.Redis("set", "/app", "from redis"), "OK")
	expect(t, "etcdctl get", c.Etcd("get", "/app", "--print-value-only"), "from redis")
	expect(t, "zkCli get", c.ZooKeeper("get", "/app"), "from redis")

	expect(t, "etcdctl put", c.Etcd("put", "/app", "from etcd"), "OK")
	expect(t, "redis-cli get", c.Redis("get", "/app"), "from etcd")
	expect(t, "zkCli get", c.ZooKeeper("get", "/app"), "from etcd")

	c.ZooKeeper("set", "/app", "from-zookeeper")
	expect(t, "redis-cli get", c.Redis("get", "/app"), "from-zookeeper")
	expect(t, "etcdctl get", c.Etcd("get", "/app", "--print-value-only"), "from-zookeeper")

	c.ZooKeeper("create", "/app/child", "x")
	expect(t, "zkCli ls", c.ZooKeeper("ls", "/app"), "[child]")
	expect(t, "etcdctl get --prefix", c.Etcd("get", "/app", "--prefix", "--keys-only", "--limit", "2"), "/app\n\n/app/child")
	expect(t, "redis-cli keys", c.Redis("keys", "/app/*"), "/app/child")
	expect(t, "etcdctl del", c.Etcd("del", "--prefix", "/app"), "2")
	expect(t, "redis-cli exists", c.Redis("exists", "/app", "/app/child"), "0")
}

func TestRedisCliFeelsAtHome(t *testing.T) {
	c := startTools(t)
	expect(t, "ping", c.Redis("ping"), "PONG")
	expect(t, "hello 3", strings.Split(c.Redis("-3", "hello", "3"), "\n")[0], `server redis`)
	if docs := c.Redis("command", "docs", "set"); !strings.Contains(docs, "summary") {
		t.Errorf("command docs set: %q", docs)
	}
	expect(t, "unknown command", c.Redis("nonsense", "a"), "ERR unknown command 'nonsense', with args beginning with: 'a' ")
	expect(t, "scan", c.Redis("--scan", "--pattern", "*"), "")
	if info := c.Redis("info", "server"); !strings.Contains(info, "redis_version:") {
		t.Errorf("info server: %q", info)
	}
	c.Redis("rpush", "l", "1", "2", "3")
	expect(t, "lrange", c.Redis("lrange", "l", "0", "-1"), "1\n2\n3")
}

func TestEtcdctlFeelsAtHome(t *testing.T) {
	c := startTools(t)
	if health := c.Etcd("endpoint", "status"); !strings.Contains(health, "3.7.3") {
		t.Errorf("endpoint status: %q", health)
	}
	if members := c.Etcd("member", "list"); !strings.Contains(members, "started") {
		t.Errorf("member list: %q", members)
	}
	lease := strings.Fields(c.Etcd("lease", "grant", "100"))[1]
	c.Etcd("put", "--lease", lease, "leased", "v")
	if ttl := c.Etcd("lease", "timetolive", lease, "--keys"); !strings.Contains(ttl, "leased") {
		t.Errorf("lease timetolive: %q", ttl)
	}
	c.Etcd("lease", "revoke", lease)
	expect(t, "get", c.Etcd("get", "leased"), "")
	c.Etcd("put", "k", "1")
	c.Etcd("put", "k", "2")
	expect(t, "get --rev", c.Etcd("get", "k", "--rev", "4", "--print-value-only"), "1")
	if compacted := c.Etcd("compact", "5"); !strings.Contains(compacted, "5") {
		t.Errorf("compact: %q", compacted)
	}
}

func TestZkCliFeelsAtHome(t *testing.T) {
	c := startTools(t)
	expect(t, "ls", c.ZooKeeper("ls", "/"), "[zookeeper]")
	c.ZooKeeper("create", "-s", "/seq-", "v")
	expect(t, "ls", c.ZooKeeper("ls", "/"), "[seq-0000000000, zookeeper]")
	if stat := c.ZooKeeper("stat", "/seq-0000000000"); !strings.Contains(stat, "numChildren = 0") {
		t.Errorf("stat: %q", stat)
	}
	c.ZooKeeper("deleteall", "/seq-0000000000")
	expect(t, "ls", c.ZooKeeper("ls", "/"), "[zookeeper]")
}
