package raftlog

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A member whose cluster has lost its quorum for good can be made the only one. Nobody is asked, so it is for an operator to
// say. At the start entries are put at the end of the log that give this node a vote and remove every other member, one
// after the other, and all that is in the log then counts as committed.
//
// What the log holds beyond what is known to be committed stays. A commit index on disk trails what was acknowledged, so
// dropping the rest would lose acknowledged writes; what was never acknowledged had an unknown fate, and now is written. One
// thing is not kept: the removal of this node, and what follows it, as long as it is not known to be committed.
//
// The entries have a term of their own, one above all that this node has seen: no other entry can be taken for one of them. A
// crash before the last write is over leaves a log that still waits for the others, and is begun anew by the next start that
// asks for it. After it, the log is that of a lone member.

// Alone says what the Machine is told when a node is made the only member: the payloads of the proposals, whose Origin is 0.
// Each comes with a change of the configuration that the Machine may refuse, as it does with members that are gone already.
type Alone struct {
	Promote []byte
	Remove  func(id uint64) []byte
}

// makeAlone does it, to a log that was written to before. It comes after connect, which knows what is committed.
func makeAlone(cfg *Config, log Log, r *Recovered, conf *raftpb.ConfState) error {
	kept, others, err := remaining(cfg, r, conf)
	if err != nil {
		return err
	}
	promote := !slices.Contains(conf.GetVoters(), cfg.NodeID)
	if len(others) == 0 && !promote {
		return nil // it is alone, and needs nobody to commit what it has
	}
	w := aloneWriter{
		index: r.Marker.Index + uint64(len(kept)), term: r.State.GetTerm() + 1,
		stampMillis: max(lastStamp(kept, cfg.StampMillis), cfg.NowMillis()),
	}
	if promote {
		w.add(raftpb.ConfChangeAddNode, cfg.NodeID, cfg.Alone.Promote)
	}
	for _, id := range others {
		w.add(raftpb.ConfChangeRemoveNode, id, cfg.Alone.Remove(id))
	}
	state := &raftpb.HardState{Term: new(w.term), Vote: new(uint64(0)), Commit: new(r.State.GetCommit())}
	if err := log.Append(state, w.entries); err != nil {
		return fmt.Errorf("raftlog: write the removals of the other members: %w", err)
	}
	// A vote makes the log sync what would otherwise wait: see Log.Append. In this term it is asked for by nobody.
	state = &raftpb.HardState{Term: new(w.term), Vote: new(cfg.NodeID), Commit: new(w.index)}
	if err := log.Append(state, nil); err != nil {
		return fmt.Errorf("raftlog: commit the removals of the other members: %w", err)
	}
	cfg.Logger.Warn("this member is made the only one of its cluster", "removes", fmt.Sprintf("%x", others),
		"known_committed", r.State.GetCommit(), "kept", len(kept), "dropped", len(r.Entries)-len(kept))
	r.State, r.Entries = state, append(slices.Clip(kept), w.entries...)
	return nil
}

// remaining gives the entries that stay, and everybody else who is a member after any of them.
func remaining(cfg *Config, r *Recovered, conf *raftpb.ConfState) (kept []*raftpb.Entry, others []uint64, err error) {
	unfinished := fmt.Errorf("%w: one of several members at once is not finished, and needs them", ErrInvalidChange)
	if len(conf.GetVotersOutgoing()) > 0 {
		return nil, nil, unfinished
	}
	all := newMembership(conf, cfg.NodeID).all
	kept = r.Entries
	for i, e := range r.Entries {
		if e.GetType() == raftpb.EntryNormal || e.GetIndex() <= cfg.Applied {
			continue // conf is as of what is applied
		}
		change, err := decodeChange(e)
		if err != nil {
			return nil, nil, err
		}
		if len(change.GetChanges()) != 1 {
			return nil, nil, unfinished
		}
		only := change.GetChanges()[0]
		if only.GetType() == raftpb.ConfChangeRemoveNode && only.GetNodeId() == cfg.NodeID && e.GetIndex() > r.State.GetCommit() {
			kept = r.Entries[:i]
			break
		}
		all[only.GetNodeId()] = true
	}
	delete(all, cfg.NodeID)
	return kept, slices.Sorted(maps.Keys(all)), nil
}

// aloneWriter makes the entries.
type aloneWriter struct {
	index, term uint64 // of the last entry, and of all new ones
	stampMillis int64
	entries     []*raftpb.Entry
}

func (w *aloneWriter) add(kind raftpb.ConfChangeType, id uint64, payload []byte) {
	data := appendProposal(make([]byte, headerBytes), 0, 0, payload)
	putHeader(data, w.stampMillis, 1)
	change := &raftpb.ConfChangeV2{
		Changes: []*raftpb.ConfChangeSingle{{Type: kind.Enum(), NodeId: new(id)}}, Context: data,
	}
	encoded, err := proto.Marshal(change)
	if err != nil {
		panic(err) // a message of numbers and bytes
	}
	w.index++
	w.entries = append(w.entries, &raftpb.Entry{
		Type: raftpb.EntryConfChangeV2.Enum(), Term: new(w.term), Index: new(w.index), Data: encoded,
	})
}
