package raftlog

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

func TestLeadershipGoesWhereItIsSent(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		ctx := context.Background()
		for round := range 6 {
			leader, to := c.leader(), c.follower()
			for _, m := range c.members {
				m.propose(20)
			}
			started := time.Now()
			if err := leader.n.TransferLeadership(ctx, to.id); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(started); took > 100*time.Millisecond || c.leader() != to {
				t.Fatalf("round %d: %v later member %d leads", round, took, c.leader().id)
			}
			if err := leader.n.TransferLeadership(ctx, leader.id); !errors.Is(err, ErrNotLeader) {
				t.Fatal(err)
			}
		}
		if seqs := c.converge(); len(seqs) != 6*3*20 {
			t.Fatalf("%d proposals", len(seqs))
		}
	})
}

func TestLeadershipIsNotGivenToWhoCannotTakeIt(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		ctx := context.Background()
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
		leader, dead := c.leader(), c.follower()
		for _, to := range []uint64{4, 5} {
			if err := leader.n.TransferLeadership(ctx, to); !errors.Is(err, ErrTransferFailed) {
				t.Fatalf("to %d: %v", to, err)
			}
		}
		if err := leader.n.TransferLeadership(ctx, leader.id); err != nil {
			t.Fatal(err)
		}
		mustStop(t, dead.n)
		failed := make(chan error)
		go func() { failed <- leader.n.TransferLeadership(ctx, dead.id) }()
		c.pass(time.Millisecond)
		leader.propose(5) // they wait, and go on
		if err := <-failed; !errors.Is(err, ErrTransferFailed) {
			t.Fatal(err)
		}
		rest := slices.DeleteFunc(slices.Clone(c.voters), func(id uint64) bool { return id == dead.id })
		if seqs := c.converge(rest...); len(seqs) != 6 || c.leader(rest...) != leader {
			t.Fatalf("%d proposals", len(seqs))
		}
	})
}

func TestALeaderThatLeavesHandsOverToTheMostUpToDate(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader, behind := c.leader(), c.follower()
		c.converge()
		c.pass(time.Second)
		c.net.isolate(behind.id, true, c.voters...)
		leader.propose(10)
		c.pass(10 * time.Millisecond)
		started := time.Now()
		leader.n.Leave(context.Background())
		mustStop(t, leader.n)
		c.net.isolate(behind.id, false, c.voters...)
		rest := slices.DeleteFunc(slices.Clone(c.voters), func(id uint64) bool { return id == leader.id })
		next := c.leader(rest...)
		if took := time.Since(started); next == behind || took > 500*time.Millisecond {
			t.Fatalf("member %d leads %v later", next.id, took)
		}
		behind.propose(3)
		if seqs := c.converge(rest...); len(seqs) != 13 {
			t.Fatalf("%d proposals", len(seqs))
		}
	})
}

func TestALoneVoterLeavesWithoutWaiting(t *testing.T) {
	clusterTest(t, 1, func(c *cluster) {
		c.leader()
		started := time.Now()
		c.members[1].n.Leave(context.Background())
		if took := time.Since(started); took > 0 {
			t.Fatal(took)
		}
	})
}

func TestTheLeaderKnowsTheProgressOfAll(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		leader.propose(10)
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
		c.start(4)
		c.converge()
		c.pass(time.Second)
		progress, err := leader.n.Progress(context.Background())
		if err != nil || len(progress) != 4 {
			t.Fatal(progress, err)
		}
		for id, p := range progress {
			if p.Match != leader.n.Status().LastIndex || p.Learner != (id == 4) || !p.RecentActive || p.State != "StateReplicate" {
				t.Errorf("member %d: %+v", id, p)
			}
		}
		if _, err := follower.n.Progress(context.Background()); !errors.Is(err, ErrNotLeader) {
			t.Fatal(err)
		}
	})
}

func TestMembersAskEachOther(t *testing.T) {
	clusterTest(t, 2, func(c *cluster) {
		c.leader()
		for _, to := range []uint64{1, 2} {
			answer, err := c.members[1].n.Call(context.Background(), to, []byte("how are you"))
			if want := string('0'+rune(to)) + " answers how are you of 1"; err != nil || string(answer) != want {
				t.Fatalf("%q, %v", answer, err)
			}
		}
		if _, err := c.members[1].n.Call(context.Background(), 3, nil); !errors.Is(err, ErrUnreachable) {
			t.Fatal(err)
		}
	})
}

// Whoever was promoted may know it before the leader does, and ask for the leadership at once.
func TestATransferWaitsForAChangeOfTheConfiguration(t *testing.T) {
	state, err := decodeConf(NewConf([]uint64{7}, []uint64{8}))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		then func(*driver)
		want error
	}{
		"that makes it no voter either": {func(d *driver) { d.appliedTo = d.change }, ErrTransferFailed},
		"and for no other leader's":     {func(d *driver) { d.leading = false }, ErrNotLeader},
	} {
		d := &driver{n: &Node{}, leading: true, members: newMembership(state, 7), change: 5, appliedTo: 4}
		answer := make(chan error, 1)
		d.beginTransfer(&transfer{to: 8, answer: answer})
		d.beginEarly()
		if len(answer) != 0 {
			t.Errorf("%s: it did not wait: %v", name, <-answer)
			continue
		}
		test.then(d)
		if d.beginEarly(); len(answer) != 1 {
			t.Errorf("%s: it still waits", name)
		} else if err := <-answer; !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
