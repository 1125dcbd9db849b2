package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
)

// The fate of a call to Propose or ProposeAll that put nothing into the queue.
var (
	// ErrStopped says that the node has stopped or failed; errors.Is also finds the failure.
	ErrStopped = errors.New("raftlog: node is stopped")
	// ErrTooLarge says that what was proposed can never fit.
	ErrTooLarge = errors.New("raftlog: proposal is too large")
	// ErrOverloaded says that too much is waiting to be written already. Nothing of the call was queued.
	ErrOverloaded = errors.New("raftlog: too many proposals are waiting")
)

// queue holds the proposals that wait to become entries, already encoded as the entries they will be. The last chunk
// stays open: it takes proposals until it is full or old, or the raft goroutine takes it.
type queue struct {
	entryBytesMax     int
	entryProposalsMax int
	proposalsMax      int
	bytesMax          int

	mu        sync.Mutex // guards what follows
	chunks    []chunk
	proposals int      // waiting in chunks
	bytes     int      // waiting in chunks
	spare     [][]byte // memory for chunks to grow in
	tick      uint64   // the raft goroutine's time
	closed    bool
}

// chunkTicksMax is how old an open chunk gets: so much younger than it says can a proposal be that is dropped for its age.
const chunkTicksMax = 2

// chunk is a number of proposals in the form of an entry's payload; the header is filled in when it leaves. It is never
// split: it is in the log as a whole or not at all.
type chunk struct {
	data  []byte
	count int
	first uint64 // Seq of the first proposal
	tick  uint64 // when it was opened
	// shared says that data was handed to the transport and must not be changed any more.
	shared bool
}

// payloadBytes is what the chunk adds to an entry.
func (c *chunk) payloadBytes() int { return len(c.data) - headerBytes }

// seqs are the numbers of all its proposals.
func (c *chunk) seqs() []uint64 {
	if !c.shared {
		putHeader(c.data, 0, c.count)
	}
	_, proposals, err := decodeEntry(nil, c.data)
	if err != nil {
		panic(err) // made here
	}
	seqs := make([]uint64, len(proposals))
	for i := range proposals {
		seqs[i] = proposals[i].Seq
	}
	return seqs
}

// add queues ps in order, with nothing of anyone else's in between, as of the given origin. It reports whether the raft goroutine has
// to be woken: when the queue was empty, and when a chunk is full, which need not wait for the write before it.
func (q *queue) add(origin uint64, ps []Proposal) (wake bool, err error) {
	total := 0
	for i := range ps {
		n := ps[i].encodedBytes()
		if headerBytes+n > q.entryBytesMax {
			return false, fmt.Errorf("%w: %d bytes in an entry of at most %d", ErrTooLarge, n, q.entryBytesMax)
		}
		total += n
	}
	if len(ps) > q.proposalsMax || total > q.bytesMax {
		return false, fmt.Errorf("%w: a group of %d proposals and %d bytes for a queue of %d and %d",
			ErrTooLarge, len(ps), total, q.proposalsMax, q.bytesMax)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrStopped
	}
	if q.proposals+len(ps) > q.proposalsMax || q.bytes+total > q.bytesMax {
		return false, fmt.Errorf("%w: %d proposals, %d bytes", ErrOverloaded, q.proposals, q.bytes)
	}
	for i := range ps {
		p := &ps[i]
		n := p.encodedBytes()
		last := len(q.chunks) - 1
		if last < 0 || q.chunks[last].count >= q.entryProposalsMax || len(q.chunks[last].data)+n > q.entryBytesMax ||
			q.chunks[last].tick+chunkTicksMax <= q.tick || q.chunks[last].shared {
			q.chunks = append(q.chunks, chunk{data: q.room(headerBytes + n)[:headerBytes], first: p.Seq, tick: q.tick})
			last++
			wake = true
		}
		c := &q.chunks[last]
		c.data = appendProposal(c.data, origin, p.Seq, p.Payload)
		c.count++
	}
	q.proposals += len(ps)
	q.bytes += total
	return wake, nil
}

const (
	// spareBytesMax is how much memory a chunk may have that is used again.
	spareBytesMax = 64 << 10
	// spareMax is of how many chunks it is kept. More are rarely on their way.
	spareMax = 8
)

// room gives memory for a chunk that begins with so many bytes. mu is held.
func (q *queue) room(bytes int) []byte {
	if last := len(q.spare) - 1; last >= 0 {
		room := q.spare[last]
		q.spare = q.spare[:last]
		if cap(room) >= bytes {
			return room
		}
	}
	return make([]byte, 0, bytes)
}

// reuse takes the memory of a chunk that nobody reads any more.
func (q *queue) reuse(c *chunk) {
	if c.shared || cap(c.data) > spareBytesMax {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < spareMax {
		q.spare = append(q.spare, c.data[:0])
	}
}

// share makes a chunk one that may be handed to the transport. That may hold it for long, so it gets memory of its own size.
func (q *queue) share(c *chunk) {
	grown := *c
	putHeader(c.data, 0, c.count)
	c.data, c.shared = bytes.Clone(c.data), true
	q.reuse(&grown)
}

// gather lets goroutines that are about to add something do so, as long as they do: a write and a sync for each few
// proposals cost more than the moment that it takes.
func (q *queue) gather() {
	for n, turns := q.waiting(), 0; n > 0 && turns < gatherTurnsMax; turns++ {
		runtime.Gosched()
		more := q.waiting()
		if more == n {
			return
		}
		n = more
	}
}

const gatherTurnsMax = 32

// take removes the oldest chunk if it adds no more than so many bytes and proposals to an entry. One that may still grow is
// only taken if open is true.
func (q *queue) take(open bool, bytesMax, count int) (c chunk, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.chunks) == 0 || len(q.chunks) == 1 && !open || q.chunks[0].payloadBytes() > bytesMax || q.chunks[0].count > count {
		return chunk{}, false
	}
	c = q.chunks[0]
	q.chunks = slices.Delete(q.chunks, 0, 1) // there are few: bytesMax / entryBytesMax
	q.proposals -= c.count
	q.bytes -= c.payloadBytes()
	return c, true
}

// putBack inserts chunks before all others, whatever the limits.
func (q *queue) putBack(chunks ...chunk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.chunks = slices.Insert(q.chunks, 0, chunks...)
	for i := range chunks {
		q.proposals += chunks[i].count
		q.bytes += chunks[i].payloadBytes()
	}
}

// now sets the time.
func (q *queue) now(tick uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tick = tick
}

// isEmpty reports whether nothing waits.
func (q *queue) isEmpty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.chunks) == 0
}

// expire removes everything if the oldest chunk was opened at a tick or before it. What is behind that is younger, but must
// not get into the log without it.
func (q *queue) expire(tick uint64) (expired []chunk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.chunks) == 0 || q.chunks[0].tick > tick {
		return nil
	}
	expired = q.chunks
	q.chunks, q.proposals, q.bytes = nil, 0, 0
	return expired
}

// waiting is how many proposals there are.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.proposals
}

// close refuses further proposals.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
