package raftlog

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// smallMemory keeps next to nothing of the log in memory, so that whoever lags needs a snapshot.
func smallMemory(cfg *Config) { cfg.CatchUpBytes = 2000 }

// withSmallMemory restarts all members that way.
func (c *cluster) withSmallMemory() {
	c.t.Helper()
	c.stop()
	c.adjust = smallMemory
	for _, id := range c.voters {
		c.start(id)
	}
	c.leader()
}

// leaveBehind cuts a follower off until it needs a snapshot.
func (c *cluster) leaveBehind() (behind *member, others []uint64) {
	c.t.Helper()
	behind = c.follower()
	others = slices.DeleteFunc(slices.Clone(c.voters), func(id uint64) bool { return id == behind.id })
	c.net.isolate(behind.id, true, others...)
	leader := c.leader(others...)
	for range 100 {
		leader.propose(3)
		c.pass(time.Millisecond)
	}
	c.converge(others...)
	return behind, others
}

func TestAMemberThatLagsTooFarGetsASnapshotAndTheLogAfterIt(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind, others := c.leaveBehind()
		c.net.isolate(behind.id, false, others...)
		leader := c.leader(others...)
		for range 20 { // while it is sent and installed
			leader.propose(2)
			c.pass(20 * time.Millisecond)
		}
		seqs := c.converge()
		if len(seqs) != 340 || behind.machine.installs != 1 {
			t.Fatalf("%d proposals, %d snapshots", len(seqs), behind.machine.installs)
		}
		if s := behind.n.Status(); s.FirstIndex < 50 || s.Installing {
			t.Fatalf("%+v", s)
		}
		if m := leader.n.Metrics(); m.SnapshotsSent != 1 || behind.n.Metrics().SnapshotsReceived != 1 {
			t.Fatalf("%+v", m)
		}
		// It goes on from there after a crash, and can lead.
		behind.crash()
		c.start(behind.id)
		c.converge()
		if err := c.leader().n.TransferLeadership(c.t.Context(), behind.id); err != nil {
			t.Fatal(err)
		}
		behind.seq = 0
		behind.propose(5)
		c.converge()
	})
}

func TestMembersThatLagTogetherShareASnapshotAndItIsReleased(t *testing.T) {
	clusterTest(t, 5, func(c *cluster) {
		c.withSmallMemory()
		leader := c.leader()
		var behind []uint64
		for _, id := range c.voters {
			if id != leader.id && len(behind) < 2 {
				behind = append(behind, id)
			}
		}
		for _, id := range behind {
			c.net.isolate(id, true, c.voters...)
		}
		for range 100 {
			leader.propose(3)
			c.pass(time.Millisecond)
		}
		for _, id := range behind {
			c.net.isolate(id, false, c.voters...)
		}
		c.converge()
		if leader.machine.creates != 1 {
			t.Fatalf("%d snapshots were made", leader.machine.creates)
		}
		for _, id := range behind {
			if c.members[id].machine.installs != 1 {
				t.Fatalf("member %d installed %d", id, c.members[id].machine.installs)
			}
		}
		c.pass(10 * time.Second)
		if s := leader.machine.snapshots[0]; !s.released {
			t.Fatal("nobody needs the snapshot any more, and it is there")
		}
	})
}

func TestASnapshotThatCannotBeMadeOrSentIsTriedAgain(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind, others := c.leaveBehind()
		for _, id := range others {
			c.members[id].machine.setNoCreate(true)
		}
		c.net.isolate(behind.id, false, others...)
		c.pass(5 * time.Second)
		if behind.machine.installs != 0 {
			t.Fatal("installed what could not be made")
		}
		for _, id := range others {
			c.members[id].machine.setNoCreate(false)
		}
		behind.machine.setRefuse(errors.New("no space left on device"))
		c.pass(5 * time.Second)
		if m := c.leader(others...).n.Metrics(); m.SnapshotsFailed == 0 {
			t.Fatalf("%+v", m)
		}
		behind.machine.setRefuse(nil)
		c.converge()
		if behind.machine.installs != 1 {
			t.Fatal(behind.machine.installs)
		}
	})
}

// A snapshot that was made before a member joined does not have it, and would be of no use to it.
func TestAMemberThatJoinsGetsASnapshotThatKnowsIt(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind, others := c.leaveBehind()
		c.net.isolate(behind.id, false, others...)
		c.within(5*time.Second, "a first snapshot", func() bool { return behind.machine.installed() == 1 })
		c.change([]Change{{AddLearner, 4}}, 1, 2, 3)
		learner := c.start(4)
		c.converge()
		if conf := learner.machine.conf(); !slices.Equal(conf.GetLearners(), []uint64{4}) {
			t.Fatal(conf)
		}
	})
}

func TestProposalsOfAMemberThatIsSentASnapshotAreSettled(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind := c.follower()
		// It can send, and hears of nothing.
		c.net.filter(func(m *raftpb.Message) bool { return m.GetTo() != behind.id || m.GetType() == raftpb.MsgHeartbeat })
		behind.propose(5)
		leader := c.leader()
		for range 100 {
			leader.propose(3)
			c.pass(time.Millisecond)
		}
		c.net.filter(nil)
		behind.propose(5)
		c.converge()
		behind.propose(5)
		c.converge()
		if missing := behind.missing(1); len(missing) > 0 {
			t.Fatalf("of %v nobody knows anything", missing)
		}
		fates := behind.fates()
		if behind.machine.installs != 1 || fates[1] != Lost || fates[11] != 0 {
			t.Fatalf("%d snapshots, %v", behind.machine.installs, fates)
		}
	})
}

func TestACrashBetweenInstallAndMarkerIsMended(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind, others := c.leaveBehind()
		behind.propose(4) // uncommitted entries on its disk do no harm either
		behind.disk.setFail(errors.New("power is gone"))
		c.net.isolate(behind.id, false, others...)
		<-behind.n.Done()
		if behind.machine.installs != 1 || behind.disk.replay.marker.index != bootstrapIndex {
			t.Fatalf("%d snapshots, marker at %d", behind.machine.installs, behind.disk.replay.marker.index)
		}
		behind.disk.setFail(nil)
		behind.machine.crash()
		behind.seq = 100
		c.start(behind.id)
		behind.propose(5)
		c.converge()
		if marker := behind.disk.replay.marker.index; marker == bootstrapIndex {
			t.Fatal("the log does not begin again")
		}
	})
}

// While a snapshot is installed the Machine may wait for a truncation, and heartbeats are answered.
func TestAnInstallThatTakesLongHoldsUpNothingElse(t *testing.T) {
	clusterTest(t, 3, func(c *cluster) {
		c.withSmallMemory()
		behind, others := c.leaveBehind()
		gate := make(chan struct{})
		var truncated error
		behind.machine.setBeforeInstall(func() {
			truncated = behind.n.Truncate(behind.n.Status().Applied)
			<-gate
		})
		c.net.isolate(behind.id, false, others...)
		c.within(5*time.Second, "the install", func() bool { return behind.n.Status().Installing })
		leader := c.leader()
		for range 30 {
			leader.propose(1)
			behind.propose(1)
			c.pass(100 * time.Millisecond)
		}
		if c.leader().id != leader.id || behind.n.Status().Leader != leader.id {
			t.Fatal("the leader was lost")
		}
		close(gate)
		c.converge()
		if truncated != nil {
			t.Fatal(truncated)
		}
	})
}

func TestARestoredBackupBeginsWithTheSnapshotsConfiguration(t *testing.T) {
	clusterTest(t, 1, func(c *cluster) {
		c.members[1].propose(20)
		c.converge()
		state := c.members[1].machine.state
		c.stop()
		// Three new members get the state, and a configuration of their own.
		state.Conf = NewConf([]uint64{13, 11, 12}, nil)
		state.Installed = &SnapshotMeta{Index: state.Index, Term: state.Term, Conf: state.Conf}
		for _, id := range []uint64{11, 12, 13} {
			m := &member{c: c, id: id, disk: newTestDisk(), machine: newReplica()}
			state.Seqs = slices.Clone(state.Seqs)
			m.machine.state = state
			m.machine.flush()
			c.members[id] = m
			if err := m.start(); err != nil {
				t.Fatal(err)
			}
		}
		c.leader(11, 12, 13)
		for _, id := range []uint64{11, 12, 13} {
			c.members[id].propose(5)
		}
		if seqs := c.converge(11, 12, 13); len(seqs) != 35 {
			t.Fatalf("%d proposals", len(seqs))
		}
		c.members[12].machine.flush()
		c.members[12].crash() // the backup's meta stays set
		c.start(12)
		c.converge(11, 12, 13)
	})
}
