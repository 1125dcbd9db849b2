package raftlog

import (
	"slices"
	"time"
)

// faults are what goes wrong, at random moments and for random times.
type faults struct {
	w    *world
	ends time.Duration
}

func (f *faults) start(ends time.Duration) {
	f.ends = ends
	f.next()
}

func (f *faults) next() {
	w := f.w
	w.after(w.between(0, 2*w.plan.faultEvery), func() {
		if w.now >= f.ends || w.failure != nil {
			return
		}
		one(w, everyFault)(f)
		f.next()
	})
}

var everyFault = []func(*faults){
	(*faults).crash, (*faults).crash, (*faults).crashLeader, (*faults).crashSomewhere, (*faults).crashSomewhere, (*faults).crashSomewhere,
	(*faults).powerCut, (*faults).partition, (*faults).isolateLeader, (*faults).isolateLeader, (*faults).cutOneWay, (*faults).slowLink,
	(*faults).slowDisk, (*faults).pause, (*faults).pauseLeader, (*faults).storm, (*faults).moveClock,
}

// while sets something now and takes it back after a while.
func (f *faults) while(least, most time.Duration, set, back func()) {
	set()
	f.w.after(f.w.between(least, most), func() {
		if f.w.now < f.ends { // all is taken back then anyway
			back()
		}
	})
}

// restart powers a member up after a while.
func (f *faults) restart(m *simMember) {
	w := f.w
	w.after(w.between(10*time.Millisecond, 2*time.Second), func() {
		if m.run == nil && !m.removed && w.failure == nil {
			m.start()
		}
	})
}

func (f *faults) crash() {
	if r := one(f.w, f.w.running()); r != nil {
		r.crash()
	}
}

func (f *faults) crashLeader() {
	if r := f.w.leader(); r != nil {
		r.crash()
	}
}

// crashSomewhere lets the power fail in the middle of something, whenever a member gets there.
func (f *faults) crashSomewhere() {
	r := one(f.w, f.w.running())
	if r == nil {
		return
	}
	r.crashPoint = one(f.w, []string{"append", "append", "before-mark", "before-mark", "mark", "apply"})
	r.crashAfter = 1 + f.w.dice.IntN(5)
	f.w.say(r.m.id, "will lose its power at %q", r.crashPoint)
}

// crashWhileInstalling does so for a member that is about to install a snapshot, which is too rare to be met by chance.
func (r *simRun) crashWhileInstalling() {
	if r.w.faulty() && r.w.chance(0.2) {
		r.crashPoint, r.crashAfter = one(r.w, []string{"install", "installed", "before-mark", "mark"}), 1
	}
}

func (f *faults) powerCut() {
	for _, r := range f.w.running() {
		if f.w.chance(0.8) {
			r.crash()
		}
	}
}

// cut cuts or mends links between two groups.
func (f *faults) cut(from, to []*simMember, cut bool) {
	for _, a := range from {
		for _, b := range to {
			f.w.net.link(a.id, b.id).cut = cut
		}
	}
}

func (f *faults) partition() {
	var left, right []*simMember
	for _, m := range f.w.members {
		if f.w.chance(0.5) {
			left = append(left, m)
		} else {
			right = append(right, m)
		}
	}
	f.w.say(0, "PARTITION of %d and %d members", len(left), len(right))
	f.while(200*time.Millisecond, 3*time.Second,
		func() { f.cut(left, right, true); f.cut(right, left, true) },
		func() { f.w.say(0, "partition heals"); f.cut(left, right, false); f.cut(right, left, false) })
}

func (f *faults) isolateLeader() {
	r := f.w.leader()
	if r == nil {
		return
	}
	self, others := []*simMember{r.m}, slices.DeleteFunc(slices.Clone(f.w.members), func(m *simMember) bool { return m == r.m })
	f.w.say(r.m.id, "ISOLATED")
	f.while(200*time.Millisecond, 3*time.Second,
		func() { f.cut(self, others, true); f.cut(others, self, true) },
		func() { f.w.say(r.m.id, "isolation ends"); f.cut(self, others, false); f.cut(others, self, false) })
}

// cutOneWay lets a member hear but not speak, or speak but not hear, to one or to all.
func (f *faults) cutOneWay() {
	a := one(f.w, f.w.members)
	others := slices.DeleteFunc(slices.Clone(f.w.members), func(m *simMember) bool { return m == a || f.w.chance(0.3) })
	from, to := []*simMember{a}, others
	if f.w.chance(0.5) {
		from, to = to, from
	}
	f.w.say(a.id, "one-way CUT")
	f.while(200*time.Millisecond, 3*time.Second, func() { f.cut(from, to, true) }, func() { f.cut(from, to, false) })
}

func (f *faults) slowLink() {
	a, b := one(f.w, f.w.members), one(f.w, f.w.members)
	l := f.w.net.link(a.id, b.id)
	f.while(time.Second, 3*time.Second, func() { l.slow = f.w.between(0, 600*time.Millisecond) }, func() { l.slow = 0 })
}

func (f *faults) slowDisk() {
	if r := one(f.w, f.w.running()); r != nil {
		f.while(time.Second, 3*time.Second, func() { r.disk = f.w.between(0, 400*time.Millisecond) }, func() { r.disk = 0 })
	}
}

func (f *faults) pauseRun(r *simRun) {
	if r != nil {
		r.paused = f.w.now + f.w.between(50*time.Millisecond, 3*time.Second)
		f.w.say(r.m.id, "PAUSED until %.3f", r.paused.Seconds())
	}
}

func (f *faults) pause()       { f.pauseRun(one(f.w, f.w.running())) }
func (f *faults) pauseLeader() { f.pauseRun(f.w.leader()) }

func (f *faults) storm() {
	f.w.say(0, "STORM")
	f.while(200*time.Millisecond, 2*time.Second, func() { f.w.net.drop = 0.1 + 0.6*f.w.dice.Float64() }, func() { f.w.net.drop = f.w.plan.drop })
}

func (f *faults) moveClock() {
	one(f.w, f.w.members).skew = f.w.between(-f.w.plan.skew-1, f.w.plan.skew)
}

// heal ends all faults. Members that are down come back, but for those that know that they were removed.
func (w *world) heal() {
	w.say(0, "ALL HEALS")
	w.net.heal()
	w.net.drop, w.plan.double, w.plan.breaks, w.plan.reorder = 0, 0, 0, false
	for _, m := range w.members {
		if m.run != nil {
			m.run.crashPoint, m.run.disk, m.run.paused = "", 0, 0
		} else if !m.removed {
			m.start()
		}
	}
}

// healed says whether the cluster is as it has to be when nothing has gone wrong for a while: all members of the last
// configuration agree and owe nobody an answer, and those that were removed know it. A member that was never added waits.
func (w *world) healed() bool {
	last := &w.truth.log[w.truth.last()]
	leader := w.leader()
	if leader == nil || last.conf == nil || len(mustConf(last.conf).GetVotersOutgoing()) > 0 {
		return false
	}
	for _, id := range last.gone {
		if w.member(id).run != nil {
			return false
		}
	}
	for _, id := range last.members() {
		r := w.member(id).run
		if r == nil || r.machine.index != last.index || r.node.Status().Leader != leader.m.id || !r.settled() {
			return false
		}
	}
	return true
}
