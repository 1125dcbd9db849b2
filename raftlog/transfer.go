package raftlog

import (
	"context"
	"errors"
	"fmt"
)

// ErrTransferFailed says that the leadership did not go where it should.
var ErrTransferFailed = errors.New("raftlog: leadership was not transferred")

// transfer is what TransferLeadership waits for.
type transfer struct {
	to     uint64
	answer chan error
}

// TransferLeadership makes another voter the leader: a given one, or with 0 the one whose log is the most up to date. It
// returns when that is so. The error is ErrNotLeader, ErrTransferFailed, ErrStopped or the context's. Proposals wait
// meanwhile.
func (n *Node) TransferLeadership(ctx context.Context, to uint64) error {
	return awaitError(ctx, n, n.askTransfer(to))
}

// askTransfer is the half of TransferLeadership that does not wait.
func (n *Node) askTransfer(to uint64) <-chan error {
	answer := make(chan error, 1)
	n.ask(func(d *driver) { d.beginTransfer(&transfer{to: to, answer: answer}) })
	return answer
}

// Leave hands the leadership over, if this node has it and another voter can take it, so that the cluster need not wait
// for a time-out once the node has stopped.
func (n *Node) Leave(ctx context.Context) {
	err := n.TransferLeadership(ctx, 0)
	if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrStopped) && len(n.status.members.Load().voters) > 1 {
		n.cfg.Logger.Warn("leadership could not be handed over", "error", err)
	}
}

func (d *driver) beginTransfer(t *transfer) {
	if !d.leading {
		t.answer <- ErrNotLeader
		return
	}
	if t.to == 0 {
		progress := d.progress()
		for _, id := range d.members.others(d.n.cfg.NodeID) {
			p := progress[id]
			if d.members.voters[id] && p.RecentActive && (t.to == 0 || p.Match > progress[t.to].Match) {
				t.to = id
			}
		}
	}
	switch {
	case t.to == d.n.cfg.NodeID:
		t.answer <- nil
	case !d.members.voters[t.to] && d.change > d.appliedTo: // another member may have seen the change that makes it one
		d.early = append(d.early, t)
	case !d.members.voters[t.to]:
		t.answer <- fmt.Errorf("%w: there is no other voter to take it, or it is not one", ErrTransferFailed)
	default:
		d.transfer.end(fmt.Errorf("%w: another transfer has begun", ErrTransferFailed))
		d.transfer = t
		d.rn.TransferLeader(t.to)
	}
}

// beginEarly begins what waits for a change of the configuration, once that is applied or somebody else leads.
func (d *driver) beginEarly() {
	if len(d.early) == 0 || d.leading && d.change > d.appliedTo {
		return
	}
	early := d.early
	d.early = nil
	for _, t := range early {
		d.beginTransfer(t)
	}
}

// newLeader ends the wait.
func (t *transfer) newLeader(d *driver) {
	switch {
	case t == nil || d.leading:
	case d.leader == t.to:
		t.end(nil)
		d.transfer = nil
	case d.leader != 0:
		t.end(fmt.Errorf("%w: it went to member %x", ErrTransferFailed, d.leader))
		d.transfer = nil
	}
}

// tick looks whether raft has given up, which it does after an election time-out.
func (t *transfer) tick(d *driver) {
	if t != nil && d.leading && d.rn.BasicStatus().LeadTransferee == 0 {
		t.end(fmt.Errorf("%w: member %x did not take it in time", ErrTransferFailed, t.to))
		d.transfer = nil
	}
}

func (t *transfer) end(err error) {
	if t != nil {
		t.answer <- err
	}
}
