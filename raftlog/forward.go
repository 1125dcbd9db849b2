package raftlog

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// How the proposals of every member get into the leader's log, each once and in the order in which its member queued
// them.
//
// A member that does not lead sends the chunks of its queue to the leader in messages of type MsgProp, which raft never
// sees (raft's own forwarding is off: it may lose, repeat and reorder). They are numbered from 1 in each term:
//
//	Term     in which the leader leads; in any other the message means nothing
//	Index    number of the chunk
//	Context  stream, 8 bytes, little endian: numbers run through a stream. Its sender's origin, plus one for every time that
//	         the sender gave up what it had sent
//	Entries  one, whose Data is the chunk; the stamp in its header is 0
//
// The leader takes the chunks of a stream in the order of their numbers, ignores repeats and what comes after a gap, and
// answers with a MsgProp without entries:
//
//	Term     the same
//	Index    number of the last chunk taken
//	Context  the same
//	Reject   there was a gap: send again from Index+1
//
// When nothing is acknowledged for a while, the sender goes back to the first chunk that is not, and sends that one alone
// until there is an answer.
//
// So of what a member sent in a term a beginning is in the log, in entries of that term. All of these come before the
// first entry of any later term. When a member applies that one, it knows the fate of everything it sent before: what has
// not been applied is not in the log, and never will be. It is put back to the front of the queue. Until then nothing is
// sent in the new term, or the order would be lost. The leader's own proposals go the same way without being sent.
//
// What has waited for a leader for too long is dropped instead, and so is all that waits behind it, however young: nothing
// gets into the log without what was queued before it, unless that was given up before this was queued.

// What may be sent to the leader without being acknowledged.
const (
	upstreamChunksMax = 32
	upstreamBytesMax  = 4 << 20
)

// outstanding are the chunks of this node that were proposed or sent to a leader, and are not applied: oldest first.
type outstanding struct {
	sent  []sentChunk
	count int // of proposals
	bytes int
	// lost is the term in which a snapshot was installed: until an entry of a later one is applied, proposals of this run
	// may follow that are not outstanding. 0 otherwise.
	lost uint64
}

type sentChunk struct {
	chunk
	term   uint64
	number uint64 // in its term; 0 if it was proposed here
	// change marks a change of the configuration, which only the leader of its term can propose.
	change bool
}

func (o *outstanding) add(c sentChunk) {
	o.sent = append(o.sent, c)
	o.count += c.count
	o.bytes += len(c.data)
}

func (o *outstanding) pop() {
	o.count -= o.sent[0].count
	o.bytes -= len(o.sent[0].data)
	o.sent[0] = sentChunk{}
	if len(o.sent) == 1 {
		o.sent = o.sent[:0] // keeps the room
	} else {
		o.sent = o.sent[1:]
	}
}

// allOf says whether nothing is left from an earlier term.
func (o *outstanding) allOf(term uint64) bool {
	return len(o.sent) == 0 || o.sent[0].term == term
}

// applied is told the numbers of this node's proposals in entries that were applied, in order.
func (o *outstanding) applied(n *Node, seqs []uint64) error {
	n.status.appliedOwn.Add(uint64(len(seqs)))
	for len(seqs) > 0 {
		switch {
		case len(o.sent) > 0 && o.sent[0].first == seqs[0] && o.sent[0].count <= len(seqs):
			seqs = seqs[o.sent[0].count:]
			if !o.sent[0].change { // whose memory is the context of what was proposed
				n.queue.reuse(&o.sent[0].chunk)
			}
			o.pop()
		case o.lost != 0:
			seqs = seqs[1:]
		case len(o.sent) > 0 && o.sent[0].change: // raft made an empty entry of it
			n.settle(Dropped, o.sent[0].chunk)
			o.pop()
		default:
			return fmt.Errorf("raftlog: proposal %d of this node was applied out of turn", seqs[0])
		}
	}
	return nil
}

// settle is told that everything up to an entry of a term has been applied.
func (o *outstanding) settle(d *driver, term uint64) {
	if term > o.lost {
		o.lost = 0
	}
	if o.allOf(term) {
		return
	}
	i := 0
	for i < len(o.sent) && o.sent[i].term < term {
		i++
	}
	old := slices.Clone(o.sent[:i])
	o.sent = slices.Delete(o.sent, 0, i)
	var again []chunk
	for _, c := range old {
		o.count -= c.count
		o.bytes -= len(c.data)
		if c.change {
			d.n.settle(Dropped, c.chunk)
		} else {
			again = append(again, c.chunk)
		}
	}
	d.n.queue.putBack(again...)
	if len(again) == 0 {
		return
	}
	if timeout := d.proposalTicks(); d.ticks >= timeout {
		d.n.settle(Dropped, d.n.queue.expire(d.ticks-timeout)...)
	}
}

// lose gives up all that is outstanding, because entries were skipped. What is on its way may still get into the log. What
// waits behind it must not, without it.
func (o *outstanding) lose(d *driver) {
	if len(o.sent) == 0 {
		return
	}
	lost := make([]chunk, 0, len(o.sent))
	for _, c := range o.sent {
		lost = append(lost, c.chunk)
	}
	*o = outstanding{lost: d.term}
	d.upstream = upstream{stream: d.upstream.stream + 1}
	d.n.settle(Lost, lost...)
	d.n.settle(Dropped, d.n.queue.expire(raftNoLimit)...)
}

// settle tells the owner what became of chunks.
func (n *Node) settle(fate Fate, chunks ...chunk) {
	for i := range chunks {
		seqs := chunks[i].seqs()
		if fate == Dropped {
			n.status.dropped.Add(uint64(len(seqs)))
		} else {
			n.status.lost.Add(uint64(len(seqs)))
		}
		n.cfg.Settle(seqs, fate)
	}
}

func (d *driver) proposalTicks() uint64 {
	return uint64((d.n.cfg.ProposalTimeout + d.n.cfg.TickInterval - 1) / d.n.cfg.TickInterval)
}

// expire drops what has waited for a leader for too long, and what waits behind it.
func (d *driver) expire() {
	if timeout := d.proposalTicks(); !d.leading && d.ticks >= timeout {
		d.n.settle(Dropped, d.n.queue.expire(d.ticks-timeout)...)
	}
}

// upstream is this node's side of a term in which it does not lead.
type upstream struct {
	stream      uint64 // how often everything was given up
	sent, acked uint64 // numbers: the last chunk sent and the last one that the leader has taken
	moved       uint64 // the tick of the last progress, or of the last repetition
	probing     bool   // only the first chunk after acked is on its way
}

// forward sends chunks to the leader. One that can still grow waits until all before it are acknowledged.
func (d *driver) forward() {
	u := &d.upstream
	if d.leader == 0 || u.probing || !d.own.allOf(d.term) {
		return
	}
	for u.sent-u.acked < upstreamChunksMax && d.own.bytes < d.n.cfg.QueueBytesMax &&
		(u.sent == u.acked || d.unacknowledgedBytes() < upstreamBytesMax) {
		c, ok := d.n.queue.take(u.sent == u.acked, maxInt, maxInt)
		if !ok {
			return
		}
		if !c.shared {
			d.n.queue.share(&c)
		}
		if u.sent == u.acked {
			u.moved = d.ticks
		}
		u.sent++
		d.own.add(sentChunk{chunk: c, term: d.term, number: u.sent})
		d.sendChunk(&d.own.sent[len(d.own.sent)-1])
	}
}

const maxInt = int(^uint(0) >> 1)

func (d *driver) unacknowledgedBytes() (n int) {
	for i := len(d.own.sent) - 1; i >= 0 && d.own.sent[i].number > d.upstream.acked; i-- {
		n += len(d.own.sent[i].data)
	}
	return n
}

func (d *driver) sendChunk(c *sentChunk) {
	d.outbox = append(d.outbox, &raftpb.Message{
		Type: raftpb.MsgProp.Enum(), To: new(d.leader), From: new(d.n.cfg.NodeID), Term: new(c.term), Index: new(c.number),
		Context: binary.LittleEndian.AppendUint64(nil, d.n.origin+d.upstream.stream),
		Entries: []*raftpb.Entry{{Data: c.data}},
	})
}

// resend goes back when nothing has been acknowledged for a while.
func (d *driver) resend() {
	u := &d.upstream
	// Applying a chunk is as good as an acknowledgement.
	if !d.leading && d.leader != 0 && u.sent > d.acknowledged(u.acked) && d.ticks >= u.moved+uint64(2*d.n.cfg.HeartbeatTicks) {
		d.goBack()
	}
}

// goBack sends the first chunk that is not acknowledged, and no other until it is.
func (d *driver) goBack() {
	d.upstream.moved, d.upstream.probing = d.ticks, true
	for i := range d.own.sent {
		if c := &d.own.sent[i]; c.term == d.term && c.number > d.upstream.acked {
			d.sendChunk(c)
			return
		}
	}
}

// acknowledged is told that the leader has taken everything up to a number, and gives the last number that it is known to
// have taken.
func (d *driver) acknowledged(number uint64) uint64 {
	u := &d.upstream
	// The oldest chunk that is not applied says what is.
	taken := u.sent
	if len(d.own.sent) > 0 && d.own.sent[0].term == d.term {
		taken = d.own.sent[0].number - 1
	}
	number = max(number, taken)
	if number <= u.acked || number > u.sent {
		return u.acked
	}
	u.acked, u.moved = number, d.ticks
	if u.probing {
		u.probing = false
		for i := range d.own.sent {
			if c := &d.own.sent[i]; c.number > u.acked {
				d.sendChunk(c)
			}
		}
	}
	return u.acked
}

// forwarded takes a MsgProp.
func (d *driver) forwarded(m *raftpb.Message) {
	if m.GetTerm() != d.term || len(m.GetContext()) != 8 {
		return
	}
	stream, u := binary.LittleEndian.Uint64(m.GetContext()), &d.upstream
	switch {
	case len(m.GetEntries()) > 0:
		if d.leading {
			d.takeForwarded(m, stream)
		}
	case d.leading || stream != d.n.origin+u.stream || m.GetFrom() != d.leader:
	case d.acknowledged(m.GetIndex()) == m.GetIndex() && m.GetReject() && u.sent > u.acked && !u.probing:
		d.goBack()
	}
}
