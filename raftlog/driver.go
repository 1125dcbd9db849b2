package raftlog

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// driver is the raft goroutine: it feeds the RawNode with proposals, results and ticks, and passes on what the RawNode
// asks for. It never waits for a disk or for the Machine.
type driver struct {
	n      *Node
	rn     *raft.RawNode
	memory *memory

	leading     bool
	writing     int   // appends of entries handed to the append goroutine and not yet written
	stampMillis int64 // of the last entry proposed here or found in the log

	written, applied []*raftpb.Message // taken from the mailboxes; kept to be reused
}

// run ends when the node is told to stop. A lone voter has nobody to wait for and elects itself at once.
func (d *driver) run(lone bool) {
	defer d.n.writes.close()
	defer d.n.applies.close()
	ticker := time.NewTicker(d.n.cfg.TickInterval)
	defer ticker.Stop()
	if lone {
		if err := d.rn.Campaign(); err != nil {
			d.n.fail(fmt.Errorf("raftlog: campaign: %w", err))
			return
		}
	}
	for {
		if err := d.advance(); err != nil {
			d.n.fail(err)
			return
		}
		select {
		case <-d.n.wake:
		case <-ticker.C:
			d.rn.Tick()
		case <-d.n.stopping:
			return
		}
	}
}

// advance does everything that can be done without waiting. Results come before proposals, so that one Ready carries
// both the entries that were just committed and the next one to write.
func (d *driver) advance() error {
	for {
		if err := d.takeResults(); err != nil {
			return err
		}
		if err := d.propose(); err != nil {
			return err
		}
		if !d.rn.HasReady() {
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
	for _, m := range d.applied {
		if err := d.respond(m); err != nil {
			return err
		}
	}
	if len(d.applied) > 0 {
		return d.memory.compact(d.n.status.applied.Load())
	}
	return nil
}

func (d *driver) respond(m *raftpb.Message) error {
	for _, r := range m.GetResponses() {
		if err := d.route(r); err != nil {
			return err
		}
	}
	return nil
}

// propose makes the oldest chunk of the queue an entry. While an entry is being written, the open chunk stays where it
// is and gathers more; one that is full gains nothing from waiting and follows at once.
func (d *driver) propose() error {
	if !d.leading || d.writing >= d.n.cfg.WritesMax {
		return nil
	}
	c, ok := d.n.queue.take(d.writing == 0)
	if !ok {
		return nil
	}
	d.stampMillis = max(d.stampMillis, d.n.cfg.NowMillis())
	putHeader(c.data, d.stampMillis, c.count)
	err := d.rn.Propose(c.data)
	if errors.Is(err, raft.ErrProposalDropped) {
		d.n.queue.putBack(c) // not in the log; it goes there with the next leadership
		return nil
	}
	if err != nil {
		return fmt.Errorf("raftlog: propose: %w", err)
	}
	return nil
}

func (d *driver) handle(rd raft.Ready) error {
	s := &d.n.status
	if len(rd.Entries) > 0 {
		s.last.Store(rd.Entries[len(rd.Entries)-1].GetIndex())
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		s.term.Store(rd.HardState.GetTerm())
		s.commit.Store(rd.HardState.GetCommit()) // before anything of it can be applied: ReadIndex relies on it
	}
	if rd.SoftState != nil {
		d.leading = rd.SoftState.RaftState == raft.StateLeader
		s.leader.Store(rd.SoftState.Lead)
		if d.leading {
			// The last entry is the empty one that begins the term. Once it is applied, so is all that was there.
			s.readyAt.CompareAndSwap(0, s.last.Load())
		}
	}
	for _, m := range rd.Messages {
		if err := d.route(m); err != nil {
			return err
		}
	}
	return nil
}

// route delivers a message to whom it is for. All that is not for a storage goroutine is for this node itself: there
// is no other voter.
func (d *driver) route(m *raftpb.Message) error {
	switch m.GetTo() {
	case raft.LocalAppendThread:
		if len(m.GetEntries()) > 0 {
			d.writing++
		}
		if len(m.GetResponses()) == 0 {
			d.n.writes.leave(write{message: m}) // a new commit index; it goes along with the next write
		} else {
			d.n.writes.put(write{message: m})
		}
	case raft.LocalApplyThread:
		d.n.applies.put(m)
	default:
		if err := d.rn.Step(m); err != nil {
			return fmt.Errorf("raftlog: step %v: %w", m.GetType(), err)
		}
	}
	return nil
}
