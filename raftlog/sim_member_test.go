package raftlog

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3"
)

// simMember is a machine with its disk: what outlives a run.
type simMember struct {
	w         *world
	id        uint64
	founder   bool
	disk      *platter
	flushed   image // what the state engine comes back with
	installed *SnapshotMeta
	staging   *staging
	skew      time.Duration // of its clock
	runs      uint64

	run     *simRun // nil while it is down
	removed bool    // by its own account: it does not start again
}

func (w *world) member(id uint64) *simMember { return w.members[id-1] }

func (w *world) addMember(founder bool) *simMember {
	m := &simMember{w: w, id: uint64(len(w.members)) + 1, founder: founder, skew: w.between(-w.plan.skew, w.plan.skew)}
	m.disk = &platter{w: w, m: m, terms: map[uint64]uint64{}}
	w.members = append(w.members, m)
	return m
}

// running are the members that run, in order.
func (w *world) running() (runs []*simRun) {
	for _, m := range w.members {
		if m.run != nil {
			runs = append(runs, m.run)
		}
	}
	return runs
}

// leader is the running member that leads the latest term, nil if none says that it leads.
func (w *world) leader() (leader *simRun) {
	var term uint64
	for _, r := range w.running() {
		if s := r.status(); s.RaftState == raft.StateLeader && s.HardState.GetTerm() > term {
			leader, term = r, s.HardState.GetTerm()
		}
	}
	return leader
}

// simRun is one life of a member, from start to crash. Its workers are stepped by the world, in an order that the dice
// decide.
type simRun struct {
	w       *world
	m       *simMember
	node    *Node
	machine *simMachine
	wire    *wire

	commit    uint64
	seq       uint64        // of its last proposal
	pending   int           // proposals without a fate
	open      int           // snapshots not released
	stopped   bool          // it says that it has ended
	readers   int           // reads without an answer
	answers   []func() bool // looked at after each step until they say true
	paused    time.Duration // until then nothing of it runs
	disk      time.Duration // every write takes so much longer
	rate      float64       // of its ticks
	rateTicks int
	stepping  [3]bool // by worker: a step is planned
	// crashPoint is where it loses its power, after passing it crashAfter times more.
	crashPoint string
	crashAfter int
	down       bool
}

const founders = 16 // ids of founders are below

// start powers a member up.
func (m *simMember) start() {
	w := m.w
	m.runs++
	r := &simRun{w: w, m: m, rate: 1}
	r.machine = &simMachine{r: r, image: m.flushed}
	r.wire = &wire{w: w, from: r}
	w.say(m.id, "STARTS with the state of %d", m.flushed.index)
	cfg := Config{
		Dir: "none", NodeID: m.id, ClusterID: 9, Machine: r.machine,
		Applied: m.flushed.index, StampMillis: m.flushed.stamp, Conf: m.flushed.conf, Installed: m.installed,
		NowMillis: func() int64 { return 1_000_000 + int64((w.now+m.skew)/time.Millisecond) },
		OpenLog:   m.disk.open(r), Transport: r.wire, Snapshots: simSnapshots{r},
		EntryBytesMax: w.plan.entryBytesMax, EntryProposalsMax: w.plan.entryCountMax, QueueMax: w.plan.queueMax,
		HeartbeatTicks: 2, ElectionTicks: 10, TickInterval: tick,
		CatchUpBytes: w.plan.catchUpBytes, ProposalTimeout: 3 * time.Second,
		Logger:      quiet,
		OnFatal:     func(err error) {},
		OnLeader:    func(leader, term uint64) { w.say(m.id, "follows %d in term %d", leader, term) },
		Settle:      r.settle,
		OnRemoved:   r.onRemoved,
		Description: func() []byte { return nil },
		IsRemoved:   r.isRemoved,
	}
	if m.founder {
		cfg.Bootstrap = &Bootstrap{Payload: []byte("first")}
		for id := range w.plan.voters {
			cfg.Bootstrap.Voters = append(cfg.Bootstrap.Voters, uint64(id)+1)
		}
	}
	if w.faulty() && w.chance(0.05) {
		r.crashPoint, r.crashAfter = one(w, []string{"append", "before-mark", "mark", "apply"}), 1
	}
	err := r.assemble(cfg)
	switch {
	case crashed(err):
		w.say(m.id, "CRASHES while it starts")
		if err := m.disk.crash(); err != nil {
			w.fail("the log of node %d after a crash: %v", m.id, err)
		}
		w.faults.restart(m)
		return
	case errors.Is(err, ErrRemoved):
		m.removed = true
		return
	case err != nil:
		w.fail("node %d does not start: %v", m.id, err)
		return
	}
	m.run = r
	r.confChanged()
	r.ticks()
	r.poke()
}

func (r *simRun) alive() bool { return r.m.run == r }

// crashes says whether this is where the power fails.
func (r *simRun) crashes(point string) bool {
	if r.down {
		return true
	}
	if r.crashPoint != point {
		return false
	}
	if r.crashAfter--; r.crashAfter > 0 {
		return false
	}
	r.w.say(r.m.id, "loses its power at %q", point)
	r.down = true
	return true
}

// faulty says whether things still go wrong.
func (w *world) faulty() bool { return w.now < w.faults.ends }

// crash ends the run: what was not synced may be gone.
func (r *simRun) crash() {
	if !r.alive() {
		return
	}
	m := r.m
	r.w.say(m.id, "CRASHES")
	defer r.w.faults.restart(m)
	r.w.truth.crashed(r)
	m.run = nil
	r.down = true
	if err := m.disk.crash(); err != nil {
		r.w.fail("the log of node %d after a crash: %v", m.id, err)
	}
	if m.staging != nil {
		m.staging.crash()
	}
}

// confChanged tells the transport who is in the cluster, as core does after every change.
func (r *simRun) confChanged() {
	if r.node == nil {
		return
	}
	ids := r.machine.members()
	if ids == nil { // it joins: the operator told it who is there
		for _, m := range r.w.members {
			ids = append(ids, m.id)
		}
	}
	var peers []Peer
	for _, id := range ids {
		if id != r.m.id {
			peers = append(peers, Peer{ID: id})
		}
	}
	r.node.SetPeers(peers)
}

func (r *simRun) isRemoved(id uint64) bool {
	for _, gone := range r.machine.gone {
		if gone == id {
			return true
		}
	}
	return false
}

func (r *simRun) onRemoved() {
	r.w.say(r.m.id, "was REMOVED")
	r.m.removed = true
}

func (r *simRun) settle(seqs []uint64, f Fate) {
	for _, seq := range seqs {
		to := fateLost
		if f == Dropped {
			to = fateDropped
		}
		r.w.say(r.m.id, "proposal %d is %v", seq, to)
		r.w.truth.settled(r, seq, to)
	}
}

const tick = 50 * time.Millisecond

// ticks is the member's clock, which runs at a speed of its own. That takes the place of raft's random time-outs, which
// come from a source that all members of all worlds share.
func (r *simRun) ticks() {
	if r.rateTicks--; r.rateTicks <= 0 {
		r.rate, r.rateTicks = 0.7+0.8*r.w.dice.Float64(), 5
	}
	r.w.after(time.Duration(float64(tick)*r.rate), func() {
		if !r.alive() {
			return
		}
		if r.w.now >= r.paused {
			r.do(r.tick)
			if r.w.chance(0.05) && r.alive() {
				r.wire.connect()
			}
		}
		r.ticks()
	})
}

// do runs a piece of a run's work and deals with what it did.
func (r *simRun) do(work func() error) {
	err := work()
	switch {
	case !r.alive():
	case r.down || crashed(err):
		r.crash()
	case err != nil:
		r.w.fail("node %d failed: %v", r.m.id, err)
	case r.w.failure != nil:
	default:
		r.w.truth.stepped(r)
		r.look()
		r.poke()
	}
}

// poke plans a step of each worker that has something to do.
func (r *simRun) poke() {
	if !r.alive() {
		return
	}
	for worker := range r.stepping {
		if r.stepping[worker] || !r.hasWork(worker) {
			continue
		}
		r.stepping[worker] = true
		r.plan(worker)
	}
}

const (
	workerDriver = iota
	workerAppender
	workerApplier
)

func (r *simRun) plan(worker int) {
	w := r.w
	var wait time.Duration
	switch worker {
	case workerDriver:
		wait = w.between(time.Microsecond, 200*time.Microsecond)
	case workerAppender:
		wait = r.disk + w.between(50*time.Microsecond, 3*time.Millisecond)
	case workerApplier:
		wait = w.between(10*time.Microsecond, time.Millisecond)
		if w.chance(0.02) {
			wait += w.between(0, 200*time.Millisecond)
		}
	}
	w.after(wait, func() {
		switch {
		case !r.alive():
		case w.now < r.paused:
			w.after(r.paused-w.now, func() { r.plan(worker) })
		default:
			r.stepping[worker] = false
			r.do(func() error { return r.step(worker) })
		}
	})
}

// look goes through what the run's callers wait for.
func (r *simRun) look() {
	kept := r.answers[:0]
	for _, answered := range r.answers {
		if !answered() {
			kept = append(kept, answered)
		}
	}
	clear(r.answers[len(kept):])
	r.answers = kept
	if r.stopped && r.alive() {
		r.w.say(r.m.id, "STOPPED")
		r.w.truth.crashed(r)
		r.m.run = nil
		r.down = true
	}
}
