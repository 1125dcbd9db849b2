package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// faults are what goes wrong with a cluster, until ctx ends.
func (c *simCluster) faults(ctx context.Context) {
	every := time.Duration(200+c.dice.IntN(1200)) * time.Millisecond
	for c.net.wait(ctx, time.Duration(c.dice.Int64N(int64(2*every)))) {
		switch c.dice.IntN(12) {
		case 0, 1:
			c.crash(ctx, c.pick(c.dice))
		case 2, 3:
			c.crash(ctx, c.leader())
		case 4:
			for _, life := range c.ready() {
				if c.dice.IntN(4) > 0 {
					c.crash(ctx, life)
				}
			}
		case 5, 6:
			c.partition(ctx)
		case 7:
			c.isolate(ctx, c.leader())
		case 8:
			c.isolate(ctx, c.pick(c.dice))
		case 9:
			c.storm(ctx)
		case 10:
			c.slowMember(ctx)
		case 11:
			if life := c.leader(); life != nil {
				c.background(func() { _ = life.store.MoveLeader(c.ctx, 0) }) // it may well fail
			}
		}
	}
}

// background runs something that ends with the clients.
func (c *simCluster) background(run func()) {
	c.clients.Add(1)
	go func() {
		defer c.clients.Done()
		run()
	}()
}

// later does something after a random time, unless all heals before.
func (c *simCluster) later(ctx context.Context, most time.Duration, do func()) {
	wait := time.Duration(c.dice.Int64N(int64(most))) + 10*time.Millisecond
	c.background(func() {
		if c.net.wait(ctx, wait) {
			do()
		}
	})
}

func (c *simCluster) crash(ctx context.Context, life *simLife) {
	if life == nil {
		return
	}
	life.m.powerOff(life)
	c.count(func(n *simCounts) { n.crashes++ })
	c.later(ctx, 3*time.Second, func() { life.m.start(c.initial(life.m)) })
}

// ids are the members that run now.
func (c *simCluster) ids() (ids []uint64) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	for _, m := range c.all() {
		for id, t := range c.net.up {
			if t.url == m.url {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func (c *simCluster) cutAll(from, to []uint64, both, cut bool) {
	for _, a := range from {
		for _, b := range to {
			c.net.cut(a, b, cut)
			if both {
				c.net.cut(b, a, cut)
			}
		}
	}
}

func (c *simCluster) partition(ctx context.Context) {
	var left, right []uint64
	for _, id := range c.ids() {
		if c.dice.IntN(2) == 0 {
			left = append(left, id)
		} else {
			right = append(right, id)
		}
	}
	both := c.dice.IntN(3) > 0
	c.note("partition of %x and %x, in both directions %v", left, right, both)
	c.cutAll(left, right, both, true)
	c.later(ctx, 4*time.Second, func() { c.cutAll(left, right, both, false) })
}

func (c *simCluster) isolate(ctx context.Context, life *simLife) {
	if life == nil {
		return
	}
	self, all := []uint64{life.transport.id}, c.ids()
	both := c.dice.IntN(3) > 0
	c.background(func() { c.leases.cling(life) })
	c.net.wait(ctx, 100*time.Millisecond)
	c.note("%s is isolated, in both directions %v", life.m.name, both)
	c.cutAll(self, all, both, true)
	c.later(ctx, 4*time.Second, func() { c.cutAll(self, all, both, false) })
}

func (c *simCluster) storm(ctx context.Context) {
	c.note("storm")
	c.net.setDrop(0.05 + 0.5*c.dice.Float64())
	c.later(ctx, 2*time.Second, func() { c.net.setDrop(0) })
}

func (c *simCluster) slowMember(ctx context.Context) {
	ids := c.ids()
	if len(ids) == 0 {
		return
	}
	slow, by := ids[c.dice.IntN(len(ids))], time.Duration(c.dice.IntN(400))*time.Millisecond
	for _, id := range ids {
		c.net.slowDown(slow, id, by)
	}
	c.later(ctx, 4*time.Second, func() {
		for _, id := range ids {
			c.net.slowDown(slow, id, 0)
		}
	})
}

// operator changes the membership: it adds learners, gives them votes, and removes others. One thing at a time.
func (c *simCluster) operator(faults context.Context, dice *rand.Rand) {
	for c.net.wait(faults, time.Duration(500+dice.IntN(3000))*time.Millisecond) {
		life := c.pick(dice)
		if life == nil {
			continue
		}
		members := life.store.Members()
		voters, learners := 0, []uint64(nil)
		for _, m := range members {
			if m.Learner {
				learners = append(learners, m.ID)
			} else {
				voters++
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		var err error
		switch {
		case len(learners) > 0 && dice.IntN(4) > 0:
			err = life.store.MemberPromote(ctx, learners[0])
		case len(learners) > 0:
			err = life.store.MemberRemove(ctx, learners[0])
		case voters > 3 && dice.IntN(2) == 0:
			err = life.store.MemberRemove(ctx, members[dice.IntN(len(members))].ID)
		case len(c.all()) < 8:
			m := c.newMember(true)
			if _, err = life.store.MemberAdd(ctx, Member{PeerURLs: []string{m.url}, Learner: dice.IntN(4) > 0}); err == nil {
				m.start(c.initial(m))
			} // else it may have been added all the same, and is tried when all has healed
		}
		cancel()
		c.note("the operator, through %s: %v", life.m.name, err)
		if err == nil {
			c.count(func(n *simCounts) { n.changes++ })
		} else if e := (*Error)(nil); !errors.As(err, &e) {
			c.complain("a change of the membership fails with an error of no code: %v", err)
		}
	}
}

// initial is the list of members that one is started with: the founders, or for a member that joins those that there are.
func (c *simCluster) initial(m *simMember) (list []Member) {
	if !m.join {
		return c.founded
	}
	list = []Member{{Name: m.name, PeerURLs: []string{m.url}}}
	for _, life := range c.ready() {
		members := life.store.Members()
		if !slices.ContainsFunc(members, func(o Member) bool { return o.PeerURLs[0] == m.url }) {
			continue // it lags behind
		}
		for _, other := range members {
			if name := c.nameOf(other.PeerURLs[0]); name != m.name {
				list = append(list, Member{Name: name, PeerURLs: other.PeerURLs})
			}
		}
		return list
	}
	return append(list, c.founded...)
}

func (c *simCluster) nameOf(url string) string {
	for _, m := range c.all() {
		if m.url == url {
			return m.name
		}
	}
	return ""
}
