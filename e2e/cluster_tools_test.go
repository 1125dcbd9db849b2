package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The peers' own programs, and ours, on a cluster.

// etcdctl asks one member with etcd's own program.
func (m *member) etcdctl(t *testing.T, args ...string) string {
	t.Helper()
	program := lookPath(t, "etcdctl")
	return strings.TrimRight(tool(t, program, append([]string{"--endpoints", m.etcd, "--command-timeout", "20s"}, args...)...), "\n")
}

// triglot runs our own program against a member.
func (m *member) triglot(t *testing.T, args ...string) string {
	t.Helper()
	return tool(t, binary, append(args, "--endpoints", m.etcd)...)
}

func TestEtcdctlRunsACluster(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	follower := c.followers(leader)[0]

	// Members serve before all have told the others where their clients find them.
	eventually(t, "etcdctl member list", func() error {
		list := follower.etcdctl(t, "member", "list")
		if n := strings.Count(list, ", started, "); n != 3 {
			return fmt.Errorf("it shows %d members that are started:\n%s", n, list)
		}
		for _, m := range c.all() {
			if !strings.Contains(list, m.name+", http://"+m.front+", http://"+m.etcd) {
				return fmt.Errorf("it does not show %s at %s and %s:\n%s", m.name, m.front, m.etcd, list)
			}
		}
		return nil
	})
	status := follower.etcdctl(t, "endpoint", "status", "--cluster", "-w", "fields")
	if n := strings.Count(status, `"Endpoint"`); n != 3 {
		t.Errorf("endpoint status --cluster shows %d members:\n%s", n, status)
	}
	if n := strings.Count(status, fmt.Sprintf(`"Leader" : %d`, leader.id(t))); n != 3 {
		t.Errorf("%d members say that %d leads:\n%s", n, leader.id(t), status)
	}
	health := follower.etcdctl(t, "endpoint", "health", "--cluster")
	if n := strings.Count(health, "is healthy"); n != 3 && health != "" { // this version writes to standard error
		t.Errorf("endpoint health --cluster:\n%s", health)
	}
	expect(t, "alarm list", follower.etcdctl(t, "alarm", "list"), "")

	to := fmt.Sprintf("%x", follower.id(t))
	if said := leader.etcdctl(t, "move-leader", to); !strings.Contains(said, "Leadership transferred") {
		t.Errorf("move-leader: %s", said)
	}
	if now := c.awaitLeader(); now != follower {
		t.Errorf("%s leads after it was moved to %s", now.name, follower.name)
	}

	// A learner comes, gets a vote, and goes.
	place := len(c.all())
	m := c.newMember(place, freePorts(t, 5))
	said := leader.etcdctl(t, "member", "add", m.name, "--learner", "--peer-urls", "http://"+m.front)
	id := regexp.MustCompile(`Member\s+([0-9a-f]+) added`).FindStringSubmatch(said)
	if id == nil {
		t.Fatalf("member add: %s", said)
	}
	c.setMembers(append(c.all(), m))
	c.tellCluster(m, c.initialCluster(), "existing")
	c.start(m)
	eventually(t, "promoting the learner", func() error {
		if s, err := m.status(); err != nil || s.IsLearner {
			for _, other := range c.all()[:place] {
				promoteOnce(other, m)
			}
			return fmt.Errorf("it is a learner: %v", err)
		}
		return nil
	})
	if list := m.etcdctl(t, "member", "list"); strings.Count(list, ", started, ") != 4 || strings.Contains(list, "true") {
		t.Errorf("after the promotion:\n%s", list)
	}
	if said := leader.etcdctl(t, "member", "remove", id[1]); !strings.Contains(said, "removed from cluster") {
		t.Errorf("member remove: %s", said)
	}
	c.awaitEnd(m)
	c.setMembers(c.all()[:place])
	if list := leader.etcdctl(t, "member", "list"); strings.Count(list, ", started, ") != 3 {
		t.Errorf("after the removal:\n%s", list)
	}

	leader.etcdctl(t, "put", "/k", "v")
	path := filepath.Join(t.TempDir(), "snapshot")
	leader.etcdctl(t, "snapshot", "save", path)
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the snapshot: %v, %v", info, err)
	}
}

// promoteOnce tries to give a member its vote. Whether it did shows in the member's status.
func promoteOnce(at, m *member) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	if s, err := m.status(); err == nil {
		_, _ = pb.NewClusterClient(at.admin).MemberPromote(ctx, &pb.MemberPromoteRequest{ID: s.Header.MemberId})
	}
}

func TestRedisCliSeesTheRoles(t *testing.T) {
	c := startCluster(t, 3)
	program := lookPath(t, "redis-cli")
	leader := c.awaitLeader()
	ask := func(m *member, args ...string) string {
		host, port, _ := net.SplitHostPort(m.resp)
		return tool(t, program, append([]string{"-h", host, "-p", port}, args...)...)
	}
	if role := ask(leader, "role"); !strings.HasPrefix(role, "master\n") {
		t.Errorf("the leader's ROLE is %q", role)
	}
	if info := ask(leader, "info", "replication"); !strings.Contains(info, "role:master") || !strings.Contains(info, "connected_slaves:2") {
		t.Errorf("the leader's INFO replication is\n%s", info)
	}
	for _, m := range c.followers(leader) {
		if role := ask(m, "role"); !strings.HasPrefix(role, "slave\n") {
			t.Errorf("a follower's ROLE is %q", role)
		}
		if info := ask(m, "info", "replication"); !strings.Contains(info, "role:slave") || !strings.Contains(info, "master_link_status:up") {
			t.Errorf("a follower's INFO replication is\n%s", info)
		}
		expect(t, "SET at a follower", strings.TrimSpace(ask(m, "set", "k", m.name)), "OK")
		expect(t, "GET at the leader", strings.TrimSpace(ask(leader, "get", "k")), m.name)
	}
}

func TestZooKeepersWordsTellTheRoles(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	for _, m := range c.all() {
		want := "follower"
		if m == leader {
			want = "leader"
		}
		if said := fourLetters(t, m.zk, "srvr"); !strings.Contains(said, "Mode: "+want) {
			t.Errorf("srvr at a %s:\n%s", want, said)
		}
		if said := fourLetters(t, m.zk, "mntr"); !strings.Contains(said, "zk_server_state\t"+want) {
			t.Errorf("mntr at a %s:\n%s", want, said)
		}
	}
	// A majority is enough to serve: one follower may still have to answer the leader for the first time.
	eventually(t, "mntr at the leader", func() error {
		if said := fourLetters(t, leader.zk, "mntr"); !regexp.MustCompile(`zk_synced_followers\t2(\.0)?\b`).MatchString(said) {
			return errors.New(said)
		}
		return nil
	})
	zkCli := lookPath(t, "zkCli.sh", "/usr/share/zookeeper/bin/zkCli.sh")
	var servers []string
	for _, m := range c.all() {
		servers = append(servers, m.zk)
	}
	tool(t, zkCli, "-server", strings.Join(servers, ","), "create", "/by-zkcli", "v")
	out, _, err := newEtcdKeys(t, leader.etcd).do("/by-zkcli", read)
	if err != nil || out.after.value != "v" {
		t.Errorf("after zkCli's create: %v, %v", out, err)
	}
}

func TestTriglotStatusShowsTheWholeCluster(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	for _, m := range c.all() {
		said := m.triglot(t, "status")
		for _, other := range c.all() {
			role := "follower"
			if other == leader {
				role = "leader"
			}
			if !regexp.MustCompile(`(?m)^` + other.name + `\b.*\b` + role + `\b`).MatchString(said) {
				t.Errorf("status at %s does not show %s as %s:\n%s", m.name, other.name, role, said)
			}
		}
	}
	// One that is down is shown too, and the command says with its exit status that not all is well.
	down := c.followers(leader)[0]
	c.kill(down)
	said, err := exec.Command(binary, "status", "--endpoints", leader.etcd).CombinedOutput()
	if err == nil || !regexp.MustCompile(`(?m)^`+down.name+`\b.*unreachable`).Match(said) {
		t.Errorf("status with a member that is down: %v\n%s", err, said)
	}
}
