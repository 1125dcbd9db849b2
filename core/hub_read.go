package core

import (
	"math"
	"slices"

	"github.com/triglot/triglot/storage"
)

// eventLog is what the hub needs of storage: the stored events that the ring has dropped.
type eventLog interface {
	// pin gives the newest committed state, to be released soon. It holds everything that was published.
	pin() eventView
}

// eventView is the log at one moment; compaction does not reach into it.
type eventView interface {
	// compacted is the revision below which events may be missing.
	compacted() int64
	// events calls visit with the stored events from a revision on, by revision and sub, until it returns false. The
	// events and their bytes are the visitor's to keep and to fill in.
	events(from int64, visit func(e *storage.Event) bool) error
	// before gives what the key of a stored event held before it, nil for nothing.
	before(e *storage.Event) (*storage.Record, error)
	release()
}

// replayScanMax is how many events of the log one view is held for. A watch that matches few of them looks at the next
// lot on a new view, so that a long way back does not pin old state for its whole length, and ends soon on Close.
const replayScanMax = 4096

// watchReading is what one look at what a watch is owed gave.
type watchReading struct {
	notice   Notice
	position uint64 // where in the ring the next look begins
	tail     uint64 // Lost speaks for the positions before it
	next     int64  // stored events below this revision are dealt with
	over     bool   // the watch cannot go on
	bytes    int    // of the events that were read from the log for this watch alone
}

func (r *watchReading) empty() bool {
	n := &r.notice
	return len(n.Events) == 0 && len(n.Nodes) == 0 && !n.Lost && n.Compacted == 0 && n.Err == nil
}

// replayBytesMax bounds what one look reads from the log, to the end of a revision: unlike events of the ring, which all
// watches share, it is memory of this one reader's.
const replayBytesMax = 4 << 20

// count is how much of Next's budget was used: all of it when the reading is heavy.
func (r *watchReading) count() int {
	if r.bytes >= replayBytesMax {
		return math.MaxInt
	}
	return max(1, r.events())
}

func (r *watchReading) events() int { return len(r.notice.Events) + len(r.notice.Nodes) }

// full reports whether to stop at the end of a revision.
func (r *watchReading) full(w *activeWatch, budget int) bool {
	return r.events() >= budget || r.bytes >= replayBytesMax || w.Once && r.events() > 0
}

// read looks at what a watch is owed until it has a budget of events: first in the log, as far as the ring has dropped
// stored events, then in the ring. It holds no lock; a ring that moves under it is met as a slot that holds another
// group, and the next look goes to the log for the rest.
func (h *Hub) read(w *activeWatch, owed owedStretch, next int64, budget int) watchReading {
	r := watchReading{position: owed.first, next: next}
	span := h.ring.span.Load()
	if r.position < span.tail {
		r.tail = span.tail
		r.notice.Lost = w.ringOnly && owed.ringOnly <= span.ringOnlyGone
		// What matched in the ring begins with firstRevision; before it nothing did.
		from, to := max(owed.firstRevision, next), min(owed.lastRevision, span.storedGone)
		if w.fromLog && from <= to {
			if r = h.replay(w, from, to, budget, r); r.over || r.next <= to {
				return r
			}
		}
		// The ring may have gone beyond what is owed here; more may have been owed meanwhile, and be in the log by now.
		r.position = min(span.tail, owed.last+1)
		if r.full(w, budget) {
			return r
		}
	}
	for r.position <= owed.last {
		g := h.ring.at(r.position)
		if g == nil {
			return r
		}
		r.position++
		if g.revision < owed.firstRevision {
			continue
		}
		first := len(r.notice.Events)
		r.take(w, g.events)
		if w.Prev {
			if err := h.addPrev(&r, first); err != nil {
				r.notice, r.over = Notice{Err: err}, true
				return r
			}
		}
		r.next = max(r.next, g.revision)
		if g.stored {
			r.next = g.revision + 1
		}
		if r.full(w, budget) {
			return r
		}
	}
	return r
}

// addPrev gives the events of a reading, from the first on, the values before them that are apart. Events are shared: those
// that lack one are replaced. A value that was compacted meanwhile is left out, and its record with it.
func (h *Hub) addPrev(r *watchReading, first int) error {
	var view eventView
	for i, e := range r.notice.Events[first:] {
		if e.Prev == nil || e.Prev.Apart == 0 {
			continue
		}
		if view == nil {
			view = h.log.pin()
			defer view.release()
			r.notice.Events = slices.Clone(r.notice.Events)
		}
		prev, err := view.before(e)
		if err != nil {
			return err
		}
		with := *e
		if with.Prev = prev; prev != nil {
			r.bytes += len(prev.Value)
		}
		r.notice.Events[first+i] = &with
	}
	return nil
}

// take adds those of a group's events that the watch wants. Where they are all of the group and the first of the
// reading, as they are for most, the group's own slice is handed out.
func (r *watchReading) take(w *activeWatch, events []*storage.Event) {
	if w.isNode() {
		for _, e := range events {
			r.notice.Nodes = w.appendNodes(r.notice.Nodes, e)
		}
		r.limitNodes(w)
		return
	}
	wanted := 0
	for wanted < len(events) && w.wants(events[wanted]) {
		wanted++
	}
	switch {
	case wanted == 0:
	case r.notice.Events == nil:
		r.notice.Events = events[:wanted:wanted]
	default:
		r.notice.Events = append(r.notice.Events, events[:wanted]...)
	}
	for _, e := range events[wanted:] {
		if w.wants(e) {
			r.notice.Events = append(r.notice.Events, e)
		}
	}
}

// limitNodes leaves a one-shot watch its one node event.
func (r *watchReading) limitNodes(w *activeWatch) {
	if w.Once && len(r.notice.Nodes) > 1 {
		r.notice.Nodes = r.notice.Nodes[:1]
	}
}

// replay adds what the watch wants of the log's revisions [from, to] to a reading. It came to their end when the
// reading's next is beyond to. (The reading travels by value: so only this path pays for having it on the heap.)
func (h *Hub) replay(w *activeWatch, from, to int64, budget int, so watchReading) watchReading {
	r := so
	view := h.log.pin()
	defer view.release()
	if compacted := view.compacted(); from < compacted {
		r.notice.Compacted, r.over = compacted, true
		return r
	}
	r.next = to + 1
	scanned, revision := 0, int64(0)
	var failure error
	err := view.events(from, func(e *storage.Event) bool {
		if e.Revision > to {
			return false
		}
		if e.Revision != revision {
			if scanned >= replayScanMax || r.full(w, budget) {
				r.next = e.Revision
				return false
			}
			revision = e.Revision
		}
		scanned++
		if w.isNode() {
			r.notice.Nodes = w.appendNodes(r.notice.Nodes, e)
			r.limitNodes(w)
		} else if w.wants(e) {
			if w.Prev {
				if e.Prev, failure = view.before(e); e.Prev != nil {
					r.bytes += len(e.Prev.Value)
				}
			}
			r.bytes += len(e.Key) + len(e.Record.Value)
			r.notice.Events = append(r.notice.Events, e)
		}
		return failure == nil
	})
	if failure == nil {
		failure = err
	}
	if failure != nil {
		r.notice, r.over = Notice{Err: failure}, true
	}
	return r
}
