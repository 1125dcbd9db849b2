package core

// Jump takes the hub to a later revision whose events did not pass through it: the state was replaced by one that another
// member sent. Every watch is owed the stretch in between, which nobody can look through for it beforehand: stored events
// are replayed from the log table, or the watch is over when that is compacted further; of the others a watch is told that
// it may have lost some, as when the ring overflows.
//
// It is the publisher's, like Publish, and is called at the same point: the log has the new state, readers do not see it.
func (h *Hub) Jump(revision int64) {
	old := h.ring.span.Load()
	gap := eventGroup{position: old.head, revision: revision, stored: true, ringOnly: true}
	h.ring.skip(&gap)

	// A watch that is being added meanwhile either is in its feed by now, or finds the ring behind the gap: see Feed.Add.
	h.mu.Lock()
	feeds := make([]*Feed, 0, len(h.feeds))
	for f := range h.feeds {
		feeds = append(feeds, f)
	}
	h.mu.Unlock()
	woken := feeds[:0]
	for _, f := range feeds {
		if f.markAll(&gap, old.revision) {
			woken = append(woken, f)
		}
	}
	h.marked.Store(revision)
	for _, f := range woken {
		f.signal()
	}
}

// skip empties the ring and leaves out the position of a group that it never had.
func (r *eventRing) skip(gap *eventGroup) {
	old := r.span.Load()
	span := *old
	span.left(gap)
	span.tail, span.head = gap.position+1, gap.position+1
	span.revision = max(old.revision, gap.revision)
	span.events, span.bytes = 0, 0
	r.span.Store(&span)
	for position := old.tail; position < old.head; position++ {
		r.slot(position).Store(nil)
	}
}

// markAll owes every watch a gap behind a revision, and reports whether that is news to the feed's owner.
func (f *Feed) markAll(gap *eventGroup, behind int64) (wake bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.watches {
		changed := w.fromLog && gap.revision > behind // messages take no revision
		if !w.active || gap.position < w.start || gap.revision < w.from || !w.ringOnly && !changed {
			continue
		}
		if !w.due {
			w.due = true
			w.owed = owedStretch{first: gap.position, firstRevision: w.from, ringOnly: nothingLost}
			if w.fromLog {
				w.owed.firstRevision = max(w.from, behind+1)
			}
			wake = f.queue.push(w) || wake
		}
		w.owed.last, w.owed.lastRevision = gap.position, gap.revision
		if w.ringOnly && w.owed.ringOnly == nothingLost {
			w.owed.ringOnly = gap.position
		}
	}
	return wake
}
