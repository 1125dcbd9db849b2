package core

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/triglot/triglot/storage"
)

// eventGroup is the events of one revision in one step: what a watch is given together or not at all.
type eventGroup struct {
	position uint64 // in the ring; the first is 1
	revision int64
	events   []*storage.Event
	bytes    int64
	stored   bool // some of the events are in the log too
	ringOnly bool // some are nowhere else
	single   [1]*storage.Event
}

// isBytesChange reports whether an event is a change of a key that holds bytes: a version of it, or its end.
func isBytesChange(e *storage.Event) bool {
	switch e.Type {
	case storage.EventPut:
		return e.Record.Kind == storage.KindBytes
	case storage.EventDelete:
		return e.Prev == nil || e.Prev.Kind <= storage.KindBytes
	default:
		return false
	}
}

// isStored reports whether an event is in the log table: the shared space's changes of bytes are. All others, and
// messages, live in the ring only.
func isStored(e *storage.Event) bool { return e.Space == 0 && isBytesChange(e) }

// appendGroups cuts a step's events into groups.
func appendGroups(groups []*eventGroup, events []*storage.Event) []*eventGroup {
	for start := 0; start < len(events); {
		end := start + 1
		for end < len(events) && events[end].Revision == events[start].Revision {
			end++
		}
		g := &eventGroup{revision: events[start].Revision}
		// A slice of its own: a part of the step's would keep the whole step alive.
		g.events = append(g.single[:0], events[start:end]...)
		for _, e := range g.events {
			g.bytes += eventBytes(e)
			if isStored(e) {
				g.stored = true
			} else {
				g.ringOnly = true
			}
		}
		groups = append(groups, g)
		start = end
	}
	return groups
}

// eventBytes is what an event costs in memory.
func eventBytes(e *storage.Event) int64 {
	n := int(unsafe.Sizeof(*e)) + len(e.Key) + len(e.Record.Value)
	if e.Prev != nil {
		n += int(unsafe.Sizeof(*e.Prev)) + len(e.Prev.Value)
	}
	return int64(n)
}

// eventRing holds the newest groups, bounded by the count and the bytes of their events: strictly, so that a group that
// is too big for it by itself is only ever found in the log. It has one writer and any number of readers, who take no
// lock: the groups in [span.tail, span.head) of the newest span are in their slots, and a group once read stays as it is.
type eventRing struct {
	eventsMax int
	bytesMax  int64
	slots     []atomic.Pointer[eventGroup] // a power of two, at least eventsMax: a group holds at least one event
	span      atomic.Pointer[ringSpan]
}

// ringSpan says what the ring holds at one moment. It is replaced, never changed.
type ringSpan struct {
	tail, head   uint64 // the positions held are [tail, head)
	revision     int64  // of the store, as published
	storedGone   int64  // revision of the newest stored events that left the ring: the log is needed up to there
	ringOnlyGone uint64 // position of the newest group that left with events which are nowhere else
	ringOnlyRev  int64  // its revision
	events       int
	bytes        int64
}

func (r *eventRing) init(revision int64, eventsMax int, bytesMax int64) {
	r.eventsMax, r.bytesMax = eventsMax, bytesMax
	r.slots = make([]atomic.Pointer[eventGroup], 1<<bits.Len(uint(eventsMax-1)))
	// What happened before the start is in the log, and whatever else there was is gone.
	r.span.Store(&ringSpan{tail: 1, head: 1, revision: revision, storedGone: revision, ringOnlyRev: revision})
}

func (r *eventRing) slot(position uint64) *atomic.Pointer[eventGroup] {
	return &r.slots[position&uint64(len(r.slots)-1)]
}

// at gives the group at a position, nil when it has left the ring. A reader that meets nil at a position which its span
// contains will find a newer span with a later tail.
func (r *eventRing) at(position uint64) *eventGroup {
	if g := r.slot(position).Load(); g != nil && g.position == position {
		return g
	}
	return nil
}

// append gives the groups their positions and takes them in, dropping what has to go.
func (r *eventRing) append(groups []*eventGroup, revision int64) {
	old := r.span.Load()
	if len(groups) == 0 && revision == old.revision {
		return
	}
	events, bytes := 0, int64(0)
	for _, g := range groups {
		events += len(g.events)
		bytes += g.bytes
	}
	span := *old
	for span.tail < span.head && !r.fits(span.events+events, span.bytes+bytes) {
		g := r.slot(span.tail).Load()
		span.events -= len(g.events)
		span.bytes -= g.bytes
		span.left(g)
		span.tail++
	}
	if span.tail != old.tail {
		// Readers learn that groups are gone before their slots are taken.
		shorter := span
		r.span.Store(&shorter)
		for position := old.tail; position < span.tail; position++ {
			r.slot(position).Store(nil)
		}
	}
	for _, g := range groups {
		g.position = span.head
		span.head++
		if !r.fits(events, bytes) {
			// The ring is empty by now, and the step is bigger than it: its beginning passes by.
			events -= len(g.events)
			bytes -= g.bytes
			span.left(g)
			span.tail = span.head
			continue
		}
		span.events += len(g.events)
		span.bytes += g.bytes
		r.slot(g.position).Store(g)
	}
	span.revision = revision
	r.span.Store(&span)
}

func (r *eventRing) fits(events int, bytes int64) bool {
	return events <= r.eventsMax && bytes <= r.bytesMax
}

func (s *ringSpan) left(g *eventGroup) {
	if g.stored {
		s.storedGone = g.revision
	}
	if g.ringOnly {
		s.ringOnlyGone, s.ringOnlyRev = g.position, g.revision
	}
}

// find gives the first position with at least a revision. When the ring moves meanwhile the answer may be too early,
// never too late.
func (r *eventRing) find(span *ringSpan, revision int64) uint64 {
	low, high := span.tail, span.head
	for low < high {
		middle := low + (high-low)/2
		g := r.at(middle)
		if g == nil {
			return span.tail
		}
		if g.revision < revision {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}
