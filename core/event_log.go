package core

import "github.com/triglot/triglot/storage"

// storedEvents is the hub's way to the log table. It goes to the database and not to the view that readers share: what
// is published is committed already, but not yet shown to readers.
type storedEvents struct{ db *storage.DB }

func (s storedEvents) pin() eventView { return storedView{s.db.View()} }

type storedView struct{ at *storage.View }

func (v storedView) compacted() int64 { return v.at.State().Compacted }

func (v storedView) release() { v.at.Release() }

func (v storedView) events(from int64, visit func(e *storage.Event) bool) error {
	iter := v.at.Events(from)
	defer iter.Close()
	for iter.Next() {
		if !visit(iter.Event()) {
			break
		}
	}
	return v.at.Err()
}

// before gives what the key held before the event's revision, whatever else happened to it in that, and nothing for an
// event that made the key.
func (v storedView) before(e *storage.Event) (*storage.Record, error) {
	if e.Type == storage.EventPut && e.Record.CreateRevision == e.Revision {
		return nil, nil
	}
	return v.at.PrevOf(e.Key, e.Revision, 0), v.at.Err()
}
