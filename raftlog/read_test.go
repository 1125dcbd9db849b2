package raftlog

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func TestAReadOnAnyMemberSeesWhatWasAcknowledgedAnywhereBefore(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
		c.start(4)
		c.converge()
		for round := range 20 {
			writer := c.members[uint64(round%4)+1]
			writer.propose(1)
			c.within(time.Second, "the write", func() bool { return len(writer.missing(writer.seq)) == 0 })
			written := writer.n.Status().Applied // or less
			for id, m := range c.members {
				index, err := m.n.ReadIndex(context.Background())
				if err != nil || index < written {
					t.Fatalf("member %d: read index %d, %v; member %d has applied %d", id, index, err, writer.id, written)
				}
			}
		}
	})
}

// A lone voter's learner may have applied, and acknowledged, what the voter's own Machine has not been handed yet.
func TestALoneVoterWithALearnerDoesNotAnswerFromWhatItHasApplied(t *testing.T) {
	clusterTest(t, 1, func(c *cluster) {
		voter := c.members[1]
		c.change([]Change{{AddLearner, 2}}, 1)
		learner := c.start(2)
		c.converge()
		slow := make(chan struct{})
		voter.machine.setSlow(slow)
		learner.propose(1)
		c.pass(100 * time.Millisecond)
		voter.propose(1)
		c.pass(100 * time.Millisecond)
		acknowledged := learner.n.Status().Applied
		handed := voter.n.status.handed.Load()
		index, err := voter.n.ReadIndex(context.Background())
		close(slow)
		if err != nil || index < acknowledged || handed >= acknowledged {
			t.Fatalf("read index %d, %v; acknowledged %d, handed over %d", index, err, acknowledged, handed)
		}
	})
}

func TestReadsThatWaitTogetherShareOneRound(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		for _, m := range []*member{c.leader(), c.follower()} {
			c.pass(time.Second)
			before := m.n.Metrics().ReadRounds
			c.net.filter(func(m *raftpb.Message) bool {
				return m.GetType() != raftpb.MsgHeartbeatResp && m.GetType() != raftpb.MsgReadIndexResp
			})
			answers := make(chan uint64, 100)
			for range 50 {
				go func() {
					index, err := m.n.ReadIndex(context.Background())
					if err != nil {
						t.Error(err)
					}
					answers <- index
				}()
			}
			synctest.Wait() // all but those of the first round have gathered
			c.net.filter(nil)
			for range 50 {
				<-answers
			}
			if rounds := m.n.Metrics().ReadRounds - before; rounds > 2 {
				t.Fatalf("%d rounds for 50 reads", rounds)
			}
		}
	})
}

func TestALeaderThatIsCutOffAnswersNoReads(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		old := c.leader()
		others := slices.DeleteFunc(slices.Clone(c.voters), func(id uint64) bool { return id == old.id })
		c.pass(time.Second)
		c.net.isolate(old.id, true, others...)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		index, err := old.n.ReadIndex(ctx) // it still believes that it leads
		if !errors.Is(err, ErrNoLeader) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(index, err)
		}
		// One that waits for longer is answered once it knows the new leader.
		answer := make(chan uint64, 1)
		go func() {
			index, err := old.n.ReadIndex(context.Background())
			if err != nil {
				t.Error(err)
			}
			answer <- index
		}()
		leader := c.leader(others...)
		leader.propose(1)
		c.converge(others...)
		acknowledged := leader.n.Status().Applied
		c.net.isolate(old.id, false, others...)
		if index := <-answer; index < acknowledged {
			t.Fatalf("read index %d, %d was acknowledged while it was cut off", index, acknowledged)
		}
	})
}

func TestAReadWhoseMessagesAreLostIsAskedAgain(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		follower := c.follower()
		c.converge()
		lost := 0
		c.net.filter(func(m *raftpb.Message) bool {
			if lost < 5 && (m.GetType() == raftpb.MsgReadIndex || m.GetType() == raftpb.MsgReadIndexResp) {
				lost++
				return false
			}
			return true
		})
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if _, err := follower.n.ReadIndex(ctx); err != nil || lost != 5 {
			t.Fatal(err, lost)
		}
	})
}

func TestReadsOfAStoppedNodeEnd(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		m := c.follower()
		c.net.isolate(m.id, true, c.voters...)
		failed := make(chan error)
		go func() {
			_, err := m.n.ReadIndex(context.Background())
			failed <- err
		}()
		c.pass(time.Second)
		mustStop(t, m.n)
		if err := <-failed; !errors.Is(err, ErrStopped) {
			t.Fatal(err)
		}
	})
}

// Readers that never rest must not keep a round from beginning; one that is about to ask is waited for.
func TestARoundTakesReadsThatAreAboutToComeAndBeginsAllTheSame(t *testing.T) {
	const reads = 10 * gatherTurnsMax
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the two take turns
	gathered := false
	for range 100 {
		n := &Node{reads: newMailbox[*read]()}
		r := &reading{waiting: []*read{{}}}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range reads {
				n.reads.put(&read{})
				runtime.Gosched()
			}
		}()
		r.gather(n)
		waiting := len(r.waiting)
		<-done
		if waiting > reads {
			t.Fatalf("it waited for all %d reads", reads)
		}
		gathered = gathered || waiting > 1
	}
	if !gathered {
		t.Error("nothing was ever gathered")
	}
}
