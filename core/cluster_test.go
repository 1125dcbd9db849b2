package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/memnet"
)

// testCluster is a cluster of stores in one process and in fake time: the network, the filesystems and the logs' disks are
// memory. What is read of the clock is exact, but for the chance in raft's elections.
type testCluster struct {
	t     *testing.T
	net   *memnet.Network
	nodes []*clusterNode
}

type clusterNode struct {
	*Store // nil while it is down
	calls  *lossyCalls
	cfg    Config
	fs     *vfs.MemFS
	disk   *logDisk
}

// inCluster runs a test with a cluster of so many members.
func inCluster(t *testing.T, members int, run func(t *testing.T, c *testCluster), change ...func(*Config)) {
	inStoppedCluster(t, members, func(t *testing.T, c *testCluster) {
		c.start(c.places()...)
		run(t, c)
	}, change...)
}

// inStoppedCluster does so with members that have never been started.
func inStoppedCluster(t *testing.T, members int, run func(t *testing.T, c *testCluster), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		c := &testCluster{t: t, net: memnet.New()}
		var list []Member
		for i := range members {
			list = append(list, Member{Name: memberName(i), PeerURLs: []string{memberURL(i)}})
		}
		for range members {
			n := c.prepare()
			n.cfg.InitialCluster = list
			for _, f := range change {
				f(&n.cfg)
			}
		}
		defer func() {
			for i := range c.nodes {
				c.stop(i)
			}
		}()
		run(t, c)
	})
}

func memberName(i int) string { return fmt.Sprintf("n%d", i) }
func memberURL(i int) string  { return fmt.Sprintf("http://n%d:1", i) }

func (c *testCluster) places() (all []int) {
	for i := range c.nodes {
		all = append(all, i)
	}
	return all
}

// prepare makes the next node, which is not started yet.
func (c *testCluster) prepare() *clusterNode {
	i := len(c.nodes)
	n := &clusterNode{fs: vfs.NewCrashableMem(), disk: &logDisk{}}
	logs := io.Discard
	if os.Getenv("TRIGLOT_TEST_LOG") != "" {
		logs = os.Stderr
	}
	n.cfg = Config{
		Dir: "data", Name: memberName(i), PeerURLs: []string{memberURL(i)},
		Published: Member{ClientURLs: []string{fmt.Sprintf("http://n%d:2", i)}, Version: "1.2.3", Listeners: map[string]string{
			"resp": "a:1", "etcd": "b:2", "zk": "c:3",
		}},
		HistoryAge: -1, HistoryBytes: -1,
		Logger: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelInfo})).With("member", i),
	}
	c.nodes = append(c.nodes, n)
	return n
}

// open starts a node and waits until it is ready, but not for ever.
func (c *testCluster) open(i int) error {
	n := c.nodes[i]
	cfg := n.cfg
	if cfg.Interrupt == nil {
		late := make(chan struct{})
		defer time.AfterFunc(2*time.Minute, func() { close(late) }).Stop()
		cfg.Interrupt = late
	}
	n.calls = &lossyCalls{Transport: c.net.Transport(memberURL(i))}
	cfg.FS, cfg.OpenLog, cfg.Transport = n.fs, n.disk.open, n.calls
	s, err := Open(cfg)
	if err == nil {
		n.Store = s
	}
	return err
}

// lossyCalls is a transport that loses the answers of a member.
type lossyCalls struct {
	*memnet.Transport
	lost atomic.Uint64
}

func (l *lossyCalls) Call(ctx context.Context, id uint64, request []byte) ([]byte, error) {
	answer, err := l.Transport.Call(ctx, id, request)
	if id == l.lost.Load() {
		return nil, raftlog.ErrUnreachable
	}
	return answer, err
}

func (n *clusterNode) loseAnswers(of uint64) { n.calls.lost.Store(of) }

// start opens nodes together: each waits for a quorum.
func (c *testCluster) start(which ...int) {
	c.t.Helper()
	errs := make([]error, len(c.nodes))
	var opening sync.WaitGroup
	for _, i := range which {
		opening.Go(func() { errs[i] = c.open(i) })
	}
	opening.Wait()
	for i, err := range errs {
		if err != nil {
			c.t.Fatalf("member %d: %v", i, err)
		}
	}
}

func (c *testCluster) stop(which ...int) {
	c.t.Helper()
	for _, i := range which {
		if s := c.nodes[i].Store; s != nil {
			if err := s.Close(); err != nil && !errors.Is(err, ErrRemoved) {
				c.t.Errorf("member %d: %v", i, err)
			}
			c.nodes[i].Store = nil
		}
	}
}

// crash takes a node away with what it had not synced.
func (c *testCluster) crash(i int) {
	c.t.Helper()
	n := c.nodes[i]
	n.disk.marking.Lock()
	fs, disk := n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, uint64(i)))}), n.disk.crash()
	n.disk.marking.Unlock()
	c.cut(i)
	c.stop(i)
	n.fs, n.disk = fs, disk
}

// cut cuts nodes off from the others, but not from each other.
func (c *testCluster) cut(which ...int) {
	cut := map[int]bool{}
	for _, i := range which {
		cut[i] = true
	}
	for _, i := range which {
		for other := range c.nodes {
			if !cut[other] {
				c.net.Isolate(memberURL(i), memberURL(other))
			}
		}
	}
}

// await waits, in fake time, until something holds.
func (c *testCluster) await(what string, holds func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not within a minute", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// leader waits until the nodes that are up, or those given, follow one of them that has begun its duties.
func (c *testCluster) leader(among ...int) int {
	c.t.Helper()
	if len(among) == 0 {
		among = c.places()
	}
	found := -1
	c.await("a leader", func() bool {
		found = -1
		var id uint64
		for _, i := range among {
			if n := c.nodes[i]; n.Store != nil && n.leadership.leadsIn() != 0 {
				found, id = i, n.MemberID()
			}
		}
		for _, i := range among {
			if n := c.nodes[i]; n.Store != nil {
				if seen, _ := n.LeaderWatch(); seen != id || id == 0 {
					return false
				}
			}
		}
		return true
	})
	return found
}

// follower gives a node that is up and does not lead.
func (c *testCluster) follower() int {
	leader := c.leader()
	for i, n := range c.nodes {
		if n.Store != nil && i != leader {
			return i
		}
	}
	c.t.Fatal("no follower")
	return 0
}

// others are the nodes but one.
func (c *testCluster) others(than int) (all []int) {
	for i := range c.nodes {
		if i != than {
			all = append(all, i)
		}
	}
	return all
}

func (c *testCluster) do(i int, op *corepb.Op) Result {
	c.t.Helper()
	result, err := c.nodes[i].Do(context.Background(), oneOp(op))
	if err == nil {
		err = result.Err
	}
	if err != nil {
		c.t.Fatalf("member %d: %v: %v", i, op, err)
	}
	return result.Results[0]
}

func (c *testCluster) get(i int, key string, level ReadLevel) string {
	c.t.Helper()
	view, err := c.nodes[i].View(context.Background(), level)
	if err != nil {
		c.t.Fatalf("member %d: %v", i, err)
	}
	defer view.Close()
	if rec := view.Get(0, []byte(key)); rec != nil {
		return string(rec.Value)
	}
	return ""
}

// settled waits until all nodes that are up have applied the same, and compares every byte.
func (c *testCluster) checkReplicas() {
	c.t.Helper()
	var up []*clusterNode
	for _, n := range c.nodes {
		if n.Store != nil {
			up = append(up, n)
		}
	}
	c.await("equal replicas", func() bool {
		synctest.Wait()
		for _, n := range up {
			if n.Status().AppliedIndex != up[0].Status().RaftIndex {
				return false
			}
		}
		return true
	})
	first := dump(c.t, up[0].db)
	for _, n := range up[1:] {
		if other := dump(c.t, n.db); other != first {
			c.t.Errorf("%s and %s differ:\n%s", up[0].cfg.Name, n.cfg.Name, difference(first, other))
		}
	}
}

func wantCode(t *testing.T, err error, code Code) {
	t.Helper()
	if !errors.Is(err, &Error{Code: code}) {
		t.Errorf("the error is %v, want %q", err, codeTexts[code])
	}
}

func TestEveryNodeTakesWritesAndReads(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for i := range c.nodes {
			c.do(i, putOp("k", fmt.Sprint(i)))
			for j := range c.nodes {
				if got := c.get(j, "k", Linearizable); got != fmt.Sprint(i) {
					t.Errorf("member %d reads %q after member %d wrote %d", j, got, i, i)
				}
			}
		}
		c.checkReplicas()
	})
}

func TestEveryNodeKnowsTheMembersAndWhatTheyServe(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.await("all published", func() bool {
			for _, n := range c.nodes {
				for _, m := range n.Members() {
					if !m.Started() {
						return false
					}
				}
			}
			return true
		})
		for _, n := range c.nodes {
			members := n.Members()
			if len(members) != 3 {
				t.Fatalf("%d members", len(members))
			}
			for i, m := range c.nodes[0].Members() {
				if !sameMember(&m, &members[i]) || m.ID != members[i].ID {
					t.Errorf("%+v and %+v", m, members[i])
				}
			}
			self := n.Self()
			if self.Name != n.cfg.Name || self.Version != "1.2.3" || self.Listeners["zk"] != "c:3" || self.Learner || self.ID != n.MemberID() {
				t.Errorf("%s is known as %+v", n.cfg.Name, self)
			}
			if n.ClusterID() != c.nodes[0].ClusterID() {
				t.Error("the nodes are of different clusters")
			}
		}
		c.checkReplicas()
	})
}

func TestAMemberThatServesOtherAddressesSaysSoAtItsNextStart(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.stop(1)
		c.nodes[1].cfg.Published.ClientURLs = []string{"http://elsewhere:2"}
		c.start(1)
		c.await("published again", func() bool {
			for _, n := range c.nodes {
				if m, _ := n.Member(c.nodes[1].MemberID()); len(m.ClientURLs) != 1 || m.ClientURLs[0] != "http://elsewhere:2" {
					return false
				}
			}
			return true
		})
	})
}

func TestTheLogGoesOnWithoutOneMember(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for round := range 4 {
			leader := c.leader()
			c.do(leader, putOp("k", fmt.Sprint(round)))
			c.crash(leader)
			c.leader()
			for _, i := range c.others(leader) {
				if got := c.get(i, "k", Linearizable); got != fmt.Sprint(round) {
					t.Errorf("round %d: member %d reads %q", round, i, got)
				}
			}
			c.net.Heal()
			c.start(leader)
			if got := c.get(leader, "k", Local); got != fmt.Sprint(round) {
				t.Errorf("round %d: a member that is ready reads %q", round, got)
			}
		}
		c.checkReplicas()
	})
}

func TestCloseHandsTheLeadershipOver(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		begun := time.Now()
		c.stop(leader)
		c.leader()
		if took := time.Since(begun); took > 700*time.Millisecond {
			t.Errorf("there was no leader for %v: less than an election takes was to be expected", took)
		}
	})
}

func TestTheClusterTellsHowEveryMemberIs(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		down := c.follower()
		c.stop(down)
		asking := c.follower()
		c.do(asking, putOp("k", "v"))
		c.checkReplicas()
		all := c.nodes[asking].Cluster(context.Background())
		if len(all) != 3 {
			t.Fatalf("%d members", len(all))
		}
		for _, m := range all {
			switch m.Name {
			case memberName(down):
				if m.Reachable || m.Err == nil {
					t.Errorf("the member that is down: %+v", m)
				}
			case memberName(leader):
				if !m.Reachable || !m.IsLeader || m.Status.Role != RoleLeader || m.Status.Revision != 2 {
					t.Errorf("the leader: %+v", m)
				}
			default:
				if !m.Reachable || m.IsLeader || m.Status.Role != RoleFollower || m.Status.Term != c.nodes[leader].Term() || m.Status.Version != "1.2.3" {
					t.Errorf("the follower: %+v", m)
				}
			}
		}
		status := c.nodes[leader].Status()
		if status.Voters != 3 || status.Learners != 0 || status.Role != RoleLeader {
			t.Errorf("the leader's own status: %+v", status)
		}
		for _, p := range c.nodes[leader].Peers() {
			if p.Connected != (p.Name != memberName(down)) {
				t.Errorf("the leader sees %+v", p)
			}
		}
		progress := c.nodes[leader].Replications(context.Background())
		if id := c.nodes[asking].MemberID(); progress[id].Match == 0 || !progress[id].Active {
			t.Errorf("the follower's progress: %+v", progress[id])
		}
		if c.nodes[asking].Replications(context.Background()) != nil {
			t.Error("a follower knows of progress")
		}
	})
}

func TestTheLeadershipMovesWhereItIsTold(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for i, n := range c.nodes {
			if c.leader() == i {
				wantCode(t, n.MoveLeader(context.Background(), n.MemberID()), CodeBadTransferee)
				continue
			}
			asking := c.nodes[(i+1)%3]
			if err := asking.MoveLeader(context.Background(), n.MemberID()); err != nil {
				t.Fatal(err)
			}
			if got := c.leader(); got != i {
				t.Errorf("member %d leads, not %d", got, i)
			}
		}
		leader := c.leader()
		if err := c.nodes[c.follower()].MoveLeader(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
		c.await("another leader", func() bool { return c.leader() != leader })
		wantCode(t, c.nodes[0].MoveLeader(context.Background(), 12345), CodeBadTransferee)
	})
}
