package resp

import (
	"sync"

	"github.com/triglot/triglot/storage"
)

// trackingTable is the keys that all clients of the server have read and may hold copies of, oldest first: what
// MaxTrackedKeys bounds. Locks: tracking.mu before this one.
type trackingTable struct {
	mu          sync.Mutex // guards the fields below and the keys' neighbours
	first, last *trackedKey
	n           int
}

func (x *trackingTable) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.n
}

func (x *trackingTable) add(k *trackedKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k.previous = x.last
	if x.last == nil {
		x.first = k
	} else {
		x.last.next = k
	}
	x.last = k
	x.n++
}

// remove takes a key out, if it is in.
func (x *trackingTable) remove(k *trackedKey) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unlink(k)
}

func (x *trackingTable) unlink(k *trackedKey) {
	if k.previous == nil && x.first != k {
		return
	}
	if k.previous == nil {
		x.first = k.next
	} else {
		k.previous.next = k.next
	}
	if k.next == nil {
		x.last = k.previous
	} else {
		k.next.previous = k.previous
	}
	k.previous, k.next = nil, nil
	x.n--
}

// shrink invalidates the oldest keys until no more than so many are left. The caller holds no lock of a tracking.
func (x *trackingTable) shrink(most int) {
	for {
		x.mu.Lock()
		oldest := x.first
		if x.n <= most {
			x.mu.Unlock()
			return
		}
		x.unlink(oldest)
		x.mu.Unlock()
		oldest.owner.evict(oldest)
	}
}

func isFlush(e *storage.Event) bool { return e.Verb == verbFlush }
