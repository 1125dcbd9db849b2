package raftlog

import (
	"testing"
	"time"
)

func TestThreeNodesElectALeaderAtOnceAndReplicateWhatAnyOfThemProposes(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		started := time.Now()
		leader := c.leader()
		if took := time.Since(started); took > 300*time.Millisecond {
			t.Errorf("the first election took %v", took)
		}
		for _, m := range c.members {
			m.propose(100)
		}
		seqs := c.converge()
		if len(seqs) != 300 {
			t.Fatalf("%d proposals are applied", len(seqs))
		}
		if s := leader.n.Status(); !s.IsLeader || s.Voters != 3 || s.Learners != 0 {
			t.Fatalf("%+v", s)
		}
		for _, m := range c.members {
			select {
			case <-m.n.Ready():
			default:
				t.Errorf("member %d is not ready", m.id)
			}
		}
	})
}

func TestAFollowersProposalsKeepTheirOrderAcrossALeaderThatFails(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		old := c.leader()
		var others []uint64
		for _, id := range c.voters {
			if id != old.id {
				others = append(others, id)
			}
		}
		for range 50 {
			for _, id := range others {
				c.members[id].propose(3)
			}
			old.propose(2)
			c.pass(time.Millisecond)
		}
		old.crash()
		for range 50 {
			for _, id := range others {
				c.members[id].propose(3)
			}
			c.pass(time.Millisecond)
		}
		c.leader(others...)
		c.converge(others...)
		for _, id := range others {
			m := c.members[id]
			if missing := m.missing(1); len(missing) > 0 || len(m.fates()) > 0 {
				t.Fatalf("member %d: missing %v, settled %v", id, missing, m.fates())
			}
		}
		old.seq = 1000
		c.start(old.id)
		old.propose(5)
		c.converge()
	})
}

// A leader that is cut off takes proposals that cannot be committed. Once it is back it proposes them again, behind what
// was committed meanwhile, and nothing is lost or doubled.
func TestProposalsOfADeposedLeaderAreProposedAgain(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		old := c.leader()
		old.propose(10)
		c.converge()
		var others []uint64
		for _, id := range c.voters {
			if id != old.id {
				others = append(others, id)
			}
		}
		c.net.isolate(old.id, true, others...)
		old.propose(10)
		leader := c.leader(others...)
		leader.propose(10)
		c.converge(others...)
		old.propose(10)
		c.pass(time.Second)
		if old.n.Status().Leader != 0 {
			t.Fatalf("cut off, and %+v", old.n.Status())
		}
		c.net.isolate(old.id, false, others...)
		c.within(2*time.Second, "known leader", func() bool { return old.n.Status().Leader != 0 })
		seqs := c.converge()
		if len(seqs) != 40 || len(old.missing(1)) > 0 {
			t.Fatalf("%d proposals are applied, %v missing", len(seqs), old.missing(1))
		}
	})
}

func TestWithoutAQuorumProposalsAreDroppedAfterAWhileAndNeverAppear(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader := c.leader()
		leader.propose(5)
		c.converge()
		var others []uint64
		for _, id := range c.voters {
			if id != leader.id {
				others = append(others, id)
			}
		}
		c.net.isolate(others[0], true, 1, 2, 3)
		c.net.isolate(others[1], true, 1, 2, 3)
		c.pass(3 * time.Second) // nobody leads any more
		for _, m := range c.members {
			m.propose(20)
		}
		c.pass(4900 * time.Millisecond)
		for id, m := range c.members {
			if fates := m.fates(); len(fates) > 0 {
				t.Fatalf("member %d: %v too early", id, fates)
			}
		}
		c.pass(400 * time.Millisecond)
		for id, m := range c.members {
			if fates := m.fates(); len(fates) != 20 {
				t.Fatalf("member %d: %d of 20 are settled", id, len(fates))
			}
			m.propose(3)
		}
		c.net.isolate(others[0], false, 1, 2, 3)
		c.net.isolate(others[1], false, 1, 2, 3)
		c.leader()
		if seqs := c.converge(); len(seqs) != 5+3*3 {
			t.Fatalf("%d proposals are applied", len(seqs))
		}
	})
}
