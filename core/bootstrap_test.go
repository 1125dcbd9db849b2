package core

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/raftlog/memnet"
)

func newDisks() (*vfs.MemFS, *logDisk) { return vfs.NewCrashableMem(), &logDisk{} }

// wantRefusal expects that a node does not start, and that the reason says what to look for.
func (c *testCluster) wantRefusal(i int, words ...string) {
	c.t.Helper()
	err := c.open(i)
	if err == nil {
		c.stop(i)
		c.t.Errorf("member %d started", i)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			c.t.Errorf("%q does not say %q", err, word)
		}
	}
}

func TestIdsOfAStaticClusterAreEtcds(t *testing.T) {
	// What every etcd that was started without flags says of itself.
	lone, id := staticCluster([]Member{{Name: "default", PeerURLs: []string{"http://localhost:2380"}}}, "etcd-cluster")
	if lone[0].ID != 0x8e9e05c52164694d || id != 0xcdf818194e3a8c32 {
		t.Errorf("member %x of cluster %x", lone[0].ID, id)
	}
	members, cluster := staticCluster([]Member{
		{Name: "b", PeerURLs: []string{"http://127.0.0.1:2", "http://127.0.0.1:1"}}, {Name: "a", PeerURLs: []string{"http://127.0.0.1:3"}},
	}, "token")
	again, same := staticCluster([]Member{
		{Name: "a", PeerURLs: []string{"http://127.0.0.1:3"}}, {Name: "b", PeerURLs: []string{"http://127.0.0.1:1", "http://127.0.0.1:2"}},
	}, "token")
	if cluster != same || members[0].ID != again[0].ID || members[1].ID != again[1].ID || members[0].ID >= members[1].ID {
		t.Errorf("the order of the list matters: %x %+v, %x %+v", cluster, members, same, again)
	}
	if _, other := staticCluster(members, "another token"); other == cluster {
		t.Error("the token does not matter")
	}
	if got := memberID([]string{"http://127.0.0.1:3"}, "token", 0); !slices.ContainsFunc(members, func(m Member) bool { return m.ID == got }) {
		t.Errorf("%x is nobody's id", got)
	}
	if memberID([]string{"http://127.0.0.1:3"}, "token", 1) == memberID([]string{"http://127.0.0.1:3"}, "token", 2) {
		t.Error("the time does not matter")
	}
}

func TestADataDirectoryIsUsedByItsMemberOnly(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "v"))
		c.stop(0)
		n := c.nodes[0]
		right := n.cfg
		n.cfg.Name = "another"
		c.wantRefusal(0, `"n0"`, `"another"`)
		n.cfg = right
		n.cfg.ClusterToken = "another"
		c.wantRefusal(0, "token", `"secret"`, `"another"`)
		n.cfg = right
		// Once something is stored the list has no meaning any more, as in etcd.
		n.cfg.InitialCluster = []Member{{Name: "n0", PeerURLs: []string{"http://x:1"}}}
		c.start(0)
		if got := c.get(0, "k", Linearizable); got != "v" {
			t.Errorf("it has %q", got)
		}
		c.stop(0)
		n.cfg = right
		if err := n.fs.Remove("data/member.json"); err != nil {
			t.Fatal(err)
		}
		c.wantRefusal(0, "member.json")
	}, func(cfg *Config) { cfg.ClusterToken = "secret" })
}

func TestListsThatMakeNoClusterAreRefused(t *testing.T) {
	at := func(name string, urls ...string) Member { return Member{Name: name, PeerURLs: urls} }
	for _, refused := range []struct {
		list []Member
		says string
	}{
		{[]Member{at("n1", memberURL(1)), at("n2", memberURL(2))}, "does not name this member"},
		{[]Member{at("n0", memberURL(0)), at("n0", memberURL(2))}, "twice"},
		{[]Member{at("n0", memberURL(0)), at("", memberURL(2))}, "without a name"},
		{[]Member{at("n0", memberURL(0)), at("n1", memberURL(0))}, "both"},
		{[]Member{at("n0", memberURL(0)), at("n1")}, "not valid"},
		{[]Member{at("n0", memberURL(0)), at("n1", "n1:1")}, "http://host:port"},
		{[]Member{at("n0", memberURL(5)), at("n1", memberURL(1))}, "advertises"},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := &testCluster{t: t, net: memnet.New()}
			c.prepare().cfg.InitialCluster = refused.list
			c.wantRefusal(0, refused.says)
		})
	}
}

// A crash right after the directory was made: the next start has to be the same one.
func TestAMemberThatHasStoredNothingStartsAsBefore(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		id := c.nodes[0].MemberID()
		c.stop(c.places()...)
		n := c.nodes[0]
		text, err := readFile(n.fs, "data/member.json")
		if err != nil {
			t.Fatal(err)
		}
		n.fs, n.disk = newDisks()
		if err := n.fs.MkdirAll("data", 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := n.fs.Create("data/member.json", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Write(text)
		f.Close()
		right := n.cfg
		n.cfg.InitialCluster = right.InitialCluster[:2]
		c.wantRefusal(0, "n2=http://n2:1", "remove the directory")
		n.cfg = right
		c.start(c.places()...)
		if n.MemberID() != id {
			t.Error("it is another member")
		}
	})
}

// A member that lost its data has lost what it promised. It must not vote again as if it were new.
func TestAFirstMemberWithoutItsDataIsRefused(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.await("published", func() bool {
			for _, m := range c.nodes[1].Members() {
				if !m.Started() {
					return false
				}
			}
			return true
		})
		c.stop(0)
		n := c.nodes[0]
		n.fs, n.disk = newDisks()
		c.wantRefusal(0, "started before", "triglot member add n0")
		n.cfg.Join = true
		c.wantRefusal(0, "started before", "triglot member add n0")
	})
}

func TestAMemberOfAnotherClusterIsRefused(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.stop(0)
		n := c.nodes[0]
		n.fs, n.disk = newDisks()
		n.cfg.ClusterToken = "another"
		c.wantRefusal(0, "another cluster", "token")
		n.cfg.ClusterToken = ""
		n.cfg.InitialCluster = n.cfg.InitialCluster[:2]
		c.wantRefusal(0, "another cluster", "list of members")
	})
}

func TestAFirstMemberMayWaitForAnotherClusterToGo(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		// One after the other the members are started anew, with another token, at their addresses.
		var opening sync.WaitGroup
		errs := make([]error, len(c.nodes))
		for i, n := range c.nodes {
			old := n.ClusterID()
			c.stop(i)
			n.fs, n.disk = newDisks()
			n.cfg.ClusterToken, n.cfg.AwaitOthers = "another", true
			opening.Go(func() { errs[i] = c.open(i) })
			if i == len(c.nodes)-1 {
				opening.Wait()
				if n.Store == nil || n.ClusterID() == old {
					t.Errorf("the new cluster has the old one's id")
				}
			}
		}
		for i, err := range errs {
			if err != nil {
				t.Errorf("member %d: %v", i, err)
			}
		}
	})
}

func TestJoiningIsRefusedUnlessTheMemberWasAdded(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		fresh := c.joining()
		n := c.nodes[fresh]
		c.wantRefusal(fresh, "has not been added", "triglot member add n3 --peer-urls http://n3:1")
		c.add(0, fresh, true)
		right := n.cfg
		n.cfg.InitialCluster = right.InitialCluster[1:]
		c.wantRefusal(fresh, "is not the cluster", "n1=http://n1:1", "n0=http://n0:1")
		n.cfg.InitialCluster = right.InitialCluster[3:]
		c.wantRefusal(fresh, "address of another member")
		n.cfg.InitialCluster = nil
		c.wantRefusal(fresh, "list of its members")
		n.cfg = right
		n.cfg.InitialCluster = append([]Member{{Name: "nobody", PeerURLs: []string{"http://nobody:1"}}}, right.InitialCluster[3])
		c.wantRefusal(fresh, "no member of the initial cluster answers", "http://nobody:1")
		n.cfg = right
		c.start(fresh)
		c.checkReplicas()
	})
}
