package core

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

func grantOp(id int64, ttl time.Duration) *corepb.Op {
	return opLeaseGrant(&corepb.LeaseGrant{Id: id, TtlMillis: ttl.Milliseconds()})
}

// has says whether a node knows a lease, in its own state.
func (c *testCluster) has(i int, id int64) bool {
	view, err := c.nodes[i].View(context.Background(), Local)
	if err != nil {
		c.t.Fatal(err)
	}
	defer view.Close()
	_, ok := view.Lease(id)
	return ok
}

func TestHeartbeatsThroughAnyNodeKeepALeaseAlive(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(c.follower(), grantOp(1, 3*time.Second))
		c.do(c.follower(), grantOp(2, 3*time.Second))
		for round := range 20 {
			<-time.After(2 * time.Second)
			ttl, err := c.nodes[round%3].KeepAlive(context.Background(), 1)
			if err != nil || ttl != 3000 {
				t.Fatalf("round %d: %v %v", round, ttl, err)
			}
		}
		for i := range c.nodes {
			if !c.has(i, 1) || c.has(i, 2) {
				t.Errorf("member %d has the leases %v %v", i, c.has(i, 1), c.has(i, 2))
			}
			if _, err := c.nodes[i].KeepAlive(context.Background(), 2); !errors.Is(err, ErrLeaseNotFound) {
				t.Errorf("the lease that ended: %v", err)
			}
			left, ok, err := c.nodes[i].LeaseRemaining(context.Background(), 1)
			if err != nil || !ok || left > 3000 || left < 2900 {
				t.Errorf("member %d says that %d ms are left: %v %v", i, left, ok, err)
			}
		}
	})
}

// A lease that was granted a moment ago on another node is known to whoever asks for it.
func TestALeaseCanBeRenewedAsSoonAsItIsGranted(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for id := range int64(60) {
			c.do(int(id%3), grantOp(id+1, time.Minute))
			if _, err := c.nodes[(id+1)%3].KeepAlive(context.Background(), id+1); err != nil {
				t.Errorf("lease %d: %v", id+1, err)
			}
		}
	})
}

func TestManyHeartbeatsOfAFollowerShareRequests(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		follower := c.follower()
		var beating sync.WaitGroup
		for id := range int64(200) {
			c.do(follower, grantOp(id+1, time.Minute))
		}
		for id := range int64(201) {
			beating.Go(func() {
				_, err := c.nodes[follower].KeepAlive(context.Background(), id+1)
				if id < 200 && err != nil || id == 200 && !errors.Is(err, ErrLeaseNotFound) {
					t.Errorf("lease %d: %v", id+1, err)
				}
			})
		}
		beating.Wait()
		ttls, err := c.nodes[follower].KeepAliveAll(context.Background(), []int64{3, 999, 1})
		if err != nil || !slices.Equal(ttls, []int64{60_000, 0, 60_000}) {
			t.Errorf("%v %v", ttls, err)
		}
		leases, err := c.nodes[follower].Leases(context.Background())
		if err != nil || len(leases) != 200 || !slices.IsSortedFunc(leases, func(a, b LeaseLeft) int {
			return int(a.RemainingMillis - b.RemainingMillis)
		}) {
			t.Errorf("%d leases: %v", len(leases), err)
		}
	})
}

// A client must not be told that its lease was renewed by a leader that leads no more: the next one does not know of it.
func TestARenewalByADeposedLeaderIsNotReported(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		c.do(old, grantOp(1, 10*time.Second))
		c.cut(old)
		begun := time.Now()
		ttl, err := c.nodes[old].KeepAlive(context.Background(), 1)
		if err == nil {
			t.Fatalf("the lease was renewed to %d ms by a leader on its own", ttl)
		}
		wantCode(t, err, CodeNoLeader)
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("that took %v", took)
		}
		// The same for a node that was cut off without having led.
		c.net.Heal()
		c.leader()
		follower := c.follower()
		c.cut(follower)
		_, err = c.nodes[follower].KeepAlive(context.Background(), 1)
		wantCode(t, err, CodeNoLeader)
	})
}

// A heartbeat that is on its way while the leader changes reaches the next one.
func TestAHeartbeatSurvivesTheEndOfItsLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old, follower := c.leader(), c.follower()
		c.do(old, grantOp(1, 10*time.Second))
		c.crash(old)
		ttl, err := c.nodes[follower].KeepAlive(context.Background(), 1)
		if err != nil || ttl != 10_000 {
			t.Errorf("%d %v", ttl, err)
		}
	})
}

// A leader that is cut off finds a lease over that the next leader keeps alive. Its proposal to end the lease reaches the
// log in the end, and does nothing.
func TestAnExpiryByADeposedLeaderDoesNothing(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		c.do(old, grantOp(1, 2*time.Second))
		<-time.After(1700 * time.Millisecond)
		c.cut(old) // it leads for another while, in its own eyes
		next := c.leader(c.others(old)...)
		elected := time.Now()
		<-time.After(500 * time.Millisecond)
		if _, err := c.nodes[next].KeepAlive(context.Background(), 1); err != nil {
			t.Errorf("the new leader: %v", err)
		}
		renewed := time.Now()
		c.net.Heal()
		c.leader()
		for time.Since(renewed) < 1900*time.Millisecond {
			<-time.After(100 * time.Millisecond)
			if !c.has(next, 1) {
				t.Fatalf("the lease ended %v after it was renewed, %v after the election", time.Since(renewed), time.Since(elected))
			}
		}
		c.await("its end", func() bool { return !c.has(next, 1) })
		if took := time.Since(renewed); took > 2500*time.Millisecond {
			t.Errorf("the lease of 2 s ended %v after its last renewal", took)
		}
	})
}

func TestANewLeaderGivesEveryLeaseItsFullTime(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		old := c.leader()
		c.do(old, grantOp(1, 10*time.Second))
		<-time.After(9 * time.Second)
		c.crash(old)
		next := c.leader()
		elected := time.Now()
		left, ok, err := c.nodes[next].LeaseRemaining(context.Background(), 1)
		if err != nil || !ok || left < 9_900 {
			t.Errorf("%d ms are left: %v %v", left, ok, err)
		}
		c.await("its end", func() bool { return !c.has(next, 1) })
		if took := time.Since(elected); took < 9900*time.Millisecond || took > 10200*time.Millisecond {
			t.Errorf("the lease ended %v after the election", took)
		}
	})
}

func TestALeaseOutlivesEveryChangeOfLeaderWhileItIsRenewed(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, 4*time.Second))
		stop := make(chan struct{})
		var beating sync.WaitGroup
		beating.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
				}
				if _, err := c.nodes[i%3].KeepAlive(context.Background(), 1); err != nil {
					t.Errorf("heartbeat %d: %v", i, err)
				}
			}
		})
		for range 10 {
			if err := c.nodes[0].MoveLeader(context.Background(), 0); err != nil {
				t.Error(err)
			}
			<-time.After(1500 * time.Millisecond)
			c.leader()
		}
		close(stop)
		beating.Wait()
		begun := time.Now()
		c.await("its end", func() bool { return !c.has(0, 1) })
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("without heartbeats it lived for %v", took)
		}
		c.checkReplicas()
	})
}

func TestKeysComeToTheirEndUnderANewLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		put := opPut(&corepb.Put{Key: []byte("k"), Value: []byte("v"), TtlMillis: 5000})
		c.do(0, put)
		old := c.leader()
		c.crash(old)
		next := c.leader()
		feed := c.nodes[next].Hub().NewFeed()
		defer feed.Close()
		if err := feed.Add(1, Watch{Match: MatchKey, Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-feed.Ready()
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("the key was removed after %v", took)
		}
	})
}

func TestASessionMovesFromNodeToNode(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		password := []byte("0123456789abcdef")
		type move struct {
			at    int
			id    int64
			owner uint64
		}
		moves := make(chan move, 16)
		for i, n := range c.nodes {
			n.OnSessionMoved(func(id int64, owner uint64) { moves <- move{i, id, owner} })
		}
		c.do(0, opLeaseGrant(&corepb.LeaseGrant{Id: 7, TtlMillis: 4000, Password: password, Owner: 100}))
		create := func(path string, owner uint64) *corepb.Txn {
			return &corepb.Txn{AbortOnError: true, Session: 7, Owner: owner, Then: []*corepb.Op{
				opNodeCreate(&corepb.NodeCreate{Path: path, Owner: 7}),
			}}
		}
		do := func(i int, txn *corepb.Txn) error {
			result, err := c.nodes[i].Do(context.Background(), txn)
			if err == nil {
				err = result.Err
			}
			return err
		}
		if err := do(0, create("/a", 100)); err != nil {
			t.Fatal(err)
		}
		resume := &corepb.SessionResume{Id: 7, Password: password, TtlMillis: 20_000, Owner: 200}
		c.do(1, opSessionResume(resume))
		told := map[int]bool{}
		for range c.nodes {
			m := <-moves
			if m.id != 7 || m.owner != 200 || told[m.at] {
				t.Errorf("told: %+v", m)
			}
			told[m.at] = true
		}
		wantCode(t, do(0, create("/b", 100)), CodeSessionMoved)
		if err := do(1, create("/b", 200)); err != nil {
			t.Error(err)
		}
		ttl, err := c.nodes[2].KeepAlive(context.Background(), 7)
		if err != nil || ttl != 20_000 {
			t.Errorf("the session's time is %d ms: %v", ttl, err)
		}
		<-time.After(19 * time.Second)
		if !c.has(2, 7) {
			t.Error("the session ended by its old time-out")
		}
		c.await("its end", func() bool { return !c.has(2, 7) })
		wantCode(t, do(0, create("/c", 100)), CodeSessionExpired)
		wantCode(t, do(1, create("/c", 200)), CodeSessionExpired)
		result, err := c.nodes[0].Do(context.Background(), oneOp(opSessionResume(resume)))
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, result.Err, CodeSessionExpired)
		synctest.Wait()
		if len(moves) != 0 {
			t.Errorf("told of %d moves more", len(moves))
		}
		c.checkReplicas()
	})
}
