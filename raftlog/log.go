package raftlog

import (
	"errors"
	"log/slog"

	"go.etcd.io/raft/v3/raftpb"
)

// Why a log cannot be opened.
var (
	// ErrCorrupt says that the log has lost or changed something that had been synced. Starting regardless would
	// lose acknowledged writes, so nothing is repaired.
	ErrCorrupt = errors.New("raftlog: log is corrupt")
	// ErrMissing says that the log does not connect to what the Machine has applied: it ends before that or begins
	// after it. One of the two was deleted, replaced or restored from an older copy.
	ErrMissing = errors.New("raftlog: log and applied state do not connect")
	// ErrWrongIdentity says that the log was written by another node or for another cluster.
	ErrWrongIdentity = errors.New("raftlog: log belongs to another node or cluster")
	// ErrLocked says that another process has the log open.
	ErrLocked = errors.New("raftlog: log is in use by another process")
)

// Log is the durable form of the raft log. Append and Mark are called by one goroutine; Purge may run beside them.
// After an error the node makes no further call but Close.
type Log interface {
	// Append writes entries and then state, which may be nil. On return they are durable if there are entries or if
	// state changes term or vote; a state that only moves the commit index may wait for the next sync. An entry with
	// the index of an earlier one replaces it and all after it. state's commit index covers nothing that was not durable
	// before the call.
	Append(state *raftpb.HardState, entries []*raftpb.Entry) error
	// Mark records, durably, that everything up to the marker is kept elsewhere. If the log does not hold the marker's
	// entry, with its term, then nothing in it counts any more: it begins again after the marker.
	Mark(marker Marker) error
	// Purge gives up the space of what only entries up to index need. A marker at index or later is durable.
	Purge(index uint64) error
	// Close syncs and releases the log.
	Close() error
}

// Marker is the place from which a log is replayed: the entries up to and including Index are not needed any more.
type Marker struct {
	Index, Term uint64
	// Conf is the cluster's membership at Index.
	Conf *raftpb.ConfState
}

// Recovered is what a log held when it was opened. A log that has never been written to gives the zero value.
type Recovered struct {
	Marker Marker
	// State may lag behind: its commit index is only a lower bound.
	State *raftpb.HardState
	// Entries are those after Marker, without gaps.
	Entries []*raftpb.Entry
}

// LogOptions say which log to open.
type LogOptions struct {
	// Dir is the log's own directory. It is created if it does not exist.
	Dir string
	// NodeID and ClusterID are stored in a new log and compared in an existing one.
	NodeID, ClusterID uint64
	// MustExist refuses to create a log.
	MustExist bool
	// NoSync leaves writes to the system's own time: whatever it has not written is lost with the power.
	NoSync bool
	Logger *slog.Logger
}

// OpenLog opens or creates a Log.
type OpenLog func(LogOptions) (Log, *Recovered, error)
