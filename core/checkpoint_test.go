package core

import (
	"context"
	"testing"
	"time"
)

const testCheckpoints = 10 * time.Second

// inNotingCluster is a cluster of three that notes what is left of leases.
func inNotingCluster(t *testing.T, run func(t *testing.T, c *testCluster)) {
	inCluster(t, 3, run, func(cfg *Config) { cfg.LeaseCheckpointInterval = testCheckpoints })
}

// left asks for what is left of a lease, in whole seconds.
func (c *testCluster) left(id int64) time.Duration {
	c.t.Helper()
	left, ok, err := c.nodes[c.follower()].LeaseRemaining(context.Background(), id)
	if err != nil || !ok {
		c.t.Fatalf("lease %d: %v, %v", id, ok, err)
	}
	return time.Duration(left) * time.Millisecond
}

// depose has another leader elected.
func (c *testCluster) depose() {
	c.t.Helper()
	old := c.leader()
	c.crash(old)
	c.net.Heal()
	c.start(old)
	c.leader()
}

func TestALeaseGoesOnFromItsCheckpointWithAnotherLeader(t *testing.T) {
	inNotingCluster(t, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, time.Hour))
		<-time.After(10 * time.Minute)
		c.depose()
		if left := c.left(1); left > 50*time.Minute+2*testCheckpoints || left < 49*time.Minute {
			t.Errorf("after ten minutes and an election %v of an hour are left", left)
		}
		<-time.After(10 * time.Minute)
		c.depose()
		if left := c.left(1); left > 40*time.Minute+4*testCheckpoints || left < 39*time.Minute {
			t.Errorf("after twenty minutes and two elections %v of an hour are left", left)
		}
		<-time.After(41 * time.Minute)
		for i := range c.nodes {
			if c.has(i, 1) {
				t.Errorf("member %d still has the lease", i)
			}
		}
	})
}

func TestARenewedLeaseHasItsFullTimeWithAnotherLeader(t *testing.T) {
	inNotingCluster(t, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, time.Hour))
		<-time.After(50 * time.Minute)
		if _, err := c.nodes[c.follower()].KeepAlive(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		c.depose()
		if left := c.left(1); left < 59*time.Minute {
			t.Errorf("after it was renewed %v of an hour are left", left)
		}
	})
}

func TestWithoutCheckpointsALeaseHasItsFullTimeWithAnotherLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, time.Hour))
		<-time.After(50 * time.Minute)
		c.depose()
		if left := c.left(1); left < 59*time.Minute {
			t.Errorf("after an election %v of an hour are left", left)
		}
	})
}

func TestShortAndRenewedLeasesAreNotNoted(t *testing.T) {
	inNotingCluster(t, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, testCheckpoints))
		c.do(0, grantOp(2, time.Hour))
		leader := c.leader()
		before := c.nodes[leader].Status().RaftIndex
		for range 20 {
			<-time.After(testCheckpoints / 2)
			for id := range int64(2) {
				if _, err := c.nodes[leader].KeepAlive(context.Background(), id+1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if after := c.nodes[leader].Status().RaftIndex; after != before {
			t.Errorf("%d entries were written of leases that are kept alive", after-before)
		}
	})
}

// A renewal that comes between a note's being decided on and its being applied must take it back all the same.
func TestARenewalTakesBackANoteThatIsOnItsWay(t *testing.T) {
	inNotingCluster(t, func(t *testing.T, c *testCluster) {
		c.do(0, grantOp(1, time.Hour))
		<-time.After(testCheckpoints - time.Second)
		s := c.nodes[c.leader()].Store
		s.noting <- struct{}{}
		<-time.After(30 * time.Minute) // the duty waits, and so would a renewal that has something to take back
		lives, changes := s.lessor.note(testCheckpoints)
		if len(changes) != 1 {
			t.Fatalf("%d leases are to be noted", len(changes))
		}
		renewed := make(chan error, 1)
		go func() {
			_, err := s.KeepAlive(context.Background(), 1)
			renewed <- err
		}()
		<-time.After(time.Second)
		select {
		case err := <-renewed:
			t.Fatalf("the renewal was told before its note was in the log: %v", err)
		default:
		}
		p := s.submitNotes(context.Background(), changes, s.leadership.leadsIn())
		<-s.noting
		if _, err := p.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.lessor.arrived(lives)
		if err := <-renewed; err != nil {
			t.Fatal(err)
		}
		c.depose()
		if left := c.left(1); left < 59*time.Minute {
			t.Errorf("after it was renewed %v of an hour are left", left)
		}
	})
}
