package raftlog

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// intake is the leader's side of forwarding: chunks of other members that wait to become entries, or parts of them. It
// lives for one leadership.
type intake struct {
	chunks []chunk
	bytes  int
	taken  []takenFrom
	turn   bool // whether the next entry begins with a chunk from here
}

// takenFrom says how far the chunks of a stream have been taken. A stream's numbers never start again within a term, so
// that an old message which arrives late is never mistaken for a new one.
type takenFrom struct {
	member, stream, number uint64
}

// streamsOfRunMax bounds how many streams a run of a member can have: each takes a snapshot. Those of different runs are
// further apart, as far as chance can tell.
const streamsOfRunMax = 1 << 20

// streamsMax bounds how many streams of one member are remembered in a term; each takes a restart or a snapshot.
const streamsMax = 64

// clear ends a leadership. What was taken and not proposed is not in the log; its member finds that out when it applies an
// entry of a later term.
func (in *intake) clear() { *in = intake{} }

func (in *intake) from(member, stream uint64) *takenFrom {
	count, oldest := 0, -1
	for i := range in.taken {
		switch t := &in.taken[i]; {
		case t.stream == stream:
			return t
		case t.member == member:
			if count++; oldest < 0 {
				oldest = i
			}
		}
	}
	if count >= streamsMax {
		in.taken = append(in.taken[:oldest], in.taken[oldest+1:]...)
	}
	in.taken = append(in.taken, takenFrom{member: member, stream: stream})
	return &in.taken[len(in.taken)-1]
}

// outdated says whether a member has given up a stream: something of a later one of the same run is here already. What of
// the earlier one is still on its way would come too late.
func (in *intake) outdated(member, stream uint64) bool {
	for i := range in.taken {
		if t := &in.taken[i]; t.member == member && t.stream-stream-1 < streamsOfRunMax {
			return true
		}
	}
	return false
}

// takeForwarded takes a chunk of another member, unless it has it already, one before it is missing, or there is no room:
// then the member sends it again.
func (d *driver) takeForwarded(m *raftpb.Message, stream uint64) {
	in := &d.intake
	data := m.GetEntries()[0].GetData()
	if in.bytes > 0 && in.bytes+len(data) > d.n.cfg.QueueBytesMax {
		return
	}
	if in.outdated(m.GetFrom(), stream) {
		return
	}
	from := in.from(m.GetFrom(), stream)
	if m.GetIndex() == from.number+1 {
		_, proposals, err := decodeEntry(nil, data)
		if err == nil && len(proposals) == 0 {
			err = errors.New("no proposals")
		}
		if err != nil {
			// Nothing good can follow it: its member waits for the next term.
			d.n.cfg.Logger.Error("malformed proposals from another member", "from", m.GetFrom(), "error", err)
			return
		}
		from.number++
		in.chunks = append(in.chunks, chunk{data: data, count: len(proposals), shared: true})
		in.bytes += len(data)
	}
	d.outbox = append(d.outbox, &raftpb.Message{
		Type: raftpb.MsgProp.Enum(), To: m.From, From: new(d.n.cfg.NodeID), Term: new(d.term), Index: new(from.number),
		Context: m.GetContext(), Reject: new(m.GetIndex() > from.number),
	})
}

func (d *driver) uncommittedMax() int { return max(uncommittedBytesMax, 2*d.n.cfg.EntryBytesMax) }

// propose makes the oldest chunks an entry: one of this node's, of others, or several that fit together. While an entry is
// being written, the open chunk stays where it is and gathers more; one that is full gains nothing from waiting and
// follows at once.
func (d *driver) propose() error {
	if !d.leading {
		d.forward()
		return nil
	}
	if d.writing >= d.n.cfg.WritesMax || d.uncommitted > 0 && d.uncommitted+d.n.cfg.EntryBytesMax > d.uncommittedMax() {
		return nil
	}
	if d.writing == 0 && len(d.intake.chunks) > 0 || d.intake.bytes >= d.n.cfg.EntryBytesMax {
		return d.proposeMerged()
	}
	if !d.own.allOf(d.term) {
		return nil
	}
	open := d.writing == 0
	if open {
		d.n.queue.gather()
	}
	c, ok := d.n.queue.take(open, maxInt, maxInt)
	if !ok {
		return nil
	}
	if c.shared {
		c.data, c.shared = append([]byte(nil), c.data...), false
	}
	proposed, err := d.proposeEntry(c.data, c.count)
	if err != nil {
		return err
	}
	if !proposed {
		d.n.queue.putBack(c) // it goes to the log with the next leadership
		return nil
	}
	d.own.add(sentChunk{chunk: c, term: d.term})
	return nil
}

// proposeMerged proposes an entry of chunks of several members. Whose come first takes turns.
func (d *driver) proposeMerged() error {
	in := &d.intake
	idle := d.writing == 0
	data, count := make([]byte, headerBytes, headerBytes+min(in.bytes, d.n.cfg.EntryBytesMax)), 0
	room := func() (bytes, proposals int) {
		if count == 0 {
			return maxInt, maxInt // one chunk always fits, whatever its member's limits are
		}
		return d.n.cfg.EntryBytesMax - len(data), d.n.cfg.EntryProposalsMax - count
	}
	add := func(c *chunk) {
		data = append(data, c.data[headerBytes:]...)
		count += c.count
	}
	var own []chunk
	takeOwn := func() {
		for d.own.allOf(d.term) {
			bytes, proposals := room()
			c, ok := d.n.queue.take(idle, bytes, proposals)
			if !ok {
				return
			}
			add(&c)
			own = append(own, c)
		}
	}
	taken := 0
	takeIntake := func() {
		for ; taken < len(in.chunks); taken++ {
			c := &in.chunks[taken]
			if bytes, proposals := room(); c.payloadBytes() > bytes || c.count > proposals {
				return
			}
			add(c)
		}
	}
	in.turn = !in.turn
	if in.turn {
		takeIntake()
		takeOwn()
	} else {
		takeOwn()
		takeIntake()
	}
	proposed, err := d.proposeEntry(data, count)
	if err != nil {
		return err
	}
	if !proposed {
		d.n.queue.putBack(own...)
		return nil
	}
	for _, c := range own {
		d.own.add(sentChunk{chunk: c, term: d.term})
	}
	for i := range in.chunks[:taken] {
		in.bytes -= len(in.chunks[i].data)
		in.chunks[i] = chunk{}
	}
	if in.chunks = in.chunks[taken:]; len(in.chunks) == 0 {
		in.chunks = nil
	}
	return nil
}

// proposeEntry stamps an entry and gives it to raft, which copies it. It reports false if raft does not take it now.
func (d *driver) proposeEntry(data []byte, count int) (proposed bool, err error) {
	d.stamp(data, count)
	err = d.rn.Propose(data)
	if errors.Is(err, raft.ErrProposalDropped) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("raftlog: propose: %w", err)
	}
	d.uncommitted += len(data)
	return true, nil
}

func (d *driver) stamp(data []byte, count int) {
	d.stampMillis = max(d.stampMillis, d.n.cfg.NowMillis())
	putHeader(data, d.stampMillis, count)
}
