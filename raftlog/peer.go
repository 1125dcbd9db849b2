package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// What members say to each other. Their messages come in through a Handler and wait in the inbox for the raft goroutine,
// which never waits for anything itself; so what is in the inbox for long is there because more comes than a processor
// can handle.

// inboxBytesMax is what may wait. Beyond it the bulk of the log is held back where it comes from, beyond twice as much
// everything else is dropped.
const inboxBytesMax = 16 << 20

type inbox struct {
	mu       sync.Mutex // guards what follows
	room     sync.Cond
	messages []*raftpb.Message
	bytes    int
	closed   bool
}

func newInbox() *inbox {
	b := &inbox{}
	b.room.L = &b.mu
	return b
}

// add takes messages. With wait it first waits for room. It reports false if they are dropped.
func (b *inbox) add(messages []*raftpb.Message, wait bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for wait && b.bytes > inboxBytesMax && !b.closed {
		b.room.Wait()
	}
	if b.closed || !wait && b.bytes > 2*inboxBytesMax {
		return false
	}
	for _, m := range messages {
		b.bytes += messageBytes(m)
	}
	b.messages = append(b.messages, messages...)
	return true
}

// take gives all that is there. spare is used to gather the next messages.
func (b *inbox) take(spare []*raftpb.Message) []*raftpb.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	messages := b.messages
	clear(spare)
	b.messages, b.bytes = spare[:0], 0
	b.room.Broadcast()
	return messages
}

// close drops what is there and all that follows.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}

// messageBytes is about what a message takes in memory.
func messageBytes(m *raftpb.Message) int {
	n := 200 + len(m.GetContext())
	for _, e := range m.GetEntries() {
		n += entryOverheadBytes + len(e.GetData())
	}
	return n
}

// welcome says whether a message is one that another member sends. raft trusts what it is given; a message that it would
// stumble over is none.
func welcome(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgHeartbeat, raftpb.MsgTimeoutNow, raftpb.MsgProp:
		return true
	case raftpb.MsgSnap:
		return m.GetSnapshot().GetMetadata().GetIndex() != 0
	case raftpb.MsgHeartbeatResp:
		return len(m.GetContext()) == 0 || len(m.GetContext()) == 8
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		return len(m.GetEntries()) == 1
	}
	return false
}

// handler is what the transport sees of a node.
type handler struct{ n *Node }

func (h handler) Identity() (cluster, member uint64) { return h.n.cfg.ClusterID, h.n.cfg.NodeID }

func (h handler) IsRemoved(member uint64) bool { return h.n.cfg.IsRemoved(member) }

func (h handler) Removed() { h.n.ask((*driver).removed) }

func (h handler) Receive(messages []*raftpb.Message) { h.n.receive(messages, true) }

func (h handler) ServeCall(ctx context.Context, from uint64, request []byte) []byte {
	return h.n.cfg.ServeCall(ctx, from, request)
}

func (h handler) Description() []byte { return h.n.cfg.Description() }

func (h handler) Unreachable(member uint64) {
	h.n.unreachable.add(member)
	h.n.call()
}

// receive takes messages of other members. With wait it may hold back those that carry the log.
func (n *Node) receive(messages []*raftpb.Message, wait bool) {
	bulk, snapshot, self := false, false, n.cfg.NodeID
	members := n.status.members.Load()
	refused := func(m *raftpb.Message) bool {
		from := m.GetFrom()
		return m.GetTo() != self || from == 0 || from == self || !welcome(m) ||
			!members.all[from] && n.cfg.IsRemoved(from)
	}
	if slices.ContainsFunc(messages, refused) {
		messages = slices.DeleteFunc(slices.Clone(messages), refused)
	}
	for _, m := range messages {
		switch m.GetType() {
		case raftpb.MsgSnap:
			bulk, snapshot = true, true
		case raftpb.MsgApp, raftpb.MsgProp:
			bulk = true
		}
	}
	if len(messages) == 0 {
		return
	}
	if snapshot {
		n.status.installing.Store(true) // until raft has refused it, or it is installed
	}
	if !n.inbox.add(messages, wait && bulk) && snapshot {
		n.status.installing.Store(false)
	}
	n.call()
}

// unreachable gathers the members that messages could not be sent to.
type unreachable struct {
	mu  sync.Mutex // guards what follows
	ids []uint64
}

func (u *unreachable) add(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.ids, id) {
		u.ids = append(u.ids, id)
	}
}

func (u *unreachable) take() []uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	ids := u.ids
	u.ids = nil
	return ids
}

// SetPeers says where the other members are found. It may list this node too.
func (n *Node) SetPeers(peers []Peer) {
	if n.cfg.Transport == nil {
		return
	}
	peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.ID == n.cfg.NodeID })
	n.cfg.Transport.SetPeers(peers)
}

// Call asks a member a question, which its Config.ServeCall answers. The error is ErrUnreachable, ErrStopped or the
// context's; what else can go wrong is in the answer.
func (n *Node) Call(ctx context.Context, to uint64, request []byte) ([]byte, error) {
	select {
	case <-n.stopping:
		return nil, n.stopped()
	default:
	}
	if to == n.cfg.NodeID {
		return n.cfg.ServeCall(ctx, to, request), nil
	}
	if n.cfg.Transport == nil {
		return nil, fmt.Errorf("%w: this node has no transport", ErrUnreachable)
	}
	return n.cfg.Transport.Call(ctx, to, request)
}

// hear takes what was brought by others than the storage goroutines and proposers, and steps the messages.
func (d *driver) hear() {
	if !d.n.called.Load() {
		return
	}
	d.n.called.Store(false)
	d.reading.take(d.n)
	d.asks = d.n.asks.poll(d.asks)
	for _, f := range d.asks {
		f(d)
	}
	d.messages = d.n.inbox.take(d.messages)
	for _, m := range d.messages {
		switch m.GetType() {
		case raftpb.MsgProp:
			d.forwarded(m)
			continue
		case raftpb.MsgReadIndex:
			if d.leading && d.members.single && d.commit < d.from {
				continue // raft would answer, though nothing is known to be committed yet. It is asked again
			}
		case raftpb.MsgSnap:
			d.receivedSnapshot(m)
			continue
		}
		if asksForVote(m) {
			d.hearCommitted(m)
		}
		d.stepPeer(m)
	}
	for _, id := range d.n.unreachable.take() {
		d.rn.ReportUnreachable(id)
	}
}

// stepPeer gives raft a message of another member. That raft refuses it is nothing special: its sender may be no member
// any more, or not yet.
func (d *driver) stepPeer(m *raftpb.Message) {
	if err := d.rn.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		d.n.cfg.Logger.Debug("message refused", "from", m.GetFrom(), "type", m.GetType(), "error", err)
	}
}

// send hands what has gathered for other members to the transport.
func (d *driver) send() {
	if len(d.outbox) == 0 {
		return
	}
	if d.n.cfg.Transport != nil {
		d.n.cfg.Transport.Send(d.outbox)
	}
	d.outbox = nil
}
