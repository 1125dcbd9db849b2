package core

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// force starts a member as the only one of its cluster.
func (c *testCluster) force(i int) error {
	c.nodes[i].cfg.ForceNewCluster = true
	defer func() { c.nodes[i].cfg.ForceNewCluster = false }()
	return c.open(i)
}

// wantAlone checks that a member leads a cluster of itself and takes writes.
func (c *testCluster) wantAlone(i int) {
	c.t.Helper()
	n := c.nodes[i]
	self := n.Members()
	if len(self) != 1 || self[0].ID != n.MemberID() || self[0].Learner {
		c.t.Fatalf("the members are %+v, want %x alone", self, n.MemberID())
	}
	c.leader(i)
	if s := n.Status(); s.Voters != 1 || s.Learners != 0 || s.Role != RoleLeader {
		c.t.Errorf("its status is %+v", s)
	}
	c.do(i, putOp("after", "w"))
}

func TestAMemberThatLostItsQuorumGoesOnAloneWithWhatItHas(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		survivor := c.follower()
		c.do(survivor, putOp("k", "v")) // acknowledged by this member, so it has it, and may not know on disk that it is committed
		cluster, id := c.nodes[survivor].ClusterID(), c.nodes[survivor].MemberID()
		for i := range c.nodes {
			c.crash(i)
		}
		if err := c.force(survivor); err != nil {
			t.Fatal(err)
		}
		c.wantAlone(survivor)
		n := c.nodes[survivor]
		if n.ClusterID() != cluster || n.MemberID() != id {
			t.Errorf("it is %x of %x, and was %x of %x", n.MemberID(), n.ClusterID(), id, cluster)
		}
		if got := c.get(survivor, "k", Linearizable); got != "v" {
			t.Errorf("what was acknowledged is %q", got)
		}

		c.stop(survivor)
		c.start(survivor) // as usual
		c.wantAlone(survivor)

		c.net.Heal()
		back := c.others(survivor)[0]
		if err := c.open(back); !errors.Is(err, ErrRemoved) {
			t.Errorf("a member that comes back: %v, want %v", err, ErrRemoved)
		}
		fresh := c.joining()
		c.add(survivor, fresh, false)
		c.start(fresh)
		if got := c.get(fresh, "k", Linearizable); got != "v" {
			t.Errorf("a new member has %q", got)
		}
		c.checkReplicas()
	})
}

func TestAMemberForcedAloneKeepsWhatNobodyWasToldOf(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		c.cut(leader)
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := c.nodes[leader].Do(ctx, oneOp(putOp("k", "v")))
		wantCode(t, err, CodeUnknownFate)
		c.stop(c.others(leader)...)
		c.crash(leader)
		if err := c.force(leader); err != nil {
			t.Fatal(err)
		}
		c.wantAlone(leader)
		if got := c.get(leader, "k", Linearizable); got != "v" {
			t.Errorf("what was in its log is %q", got)
		}
	})
}

func TestALearnerForcedAloneBecomesAVoter(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "v"))
		learner := c.joining()
		c.add(0, learner, true)
		c.start(learner)
		c.await("the learner", func() bool { return c.get(learner, "k", Local) == "v" })
		c.crash(0)
		c.stop(learner)
		if err := c.force(learner); err != nil {
			t.Fatal(err)
		}
		c.wantAlone(learner)
		if got := c.get(learner, "k", Linearizable); got != "v" {
			t.Errorf("it has %q", got)
		}
	})
}

func TestForcingALoneMemberChangesNothing(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "v"))
		c.crash(0)
		log := c.nodes[0].disk
		before := len(log.entries)
		if err := c.force(0); err != nil {
			t.Fatal(err)
		}
		c.wantAlone(0)
		for _, e := range log.entries[before:] {
			if e.GetType() != raftpb.EntryNormal {
				t.Errorf("entry %d changes the configuration", e.GetIndex())
			}
		}
		if got := c.get(0, "k", Linearizable); got != "v" {
			t.Errorf("it has %q", got)
		}
	})
}

func TestAFirstStartIsNotForced(t *testing.T) {
	inStoppedCluster(t, 3, func(t *testing.T, c *testCluster) {
		for _, n := range c.nodes {
			n.cfg.ForceNewCluster = true
		}
		c.start(0, 1, 2)
		if got := len(c.nodes[0].Members()); got != 3 {
			t.Errorf("there are %d members, want 3", got)
		}
	})
}

func TestAMemberThatWasSentNothingCannotBeForced(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		fresh := c.joining()
		c.add(0, fresh, true)
		c.stop(0)
		// It has learned who it is and nothing else.
		if err := writeIdentity(c.nodes[fresh].fs, makeDir(t, c.nodes[fresh]), identity{
			Name: c.nodes[fresh].cfg.Name, Token: clusterTokenDefault, Member: 77, Cluster: 88, Joins: true,
		}); err != nil {
			t.Fatal(err)
		}
		if err := c.force(fresh); err == nil {
			t.Error("it was forced with nothing to go on with")
		}
	})
}

func makeDir(t *testing.T, n *clusterNode) string {
	t.Helper()
	if err := n.fs.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return n.cfg.Dir
}

// stumblingLog loses power in one of its writes, before it or after it.
type stumblingLog struct {
	raftlog.Log
	left  int
	after bool
	gone  bool
}

var errPower = errors.New("power failed")

func (l *stumblingLog) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	l.left--
	if l.gone || l.left == 0 {
		if !l.gone && l.after {
			if err := l.Log.Append(state, entries); err != nil {
				return err
			}
		}
		l.gone = true
		return errPower
	}
	return l.Log.Append(state, entries)
}

func TestForcingAMemberAloneSurvivesACrashAtEachWrite(t *testing.T) {
	for write := 1; write <= 4; write++ {
		for _, after := range []bool{false, true} {
			inCluster(t, 3, func(t *testing.T, c *testCluster) {
				survivor := c.follower()
				c.do(survivor, putOp("k", "v"))
				for i := range c.nodes {
					c.crash(i)
				}
				n := c.nodes[survivor]
				cfg := n.cfg
				cfg.ForceNewCluster = true
				cfg.FS, cfg.Transport = n.fs, c.net.Transport(memberURL(survivor))
				cfg.OpenLog = func(o raftlog.LogOptions) (raftlog.Log, *raftlog.Recovered, error) {
					log, recovered, err := n.disk.open(o)
					return &stumblingLog{Log: log, left: write, after: after}, recovered, err
				}
				if s, err := Open(cfg); err == nil {
					// The log fails once the member writes something of its own.
					_, err := s.Do(context.Background(), oneOp(&corepb.Op{Op: putOp("lost", "").Op}))
					if err == nil {
						t.Fatalf("write %d did not fail", write)
					}
					if err := s.Close(); !errors.Is(err, errPower) {
						t.Fatalf("write %d: %v", write, err)
					}
				}
				c.crash(survivor)
				if err := c.force(survivor); err != nil {
					t.Fatalf("write %d, after it %v: %v", write, after, err)
				}
				c.wantAlone(survivor)
				if got := c.get(survivor, "k", Linearizable); got != "v" {
					t.Errorf("write %d, after it %v: what was acknowledged is %q", write, after, got)
				}
				c.stop(survivor)
				c.start(survivor)
				c.wantAlone(survivor)
			})
		}
	}
}
