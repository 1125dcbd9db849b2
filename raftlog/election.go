package raftlog

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Who asks for votes tells how far the log is committed. Without that an election may never end: a learner that was made a voter
// and has not heard so does not stand, and if it holds more of the log than the voter that knows, it does not let that one win
// either. No leader is left to tell it; the one that asks for its vote does. An entry that one member knows to be committed is
// committed everywhere, and who has that very entry may act on it.
//
// The entry's index travels as the message's commit and its term as the hint, of which raft uses neither when votes are asked for.

func asksForVote(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgPreVote || m.GetType() == raftpb.MsgVote
}

// tellCommitted adds the last entry that is known to be committed and is in memory.
func (d *driver) tellCommitted(m *raftpb.Message) {
	index := min(d.commit, d.memory.last)
	if term, err := d.memory.Term(index); err == nil && term != 0 {
		m.Commit, m.RejectHint = new(index), new(term)
	}
}

// hearCommitted takes what tellCommitted added. To raft it is the heartbeat of nobody, so nobody is its leader then, and it stands for
// election no more: one that has all it needs but the votes goes on, and hears the next time.
func (d *driver) hearCommitted(m *raftpb.Message) {
	index := m.GetCommit()
	if index <= d.commit || index > d.memory.last {
		return
	}
	if term, err := d.memory.Term(index); err != nil || term != m.GetRejectHint() {
		return
	}
	if s := d.rn.BasicStatus(); s.Lead == raft.None && s.RaftState != raft.StateCandidate {
		d.stepPeer(&raftpb.Message{
			Type: raftpb.MsgHeartbeat.Enum(), To: new(s.ID), From: new(uint64(raft.None)), Term: new(s.GetTerm()), Commit: new(index),
		})
	}
}
