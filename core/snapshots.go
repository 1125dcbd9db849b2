package core

import (
	"context"
	"fmt"
	"time"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Whole states for members that are too far behind for the log, or new: an export of storage on the sending side, a
// staging place of storage on the other, and Install, which swaps the state under everything that follows it.

// stateSnapshots implements raftlog.Snapshots on storage.
type stateSnapshots struct{ store *Store }

// Create implements raftlog.Snapshots.
func (s stateSnapshots) Create(ctx context.Context, atLeast uint64) (raftlog.Snapshot, error) {
	if err := s.store.awaitApplied(ctx, atLeast); err != nil {
		return nil, err
	}
	x, err := s.store.db.Export(ctx)
	if err != nil {
		return nil, err
	}
	return exported{x}, nil
}

// Receive implements raftlog.Snapshots.
func (s stateSnapshots) Receive(meta raftlog.SnapshotMeta, files []raftlog.SnapshotFile) (raftlog.Incoming, error) {
	stored := make([]storage.SnapshotFile, len(files))
	for i, f := range files {
		stored[i] = storage.SnapshotFile(f)
	}
	in, err := s.store.db.Receive(storage.SnapshotMeta(meta), stored)
	if err != nil {
		return nil, err
	}
	return timedIncoming{in, time.Now(), s.store.measures.receive}, nil
}

// timedIncoming counts how long a snapshot took to be whole and on disk.
type timedIncoming struct {
	*storage.Incoming
	begun time.Time
	took  *Durations
}

func (in timedIncoming) Finish() error {
	err := in.Incoming.Finish()
	if err == nil {
		in.took.Since(in.begun)
	}
	return err
}

// exported is a storage.Export as the log sees it.
type exported struct{ *storage.Export }

func (x exported) Meta() raftlog.SnapshotMeta { return raftlog.SnapshotMeta(x.Export.Meta()) }

func (x exported) Files() []raftlog.SnapshotFile {
	stored := x.Export.Files()
	files := make([]raftlog.SnapshotFile, len(stored))
	for i, f := range stored {
		files[i] = raftlog.SnapshotFile(f)
	}
	return files
}

func (x exported) Open(name string) (raftlog.SnapshotReader, error) { return x.Export.Open(name) }

// installedMeta is the snapshot that the state came from, as long as nothing has been applied since: the log may not know
// of it. nil when there is none.
func installedMeta(db *storage.DB) *raftlog.SnapshotMeta {
	meta, ok := db.Installed()
	if !ok {
		return nil
	}
	installed := raftlog.SnapshotMeta(meta)
	return &installed
}

// Install implements raftlog.Machine.
func (m *machine) Install(meta raftlog.SnapshotMeta) error {
	before := m.db.View()
	defer before.Release()
	if err := m.db.Install(storage.SnapshotMeta(meta)); err != nil {
		return fmt.Errorf("core: installing a snapshot: %w", err)
	}
	if m.installed != nil {
		m.installed(before)
	}
	return nil
}

// installed brings up what follows the state, after a snapshot has replaced the one before. It runs on the apply
// goroutine, and keeps the order of applied: watches are owed what they missed before a view shows it.
func (s *Store) installed(before *storage.View) {
	after := s.db.View()
	state := after.State()
	s.logger.Info("the state was replaced by a snapshot of the leader's", "index", state.AppliedIndex, "revision", state.Revision,
		"was_index", before.State().AppliedIndex, "was_revision", before.State().Revision)
	s.hub.Jump(state.Revision)
	ended := s.lessor.replace(after.Leases())
	moves := movedSessions(before.Leases(), after.Leases())
	s.alarms.load(s.db)
	s.shown.Store(state.Revision)
	s.views.set(after)
	view := s.db.View()
	defer view.Release()
	s.stateReplaced(view)
	s.leaseEnds.tell(ended)
	s.sessionMoves.tell(moves)
}

// movedSessions lists the sessions that another connection owns now.
func movedSessions(before, after *storage.Leases) []sessionMove {
	var moves []sessionMove
	for was := range before.Sessions() {
		if is, ok := after.Get(was.ID); ok && is.Owner != was.Owner {
			moves = append(moves, sessionMove{id: is.ID, owner: is.Owner})
		}
	}
	return moves
}
