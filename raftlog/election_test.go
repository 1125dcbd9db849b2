package raftlog

import (
	"context"
	"maps"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// A learner was made a voter by the only voter there was, and has more of the log than that one still has after a crash, but
// has not heard of the commit.
func TestAVoterThatDoesNotKnowItIsOneHearsOfItInAnElection(t *testing.T) {
	clusterTest(t, 2, func(c *cluster) {
		leader, other := c.leader(), c.follower()
		c.change([]Change{{AddLearner, other.id}}, leader.id, other.id)
		leader.propose(3)
		c.converge()
		known := other.n.Status().Commit
		c.net.filter(func(m *raftpb.Message) bool {
			if m.GetTo() == other.id {
				m.Commit = new(min(m.GetCommit(), known))
			}
			return true
		})
		leader.seq++
		if err := leader.n.ProposeChange(context.Background(), []Change{{AddVoter, other.id}}, leader.seq, nil); err != nil {
			t.Fatal(err)
		}
		c.within(5*time.Second, "the leader knows of another voter", func() bool { return leader.n.Status().Voters == 2 })
		change := leader.n.Status().Commit
		leader.propose(1) // what is written now says how far the log was committed
		c.within(5*time.Second, "it is on disk that the other one is a voter", func() bool { return leader.n.Status().Commit > change })

		disk := newTestDisk() // as of now
		leader.disk.mu.Lock()
		disk.replay, disk.conf, disk.entries = leader.disk.replay, leader.disk.conf, maps.Clone(leader.disk.entries)
		leader.disk.mu.Unlock()
		leader.disk.setHold(make(chan struct{}))
		leader.propose(3)
		c.within(5*time.Second, "the other one has more", func() bool {
			return other.n.Status().LastIndex > disk.replay.last
		})
		c.net.isolate(leader.id, true, other.id)
		leader.disk.setHold(nil)
		leader.crash()
		leader.disk = disk
		other.crash()
		c.net.isolate(leader.id, false, other.id)
		c.net.filter(nil)
		if err := other.start(); err != nil {
			t.Fatal(err)
		}
		c.within(5*time.Second, "it is as it was", func() bool { return other.n.Status().Applied >= known })
		if s := other.n.Status(); s.Commit > known || !s.LearnerSelf {
			t.Fatalf("it knew of commit %d before and begins with %d, a learner: %v", known, s.Commit, s.LearnerSelf)
		}
		if err := leader.start(); err != nil {
			t.Fatal(err)
		}
		c.leader().propose(3)
		c.converge()
	})
}

// The one that takes the leadership hears nothing while it asks for votes that would make it start again.
func TestAMemberThatMissesTheLastCommitCanTakeTheLeadership(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader, to := c.leader(), c.follower()
		leader.propose(3)
		c.converge()
		known := to.n.Status().Commit
		c.net.filter(func(m *raftpb.Message) bool {
			if m.GetTo() == to.id && (m.GetType() == raftpb.MsgApp || m.GetType() == raftpb.MsgHeartbeat) {
				m.Commit = new(min(m.GetCommit(), known))
			}
			return true
		})
		leader.propose(3)
		c.within(5*time.Second, "it has all and knows less than the others", func() bool {
			last := leader.n.Status().LastIndex
			for _, m := range c.members {
				if s := m.n.Status(); s.LastIndex < last || m != to && s.Commit < last {
					return false
				}
			}
			return to.n.Status().Commit == known
		})
		if err := leader.n.TransferLeadership(context.Background(), to.id); err != nil {
			t.Fatal(err)
		}
		c.net.filter(nil)
		c.converge()
	})
}
