package raftlog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// driver is the raft goroutine: it feeds the RawNode with proposals, messages, results and ticks, and passes on what the
// RawNode asks for. It never waits for a disk, for the Machine or for another member. It knows no time but its ticks.
type driver struct {
	n      *Node
	rn     *raft.RawNode
	memory *memory
	ticks  uint64

	// What raft said last.
	leader, term, commit uint64
	leading              bool
	from                 uint64 // leading: the entry that begins the term. Before it is committed nothing is known to be

	members   *membership
	confIndex uint64 // members are those as of this entry
	first     bool   // the cluster is new and this node is the one to begin its first election
	leaveAt   uint64 // removed: the tick at which the node stops; 0 = not removed

	stampMillis int64  // not less than that of any entry in the log
	writing     int    // appends of entries handed to the append goroutine and not yet written
	uncommitted int    // bytes of entries proposed in this term and not yet applied
	change      uint64 // leading: no change of the configuration may be proposed before this entry is applied
	appliedTo   uint64

	own      outstanding // this node's proposals
	upstream upstream    // to the leader
	intake   intake      // leading: proposals of others
	reading  reading
	senders  senders
	install  install
	transfer *transfer   // what TransferLeadership waits for
	early    []*transfer // that came before a change of the configuration was applied, and may depend on it

	broken   error             // what raft has panicked with
	outbox   []*raftpb.Message // to other members
	written  []*raftpb.Message // taken from the mailboxes; kept to be reused
	applied  []outcome
	asks     []func(*driver)
	messages []*raftpb.Message
}

// run ends when the node is told to stop.
func (d *driver) run() {
	defer func() {
		d.n.writes.close()
		d.n.applies.close()
		d.n.asks.close()
		d.n.reads.close()
	}()
	ticker := time.NewTicker(d.n.cfg.TickInterval)
	defer ticker.Stop()
	ticked := time.Now()
	woken, resting := false, false
	for d.begin(); ; {
		if err := d.step(); err != nil {
			d.n.fail(err)
			return
		}
		select {
		case <-d.n.wake:
			if woken = true; resting {
				resting = false
				ticker.Reset(d.n.cfg.TickInterval)
				ticked = time.Now()
			}
		case <-ticker.C:
			if resting = !woken && d.rests(); resting {
				ticker.Stop()
				continue
			}
			woken = false
			if d.leading && time.Since(ticked) > 2*time.Duration(d.n.cfg.HeartbeatTicks)*d.n.cfg.TickInterval {
				d.n.status.beatsLate.Add(1)
			}
			ticked = time.Now()
			d.tick()
		case <-d.n.stopping:
			return
		}
	}
}

// rests reports whether time need not pass until somebody wants something: a lone leader with nothing under way waits for nobody. An idle
// process that wakes for each tick costs twice as much as one that does not.
func (d *driver) rests() bool {
	return d.leading && d.members.sole && d.commit == d.appliedTo && d.own.count == 0 && d.writing == 0 && d.n.queue.isEmpty() &&
		len(d.intake.chunks) == 0 && d.reading.isIdle() && d.senders.isIdle() && d.transfer == nil && len(d.early) == 0 && d.leaveAt == 0
}

// begin comes before the first step.
func (d *driver) begin() { d.broken = d.guard(d.campaign) }

// guard turns a panic of raft into an error. raft panics when an invariant is broken: nothing may be done any more.
func (d *driver) guard(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case brokenInvariant:
			err = r
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// tick lets a unit of time pass. A step follows it.
func (d *driver) tick() {
	if err := d.guard(d.pass); err != nil {
		d.broken = err
	}
}

func (d *driver) pass() {
	d.ticks++
	d.n.queue.now(d.ticks)
	d.rn.Tick()
	d.campaign()
	d.expire()
	d.resend()
	d.reading.tick(d)
	d.senders.tick(d)
	d.transfer.tick(d)
	if d.leaveAt != 0 && d.ticks >= d.leaveAt {
		d.removed()
	}
}

// campaign begins an election where waiting for a time-out would be for nothing: a lone voter has nobody to wait for, and
// in a new cluster nobody can have a leader yet, so one of its members begins at once, and again until the others are
// there. A node that campaigns already is left alone.
func (d *driver) campaign() {
	if d.leader != 0 || !d.members.single && !d.first || d.ticks%uint64(d.n.cfg.HeartbeatTicks) != 0 {
		return
	}
	state := d.rn.BasicStatus().RaftState
	if state == raft.StateFollower || state == raft.StatePreCandidate && d.first {
		_ = d.rn.Campaign() // it fails for nothing
	}
	d.first = d.first && d.ticks < uint64(4*d.n.cfg.ElectionTicks)
}

// step does everything that can be done without waiting. Results come before proposals, so that one Ready carries both
// the entries that were just committed and the next one to write.
func (d *driver) step() error {
	if d.broken != nil {
		return d.broken
	}
	var failed error
	broken := d.guard(func() { failed = d.advance() })
	return cmp.Or(broken, failed)
}

func (d *driver) advance() error {
	for {
		if err := d.takeResults(); err != nil {
			return err
		}
		d.hear()
		d.read()
		if err := d.propose(); err != nil {
			return err
		}
		if !d.rn.HasReady() {
			d.send()
			d.n.status.outstanding.Store(int64(d.own.count))
			return nil
		}
		if err := d.handle(d.rn.Ready()); err != nil {
			return err
		}
	}
}

func (d *driver) takeResults() error {
	d.written = d.n.written.poll(d.written)
	for _, m := range d.written {
		if m.GetSnapshot() != nil {
			if err := d.memory.restart(m.GetSnapshot()); err != nil {
				return err
			}
		}
		if len(m.GetEntries()) > 0 {
			d.writing--
			if err := d.memory.append(m.GetEntries()); err != nil {
				return err
			}
		}
		if err := d.respond(m); err != nil {
			return err
		}
	}
	d.applied = d.n.applied.poll(d.applied)
	for i := range d.applied {
		if err := d.tookEffect(&d.applied[i]); err != nil {
			return err
		}
	}
	if len(d.applied) > 0 {
		return d.memory.compact(d.n.status.applied.Load(), d.senders.floor())
	}
	return nil
}

// tookEffect is told that entries have been applied, or a snapshot installed.
func (d *driver) tookEffect(o *outcome) error {
	if o.installed != nil {
		d.installed(o.installed)
		return nil
	}
	entries := o.message.GetEntries()
	last := entries[len(entries)-1]
	d.appliedTo = last.GetIndex()
	if err := d.own.applied(d.n, o.own); err != nil {
		return err
	}
	d.own.settle(d, last.GetTerm())
	for _, c := range o.changes {
		if err := d.applyChange(c); err != nil {
			return err
		}
	}
	d.beginEarly()
	d.uncommitted = max(0, d.uncommitted-payloadBytes(entries))
	return d.respond(o.message)
}

func (d *driver) respond(m *raftpb.Message) error {
	for _, r := range m.GetResponses() {
		if err := d.route(r); err != nil {
			return err
		}
	}
	return nil
}

func (d *driver) handle(rd raft.Ready) error {
	s := &d.n.status
	if len(rd.Entries) > 0 {
		s.last.Store(rd.Entries[len(rd.Entries)-1].GetIndex())
		if d.leading {
			d.findChange(rd.Entries)
		} else {
			d.stampMillis = lastStamp(rd.Entries, d.stampMillis)
		}
	}
	leader, term := d.leader, d.term
	if !raft.IsEmptyHardState(rd.HardState) {
		term = rd.HardState.GetTerm()
		d.commit = rd.HardState.GetCommit()
		s.term.Store(term)
		s.commit.Store(d.commit)
	}
	if rd.SoftState != nil {
		leader = rd.SoftState.Lead
		s.leader.Store(leader)
		d.leading = rd.SoftState.RaftState == raft.StateLeader
	}
	if leader != d.leader || term != d.term {
		d.newLeader(leader, term)
	}
	for _, r := range rd.ReadStates {
		d.reading.answer(d, r)
	}
	for _, m := range rd.Messages {
		if err := d.route(m); err != nil {
			return err
		}
	}
	d.send()
	return nil
}

// newLeader is called when another leader or none is known, or the term is another.
func (d *driver) newLeader(leader, term uint64) {
	if leader != d.leader && leader != 0 {
		d.n.status.leaderChanges.Add(1)
	}
	if term != d.term {
		d.upstream = upstream{}
	}
	d.leader, d.term = leader, term
	d.from, d.uncommitted = 0, 0
	d.intake.clear()
	d.first = d.first && leader == 0
	if d.leading {
		// The last entry is the empty one that begins the term. Once it is applied, so is all that was there.
		d.from = d.n.status.last.Load()
		d.change = d.from - 1
		d.n.readyAt(d.from)
	}
	d.publishSole()
	d.reading.newLeader(d)
	d.transfer.newLeader(d)
	d.beginEarly()
	d.n.cfg.OnLeader(leader, term)
}

// route delivers a message to whom it is for.
func (d *driver) route(m *raftpb.Message) error {
	switch m.GetTo() {
	case raft.LocalAppendThread:
		d.write(m)
	case raft.LocalApplyThread:
		d.n.applies.put(application{message: m})
	case d.n.cfg.NodeID:
		// Responses to itself arrive even after this node was removed, when raft does not know it any more.
		if err := d.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
			return fmt.Errorf("raftlog: step %v: %w", m.GetType(), err)
		}
	case raft.None: // the answer to hearCommitted
	default:
		if m.GetType() == raftpb.MsgSnap {
			d.sendSnapshot(m)
			break
		}
		if asksForVote(m) {
			d.tellCommitted(m)
		}
		d.outbox = append(d.outbox, m)
	}
	return nil
}

// write hands a message to the append goroutine. While a snapshot is being installed, all that is to be written waits for
// that: see install.go.
func (d *driver) write(m *raftpb.Message) {
	if len(m.GetEntries()) > 0 {
		d.writing++
	}
	switch {
	case m.GetSnapshot() != nil:
		d.beginInstall(m)
	case d.install.running():
		d.install.held = append(d.install.held, m)
	case len(m.GetResponses()) == 0:
		d.n.writes.leave(write{message: m}) // a new commit index; it goes along with the next write
	default:
		d.n.writes.put(write{message: m})
	}
}

// applyChange makes raft follow a change of the configuration, unless it is in one already that is later.
func (d *driver) applyChange(c changed) error {
	if c.index <= d.confIndex {
		return nil
	}
	d.confIndex = c.index
	if !c.stands {
		return nil
	}
	conf := d.rn.ApplyConfChange(c.change)
	if !bytes.Equal(encodeConf(conf), encodeConf(c.conf)) {
		return fmt.Errorf("raftlog: entry %d makes the configuration %v, the machine was given %v", c.index, conf, c.conf)
	}
	d.setConf(conf)
	return nil
}

// setConf is called with every configuration that raft goes to.
func (d *driver) setConf(conf *raftpb.ConfState) {
	led := d.leading
	d.members = newMembership(conf, d.n.cfg.NodeID)
	d.n.status.members.Store(d.members)
	d.memory.alone(d.members.sole)
	d.publishSole()
	if len(d.members.all) == 0 || d.members.all[d.n.cfg.NodeID] || d.leaveAt != 0 {
		return
	}
	// The others may not know yet that this is committed, and may need this node's vote until they do.
	d.leaveAt = d.ticks + 1
	if led {
		d.leaveAt += uint64(2 * d.n.cfg.ElectionTicks)
	}
}

// publishSole lets reads go without asking anybody while nobody else can know more: see ReadIndex.
func (d *driver) publishSole() {
	from := uint64(0)
	if d.leading && d.members.sole {
		from = d.from
	}
	d.n.status.sole.Store(from)
}

// removed stops the node.
func (d *driver) removed() {
	if !d.n.failed() {
		d.n.cfg.OnRemoved()
	}
	d.n.fail(ErrRemoved)
}
