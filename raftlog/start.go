package raftlog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// A new cluster begins with an entry that makes its first members. No log holds it: the marker stands for it, and the
// Machine is handed it from Config.Bootstrap. A member that joins later cannot be fed the log from the start and so always
// receives a snapshot, which carries the membership.
const (
	bootstrapIndex = 1
	bootstrapTerm  = 1
)

// applyBytesMax bounds the entries that are being applied at a time, and so the size of a run.
const applyBytesMax = 8 << 20

// What may be on its way at a time. A proposal that would exceed it waits in the queue.
const (
	uncommittedBytesMax = 64 << 20 // of entries that are not applied yet
	inflightBytesMax    = 16 << 20 // of entries sent to one member that it has not acknowledged
	inflightMax         = 256      // of messages with them
)

// Start opens the log and starts the node. When it returns, the log has been read; Ready tells when it is applied. It fails
// with ErrRemoved if Config.Conf does not have this node, and with ErrCorrupt, ErrMissing, ErrWrongIdentity or ErrLocked if
// the log cannot be used.
func Start(cfg Config) (*Node, error) {
	n, err := newNode(cfg)
	if err != nil {
		return nil, err
	}
	if err := n.launch(); err != nil {
		return nil, errors.Join(err, n.log.Close())
	}
	return n, nil
}

// newNode makes a node that is complete and does nothing yet.
func newNode(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	log, recovered, err := cfg.OpenLog(LogOptions{
		Dir: cfg.Dir, NodeID: cfg.NodeID, ClusterID: cfg.ClusterID, Logger: cfg.Logger, NoSync: cfg.NoSync,
		MustExist: cfg.Applied > 0 && (cfg.Installed == nil || cfg.Applied > cfg.Installed.Index),
	})
	if err != nil {
		return nil, err
	}
	n, err := assemble(cfg, log, recovered)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return n, nil
}

func assemble(cfg Config, log Log, recovered *Recovered) (*Node, error) {
	fresh := recovered.Marker.Index == 0
	if err := restart(&cfg, log, recovered); err != nil {
		return nil, err
	}
	if err := bootstrap(&cfg, log, recovered); err != nil {
		return nil, err
	}
	if err := connect(&cfg, recovered); err != nil {
		return nil, err
	}
	conf, err := confAtStart(&cfg, recovered)
	if err != nil {
		return nil, err
	}
	if cfg.Alone != nil && !fresh {
		if err := makeAlone(&cfg, log, recovered, conf); err != nil {
			return nil, err
		}
	}
	origin, err := newOrigin(cfg.NodeID)
	if err != nil {
		return nil, err
	}
	n := newEmptyNode(cfg, log, origin)
	applied := max(cfg.Applied, recovered.Marker.Index)
	n.status.start(recovered, applied)
	n.confs.start(recovered, applied, conf)

	d := &driver{n: n, term: recovered.State.GetTerm(), commit: recovered.State.GetCommit(), confIndex: applied}
	d.stampMillis = lastStamp(recovered.Entries, cfg.StampMillis)
	d.first = fresh && cfg.Bootstrap != nil && cfg.NodeID == slices.Min(cfg.Bootstrap.Voters)
	d.reading.round = origin // see reading
	d.senders.pinned = map[uint64]uint64{}
	if d.memory, err = newMemory(recovered, conf, cfg.CatchUpBytes); err != nil {
		return nil, err
	}
	d.memory.prepared = d.preparedSnapshot
	d.rn, err = raft.NewRawNode(&raft.Config{
		ID:                        cfg.NodeID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             cfg.HeartbeatTicks,
		Storage:                   d.memory,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             uint64(cfg.EntryBytesMax),
		MaxCommittedSizePerReady:  applyBytesMax,
		MaxUncommittedEntriesSize: uint64(d.uncommittedMax()),
		MaxInflightMsgs:           inflightMax,
		MaxInflightBytes:          uint64(max(inflightBytesMax, cfg.EntryBytesMax)),
		CheckQuorum:               true,
		PreVote:                   true,
		StepDownOnRemoval:         true,
		DisableProposalForwarding: true, // see forward.go
		Logger:                    raftLogger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("raftlog: %w", err)
	}
	d.setConf(conf)
	n.driver = d
	n.appender = newAppender(n, log, recovered)
	n.applier = &applier{n: n, conf: conf, fresh: cfg.Applied < recovered.Marker.Index, stampMillis: cfg.StampMillis}
	return n, nil
}

func newEmptyNode(cfg Config, log Log, origin uint64) *Node {
	n := &Node{
		cfg:    cfg,
		origin: origin,
		queue: queue{
			entryBytesMax: cfg.EntryBytesMax, entryProposalsMax: cfg.EntryProposalsMax,
			proposalsMax: cfg.QueueMax, bytesMax: cfg.QueueBytesMax,
		},
		wake:    make(chan struct{}, 1),
		inbox:   newInbox(),
		asks:    newMailbox[func(*driver)](),
		reads:   newMailbox[*read](),
		writes:  newMailbox[write](),
		applies: newMailbox[application](),
		written: newMailbox[*raftpb.Message](),
		applied: newMailbox[outcome](),
		ready:   make(chan struct{}), stopping: make(chan struct{}), done: make(chan struct{}),
		log: log,
	}
	n.alive, n.kill = context.WithCancel(context.Background())
	n.spawn = func(f func()) { n.tasks.Go(f) }
	return n
}

// restart begins the log again from the snapshot that the Machine's state came from, if the log does not know it.
func restart(cfg *Config, log Log, r *Recovered) error {
	from := cfg.Installed
	if from == nil || from.Index <= r.Marker.Index {
		return nil
	}
	if i := from.Index - r.Marker.Index; i <= uint64(len(r.Entries)) && r.Entries[i-1].GetTerm() == from.Term {
		return nil
	}
	if cfg.Applied != from.Index {
		return fmt.Errorf("%w: the state came from a snapshot at %d, holds entries up to %d, and the log does not have them",
			ErrMissing, from.Index, cfg.Applied)
	}
	conf, err := decodeConf(from.Conf)
	if err != nil {
		return err
	}
	present := r.Marker
	r.Marker, r.Entries = Marker{Index: from.Index, Term: from.Term, Conf: conf}, nil
	return beginAgain(log, present, r.Marker)
}

// bootstrap makes a new log that of a new cluster. Doing it again after a crash in the middle gives the same. Without a
// cluster to make, a new log stays empty until a leader sends something.
func bootstrap(cfg *Config, log Log, r *Recovered) error {
	if r.Marker.Index != 0 {
		return nil
	}
	if len(r.Entries) != 0 {
		return fmt.Errorf("%w: entries but no marker", ErrCorrupt)
	}
	if cfg.Bootstrap == nil {
		r.Marker.Conf = raftpb.EnsureConfState(nil)
		return nil
	}
	if r.State.GetTerm() > bootstrapTerm || r.State.GetVote() != 0 {
		return fmt.Errorf("%w: this node has joined a cluster and cannot begin another one", ErrWrongIdentity)
	}
	r.State = &raftpb.HardState{Term: new(uint64(bootstrapTerm)), Vote: new(uint64(0)), Commit: new(uint64(bootstrapIndex))}
	r.Marker = Marker{
		Index: bootstrapIndex, Term: bootstrapTerm,
		Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: slices.Clone(cfg.Bootstrap.Voters)}),
	}
	if err := log.Mark(r.Marker); err != nil {
		return fmt.Errorf("raftlog: write first marker: %w", err)
	}
	if err := log.Append(r.State, nil); err != nil {
		return fmt.Errorf("raftlog: write first state: %w", err)
	}
	return nil
}

// connect checks that the log continues what the Machine holds, and raises the commit index to what is known to be
// committed: the log's own record of it trails the Machine's, because it is not worth a sync. The term is raised to that
// of the last entry: what an interrupted write left may lack it, and then no vote in that term can have been given.
func connect(cfg *Config, r *Recovered) error {
	last, lastTerm := r.Marker.Index, r.Marker.Term
	if len(r.Entries) > 0 {
		e := r.Entries[len(r.Entries)-1]
		last, lastTerm = e.GetIndex(), e.GetTerm()
	}
	switch {
	case cfg.Applied > last:
		return fmt.Errorf("%w: applied up to %d, but the log ends at %d", ErrMissing, cfg.Applied, last)
	case cfg.Applied < r.Marker.Index && (r.Marker.Index != bootstrapIndex || r.Marker.Term != bootstrapTerm):
		return fmt.Errorf("%w: applied up to %d, but the log begins after %d", ErrMissing, cfg.Applied, r.Marker.Index)
	case cfg.Applied < r.Marker.Index && cfg.Bootstrap == nil:
		return fmt.Errorf("%w: nothing is applied, and the first entry is not given", ErrMissing)
	case cfg.Applied < r.Marker.Index && !slices.Equal(cfg.Bootstrap.Voters, r.Marker.Conf.GetVoters()):
		return fmt.Errorf("%w: the log began with the voters %x, the first entry given has %x",
			ErrWrongIdentity, r.Marker.Conf.GetVoters(), cfg.Bootstrap.Voters)
	case r.State.GetCommit() > last:
		return fmt.Errorf("%w: committed up to %d, but the log ends at %d", ErrCorrupt, r.State.GetCommit(), last)
	}
	state := &raftpb.HardState{
		Term: new(r.State.GetTerm()), Vote: new(r.State.GetVote()),
		Commit: new(max(r.State.GetCommit(), cfg.Applied, r.Marker.Index)),
	}
	if lastTerm > state.GetTerm() {
		state.Term, state.Vote = new(lastTerm), new(uint64(0))
	}
	r.State = state
	return nil
}

// confAtStart is the configuration as of what is applied.
func confAtStart(cfg *Config, r *Recovered) (*raftpb.ConfState, error) {
	conf := r.Marker.Conf
	if cfg.Applied >= r.Marker.Index && len(cfg.Conf) > 0 {
		var err error
		if conf, err = decodeConf(cfg.Conf); err != nil {
			return nil, err
		}
	} else {
		for _, e := range r.Entries {
			if e.GetIndex() <= cfg.Applied && e.GetType() != raftpb.EntryNormal {
				return nil, fmt.Errorf("%w: the configuration was changed by entry %d, which is applied, and is not given",
					ErrMissing, e.GetIndex())
			}
		}
	}
	if m := newMembership(conf, cfg.NodeID); len(m.all) > 0 && !m.all[cfg.NodeID] {
		return nil, ErrRemoved
	}
	return raftpb.EnsureConfState(conf), nil
}

// lastStamp is the stamp of the last entry that has one, and not below floor.
func lastStamp(entries []*raftpb.Entry, floor int64) int64 {
	for i := len(entries) - 1; i >= 0; i-- {
		data := entries[i].GetData()
		if entries[i].GetType() != raftpb.EntryNormal {
			if change, err := decodeChange(entries[i]); err == nil {
				data = change.GetContext()
			}
		}
		if len(data) >= headerBytes && data[0] == entryFormat {
			return max(floor, int64(binary.LittleEndian.Uint64(data[1:])))
		}
	}
	return floor
}

// newOrigin mixes the node's id with a number drawn for this run.
func newOrigin(nodeID uint64) (uint64, error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return 0, fmt.Errorf("raftlog: draw origin: %w", err)
	}
	// The finalizer of splitmix64: ids that differ in a bit give origins that differ in half of theirs.
	z := nodeID + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return max(z^binary.LittleEndian.Uint64(nonce[:]), 1), nil
}
