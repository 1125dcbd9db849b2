package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// Installing a snapshot that was received. Its files are in their staging place before raft hears of it (Receive of the
// MsgSnap). Then
//
//	raft goroutine    Ready with the snapshot; from now on what is to be written to the log is held
//	apply goroutine   after all applies before it: Machine.Install. The state is the snapshot, durably
//	raft goroutine    all that was outstanding is Lost; hands on what was held
//	append goroutine  Log.Mark; the hard state and entries that came along
//	raft goroutine    memory begins after the snapshot; raft answers the leader
//
// A crash before Install is over leaves the old state and the old log. One between Install and Mark leaves the new state
// and the old log: Config.Installed tells, and the log begins again from there. One after Mark leaves both new.
//
// The append goroutine never waits for the apply goroutine, so the Machine may wait for a truncation even now; it is the
// raft goroutine that holds back, in a list, what must not be written before the marker.

// ErrSnapshotUnwanted says that this node has no use for a snapshot now.
var ErrSnapshotUnwanted = errors.New("raftlog: this snapshot is not wanted now")

// install is the raft goroutine's account of a snapshot that is on its way into the state.
type install struct {
	message *raftpb.Message   // the MsgStorageAppend with the snapshot; nil if there is none
	held    []*raftpb.Message // later MsgStorageAppend
}

func (i *install) running() bool { return i.message != nil }

// ReceiveSnapshot opens the staging place.
func (h handler) ReceiveSnapshot(m *raftpb.Message, files []SnapshotFile) (Incoming, error) {
	n := h.n
	meta := m.GetSnapshot().GetMetadata()
	switch {
	case n.cfg.Snapshots == nil:
		return nil, fmt.Errorf("%w: this node takes none", ErrSnapshotUnwanted)
	case m.GetTo() != n.cfg.NodeID || n.cfg.IsRemoved(m.GetFrom()):
		return nil, fmt.Errorf("%w: it is not for this member, or from one that was removed", ErrSnapshotUnwanted)
	case m.GetTerm() < n.status.term.Load():
		return nil, fmt.Errorf("%w: it is from the leader of term %d", ErrSnapshotUnwanted, m.GetTerm())
	case meta.GetIndex() <= n.status.commit.Load():
		return complete(files), nil
	case n.status.installing.Load():
		return nil, fmt.Errorf("%w: another one is being installed", ErrSnapshotUnwanted)
	}
	return n.cfg.Snapshots.Receive(snapshotMeta(m.GetSnapshot()), files)
}

// complete takes a snapshot of what is here already, without a byte of it. The message that follows lets raft tell the
// leader, which has missed that, how far this member is; a refusal would only make it send the snapshot again.
type complete []SnapshotFile

func (c complete) Have(name string) int64 {
	for _, f := range c {
		if f.Name == name {
			return f.Bytes
		}
	}
	return 0
}
func (complete) Write(string, int64, []byte) error { return nil }
func (complete) Finish() error                     { return nil }
func (complete) Close() error                      { return nil }

func snapshotMeta(s *raftpb.Snapshot) SnapshotMeta {
	meta := s.GetMetadata()
	return SnapshotMeta{Index: meta.GetIndex(), Term: meta.GetTerm(), Conf: encodeConf(meta.GetConfState())}
}

// receivedSnapshot is told that a snapshot is complete in its staging place.
func (d *driver) receivedSnapshot(m *raftpb.Message) {
	if d.install.running() {
		return // the leader asks again if it still needs to
	}
	d.stepPeer(m)
	// raft takes it or not, and if it does, the next Ready has it.
	d.n.status.installing.Store(false)
}

// beginInstall gives a snapshot to the apply goroutine.
func (d *driver) beginInstall(m *raftpb.Message) {
	d.n.status.installing.Store(true)
	if data := m.GetSnapshot().GetData(); len(data) == 8 {
		d.stampMillis = max(d.stampMillis, int64(binary.LittleEndian.Uint64(data)))
	}
	d.install.message = m
	d.memory.ending++
	meta := m.GetSnapshot().GetMetadata()
	d.confIndex = meta.GetIndex()
	d.setConf(meta.GetConfState())
	d.n.status.last.Store(max(meta.GetIndex(), lastIndex(m.GetEntries())))
	d.n.applies.put(application{message: m})
}

// installed is told that the snapshot is the state now.
func (d *driver) installed(m *raftpb.Message) {
	index := m.GetSnapshot().GetMetadata().GetIndex()
	d.n.cfg.Logger.Info("installed a snapshot", "index", index)
	d.n.status.snapshotsReceived.Add(1)
	d.appliedTo = index
	d.own.lose(d)
	d.n.writes.put(write{message: m})
	for _, held := range d.install.held {
		d.n.writes.put(write{message: held})
	}
	d.install = install{}
	d.n.status.installing.Store(false)
	d.n.checkReady()
}

// lastIndex is that of the last entry, 0 if there is none.
func lastIndex(entries []*raftpb.Entry) uint64 {
	if len(entries) == 0 {
		return 0
	}
	return entries[len(entries)-1].GetIndex()
}

// install makes a snapshot the state.
func (a *applier) install(m *raftpb.Message) error {
	meta := snapshotMeta(m.GetSnapshot())
	s := &a.n.status
	s.marking.Store(meta.Index) // see Truncate
	if err := a.n.cfg.Machine.Install(meta); err != nil {
		return fmt.Errorf("raftlog: install snapshot of entry %d: %w", meta.Index, err)
	}
	a.conf = m.GetSnapshot().GetMetadata().GetConfState()
	a.n.confs.restart(meta.Index, a.conf)
	s.handed.Store(meta.Index)
	s.applied.Store(meta.Index)
	return nil
}

// restart makes a snapshot that was installed the beginning of the log.
func (a *appender) restart(m *raftpb.Message) error {
	meta := m.GetSnapshot().GetMetadata()
	marker := Marker{Index: meta.GetIndex(), Term: meta.GetTerm(), Conf: meta.GetConfState()}
	if err := beginAgain(a.log, a.marker, marker); err != nil {
		return err
	}
	a.marker, a.synced = marker, marker.Index
	a.terms = terms{{marker.Index, marker.Term}}
	a.n.status.marker.Store(marker.Index)
	a.n.status.marking.CompareAndSwap(marker.Index, 0) // the next one may be in the state already
	return nil
}

// beginAgain makes a marker that the log does not reach the beginning of the log. The marker before it, perhaps that of an
// empty log, is written once more: that syncs what the log may hold back, a commit index. If power failed and the new
// marker arrived without what was written along with it, it would look as if the log had been synced up to there and was
// damaged.
func beginAgain(log Log, present, marker Marker) error {
	if err := log.Mark(present); err != nil {
		return fmt.Errorf("raftlog: write marker again: %w", err)
	}
	if err := log.Mark(marker); err != nil {
		return fmt.Errorf("raftlog: write marker of a snapshot: %w", err)
	}
	return nil
}
