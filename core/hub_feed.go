package core

import "sync"

// Feed is the watches of one connection or stream, read by one owner: wait for Ready, then call Next until it gives nil.
// Any goroutine may call any method. A feed that is not read costs the store nothing, and itself a longer way back.
//
// Notices come in the order in which their watches fell due. A connection that owes its client one order over all
// watches, as ZooKeeper does, reads until nil and sorts by revision and sub: what comes later is later.
type Feed struct {
	hub   *Hub
	ready chan struct{} // capacity 1: a wake-up that nobody has taken yet says all there is to say
	done  chan struct{} // closed by Close

	changing sync.Mutex // held while a watch is on its way into the index or out of it, by Add, Remove and Close
	reading  sync.Mutex // held by Next

	mu      sync.Mutex // guards the fields below and, in the feed's watches, what they say it guards
	watches map[int64]*activeWatch
	queue   dueQueue
	closed  bool
}

// Add starts a watch under an id of the caller's choice that is not in use in the feed. ErrCompacted, with the compacted
// revision as its Number, says that From lies before it; the compacted revision itself can be had.
func (f *Feed) Add(id int64, spec Watch) error {
	w, err := newActiveWatch(f, id, spec)
	if err != nil {
		return err
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	_, used := f.watches[id]
	closed := f.closed
	f.mu.Unlock()
	switch {
	case closed:
		return ErrStopped
	case used:
		return &Error{Code: CodeBadArguments, Detail: "watch id is in use"}
	}
	if w.fromLog && spec.From > 0 && spec.From <= f.hub.ring.span.Load().revision {
		view := f.hub.log.pin()
		compacted := view.compacted()
		view.release()
		if spec.From < compacted {
			return &Error{Code: CodeCompacted, Number: compacted}
		}
	}

	// First into the index, then a look at the ring: an event is either published to the watch, or in the ring already.
	f.hub.index.add(w)
	f.mu.Lock()
	f.watches[id] = w
	wake := f.begin(w, f.hub.ring.span.Load())
	f.mu.Unlock()
	if wake {
		f.signal()
	}
	return nil
}

// begin sets what a new watch is owed, and reports whether that is news to the feed's owner. mu is held.
func (f *Feed) begin(w *activeWatch, span *ringSpan) (wake bool) {
	w.active = true
	w.start = span.head
	w.next = w.From
	if w.From == 0 || w.From > span.revision {
		if w.From > span.revision+1 {
			w.from = w.From
		}
		return false
	}
	w.from = w.From
	owed := owedStretch{
		first: span.tail, last: span.head - 1,
		firstRevision: w.From, lastRevision: span.revision,
		ringOnly: nothingLost,
	}
	gone := w.ringOnly && w.From <= span.ringOnlyRev
	switch {
	case gone || w.fromLog && w.From <= span.storedGone:
		owed.first = 0 // before whatever the ring holds
	default:
		owed.first = f.hub.ring.find(span, w.From)
	}
	if w.ringOnly {
		owed.ringOnly = max(owed.first, span.tail)
		if gone {
			owed.ringOnly = 0
		}
	}
	if owed.first > owed.last {
		return false
	}
	w.due, w.owed = true, owed
	return f.queue.push(w)
}

// sleepAfterDefault is how many groups a watch may be behind before it sleeps: some times what a connection has on its way.
const sleepAfterDefault = 1024

// mark owes a watch a group, and reports whether that is news to the feed's owner. It is the publisher's.
//
// A watch that is not read although much is owed to it falls asleep: it leaves the index, so that it costs the publisher
// nothing any more, and is owed whatever comes. The next reading wakes it. Those that would have to be told what they lost
// stay awake.
func (f *Feed) mark(w *activeWatch, g *eventGroup) (wake bool) {
	f.mu.Lock()
	if w.active && g.position >= w.start && g.revision >= w.from {
		switch {
		case !w.due:
			w.due = true
			w.owed = owedStretch{first: g.position, firstRevision: g.revision, ringOnly: nothingLost}
			wake = f.queue.push(w)
		case !w.ringOnly && g.position-w.owed.first >= f.hub.sleepAfter:
			w.asleep = true
			w.place.stop.park(w)
		}
		w.owed.last, w.owed.lastRevision = g.position, g.revision
		if g.ringOnly && w.ringOnly && w.owed.ringOnly == nothingLost {
			w.owed.ringOnly = g.position
		}
	}
	f.mu.Unlock()
	return wake
}

// Remove ends a watch, and reports whether there was one. No later Next gives a notice of it.
func (f *Feed) Remove(id int64) bool {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	w := f.watches[id]
	if w != nil {
		f.drop(w)
	}
	f.mu.Unlock()
	if w == nil {
		return false
	}
	f.hub.index.remove(w)
	return true
}

// drop ends a watch for the feed; taking it out of the index is left to the caller. mu is held.
func (f *Feed) drop(w *activeWatch) {
	w.active = false
	delete(f.watches, w.id)
	f.queue.remove(w)
}

// Ready has an element when Next may have something to give, or the feed was closed.
func (f *Feed) Ready() <-chan struct{} { return f.ready }

func (f *Feed) signal() {
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

// Next gives what the watches are owed: nil when that is nothing, and once the feed is closed. It stops when it has
// max events, or more where those of one revision do not end there, and then Ready has an element again.
func (f *Feed) Next(max int) []Notice {
	f.reading.Lock()
	defer f.reading.Unlock()
	var notices []Notice
	for max > 0 {
		w, owed, next := f.front()
		if w == nil {
			return notices
		}
		read := f.hub.read(w, owed, next, max)
		if f.settle(w, &read) {
			read.notice.ID = w.id
			notices = append(notices, read.notice)
			max -= read.count()
		}
	}
	f.mu.Lock()
	more := f.queue.first != nil
	f.mu.Unlock()
	if more {
		f.signal()
	}
	return notices
}

// front gives the watch that has waited longest, and what it is owed. It stays in the queue while it is read, so that
// Progress does not run ahead.
func (f *Feed) front() (w *activeWatch, owed owedStretch, next int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w = f.queue.first; w != nil {
		if w.asleep {
			w.wake()
		}
		owed, next = w.owed, w.next
	}
	return w, owed, next
}

// wake makes the publisher mark a watch again. feed.mu is held. As in Add, it comes back into the index before a look at the
// ring says what it is owed by now: whatever is published later is marked.
func (w *activeWatch) wake() {
	w.asleep = false
	w.place.stop.unpark(w)
	span := w.feed.hub.ring.span.Load()
	w.start = span.head
	w.owed.last, w.owed.lastRevision = span.head-1, span.revision
}

// settle notes what was read, and reports whether there is a notice to give.
func (f *Feed) settle(w *activeWatch, read *watchReading) bool {
	given := !read.empty()
	over := read.over || w.Once && given
	f.mu.Lock()
	if !w.active {
		f.mu.Unlock()
		return false
	}
	f.queue.remove(w)
	switch {
	case over:
		f.drop(w)
	case read.position > w.owed.last: // which it is not if the watch fell asleep while it was read: that was with a later group
		w.due = false
	default:
		// Some is left, or was published meanwhile. The others come first now.
		w.owed.first = read.position
		if read.notice.Lost {
			w.owed.ringOnly = read.tail
		}
		if w.owed.ringOnly < read.position {
			w.owed.ringOnly = read.position
		}
		f.queue.push(w)
	}
	w.next = read.next
	f.mu.Unlock()
	if over {
		f.hub.index.remove(w)
	}
	return given
}

// Progress gives the revision up to which Next has given everything to every watch, 0 while some are owed something.
// Whoever tells a client of it asks after having sent what Next gave.
func (f *Feed) Progress() int64 {
	marked := f.hub.marked.Load()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.queue.first != nil {
		return 0
	}
	return marked
}

// Synced reports whether there is a watch with the id and Next has given everything to it.
func (f *Feed) Synced(id int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.watches[id]
	return w != nil && !w.due
}

// Done is closed when the feed is, be it by its owner or with the hub.
func (f *Feed) Done() <-chan struct{} { return f.done }

// Close ends the feed with its watches and wakes its owner. It waits for a Next that is under way.
func (f *Feed) Close() {
	f.changing.Lock()
	f.mu.Lock()
	closed := f.closed
	f.closed = true
	watches := f.watches
	f.watches = map[int64]*activeWatch{}
	f.queue = dueQueue{}
	for _, w := range watches {
		w.active = false
	}
	f.mu.Unlock()
	for _, w := range watches {
		f.hub.index.remove(w)
	}
	f.changing.Unlock()
	if !closed {
		f.hub.mu.Lock()
		delete(f.hub.feeds, f)
		f.hub.mu.Unlock()
		close(f.done)
		f.signal()
	}
	f.reading.Lock()
	defer f.reading.Unlock()
}

// due counts the watches that are owed something.
func (f *Feed) due() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := f.queue.first; w != nil; w = w.nextDue {
		n++
	}
	return n
}

// dueQueue is the watches that are owed something, those that waited longest first. They are linked through themselves:
// a watch that ends leaves at once, and a feed that is never read has nothing that grows.
type dueQueue struct{ first, last *activeWatch }

// push appends a watch and reports whether it is the only one.
func (q *dueQueue) push(w *activeWatch) bool {
	w.previous, w.nextDue = q.last, nil
	if q.last == nil {
		q.first = w
	} else {
		q.last.nextDue = w
	}
	q.last = w
	return q.first == w
}

// remove takes a watch out, if it is in.
func (q *dueQueue) remove(w *activeWatch) {
	if w.previous == nil && q.first != w {
		return
	}
	if w.previous == nil {
		q.first = w.nextDue
	} else {
		w.previous.nextDue = w.nextDue
	}
	if w.nextDue == nil {
		q.last = w.previous
	} else {
		w.nextDue.previous = w.previous
	}
	w.previous, w.nextDue = nil, nil
}
