package raftlog

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// clients ask any member for anything, at moments of their own.
type clients struct {
	w       *world
	ends    time.Duration // they ask for nothing from then on
	refused int           // calls that a member did not take
}

// every repeats something at random intervals of about the given length, until the clients end.
func (c *clients) every(about time.Duration, do func()) {
	if about == 0 {
		return
	}
	c.w.after(c.w.between(0, 2*about), func() {
		if c.w.now >= c.ends || c.w.failure != nil {
			return
		}
		do()
		c.every(about, do)
	})
}

func (c *clients) start(ends time.Duration) {
	c.ends = ends
	p := &c.w.plan
	c.every(p.proposeEvery, func() { c.propose(one(c.w, c.w.running())) })
	c.every(p.readEvery, func() { c.read(one(c.w, c.w.running())) })
	c.every(p.changeEvery, c.change)
	c.every(p.flushEvery/time.Duration(p.voters), func() { c.flush(one(c.w, c.w.running())) })
	c.every(3*time.Second, c.transfer)
}

// propose queues a group of up to six.
func (c *clients) propose(r *simRun) {
	if r == nil {
		return
	}
	w, t := c.w, c.w.truth
	n := 1
	if w.chance(0.3) {
		n += w.dice.IntN(6)
	}
	group := make([]Proposal, n)
	made := make([]*simProposal, n)
	for i := range group {
		group[i] = Proposal{Seq: r.seq + 1 + uint64(i), Payload: make([]byte, w.dice.IntN(60))}
		made[i] = &simProposal{id: proposalID{r.origin(), group[i].Seq}, r: r, floor: t.floor, made: w.steps}
		t.proposals[made[i].id] = made[i]
	}
	r.seq += uint64(n)
	r.pending += n
	w.say(r.m.id, "is asked to propose %d to %d", group[0].Seq, r.seq)
	if err := r.node.ProposeAll(context.Background(), group); err != nil {
		c.refused++
		r.pending -= n
		for _, p := range made {
			p.fate = fateRefused
		}
		if !errors.Is(err, ErrOverloaded) {
			w.fail("node %d refuses proposals: %v", r.m.id, err)
		}
	}
	r.poke()
}

// read asks for a read index, waits until it is applied, and looks.
func (c *clients) read(r *simRun) {
	if r == nil {
		return
	}
	w, t := c.w, c.w.truth
	floor := t.floor
	w.say(r.m.id, "is asked to read, %d is known", floor)
	answer := r.askRead()
	r.readers++
	index := uint64(0)
	r.answers = append(r.answers, func() bool {
		if index == 0 {
			got, ok := answer()
			if !ok {
				return false
			}
			index = got
			w.say(r.m.id, "may read at %d what was asked for at %d", index, floor)
			if index < floor {
				w.fail("node %d reads at %d, but %d was known when it was asked", r.m.id, index, floor)
			}
		}
		if r.machine.index < index {
			return false
		}
		t.floor = max(t.floor, r.machine.index)
		t.reads++
		r.readers--
		return true
	})
	r.poke()
}

// flush writes the state engine's memory to its disk, and lets the log go so far.
func (c *clients) flush(r *simRun) {
	if r == nil || r.machine.index == 0 {
		return
	}
	r.m.flushed = r.machine.image
	index := r.machine.index
	c.w.say(r.m.id, "flushed %d", index)
	if c.w.chance(0.8) {
		r.truncate(index)
	}
	r.poke()
}

// transfer asks the leader to hand over, to somebody or to whom it pleases.
func (c *clients) transfer() {
	r := c.w.leader()
	if r == nil {
		return
	}
	var to uint64
	if c.w.chance(0.7) {
		to = one(c.w, c.w.members).id
	}
	c.w.say(r.m.id, "is asked to hand over to %d", to)
	r.askTransfer(to)
	r.poke()
}

// change asks for some change of the membership that makes sense: mostly of the leader, sometimes of another.
func (c *clients) change() {
	w := c.w
	r := w.leader()
	if w.chance(0.1) {
		r = one(w, w.running())
	}
	if r == nil || r.machine.conf == nil {
		return
	}
	conf := mustConf(r.machine.conf)
	changes := c.drawChanges(conf)
	if len(changes) == 0 {
		return
	}
	payload := []byte{'y'}
	if w.chance(w.plan.refuses) {
		payload[0] = refusedChange
	}
	r.seq++
	r.pending++
	p := &simProposal{id: proposalID{r.origin(), r.seq}, r: r, floor: w.truth.floor, ofChange: true}
	w.truth.proposals[p.id] = p
	w.say(r.m.id, "is asked to change %v as proposal %d", changes, r.seq)
	r.askChange(changes, r.seq, payload, func(err error) {
		if err != nil {
			w.say(r.m.id, "does not change: %v", err)
			p.fate = fateRefused
			r.pending--
			if p.index != 0 {
				w.fail("node %d refuses change %d, but it is entry %d", r.m.id, p.id.seq, p.index)
			}
			return
		}
	})
	r.poke()
}

// drawChanges: new members come as learners and get a vote later; those that leave never come back under their id.
func (c *clients) drawChanges(conf *raftpb.ConfState) []Change {
	w := c.w
	voters, learners := conf.GetVoters(), conf.GetLearners()
	remove := func() []Change {
		if len(voters) < 3 {
			return nil
		}
		return []Change{{Kind: Remove, ID: one(w, voters)}}
	}
	switch n := w.dice.IntN(10); {
	case n < 4 && len(learners) == 0 && len(voters) < 7 && len(w.members) < founders:
		m := w.addMember(false)
		w.after(w.between(0, time.Second), func() {
			if m.run == nil && !m.removed {
				m.start()
			}
		})
		kind := AddLearner
		if w.chance(0.2) {
			kind = AddVoter
		}
		return []Change{{Kind: kind, ID: m.id}}
	case n < 7 && len(learners) > 0:
		promote := Change{Kind: AddVoter, ID: one(w, learners)}
		if w.chance(0.4) { // a replacement, by joint consensus
			return append([]Change{promote}, remove()...)
		}
		return []Change{promote}
	case n < 9 && len(voters) > 3 || n == 9:
		return remove()
	case len(learners) > 0:
		return []Change{{Kind: Remove, ID: one(w, learners)}}
	}
	return nil
}

// settled says whether everything asked of a member has its answer.
func (r *simRun) settled() bool { return r.pending == 0 && r.readers == 0 && len(r.answers) == 0 }
