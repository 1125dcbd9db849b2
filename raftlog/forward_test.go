package raftlog

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Chunks and acknowledgements that are lost change nothing but the time it takes.
func TestForwardedProposalsSurviveLostMessages(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			clusterTest(t, 3, func(c *cluster) {
				r, lost := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
				c.leader()
				c.net.filter(func(m *raftpb.Message) bool { return m.GetType() != raftpb.MsgProp || lost.IntN(3) > 0 })
				for range 100 {
					for _, id := range c.voters {
						c.members[id].propose(r.IntN(4))
					}
					c.pass(time.Duration(r.IntN(20)) * time.Millisecond)
				}
				c.converge()
				for id, m := range c.members {
					if missing, fates := m.missing(1), m.fates(); len(missing)+len(fates) > 0 {
						t.Fatalf("member %d: missing %v, settled %v", id, missing, fates)
					}
				}
			})
		})
	}
}

// A chunk that arrives twice, or late, is in the log once.
func TestRepeatedAndLateChunksAreIgnored(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		var old []*raftpb.Message
		c.net.filter(func(m *raftpb.Message) bool {
			if m.GetType() == raftpb.MsgProp && len(m.GetEntries()) > 0 {
				old = append(old, m)
			}
			return true
		})
		for range 10 {
			follower.propose(2)
			c.pass(5 * time.Millisecond)
		}
		c.converge()
		// The follower restarts: its numbers begin again, and what it sent before is still on its way.
		follower.crash()
		follower.seq = 0
		c.start(follower.id)
		for i := range 10 {
			handler{leader.n}.Receive([]*raftpb.Message{old[i%len(old)]})
			follower.propose(2)
			c.pass(5 * time.Millisecond)
		}
		handler{leader.n}.Receive(old)
		if seqs := c.converge(); len(seqs) != 40 {
			t.Fatalf("%d proposals", len(seqs))
		}
	})
}

func TestProposalsOfSeveralMembersShareEntries(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		leader := c.leader()
		c.converge()
		before := leader.n.Status().LastIndex
		leader.disk.setHold(make(chan struct{})) // while the leader writes, proposals gather
		for range 50 {
			for _, id := range c.voters {
				c.members[id].propose(1)
			}
			c.pass(time.Millisecond)
		}
		leader.disk.setHold(nil)
		if seqs := c.converge(); len(seqs) != 150 {
			t.Fatalf("%d proposals", len(seqs))
		}
		if entries := leader.n.Status().LastIndex - before; entries > 10 {
			t.Fatalf("%d entries for 150 proposals that could share a few", entries)
		}
	})
}

// No member's flood keeps the others' proposals out.
func TestAFullQueueDoesNotStarveOtherMembers(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.stop()
		c.adjust = func(cfg *Config) { cfg.EntryProposalsMax = 10 }
		for _, id := range c.voters {
			c.start(id)
		}
		leader, follower := c.leader(), c.follower()
		c.converge()
		leader.disk.setHold(make(chan struct{})) // until all of it waits at the leader
		leader.propose(5000)
		follower.propose(1)
		c.pass(10 * time.Millisecond)
		leader.disk.setHold(nil)
		c.within(30*time.Second, "the follower's", func() bool { return len(follower.missing(1)) == 0 })
		c.converge()
		seqs := leader.machine.seqs()
		at := slices.IndexFunc(seqs, func(s replicaSeq) bool { return s.Origin == follower.n.Origin() })
		if at > 100 {
			t.Fatalf("the follower's is number %d of %d", at, len(seqs))
		}
	})
}

// What is dropped takes along what was queued behind it: nothing is in the log without what came before it.
func TestWhatIsDroppedTakesAlongWhatWaitsBehindIt(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		m := c.follower()
		c.converge()
		others := slices.DeleteFunc(slices.Clone(c.voters), func(id uint64) bool { return id == m.id })
		c.net.isolate(m.id, true, others...)
		m.propose(1) // sent
		c.pass(4900 * time.Millisecond)
		m.propose(1) // queued behind it
		c.pass(300 * time.Millisecond)
		c.net.isolate(m.id, false, others...)
		c.within(5*time.Second, "both fates", func() bool { return len(m.missing(1)) == 0 })
		if fates := m.fates(); fates[1] != fates[2] {
			t.Fatal(fates)
		}
		m.propose(1)
		c.converge()
		if missing := m.missing(1); len(missing) > 0 || m.fates()[3] != 0 {
			t.Fatal(missing, m.fates())
		}
	})
}

func TestAMalformedChunkIsNotTaken(t *testing.T) {
	clusterTest(t, 2, func(c *cluster) {
		leader, follower := c.leader(), c.follower()
		c.converge()
		for _, data := range [][]byte{nil, make([]byte, 5), make([]byte, headerBytes), []byte("\x01rubbish, and much of it")} {
			handler{leader.n}.Receive([]*raftpb.Message{{
				Type: raftpb.MsgProp.Enum(), To: new(leader.id), From: new(follower.id), Term: new(leader.n.Status().Term),
				Index: new(uint64(1)), Context: make([]byte, 8), Entries: []*raftpb.Entry{{Data: data}},
			}})
		}
		follower.propose(3)
		if seqs := c.converge(); len(seqs) != 3 {
			t.Fatal(seqs)
		}
	})
}
