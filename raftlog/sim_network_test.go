package raftlog

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// network is what lies between the members. Each ordered pair has a link of its own, so that cuts can be one-way.
type network struct {
	w     *world
	links map[[2]uint64]*link
	drop  float64 // now; a storm raises it
}

// link is one direction between two members.
type link struct {
	cut   bool
	slow  time.Duration    // added to every delay
	clear [2]time.Duration // by class: when the last message on its way arrives. The next is not earlier
}

func (n *network) link(from, to uint64) *link {
	l := n.links[[2]uint64{from, to}]
	if l == nil {
		l = &link{}
		n.links[[2]uint64{from, to}] = l
	}
	return l
}

// heal makes every link good.
func (n *network) heal() {
	for _, l := range n.links { // all the same way: no order
		l.cut, l.slow = false, 0
	}
}

// urgent is what bulk must not delay.
func urgent(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote,
		raftpb.MsgPreVoteResp, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgTimeoutNow:
		return true
	}
	return false
}

// wire is the Transport of one run of a member.
type wire struct {
	w       *world
	from    *simRun
	handler Handler
	peers   []uint64
	met     []uint64 // who was heard from: a member that lags may not know its leader yet, and has to answer
}

func (t *wire) Start(h Handler) error { t.handler = h; return nil }

func (t *wire) SetPeers(peers []Peer) {
	t.peers = t.peers[:0]
	for _, p := range peers {
		t.peers = append(t.peers, p.ID)
	}
	t.w.say(t.from.m.id, "peers %v", t.peers)
}

func (t *wire) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		// As on a wire: whoever changes it later changes nothing for the receiver.
		t.send(proto.Clone(m).(*raftpb.Message))
	}
}

func (t *wire) send(m *raftpb.Message) {
	w, to := t.w, m.GetTo()
	class := 0
	if urgent(m.GetType()) {
		class = 1
	}
	l := w.net.link(t.from.m.id, to)
	if !slices.Contains(t.peers, to) && !slices.Contains(t.met, to) {
		w.say(t.from.m.id, "no peer: %s", describe(m))
		return
	}
	if l.cut || w.chance(w.net.drop) {
		w.say(t.from.m.id, "dropped: %s", describe(m))
		if l.cut && w.chance(0.3) {
			t.unreachable(to)
		}
		return
	}
	times := 1
	if w.chance(w.plan.double) {
		times = 2
	}
	for range times {
		at := w.now + l.slow + w.between(50*time.Microsecond, w.plan.delay)
		if !w.plan.reorder {
			at = max(at, l.clear[class])
			l.clear[class] = at
		}
		w.after(at-w.now, func() { w.deliver(t.from.m.id, m) })
	}
}

func (t *wire) meet(id uint64) {
	if !slices.Contains(t.met, id) {
		t.met = append(t.met, id)
	}
}

// unreachable tells the sender a little later, as a transport with goroutines of its own does.
func (t *wire) unreachable(id uint64) {
	t.w.after(t.w.between(0, time.Millisecond), func() {
		if t.from.alive() {
			t.handler.Unreachable(id)
			t.from.poke()
		}
	})
}

// deliver hands a message to whoever runs as its receiver now.
func (w *world) deliver(from uint64, m *raftpb.Message) {
	r := w.member(m.GetTo()).run
	switch {
	case r == nil || w.net.link(from, m.GetTo()).cut:
		w.say(m.GetTo(), "lost: %s", describe(m))
	case r.wire.handler.IsRemoved(from):
		w.tellRemoved(from, m.GetTo())
	default:
		w.say(m.GetTo(), "got %s", describe(m))
		r.wire.meet(from)
		r.wire.handler.Receive([]*raftpb.Message{proto.Clone(m).(*raftpb.Message)})
		r.poke()
	}
}

// connect opens a stream to each peer, as a transport does all the time. Who was removed is refused.
func (t *wire) connect() {
	w, self := t.w, t.from.m.id
	for _, id := range t.peers {
		if other := w.member(id).run; other != nil && !w.net.link(self, id).cut && other.wire.handler.IsRemoved(self) {
			w.tellRemoved(self, id)
		}
	}
}

// tellRemoved is a refused stream: the member that opened it is told why.
func (w *world) tellRemoved(removed, by uint64) {
	if w.net.link(by, removed).cut {
		return
	}
	if r := w.member(removed).run; r != nil {
		w.say(removed, "is told by %d that it was removed", by)
		r.wire.handler.Removed()
		r.poke()
	}
}

var errBroken = errors.New("the connection broke")

const chunkBytes = 40

// SendSnapshot carries the files chunk by chunk. A transfer that breaks is taken up again by the next one.
func (t *wire) SendSnapshot(m *raftpb.Message, s Snapshot, done func(error)) {
	w, to := t.w, m.GetTo()
	m = proto.Clone(m).(*raftpb.Message)
	files := s.Files()
	w.say(t.from.m.id, "sends %s, %d files", describe(m), len(files))
	var in Incoming
	var receiver *simRun
	end := func(err error) {
		if in != nil {
			if err := in.Close(); err != nil {
				w.fail("close an incoming snapshot: %v", err)
			}
		}
		w.say(t.from.m.id, "snapshot for %d: %v", to, err)
		if t.from.alive() {
			done(err)
			t.from.poke()
		}
	}
	var next func()
	next = func() {
		l := w.net.link(t.from.m.id, to)
		switch {
		case !t.from.alive():
			end(errBroken)
			return
		case l.cut || w.member(to).run == nil || receiver != nil && !receiver.alive() || w.chance(w.plan.breaks):
			end(errBroken)
			return
		}
		if receiver == nil {
			receiver = w.member(to).run
			receiver.wire.meet(t.from.m.id)
			receiver.crashWhileInstalling()
			var err error
			if in, err = receiver.wire.handler.ReceiveSnapshot(proto.Clone(m).(*raftpb.Message), files); err != nil {
				in = nil
				end(err)
				return
			}
		}
		more, err := sendChunk(s, in, files)
		switch {
		case err != nil:
			end(err)
		case more:
			w.after(l.slow+w.between(100*time.Microsecond, w.plan.delay), next)
		default:
			if err := in.Finish(); err != nil {
				end(err)
				return
			}
			w.say(to, "has all of %s", describe(m))
			receiver.wire.handler.Receive([]*raftpb.Message{m})
			receiver.poke()
			end(nil)
		}
	}
	w.after(w.between(100*time.Microsecond, w.plan.delay), next)
}

// sendChunk sends the next piece of what the receiver does not have, and says whether there may be more.
func sendChunk(s Snapshot, in Incoming, files []SnapshotFile) (more bool, err error) {
	for _, f := range files {
		have := in.Have(f.Name)
		if have == f.Bytes {
			continue
		}
		reader, err := s.Open(f.Name)
		if err != nil {
			return false, err
		}
		defer reader.Close()
		data := make([]byte, min(chunkBytes, f.Bytes-have))
		if _, err := reader.ReadAt(data, have); err != nil {
			return false, err
		}
		return true, in.Write(f.Name, have, data)
	}
	return false, nil
}

// Core's questions between members are no part of this simulation.
func (t *wire) Call(context.Context, uint64, []byte) ([]byte, error) { return nil, errBroken }
func (t *wire) Describe(context.Context, string) ([]byte, error)     { return nil, errBroken }
func (t *wire) Contact(uint64) Contact                               { return Contact{} }
func (t *wire) Stop()                                                {}
