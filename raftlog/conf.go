package raftlog

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// NewConf encodes a configuration the way Machine.ApplyChange is given it, for a state that is built by other means: a
// restored backup. The same members give the same bytes.
func NewConf(voters, learners []uint64) []byte {
	return encodeConf(&raftpb.ConfState{Voters: slices.Sorted(slices.Values(voters)), Learners: slices.Sorted(slices.Values(learners))})
}

// encodeConf gives the same bytes for the same configuration: raft sorts what is in it.
func encodeConf(conf *raftpb.ConfState) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(raftpb.EnsureConfState(conf))
	if err != nil {
		panic(err) // a message of numbers alone
	}
	return b
}

func decodeConf(b []byte) (*raftpb.ConfState, error) {
	conf := &raftpb.ConfState{}
	if err := proto.Unmarshal(b, conf); err != nil {
		return nil, fmt.Errorf("raftlog: malformed configuration: %w", err)
	}
	return raftpb.EnsureConfState(conf), nil
}

// decodeChange reads an entry that changes the configuration. One without data leaves a joint configuration.
func decodeChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if e.GetType() == raftpb.EntryConfChangeV2 {
		change := &raftpb.ConfChangeV2{}
		if err := proto.Unmarshal(e.GetData(), change); err != nil {
			return nil, fmt.Errorf("%w: change of the configuration: %w", ErrMalformed, err)
		}
		return change, nil
	}
	return nil, fmt.Errorf("%w: type %v", ErrMalformed, e.GetType())
}

// nextConf is the configuration after a change, as raft itself computes it.
func nextConf(conf *raftpb.ConfState, change *raftpb.ConfChangeV2) (*raftpb.ConfState, error) {
	// Neither number matters to the configuration.
	changer := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: 1}
	config, progress, err := confchange.Restore(changer, conf)
	if err != nil {
		return nil, err
	}
	changer.Tracker.Config, changer.Tracker.Progress = config, progress
	if change.LeaveJoint() {
		config, progress, err = changer.LeaveJoint()
	} else if autoLeave, ok := change.EnterJoint(); ok {
		config, progress, err = changer.EnterJoint(autoLeave, change.GetChanges()...)
	} else {
		config, progress, err = changer.Simple(change.GetChanges()...)
	}
	if err != nil {
		return nil, err
	}
	changer.Tracker.Config, changer.Tracker.Progress = config, progress
	return changer.Tracker.ConfState(), nil
}

// membership is a configuration to be looked things up in. It is never changed.
type membership struct {
	conf   *raftpb.ConfState
	voters map[uint64]bool // of both halves of a joint configuration
	all    map[uint64]bool // with learners
	sole   bool            // this node is alone
	single bool            // this node is the only voter
}

func newMembership(conf *raftpb.ConfState, self uint64) *membership {
	m := &membership{conf: conf, voters: map[uint64]bool{}, all: map[uint64]bool{}}
	for _, ids := range [][]uint64{conf.GetVoters(), conf.GetVotersOutgoing()} {
		for _, id := range ids {
			m.voters[id] = true
		}
	}
	maps.Copy(m.all, m.voters)
	for _, ids := range [][]uint64{conf.GetLearners(), conf.GetLearnersNext()} {
		for _, id := range ids {
			m.all[id] = true
		}
	}
	m.single = len(m.voters) == 1 && m.voters[self]
	m.sole = len(m.all) == 1 && m.all[self]
	return m
}

func (m *membership) joint() bool { return len(m.conf.GetVotersOutgoing()) > 0 }

// others are the members but self, in order.
func (m *membership) others(self uint64) []uint64 {
	ids := slices.Sorted(maps.Keys(m.all))
	return slices.DeleteFunc(ids, func(id uint64) bool { return id == self })
}

// confs remembers which configuration held at which index, from the marker on: a truncation writes it down.
type confs struct {
	mu   sync.Mutex // guards what follows
	from []confAt   // by index
}

type confAt struct {
	index uint64
	conf  *raftpb.ConfState // nil if it is not known any more
}

// start takes what the log and the Machine know. Of changes between the marker and what is applied, only the last one's
// outcome is known: whether a change stood is the Machine's to say.
func (c *confs) start(r *Recovered, applied uint64, conf *raftpb.ConfState) {
	c.from = []confAt{{r.Marker.Index, r.Marker.Conf}}
	for _, e := range r.Entries {
		if e.GetIndex() <= applied && e.GetType() != raftpb.EntryNormal {
			c.from = append(c.from, confAt{e.GetIndex(), nil})
		}
	}
	c.from[len(c.from)-1].conf = conf
}

// add says that conf holds from index on.
func (c *confs) add(index uint64, conf *raftpb.ConfState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = append(c.from, confAt{index, conf})
}

// restart forgets all that was before a snapshot.
func (c *confs) restart(index uint64, conf *raftpb.ConfState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = []confAt{{index, conf}}
}

// truncate gives the configuration at an index and forgets those before it. If it is not known, the index is lowered to
// one where it is.
func (c *confs) truncate(index uint64) (uint64, *raftpb.ConfState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.from) - 1
	for i > 0 && (c.from[i].index > index || c.from[i].conf == nil) {
		i--
	}
	if i+1 < len(c.from) {
		index = min(index, c.from[i+1].index-1)
	}
	c.from = c.from[i:]
	return index, c.from[0].conf
}
