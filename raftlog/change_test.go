package raftlog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// change proposes a change on the leader and waits until all of the members listed have it.
func (c *cluster) change(changes []Change, among ...uint64) {
	c.t.Helper()
	leader := c.leader(among...)
	leader.seq++
	if err := leader.n.ProposeChange(context.Background(), changes, leader.seq, payload(leader.seq)); err != nil {
		c.t.Fatal(err)
	}
	index := leader.n.Status().LastIndex
	c.within(5*time.Second, "the change", func() bool {
		for _, id := range among {
			if s := c.members[id].n.Status(); s.Applied < index || c.members[id].n.status.members.Load().joint() {
				return false
			}
		}
		return true
	})
}

func TestALearnerJoinsCatchesUpAndBecomesAVoter(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.leader().propose(50)
		c.converge()
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
		learner := c.start(4)
		learner.propose(10) // it may propose before it knows anybody
		c.converge()
		if s := learner.n.Status(); s.Voters != 3 || s.Learners != 1 || !s.LearnerSelf || learner.machine.installs != 1 {
			t.Fatalf("%+v, %d snapshots", s, learner.machine.installs)
		}
		if len(learner.missing(1)) > 0 {
			t.Fatal(learner.missing(1))
		}
		c.change([]Change{{AddVoter, 4}}, 1, 2, 3, 4)
		if s := learner.n.Status(); s.Voters != 4 || s.Learners != 0 || s.LearnerSelf {
			t.Fatalf("%+v", s)
		}
		// Two of four are not enough, three are.
		c.net.isolate(1, true, 2, 3, 4)
		c.leader(2, 3, 4).propose(5)
		c.converge(2, 3, 4)
		c.net.isolate(1, false, 2, 3, 4)
		c.leader()
		c.converge()
	})
}

func TestSeveralChangesAreOneAndTheJointConfigurationIsLeft(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader := c.leader()
		var gone uint64
		for _, id := range c.voters {
			if id != leader.id {
				gone = id
			}
		}
		c.start(4)
		c.start(5)
		rest := slices.DeleteFunc([]uint64{1, 2, 3, 4, 5}, func(id uint64) bool { return id == gone })
		c.change([]Change{{AddVoter, 4}, {AddLearner, 5}, {Remove, gone}}, 1, 2, 3)
		c.within(5*time.Second, "everybody knows", func() bool {
			for _, id := range rest {
				if s := c.members[id].n.Status(); s.Voters != 3 || s.Learners != 1 {
					return false
				}
			}
			return true
		})
		c.within(5*time.Second, "the removed one stops", func() bool { return c.members[gone].n.Err() != nil })
		for _, id := range rest {
			c.members[id].propose(5)
		}
		c.converge(rest...)
		conf := c.members[rest[0]].machine.conf()
		if len(conf.GetVotersOutgoing()) > 0 || slices.Contains(conf.GetVoters(), gone) || len(conf.GetVoters()) != 3 {
			t.Fatal(conf)
		}
	})
}

func TestAChangeThatTheMachineRefusesChangesNothing(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		for _, m := range c.members {
			m.machine.set(func() { m.machine.refuse = func(Entry) bool { return true } })
		}
		for range 3 {
			c.change([]Change{{AddVoter, 4}}, 1, 2, 3)
			c.change([]Change{{AddVoter, 4}, {Remove, 2}}, 1, 2, 3)
		}
		for id, m := range c.members {
			if s := m.n.Status(); s.Voters != 3 {
				t.Fatalf("member %d: %+v", id, s)
			}
		}
		if seqs := c.converge(); len(seqs) != 6 {
			t.Fatalf("%d proposals are applied", len(seqs))
		}
	})
}

func TestOnlyTheLeaderChangesTheConfigurationAndOneChangeAtATime(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		c.pass(time.Second)
		ctx := context.Background()
		if err := follower.n.ProposeChange(ctx, []Change{{AddVoter, 4}}, 1, nil); !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
		for _, bad := range [][]Change{nil, {{0, 4}}, {{AddVoter, 0}}, {{Remove, 1}, {Remove, 2}, {Remove, 3}}} {
			if err := leader.n.ProposeChange(ctx, bad, 1, nil); !errors.Is(err, ErrInvalidChange) {
				t.Fatalf("%v: %v", bad, err)
			}
		}
		c.net.isolate(leader.id, true, 1, 2, 3)
		leader.seq = 2
		if err := leader.n.ProposeChange(ctx, []Change{{AddLearner, 4}}, 1, nil); err != nil {
			t.Fatal(err)
		}
		if err := leader.n.ProposeChange(ctx, []Change{{AddLearner, 5}}, 2, nil); !errors.Is(err, ErrChangePending) {
			t.Fatal(err)
		}
		// Another leader comes: the change is dropped, and said to be.
		c.pass(4 * time.Second)
		c.net.isolate(leader.id, false, 1, 2, 3)
		c.within(5*time.Second, "its fate", func() bool { return leader.fates()[1] == Dropped })
		c.converge()
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
	})
}

func TestAMemberThatAppliesItsOwnRemovalStops(t *testing.T) {
	for name, leads := range map[string]bool{"leader": true, "follower": false} {
		t.Run(name, func(t *testing.T) {
			clusterTest(t, 3, func(c *cluster) {
				gone := c.follower()
				if leads {
					gone = c.leader()
				}
				rest := slices.DeleteFunc([]uint64{1, 2, 3}, func(id uint64) bool { return id == gone.id })
				c.change([]Change{{Remove, gone.id}}, rest[0], rest[1], gone.id)
				<-gone.n.Done()
				if err := gone.n.Err(); !errors.Is(err, ErrRemoved) || gone.removed != 1 {
					t.Fatalf("%v, told %d times", err, gone.removed)
				}
				c.leader(rest...).propose(5)
				c.converge(rest...)
				if err := gone.start(); !errors.Is(err, ErrRemoved) {
					t.Fatalf("it starts again: %v", err)
				}
			})
		})
	}
}

// Of two voters the leader removes itself. The other one may not have heard that this is committed.
func TestTheLastOfTwoIsNotLeftBehindByALeaderThatRemovesItself(t *testing.T) {
	clusterTest(t, 2, func(c *cluster) {
		leader, other := c.leader(), c.follower()
		leader.propose(3)
		c.converge()
		// From now on the follower hears of entries, and of no commit.
		c.net.filter(func(m *raftpb.Message) bool {
			if m.GetTo() == other.id && m.GetCommit() > 0 {
				return m.GetCommit() <= other.n.Status().Commit
			}
			return true
		})
		leader.seq++
		if err := leader.n.ProposeChange(context.Background(), []Change{{Remove, leader.id}}, leader.seq, nil); err != nil {
			t.Fatal(err)
		}
		c.within(5*time.Second, "it steps down", func() bool { return leader.n.Status().Leader == 0 })
		c.net.filter(nil)
		<-leader.n.Done()
		c.within(5*time.Second, "the other leads alone", func() bool {
			s := other.n.Status()
			return s.IsLeader && s.Voters == 1
		})
		other.propose(3)
		c.converge(other.id)
	})
}

func TestARemovedMemberIsToldAndItsMessagesAreRefused(t *testing.T) {
	removed := uint64(0)
	clusterTest(t, 3, func(c *cluster) {
		c.stop()
		c.adjust = func(cfg *Config) { cfg.IsRemoved = func(id uint64) bool { return id == removed } }
		for id := range c.members {
			c.start(id)
		}
		gone := c.follower()
		rest := slices.DeleteFunc([]uint64{1, 2, 3}, func(id uint64) bool { return id == gone.id })
		c.net.isolate(gone.id, true, rest...)
		c.change([]Change{{Remove, gone.id}}, rest...)
		removed = gone.id
		c.net.isolate(gone.id, false, rest...)
		term := c.leader(rest...).n.Status().Term
		c.pass(10 * time.Second) // it campaigns
		if got := c.leader(rest...).n.Status().Term; got != term || gone.n.Err() != nil {
			t.Fatalf("term %d, was %d; %v", got, term, gone.n.Err())
		}
		handler{gone.n}.Removed() // what a transport hears from one that refuses it
		<-gone.n.Done()
		if !errors.Is(gone.n.Err(), ErrRemoved) || gone.removed != 1 {
			t.Fatal(gone.n.Err())
		}
	})
}

func TestALoneVoterGrowsToThreeAndShrinksAgain(t *testing.T) {
	clusterTest(t, 1, func(c *cluster) {
		c.members[1].propose(10)
		c.converge()
		c.start(2)
		c.change([]Change{{AddVoter, 2}}, 1)
		c.converge(1, 2)
		c.start(3)
		c.change([]Change{{AddVoter, 3}}, 1, 2)
		c.converge()
		for _, m := range c.members {
			m.propose(10)
		}
		c.converge()
		// Each restarts with the configuration that its Machine kept, not with the log's first.
		for _, id := range []uint64{3, 2, 1} {
			c.members[id].machine.flush()
			c.members[id].crash()
			c.members[id].seq = 0
			c.start(id)
			if s := c.members[id].n.Status(); s.Voters != 3 {
				t.Fatalf("%+v", s)
			}
			c.leader()
			c.converge()
		}
		leader := c.leader()
		for _, id := range []uint64{1, 2, 3} {
			if id != leader.id {
				c.change([]Change{{Remove, id}}, leader.id)
			}
		}
		leader.propose(10)
		c.converge(leader.id)
		if s := leader.n.Status(); s.Voters != 1 || !s.IsLeader {
			t.Fatalf("%+v", s)
		}
		if index, err := leader.n.ReadIndex(context.Background()); err != nil || index != leader.n.Status().Applied {
			t.Fatal(index, err)
		}
	})
}

func TestAChangeIsReplayedAfterACrashWithTheSameOutcome(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		m := c.follower()
		before := m.machine.flush()
		c.leader().propose(3)
		c.change([]Change{{AddLearner, 9}}, 1, 2, 3)
		c.change([]Change{{AddLearner, 8}, {Remove, 9}}, 1, 2, 3)
		c.leader().propose(3)
		c.converge()
		conf := m.machine.conf().String()
		m.crash()
		if m.machine.state.Index != before {
			t.Fatal(m.machine.state.Index)
		}
		c.start(m.id)
		c.leader()
		c.converge()
		if got := m.machine.conf().String(); got != conf {
			t.Fatalf("%v, was %v", got, conf)
		}
	})
}
