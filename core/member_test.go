package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog/memnet"
)

// joining prepares a node that joins the cluster, with the list of those that are in it by now and itself.
func (c *testCluster) joining() int {
	n := c.prepare()
	i := len(c.nodes) - 1
	n.cfg.Join = true
	for _, other := range c.nodes[:i] {
		if other.Store != nil {
			n.cfg.InitialCluster = append(n.cfg.InitialCluster, Member{Name: other.cfg.Name, PeerURLs: other.cfg.PeerURLs})
		}
	}
	n.cfg.InitialCluster = append(n.cfg.InitialCluster, Member{Name: n.cfg.Name, PeerURLs: n.cfg.PeerURLs})
	return i
}

func (c *testCluster) add(at, joins int, learner bool) Member {
	c.t.Helper()
	m, err := c.nodes[at].MemberAdd(context.Background(), Member{PeerURLs: c.nodes[joins].cfg.PeerURLs, Learner: learner})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func TestALearnerJoinsAndIsPromoted(t *testing.T) {
	for _, members := range []int{1, 3} {
		inCluster(t, members, func(t *testing.T, c *testCluster) {
			c.do(0, putOp("k", "v"))
			asking := 0
			if members > 1 {
				asking = c.follower() // the change goes to the leader, and shows here when it is done
			}
			fresh := c.joining()
			m := c.add(asking, fresh, true)
			if got, ok := c.nodes[asking].Member(m.ID); !ok || !got.Learner || got.Started() {
				t.Errorf("where it was added the member is %+v, %v", got, ok)
			}
			wantCode(t, c.nodes[asking].MemberPromote(context.Background(), m.ID), CodeLearnerNotReady)
			c.start(fresh)
			n := c.nodes[fresh]
			if n.MemberID() != m.ID || n.ClusterID() != c.nodes[0].ClusterID() {
				t.Errorf("it joined as %x in %x", n.MemberID(), n.ClusterID())
			}
			if status := n.Status(); status.Role != RoleLearner || status.Voters != members || status.Learners != 1 {
				t.Errorf("its status is %+v", status)
			}
			if got := c.get(fresh, "k", Local); got != "v" {
				t.Errorf("when it is ready it has %q", got)
			}
			c.do(fresh, putOp("k", "w"))
			c.await("the promotion", func() bool { // of so short a log the last entry is more than a tenth
				err := n.MemberPromote(context.Background(), m.ID)
				if err != nil {
					wantCode(t, err, CodeLearnerNotReady)
				}
				return err == nil
			})
			if n.Self().Learner || n.Status().Role != RoleFollower {
				t.Errorf("after the promotion it is %+v", n.Self())
			}
			wantCode(t, n.MemberPromote(context.Background(), m.ID), CodeMemberNotLearner)
			if got := c.get(0, "k", Linearizable); got != "w" {
				t.Errorf("its write gives %q", got)
			}
			if err := n.MoveLeader(context.Background(), m.ID); err != nil {
				t.Error(err)
			}
			c.await("published", func() bool { m := c.nodes[0].Members(); return m[len(m)-1].Started() && m[0].Started() })
			c.checkReplicas()
			// It comes back by itself.
			c.stop(fresh)
			c.start(fresh)
			c.checkReplicas()
		})
	}
}

// The member that is added has a vote, and does not run yet: no quorum can say any more how far the cluster is.
func TestALoneNodeAnswersWhenItAddsAVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &testCluster{t: t, net: memnet.New()}
		c.prepare()
		defer func() { c.stop(c.places()...) }()
		c.start(0)
		before := time.Now() // of the test's own clock
		c.add(0, c.joining(), false)
		if waited := time.Since(before); waited >= time.Second {
			t.Errorf("it waited %v", waited)
		}
	})
}

// A lone node has an id by chance; others can join it all the same.
func TestALoneNodeGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &testCluster{t: t, net: memnet.New()}
		c.prepare()
		defer func() { c.stop(c.places()...) }()
		c.start(0)
		for range 2 {
			fresh := c.joining()
			c.add(0, fresh, false)
			c.start(fresh)
		}
		c.stop(0)
		c.leader()
		c.do(2, putOp("k", "v"))
	})
}

func TestMembersMayBeFoundAtUnixSockets(t *testing.T) {
	if err := CheckPeerURLs([]string{"unix://localhost:1", "unixs:///run/a", "unix://a/b", "https://[::1]:2380"}); err != nil {
		t.Error(err)
	}
	wantCode(t, CheckPeerURLs([]string{"unix://a", "unix://a"}), CodeBadPeerURLs)
}

func TestChangesOfMembersAreRefusedForWhatIsWrongWithThem(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		s, ctx := c.nodes[c.follower()], context.Background()
		_, err := s.MemberAdd(ctx, Member{PeerURLs: []string{memberURL(1)}})
		wantCode(t, err, CodePeerURLExists)
		for _, url := range []string{"", "n9:1", "http://n9", "ftp://n9:1", "http://n9:1/path", "http://:1", "unix://", "unix:n9", "unix://n9?x"} {
			_, err = s.MemberAdd(ctx, Member{PeerURLs: []string{url}})
			wantCode(t, err, CodeBadPeerURLs)
		}
		_, err = s.MemberAdd(ctx, Member{})
		wantCode(t, err, CodeBadPeerURLs)
		wantCode(t, s.MemberPromote(ctx, 99), CodeMemberNotFound)
		wantCode(t, s.MemberPromote(ctx, s.MemberID()), CodeMemberNotLearner)
		wantCode(t, s.MemberRemove(ctx, 99), CodeMemberNotFound)
		wantCode(t, s.MemberUpdate(ctx, 99, []string{"http://n9:1"}), CodeMemberNotFound)
		wantCode(t, s.MemberUpdate(ctx, c.nodes[0].MemberID(), []string{memberURL(1)}), CodePeerURLExists)
		if _, err := s.MemberAdd(ctx, Member{PeerURLs: []string{"http://x:1"}, Learner: true}); err != nil {
			t.Fatal(err)
		}
		_, err = s.MemberAdd(ctx, Member{PeerURLs: []string{"http://y:1"}, Learner: true})
		wantCode(t, err, CodeTooManyLearners)
		c.checkReplicas()
	})
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		wantCode(t, c.nodes[0].MemberRemove(context.Background(), c.nodes[0].MemberID()), CodeLastVoter)
	})
}

func TestAChangeThatWouldCostTheQuorumIsRefused(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		down := c.follower()
		id := c.nodes[down].MemberID()
		c.stop(down)
		c.leader()
		s, ctx := c.nodes[c.follower()], context.Background()
		_, err := s.MemberAdd(ctx, Member{PeerURLs: []string{"http://x:1"}})
		wantCode(t, err, CodeUnhealthy)
		wantCode(t, s.MemberRemove(ctx, s.MemberID()), CodeUnhealthy)
		if _, err := s.MemberAdd(ctx, Member{PeerURLs: []string{"http://x:1"}, Learner: true}); err != nil {
			t.Errorf("a learner endangers nothing: %v", err)
		}
		if err := s.MemberRemove(ctx, id); err != nil {
			t.Errorf("removing the one that is down helps: %v", err)
		}
		if status := s.Status(); status.Voters != 2 || status.Learners != 1 {
			t.Errorf("%d voters, %d learners", status.Voters, status.Learners)
		}
	})
}

func TestChangesAtTheSameTimeFollowEachOther(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		var changing sync.WaitGroup
		for i, n := range c.nodes {
			changing.Go(func() {
				url := []string{memberURL(10 + i)}
				m, err := n.MemberAdd(context.Background(), Member{PeerURLs: url, Learner: true})
				if err == nil {
					err = n.MemberRemove(context.Background(), m.ID)
				}
				if err != nil {
					t.Errorf("member %d: %v", i, err)
				}
			})
		}
		changing.Wait()
		c.checkReplicas()
		for _, n := range c.nodes {
			if len(n.Members()) != 3 || len(n.roster.current.Load().removed) != 3 {
				t.Errorf("%d members, removed %v", len(n.Members()), n.roster.current.Load().removed)
			}
		}
		c.checkReplicas()
	}, func(cfg *Config) { cfg.MaxLearners = 3 })
}

func TestARemovedMemberStopsAndDoesNotComeBack(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		ctx := context.Background()
		gone := c.follower()
		id := c.nodes[gone].MemberID()
		if err := c.nodes[c.leader()].MemberRemove(ctx, id); err != nil {
			t.Fatal(err)
		}
		<-c.nodes[gone].Done()
		if err := c.nodes[gone].Err(); !errors.Is(err, ErrRemoved) {
			t.Errorf("it stopped because of %v", err)
		}
		c.stop(gone)
		refused := func(how string, words ...string) {
			t.Helper()
			err := c.open(gone)
			if err == nil {
				t.Fatalf("%s: it came back", how)
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q does not say %q", how, err, word)
				}
			}
		}
		refused("with its data", "removed", "triglot member add", "data directory")
		n := c.nodes[gone]
		fresh := &clusterNode{cfg: n.cfg}
		fresh.fs, fresh.disk = newDisks()
		c.nodes[gone] = fresh
		refused("as at the first start, without data", "removed", "triglot member add")
		fresh.cfg.Join = true
		refused("joining without being added", "not been added", "triglot member add "+fresh.cfg.Name)
		// Added again it is another member.
		m := c.add(c.leader(), gone, false)
		if m.ID == id {
			t.Error("it has the old id")
		}
		c.start(gone)
		c.do(gone, putOp("k", "v"))
		c.checkReplicas()
	})
}

// One that was down when it was removed learns of it from the others.
func TestAMemberThatMissedItsRemovalIsTold(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		gone := c.follower()
		id := c.nodes[gone].MemberID()
		c.stop(gone)
		if err := c.nodes[c.leader()].MemberRemove(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		if err := c.open(gone); !errors.Is(err, ErrRemoved) {
			t.Errorf("it starts with %v", err)
		}
	})
}

func TestTheLeaderCanRemoveItself(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.leader()
		if err := c.nodes[leader].MemberRemove(context.Background(), c.nodes[leader].MemberID()); err != nil {
			t.Fatal(err)
		}
		<-c.nodes[leader].Done()
		c.stop(leader)
		c.leader()
		i := c.follower()
		if got := c.nodes[i].Status().Voters; got != 2 {
			t.Errorf("%d voters", got)
		}
		c.do(i, putOp("k", "v"))
	})
}

// The leader that is asked to remove itself may be gone before its answer is.
func TestAFollowerCanHaveTheLeaderRemoved(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader, asking := c.leader(), c.follower()
		// What the leader sends still arrives, and its answers to calls do not.
		c.nodes[asking].loseAnswers(c.nodes[leader].MemberID())
		if err := c.nodes[asking].MemberRemove(context.Background(), c.nodes[leader].MemberID()); err != nil {
			t.Error(err)
		}
		<-c.nodes[leader].Done()
		c.stop(leader)
		if got := c.nodes[asking].Status().Voters; got != 2 {
			t.Errorf("%d voters", got)
		}
	})
}

func TestALoneMemberSaysWhereItIsFound(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, c *testCluster) {
		c.stop(0)
		c.nodes[0].cfg.PeerURLs = []string{"http://elsewhere:1"}
		c.start(0)
		c.await("its new address", func() bool { return c.nodes[0].Self().PeerURLs[0] == "http://elsewhere:1" })
	})
}

func TestAnAddressThatChangesIsFollowed(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		moved := c.follower()
		id := c.nodes[moved].MemberID()
		c.stop(moved)
		url := "http://elsewhere:1"
		if err := c.nodes[c.leader()].MemberUpdate(context.Background(), id, []string{url}); err != nil {
			t.Fatal(err)
		}
		n := c.nodes[moved]
		cfg := n.cfg
		cfg.FS, cfg.OpenLog, cfg.Transport, cfg.PeerURLs = n.fs, n.disk.open, c.net.Transport(url), []string{url}
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n.Store = s
		c.do(moved, putOp("k", "v"))
		c.checkReplicas()
	})
}

// A crash between the first start and the first snapshot: the member goes on joining, without being asked how.
func TestAMemberThatWasJoiningGoesOn(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		fresh := c.joining()
		c.add(0, fresh, true)
		n := c.nodes[fresh]
		// The others can be asked, and send nothing.
		for i := range 3 {
			c.net.Cut(memberURL(i), memberURL(fresh))
		}
		opened, interrupt := make(chan error, 1), make(chan struct{})
		n.cfg.Interrupt = interrupt
		go func() { opened <- c.open(fresh) }()
		c.await("its identity", func() bool { _, err := readIdentity(n.fs, "data"); return err == nil })
		close(interrupt)
		if err := <-opened; !errors.Is(err, ErrInterrupted) {
			t.Fatal(err)
		}
		n.cfg.Interrupt, n.cfg.Join, n.cfg.InitialCluster = nil, false, nil
		c.net.Heal()
		c.start(fresh)
		c.checkReplicas()
	})
}

// A member that was away for long gets a snapshot; what follows the state follows it there.
func TestAMemberThatWasAwayForLongCatchesUp(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		password := []byte("0123456789abcdef")
		c.do(0, grantOp(1, time.Hour))
		c.do(0, opLeaseGrant(&corepb.LeaseGrant{Id: 2, TtlMillis: 3_600_000, Password: password, Owner: 1}))
		away := c.follower()
		n := c.nodes[away]
		type told struct {
			id    int64
			owner uint64
		}
		tell := make(chan told, 16)
		n.OnLeaseEnd(func(ids []int64) {
			for _, id := range ids {
				tell <- told{id: id}
			}
		})
		n.OnSessionMoved(func(id int64, owner uint64) { tell <- told{id, owner} })
		c.cut(away)
		others := c.others(away)
		at := c.leader(others...)
		c.do(at, opLeaseRevoke(1))
		c.do(at, opSessionResume(&corepb.SessionResume{Id: 2, Password: password, TtlMillis: 3_600_000, Owner: 5}))
		big := strings.Repeat("x", 8<<10)
		for i := range 200 {
			c.do(at, putOp(fmt.Sprint("key", i%10), big))
		}
		for _, i := range others {
			if err := c.nodes[i].db.Flush(); err != nil { // so that the log can be truncated
				t.Fatal(err)
			}
		}
		added, err := c.nodes[at].MemberAdd(context.Background(), Member{PeerURLs: []string{"http://late:1"}, Learner: true})
		if err != nil {
			t.Fatal(err)
		}
		received := n.Metrics().SnapshotsReceived
		c.net.Heal()
		c.leader()
		c.checkReplicas()
		if n.Metrics().SnapshotsReceived == received {
			t.Error("it caught up without a snapshot")
		}
		if _, ok := n.Member(added.ID); !ok {
			t.Error("it does not know a member that was added meanwhile")
		}
		seen := map[told]bool{<-tell: true, <-tell: true}
		if !seen[told{id: 1}] || !seen[told{2, 5}] {
			t.Errorf("told of %v", seen)
		}
		if _, err := n.KeepAlive(context.Background(), 1); !errors.Is(err, ErrLeaseNotFound) {
			t.Errorf("the lease that ended meanwhile: %v", err)
		}
	}, func(cfg *Config) { cfg.CatchUpBytes = 64 << 10 })
}

func TestOpenGivesUpWhenItIsTold(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.stop(c.places()...)
		interrupt, waiting := make(chan struct{}), make(chan string, 10)
		c.nodes[0].cfg.Interrupt = interrupt
		c.nodes[0].cfg.OnWaiting = func(reason string) { waiting <- reason }
		opened := make(chan error, 1)
		go func() { opened <- c.open(0) }()
		reason := <-waiting
		if !strings.Contains(reason, "leader") || !strings.Contains(reason, "not reached: n") {
			t.Errorf("it waits because %s", reason)
		}
		close(interrupt)
		if err := <-opened; !errors.Is(err, ErrInterrupted) {
			t.Errorf("it gave up with %v", err)
		}
	})
}

func TestAStoreOutlivesAFullRestart(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "v"))
		c.do(1, grantOp(1, time.Hour))
		c.stop(c.places()...)
		c.start(c.places()...)
		for i := range c.nodes {
			if got := c.get(i, "k", Local); got != "v" {
				t.Errorf("member %d has %q", i, got)
			}
			if !c.has(i, 1) {
				t.Errorf("member %d has lost the lease", i)
			}
		}
	})
}

// With MembersSettle a cluster that has just come together is left as it is, and changes its members afterwards.
func TestMembersChangeOnceTheyHaveBeenConnectedForAWhile(t *testing.T) {
	settle := func(cfg *Config) { cfg.MembersSettle = time.Minute }
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		leader := c.nodes[c.leader()]
		add := func(learner bool) error {
			_, err := leader.MemberAdd(context.Background(), Member{PeerURLs: []string{"http://new:1"}, Learner: learner})
			return err
		}
		wantCode(t, add(false), CodeUnhealthy)
		wantCode(t, add(true), CodeUnhealthy)
		wantCode(t, leader.MemberRemove(context.Background(), c.nodes[c.follower()].MemberID()), CodeUnhealthy)
		<-time.After(2 * time.Minute)
		if err := add(true); err != nil {
			t.Error(err)
		}
		if err := leader.MemberRemove(context.Background(), c.nodes[c.follower()].MemberID()); err != nil {
			t.Error(err)
		}
	}, settle)
}
