package core

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// randomCommands are those of random_test.go, on whichever member. Registers and leases of the other clients stay out of
// their reach.
func (c *simCluster) randomCommands(dice *rand.Rand) {
	g := &generator{r: dice, keys: randomKeys}
	for c.wait(time.Duration(dice.IntN(80)) * time.Millisecond) {
		life := c.pick(dice)
		if life == nil {
			continue
		}
		var txn *corepb.Txn
		life.use(func(s *Store) {
			g.s = &testStore{t: c.t, db: s.db, now: time.Now().UnixMilli()}
			txn = g.txn(1)
		})
		if txn == nil {
			continue
		}
		restrain(txn)
		ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
		if dice.IntN(4) == 0 {
			life.store.Submit(ctx, txn, oneOp(opPut(&corepb.Put{Key: []byte("k2"), Value: []byte("of a group"), OverCollection: true})))
		} else {
			_, _ = life.store.Do(ctx, txn) // any outcome is right; what counts is that it is the same everywhere
		}
		cancel()
	}
}

// restrain keeps ranges below the registers.
func restrain(txn *corepb.Txn) {
	for _, op := range slices.Concat(txn.Then, txn.Otherwise) {
		switch op := op.Op.(type) {
		case *corepb.Op_Delete:
			if len(op.Delete.End) > 0 {
				op.Delete.End = []byte("q")
			}
		case *corepb.Op_Flush:
			op.Flush.Space = 1
		case *corepb.Op_Txn:
			restrain(op.Txn)
		}
	}
}

// use gives a store that is not closed meanwhile. do must not wait.
func (l *simLife) use(do func(*Store)) {
	l.using.RLock()
	defer l.using.RUnlock()
	if !l.dead.Load() {
		do(l.store)
	}
}

// simStates are hashes of whole databases by applied index.
type simStates struct {
	hash map[uint64]uint64
}

// sampleStates looks now and then at every member: those at one index have the same bytes.
func (c *simCluster) sampleStates(dice *rand.Rand) {
	states := &simStates{hash: map[uint64]uint64{}}
	for c.wait(time.Duration(100+dice.IntN(500)) * time.Millisecond) {
		for _, life := range c.ready() {
			life.use(func(s *Store) {
				index, hash := hashState(s)
				if known, ok := states.hash[index]; ok && known != hash {
					c.complain("%s has another state at %d than others", life.m.name, index)
				}
				states.hash[index] = hash
			})
		}
	}
}

func hashState(s *Store) (index, hash uint64) {
	view := s.db.View()
	defer view.Release()
	h := fnv.New64a()
	iter := view.Scan([]byte{0}, []byte{0xff})
	defer iter.Close()
	for iter.Next() {
		if key := iter.Key(); key[0] != 1 { // the state, and the progress of purges
			fmt.Fprintf(h, "%d %d ", len(key), len(iter.Value()))
			h.Write(key)
			h.Write(iter.Value())
		}
	}
	return view.State().AppliedIndex, h.Sum64()
}

const simRestsWithin = 60 * time.Second

// rest ends the clients and waits until every member has everything.
func (c *simCluster) rest() {
	c.stop()
	c.clients.Wait()
	deadline := time.Now().Add(simRestsWithin)
	for reason := c.unrest(); reason != ""; reason = c.unrest() {
		if time.Now().After(deadline) {
			c.complain("the cluster does not come to rest within %v: %s", simRestsWithin, reason)
			return
		}
		c.net.wait(c.net.ctx, 200*time.Millisecond)
	}
}

// unrest says what is missing; "" is nothing.
func (c *simCluster) unrest() string {
	leader := c.leader()
	if leader == nil {
		return "nobody leads"
	}
	ctx, cancel := context.WithTimeout(c.net.ctx, 5*time.Second)
	defer cancel()
	view, err := leader.store.View(ctx, Linearizable)
	if err != nil {
		return fmt.Sprintf("%s leads and cannot be read: %v", leader.m.name, err)
	}
	index := view.at.State().AppliedIndex
	view.Close()
	for _, member := range leader.store.Members() {
		life := c.lifeOf(member.ID)
		if life == nil {
			return fmt.Sprintf("%s (%x, %s) is not there", member.Name, member.ID, c.nameOf(member.PeerURLs[0]))
		}
		if applied := life.store.Status().AppliedIndex; applied < index {
			return fmt.Sprintf("%s has applied %d of %d", life.m.name, applied, index)
		}
		if view, err := life.store.View(ctx, Linearizable); err != nil {
			return fmt.Sprintf("%s cannot be read: %v", life.m.name, err)
		} else {
			view.Close()
		}
	}
	return ""
}

func (c *simCluster) lifeOf(id uint64) *simLife {
	for _, life := range c.ready() {
		if life.store.MemberID() == id {
			return life
		}
	}
	return nil
}

// check compares what is left with what was promised.
func (c *simCluster) check(history *simHistory, leases *simLeases, watchers []*simWatcher) {
	defer func() {
		c.stopWatching()
		c.watching.Wait()
	}()
	leader := c.leader()
	if leader == nil || len(c.wrong) > 0 {
		return
	}
	// Whoever held a lease has let go. The last leader may have given all their time again just now.
	c.net.wait(c.net.ctx, 4*time.Second+simLeaseSlack)
	c.stopWatching()
	c.watching.Wait()

	want, rows := storedHistory(leader.store), stateRows(c.t, leader.store)
	c.counts.events, c.counts.installs = len(want), c.net.sent
	for _, member := range leader.store.Members() {
		life := c.lifeOf(member.ID)
		if life == nil {
			c.complain("%s (%x) went away", member.Name, member.ID)
			continue
		}
		if left := leases.left(life.store); len(left) > 0 {
			c.complain("%s still has the leases %v, whose holders are gone", life.m.name, left)
		}
		if other := stateRows(c.t, life.store); other != rows {
			c.complain("%s and %s differ:\n%s", leader.m.name, life.m.name, difference(rows, other))
		}
		if d := compareStreams(want, storedHistory(life.store)); d != "" {
			c.complain("the history of %s %s", life.m.name, d)
		}
	}
	if alarms := leader.store.Alarms(); len(alarms) > 0 {
		c.complain("there are alarms: %+v", alarms)
	}
	for _, w := range watchers {
		if d := compareStreams(want, w.seen); d != "" {
			c.complain("what %s was told %s", w.name, d)
		}
	}
	for _, w := range history.written {
		if !w.in(want) {
			c.complain("the write %+v was acknowledged and is lost", w)
		}
	}
	for value, err := range history.never {
		if slices.ContainsFunc(want, func(e string) bool { return strings.HasSuffix(e, fmt.Sprintf("=%q", value)) }) {
			c.complain("%s was refused, and is written: %v", value, err)
		}
	}
}

// simLeaseSlack is what may pass after the end of a lease's time until it is ended everywhere.
const simLeaseSlack = 3 * time.Second

// close ends everything in an orderly way.
func (c *simCluster) close() {
	for _, m := range c.all() {
		m.mu.Lock()
		life := m.life
		m.life, m.removed = nil, true
		m.mu.Unlock()
		if life == nil {
			continue
		}
		life.dead.Store(true)
		life.end()
		close(life.interrupt)
		c.owned.Add(1)
		go func() {
			defer c.owned.Done()
			<-life.opened
			if life.store == nil {
				return
			}
			if err := life.store.Close(); err != nil {
				c.complain("%s does not close: %v", m.name, err)
			}
		}()
	}
	c.owned.Wait()
	c.net.close()
}
