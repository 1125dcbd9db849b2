package raftlog

import (
	"errors"
	"fmt"
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
// stays open: it takes proposals until it is full or the raft goroutine takes it.
type queue struct {
	entryBytesMax     int
	entryProposalsMax int
	proposalsMax      int
	bytesMax          int

	mu        sync.Mutex // guards what follows
	chunks    []chunk
	proposals int // waiting in chunks
	bytes     int // waiting in chunks
	sizeHint  int // capacity for the next chunk: what the last one taken came to
	closed    bool
}

// chunk is the payload of a future entry; its header is filled in when it leaves.
type chunk struct {
	data  []byte
	count int
}

// add queues ps in order, with nothing of anyone else's in between. Proposals without an origin get the given one.
// It reports whether the queue was empty, which is when the raft goroutine has to be woken.
func (q *queue) add(origin uint64, ps []Proposal) (wasEmpty bool, err error) {
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
	wasEmpty = len(q.chunks) == 0
	for i := range ps {
		p := &ps[i]
		n := p.encodedBytes()
		last := len(q.chunks) - 1
		if last < 0 || q.chunks[last].count == q.entryProposalsMax || len(q.chunks[last].data)+n > q.entryBytesMax {
			size := max(q.sizeHint, headerBytes+n)
			q.chunks = append(q.chunks, chunk{data: make([]byte, headerBytes, size)})
			last++
		}
		from := origin
		if p.Origin != 0 {
			from = p.Origin
		}
		c := &q.chunks[last]
		c.data = appendProposal(c.data, from, p.Seq, p.Payload)
		c.count++
	}
	q.proposals += len(ps)
	q.bytes += total
	return wasEmpty, nil
}

// take removes the oldest chunk. One that may still grow is only taken if open is true.
func (q *queue) take(open bool) (c chunk, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.chunks) == 0 || len(q.chunks) == 1 && !open {
		return chunk{}, false
	}
	c = q.chunks[0]
	q.chunks = slices.Delete(q.chunks, 0, 1) // there are few: bytesMax / entryBytesMax
	q.proposals -= c.count
	q.bytes -= len(c.data) - headerBytes
	q.sizeHint = len(c.data)
	return c, true
}

// putBack undoes the last take.
func (q *queue) putBack(c chunk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.chunks = slices.Insert(q.chunks, 0, c)
	q.proposals += c.count
	q.bytes += len(c.data) - headerBytes
}

// close refuses further proposals.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
