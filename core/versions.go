package core

import (
	"iter"

	"github.com/triglot/triglot/storage"
)

// Versions goes over the changes of the shared space in the order in which they happened, a deletion as an event without
// Prev. From Compacted on there are all of them, and before it the newest version of each key that is left, with such
// older ones as are not purged yet. A failure ends it and is in Err.
func (v *View) Versions() iter.Seq[*storage.Event] {
	return func(yield func(*storage.Event) bool) {
		events := v.at.Events(0)
		defer events.Close()
		for events.Next() {
			event := events.Event()
			if event.Record.Lease != 0 {
				// A key that is detached from its lease (PERSIST) stays the version that it was.
				if now := v.tx.stored(0, event.Key); now != nil && now.ModRevision == event.Revision {
					event.Record.Lease = now.Lease
				}
			}
			if !yield(event) {
				return
			}
		}
	}
}

// Purged is the revision that compaction has got to on disk; at most Compacted.
func (v *View) Purged() int64 { return min(v.at.Purged(), v.Compacted()) }

// Applied is the last entry of the log that the view shows.
func (v *View) Applied() (index, term uint64) {
	state := v.at.State()
	return state.AppliedIndex, state.AppliedTerm
}
