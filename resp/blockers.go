package resp

import (
	"slices"
	"sync"

	"github.com/triglot/triglot/core"
)

// waiter is a client that waits for one of some keys to become a list.
type waiter struct {
	keys    []string      // with the space as first byte
	wake    chan struct{} // capacity 1: look again
	unblock chan bool     // capacity 1: give up; true: with an error
}

func (w *waiter) look() {
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// blockers are the clients of this server that wait in BLPOP and the like, for each key in the order in which they came.
// A change of a key wakes only the first that waits for it; whoever leaves passes the word on, since there may be
// something left for the next.
type blockers struct {
	mu     sync.Mutex // guards the fields below
	queues map[string]*keyQueue
	byID   map[int64]*keyQueue
	nextID int64
	count  int

	feed *core.Feed
	done chan struct{} // closed when run has returned
}

// keyQueue is the queue of one key. Its watch lives as long as somebody waits.
type keyQueue struct {
	id      int64 // of the watch
	waiters []*waiter
}

func newBlockers(hub *core.Hub) *blockers {
	return &blockers{
		queues: map[string]*keyQueue{}, byID: map[int64]*keyQueue{}, feed: hub.NewFeed(), done: make(chan struct{}),
	}
}

func queueKey(space uint32, key []byte) string { return string(append([]byte{byte(space)}, key...)) }

// contended reports whether somebody else waits for one of the keys already. A newcomer must not push in then.
func (b *blockers) contended(spec *blocking) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queues) == 0 {
		return false
	}
	for _, key := range spec.keys {
		if b.queues[queueKey(spec.space, key)] != nil {
			return true
		}
	}
	return false
}

// enter queues a client for its keys, which it has looked at in vain up to the revision before from. What has happened
// to them since wakes it.
func (b *blockers) enter(spec *blocking, from int64) (*waiter, error) {
	w := &waiter{wake: make(chan struct{}, 1), unblock: make(chan bool, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	queued := make(map[string]bool, len(spec.keys))
	for _, key := range spec.keys {
		name := queueKey(spec.space, key)
		if queued[name] {
			continue
		}
		queued[name] = true
		queue := b.queues[name]
		if queue == nil {
			b.nextID++
			queue = &keyQueue{id: b.nextID}
			watch := core.Watch{Match: core.MatchAny, Space: byte(spec.space), Key: []byte(name[1:]), From: from}
			if err := b.feed.Add(queue.id, watch); err != nil {
				b.remove(w)
				return nil, err
			}
			b.queues[name], b.byID[queue.id] = queue, queue
		}
		queue.waiters = append(queue.waiters, w)
		w.keys = append(w.keys, name)
	}
	b.count++
	return w, nil
}

// leave takes a client out of its queues.
func (b *blockers) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(w)
	b.count--
}

func (b *blockers) remove(w *waiter) {
	for _, name := range w.keys {
		queue := b.queues[name]
		queue.waiters = slices.DeleteFunc(queue.waiters, func(other *waiter) bool { return other == w })
		if len(queue.waiters) > 0 {
			queue.waiters[0].look()
			continue
		}
		b.feed.Remove(queue.id)
		delete(b.queues, name)
		delete(b.byID, queue.id)
	}
}

// waiting is the number of blocked clients.
func (b *blockers) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// run wakes clients as their keys change, until stop closes.
func (b *blockers) run(stop <-chan struct{}) {
	defer close(b.done)
	for {
		select {
		case <-stop:
			b.feed.Close()
			return
		case <-b.feed.Ready():
		}
		for notices := b.feed.Next(noticesMax); len(notices) > 0; notices = b.feed.Next(noticesMax) {
			b.notify(notices)
		}
	}
}

// noticesMax is how many notices are read at a time.
const noticesMax = 256

func (b *blockers) notify(notices []core.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range notices {
		notice := &notices[i]
		queue := b.byID[notice.ID]
		if queue == nil {
			continue
		}
		queue.waiters[0].look()
	}
}
