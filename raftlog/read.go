package raftlog

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"

	"go.etcd.io/raft/v3"
)

// Reads ask the leader what is committed, and the leader asks a quorum whether it still leads. All reads that wait share
// one such round; those that come while it is under way share the next, because what is committed may have been looked up
// before they came.

// read is one caller's wait.
type read struct {
	index chan uint64 // has room for the answer
	// gone says that the caller does not wait any more.
	gone atomic.Bool
	// ready makes this the question whose answer the node waits for to be ready.
	ready bool
}

// reading is the raft goroutine's side.
type reading struct {
	waiting []*read // for the next round
	asked   []*read // for the present one
	// round numbers the rounds. It begins with this run's origin: a leader keeps the questions of all members by their
	// numbers, and an answer to what an earlier run of this member asked says less than this one needs.
	round   uint64
	sent    uint64 // the tick at which the round was last asked for
	spare   []*read
	started bool // whether the first round has begun
}

// ReadIndex returns an index such that whoever reads after it is applied sees everything that was acknowledged before the
// call, on whichever member. It works on every member; without a leader it waits for one, and fails with ErrNoLeader if ctx
// ends before that.
//
// Nobody else can have committed anything that a lone member does not know of, so it asks nobody; and since its own
// Machine acknowledges nothing before it was handed it, what it was handed by now is enough. A read need not wait for
// entries that are still being written. With a learner beside it that is not so: the learner's Machine may be ahead.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	select {
	case <-n.stopping:
		return 0, n.stopped()
	default:
	}
	if index, ok := n.knownIndex(); ok {
		return index, nil
	}
	r := n.askRead()
	index, err := await(ctx, n, r.index)
	if err != nil {
		n.status.readsFailed.Add(1)
		r.gone.Store(true)
	}
	return index, err
}

// knownIndex is the answer of a lone member.
func (n *Node) knownIndex() (index uint64, ok bool) {
	// A leader must have committed an entry of its own term before it knows what is committed.
	from := n.status.sole.Load()
	index = n.status.handed.Load()
	return index, from != 0 && index >= from
}

// askRead is the half of ReadIndex that does not wait.
func (n *Node) askRead() *read {
	r := &read{index: make(chan uint64, 1)}
	if n.reads.put(r) {
		n.call()
	}
	return r
}

// take takes the reads that have come.
func (r *reading) take(n *Node) {
	r.spare = n.reads.poll(r.spare)
	r.waiting = append(r.waiting, r.spare...)
}

// gather lets goroutines that are about to ask do so, as long as they do: a round costs all members more than the moment that it
// takes.
func (r *reading) gather(n *Node) {
	for turns := 0; turns < gatherTurnsMax; turns++ {
		runtime.Gosched()
		before := len(r.waiting)
		if r.take(n); len(r.waiting) == before {
			return
		}
	}
}

// read begins a round if somebody waits for one and it can be answered.
func (d *driver) read() {
	r := &d.reading
	if d.leader != 0 && !r.started {
		r.started = true
		if d.n.status.readyAt.Load() == 0 {
			r.waiting = append(r.waiting, &read{ready: true})
		}
	}
	if len(r.waiting) == 0 || len(r.asked) > 0 || !d.answerable() {
		return
	}
	r.gather(d.n)
	r.asked, r.waiting = r.waiting, r.asked[:0]
	r.round++
	d.n.status.readRounds.Add(1)
	r.ask(d)
}

// answerable says whether there is somebody to ask. A leader knows what is committed once something of its own term is.
func (d *driver) answerable() bool {
	return d.leader != 0 && (!d.leading || d.commit >= d.from)
}

func (r *reading) ask(d *driver) {
	r.sent = d.ticks
	d.rn.ReadIndex(binary.LittleEndian.AppendUint64(nil, r.round))
}

// isIdle reports whether nobody reads.
func (r *reading) isIdle() bool { return len(r.waiting) == 0 && len(r.asked) == 0 }

// tick repeats what a follower has asked for and may have been lost, and forgets who does not wait any more.
func (r *reading) tick(d *driver) {
	if len(r.asked) > 0 && !d.leading && d.ticks >= r.sent+uint64(2*d.n.cfg.HeartbeatTicks) && d.answerable() {
		d.n.status.readsRepeated.Add(1)
		r.ask(d)
	}
	if d.ticks%uint64(d.n.cfg.ElectionTicks) == 0 {
		r.waiting = stillThere(r.waiting)
	}
}

// newLeader begins the round again, with whoever came since.
func (r *reading) newLeader(d *driver) {
	if len(r.asked) == 0 {
		return
	}
	r.waiting = append(stillThere(r.asked), r.waiting...)
	r.asked = nil
}

func stillThere(reads []*read) []*read {
	var still []*read
	for _, r := range reads {
		if !r.gone.Load() {
			still = append(still, r)
		}
	}
	return still
}

// answer ends a round. An answer to an earlier one says less than this one's readers need.
func (r *reading) answer(d *driver, state raft.ReadState) {
	if len(state.RequestCtx) != 8 || binary.LittleEndian.Uint64(state.RequestCtx) != r.round {
		return
	}
	for _, reader := range r.asked {
		if reader.ready {
			d.n.readyAt(state.Index)
		} else {
			reader.index <- state.Index
		}
	}
	clear(r.asked)
	r.asked = r.asked[:0]
}
