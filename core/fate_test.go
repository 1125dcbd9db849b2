package core

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// What waits for a quorum ends within the request time-out, and says what is known.
func TestWithoutAQuorumRequestsFailInTime(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "before"))
		leader, follower := c.leader(), c.follower()
		for _, i := range c.others(leader) {
			if c.get(i, "k", Linearizable) != "before" {
				t.Error("not there")
			}
		}
		for i := range c.nodes {
			c.cut(i)
		}
		type outcome struct {
			what string
			err  error
			took time.Duration
		}
		outcomes := make(chan outcome, 8)
		begun := time.Now()
		try := func(what string, f func() error) {
			go func() { outcomes <- outcome{what, f(), time.Since(begun)} }()
		}
		put := func(i int) func() error {
			return func() error {
				_, err := c.nodes[i].Do(context.Background(), oneOp(putOp("k", fmt.Sprint(c.nodes[i].HasLeader(), i))))
				return err
			}
		}
		try("a write at the old leader", put(leader))
		try("a write at a follower", put(follower))
		for _, i := range []int{leader, follower} {
			try("a linearizable read", func() error {
				_, err := c.nodes[i].View(context.Background(), Linearizable)
				return err
			})
			try("a change of members", func() error {
				_, err := c.nodes[i].MemberAdd(context.Background(), Member{PeerURLs: []string{"http://x:1"}, Learner: true})
				return err
			})
		}
		for range 6 {
			o := <-outcomes
			if o.err == nil || o.took > 8*time.Second {
				t.Errorf("%s: %v after %v", o.what, o.err, o.took)
			}
			switch {
			case errors.Is(o.err, ErrNoLeader), errors.Is(o.err, ErrUnknownFate) && o.what != "a linearizable read":
			default:
				t.Errorf("%s: %v", o.what, o.err)
			}
			if strings.HasPrefix(o.what, "a write") {
				wantCode(t, o.err, CodeUnknownFate) // it is in the old leader's log, or on the way there
			}
		}
		// With nobody to send it to, a write is certainly in no log.
		for i := range c.nodes {
			begun := time.Now()
			wantCode(t, put(i)(), CodeNoLeader)
			if took := time.Since(begun); took > 8*time.Second {
				t.Errorf("a write without a leader failed after %v", took)
			}
		}
		if got := c.get(follower, "k", Local); got != "before" {
			t.Errorf("a local read gives %q", got)
		}
		if c.nodes[leader].HasLeader() || c.nodes[follower].HasLeader() {
			t.Error("there is still a leader")
		}
		c.net.Heal()
		c.leader()
		c.do(follower, putOp("k2", "healed"))
		if got := c.get(leader, "k2", Linearizable); got != "healed" {
			t.Errorf("after healing: %q", got)
		}
		// What was said to be in no log is in none.
		for i := range c.nodes {
			if got := c.get(i, "k", Linearizable); strings.HasPrefix(got, "false") {
				t.Errorf("member %d has a write that was refused: %q", i, got)
			}
		}
		c.checkReplicas()
	})
}

// A command that waits while the leader changes is neither lost nor done twice.
func TestCommandsGoOnAcrossAChangeOfLeader(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for round := range 3 {
			leader := c.leader()
			follower := c.follower()
			var pending []*Pending
			add := &corepb.Op{Op: &corepb.Op_Add{Add: &corepb.Add{Key: []byte("n"), Delta: 1}}}
			for range 20 {
				pending = append(pending, c.nodes[follower].Submit(context.Background(), oneOp(add)))
			}
			c.cut(leader)
			for range 20 {
				pending = append(pending, c.nodes[follower].Submit(context.Background(), oneOp(add)))
			}
			for _, p := range pending {
				if _, err := p.Wait(context.Background()); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			}
			c.net.Heal()
			c.leader()
			if got := c.get(leader, "n", Linearizable); got != fmt.Sprint(40*(round+1)) {
				t.Errorf("round %d: counted to %s", round, got)
			}
		}
		c.checkReplicas()
	})
}

func TestFatesOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiters(7 * time.Second)
		enter := func(n int) *Pending {
			p := newPending(n)
			if err := w.enter(p); err != nil {
				t.Fatal(err)
			}
			return p
		}
		seqs := func(p *Pending, from int) (all []uint64) {
			for i := from; i < len(p.results); i++ {
				all = append(all, p.first+uint64(i))
			}
			return all
		}
		complete := func(p *Pending, n int) {
			for i := range n {
				if q, place := w.take(p.first + uint64(i)); q != p || place != i {
					t.Fatalf("place %d of %v", place, q)
				}
				p.complete(i, &TxnResult{})
			}
		}
		done, dropped, half, lost, late := enter(2), enter(3), enter(3), enter(1), enter(2)
		complete(done, 2)
		w.settle(seqs(dropped, 0), raftlog.Dropped)
		complete(half, 1)
		w.settle(seqs(half, 1), raftlog.Dropped)
		w.settle(seqs(lost, 0), raftlog.Lost)
		complete(late, 1)
		begun := time.Now()
		for _, want := range []struct {
			p    *Pending
			code Code
		}{{dropped, CodeNoLeader}, {half, CodeUnknownFate}, {lost, CodeUnknownFate}, {late, CodeUnknownFate}} {
			_, err := want.p.Wait(t.Context())
			wantCode(t, err, want.code)
		}
		if took := time.Since(begun); took != 7*time.Second {
			t.Errorf("what has no outcome ended after %v, want 7 s", took)
		}
		if _, err := done.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		// Each group has its whole time, and an early one does not delay those behind it.
		first := enter(1)
		<-time.After(3 * time.Second)
		second := enter(1)
		complete(first, 1)
		begun = time.Now()
		_, err := second.Wait(t.Context())
		wantCode(t, err, CodeUnknownFate)
		if took := time.Since(begun); took != 7*time.Second {
			t.Errorf("the second ended after %v, want 7 s", took)
		}
		w.mu.Lock()
		if len(w.places) != 0 || len(w.lines) != 0 {
			t.Errorf("left behind: %v %v", w.places, w.lines)
		}
		w.mu.Unlock()
		w.close(ErrStopped, ErrStopped)
	})
}

func TestACanceledWaitSaysThatTheFateIsUnknown(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		for i := range c.nodes {
			c.cut(i)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.nodes[0].Do(ctx, oneOp(putOp("k", "v")))
		wantCode(t, err, CodeUnknownFate)
	})
}
