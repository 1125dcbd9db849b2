package raftlog

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Why a call that concerns the cluster fails.
var (
	// ErrNoLeader says that the call's context ended while there was no leader.
	ErrNoLeader = errors.New("raftlog: no leader")
	// ErrNotLeader says that only the leader can do this, and this node does not lead.
	ErrNotLeader = errors.New("raftlog: not the leader")
	// ErrChangePending says that the change of the configuration before this one is not finished.
	ErrChangePending = errors.New("raftlog: another change of the configuration is not finished")
	// ErrInvalidChange says that the change does not make a configuration.
	ErrInvalidChange = errors.New("raftlog: impossible change of the configuration")
	// ErrRemoved says that this member was removed from the cluster.
	ErrRemoved = errors.New("raftlog: this member was removed from the cluster")
)

// ChangeKind is what becomes of a member.
type ChangeKind int

// The kinds of changes.
const (
	AddVoter   ChangeKind = iota + 1 // makes a learner a voter, too
	AddLearner                       // receives the log and has no vote
	Remove
)

// Change is one part of a change of the configuration. An ID that was removed must not be used again.
type Change struct {
	Kind ChangeKind
	ID   uint64
}

// ProposeChange proposes a change of the configuration along with a proposal, in one entry. Only the leader can do that
// (ErrNotLeader), and only one at a time (ErrChangePending). Several changes are carried out together by joint consensus,
// which raft leaves by itself.
//
// It returns when the entry is in the leader's log. The outcome reaches Machine.ApplyChange, which decides whether the
// change stands; or the proposal is Dropped, if another leader came before it was committed.
func (n *Node) ProposeChange(ctx context.Context, changes []Change, seq uint64, payload []byte) error {
	answer, err := n.askChange(changes, seq, payload)
	if err != nil {
		return err
	}
	return awaitError(ctx, n, answer)
}

// askChange is the half of ProposeChange that does not wait.
func (n *Node) askChange(changes []Change, seq uint64, payload []byte) (<-chan error, error) {
	kinds := map[ChangeKind]raftpb.ConfChangeType{
		AddVoter: raftpb.ConfChangeAddNode, AddLearner: raftpb.ConfChangeAddLearnerNode, Remove: raftpb.ConfChangeRemoveNode,
	}
	message := &raftpb.ConfChangeV2{}
	for _, c := range changes {
		kind, ok := kinds[c.Kind]
		if !ok || c.ID == 0 || raft.IsLocalMsgTarget(c.ID) {
			return nil, fmt.Errorf("%w: %+v", ErrInvalidChange, c)
		}
		message.Changes = append(message.Changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(c.ID)})
	}
	if len(changes) == 0 {
		return nil, fmt.Errorf("%w: nothing is changed", ErrInvalidChange)
	}
	p := Proposal{Seq: seq, Payload: payload}
	if headerBytes+p.encodedBytes() > n.cfg.EntryBytesMax {
		return nil, fmt.Errorf("%w: %d bytes in an entry of at most %d", ErrTooLarge, p.encodedBytes(), n.cfg.EntryBytesMax)
	}
	data := appendProposal(make([]byte, headerBytes, headerBytes+p.encodedBytes()), n.origin, seq, payload)
	answer := make(chan error, 1)
	n.ask(func(d *driver) {
		answer <- d.proposeChange(message, chunk{data: data, count: 1, first: seq, tick: d.ticks})
	})
	return answer, nil
}

func (d *driver) proposeChange(change *raftpb.ConfChangeV2, c chunk) error {
	if !d.leading {
		return ErrNotLeader
	}
	// raft would make an empty entry of a change that comes too early.
	if d.change > d.appliedTo || d.members.joint() || !d.own.allOf(d.term) {
		return ErrChangePending
	}
	if _, err := nextConf(d.members.conf, change); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidChange, err)
	}
	d.stamp(c.data, c.count)
	change.Context = c.data
	if err := d.rn.ProposeConfChange(change); errors.Is(err, raft.ErrProposalDropped) {
		return ErrNotLeader // it hands the leadership over, or has too much to do
	} else if err != nil {
		return fmt.Errorf("raftlog: propose a change of the configuration: %w", err)
	}
	d.change = raftNoLimit // until it is known where it is
	d.own.add(sentChunk{chunk: c, term: d.term, change: true})
	return nil
}

// findChange looks for a change of the configuration, which may also be one that raft makes, in entries of this leader.
func (d *driver) findChange(entries []*raftpb.Entry) {
	if d.change == raftNoLimit {
		d.change = 0 // raft has made an empty entry of it, or it is among these
	}
	for _, e := range entries {
		if e.GetType() != raftpb.EntryNormal {
			d.change = e.GetIndex()
		}
	}
}

// Progress is what the leader knows of a member.
type Progress struct {
	Match        uint64 // its log agrees with the leader's up to here
	RecentActive bool   // it was heard of lately, within about an election time-out
	Learner      bool
	State        string // StateProbe, StateReplicate or StateSnapshot
}

// Progress says how far each member is, this one included. Only the leader knows (ErrNotLeader).
func (n *Node) Progress(ctx context.Context) (map[uint64]Progress, error) {
	progress, err := await(ctx, n, n.askProgress())
	if err == nil && progress == nil {
		err = ErrNotLeader
	}
	return progress, err
}

// askProgress is the half of Progress that does not wait. The answer is nil if the node does not lead.
func (n *Node) askProgress() <-chan map[uint64]Progress {
	answer := make(chan map[uint64]Progress, 1)
	n.ask(func(d *driver) { answer <- d.progress() })
	return answer
}

func (d *driver) progress() map[uint64]Progress {
	if !d.leading {
		return nil
	}
	progress := map[uint64]Progress{}
	for id, p := range d.rn.Status().Progress {
		progress[id] = Progress{Match: p.Match, RecentActive: p.RecentActive, Learner: p.IsLearner, State: p.State.String()}
	}
	return progress
}
