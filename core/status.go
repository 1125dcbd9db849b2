package core

import (
	"fmt"
	"time"
)

// Role is what a member is to the log.
type Role uint8

// The roles. A candidate is a follower without a leader.
const (
	RoleFollower Role = iota
	RoleLeader
	RoleLearner
)

func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RoleLeader:
		return "leader"
	case RoleLearner:
		return "learner"
	}
	return fmt.Sprintf("Role(%d)", uint8(r))
}

func roleOf(id, leader uint64, learner bool) Role {
	switch {
	case id == leader:
		return RoleLeader
	case learner:
		return RoleLearner
	}
	return RoleFollower
}

// Status tells how a node is.
type Status struct {
	Name         string
	ClusterID    uint64
	MemberID     uint64
	Role         Role
	Version      string // of the program, as it is published
	Voters       int    // in the cluster
	Learners     int
	Leader       uint64 // member id, 0 when there is none
	Term         uint64
	RaftIndex    uint64 // committed
	AppliedIndex uint64
	Revision     int64
	Compacted    int64
	Keys         int64 // in all spaces
	DiskBytes    int64 // of the state on disk
	SizeBytes    int64 // of the state as the quota counts it
	InUseBytes   int64 // of it, an estimate: without versions that were superseded
	QuotaBytes   int64 // 0 for none
	LiveBytes    int64 // of it, an estimate of what is not garbage
	HistoryBytes int64 // an estimate of superseded versions
	StartedAt    time.Time
}

// Status is cheap enough to be asked for with every request.
func (s *Store) Status() Status {
	raft := s.log.Status()
	metrics := s.db.Metrics()
	status := Status{
		Name: s.identity.Name, ClusterID: s.identity.Cluster, MemberID: s.identity.Member,
		Leader: raft.Leader, Term: raft.Term, RaftIndex: raft.Commit, AppliedIndex: raft.Applied,
		Version:   s.cfg.Published.Version,
		DiskBytes: metrics.DiskBytes, LiveBytes: metrics.LiveBytes, SizeBytes: s.db.Size(), QuotaBytes: s.cfg.QuotaBytes, HistoryBytes: s.db.SupersededBytes(), StartedAt: s.started,
	}
	status.InUseBytes = max(status.SizeBytes-status.HistoryBytes, min(status.SizeBytes, 1))
	members := s.roster.current.Load()
	status.Voters = members.voters()
	status.Learners = len(members.members) - status.Voters
	self, _ := members.find(s.identity.Member)
	status.Role = roleOf(status.MemberID, status.Leader, self.Learner)
	if view := s.views.get(); view != nil {
		state := view.State()
		status.Revision, status.Compacted, status.AppliedIndex = state.Revision, state.Compacted, state.AppliedIndex
		for _, n := range state.Counts {
			status.Keys += n
		}
		view.Release()
	}
	return status
}

// ClusterID and MemberID never change while the store is open.
func (s *Store) ClusterID() uint64 { return s.identity.Cluster }

// MemberID is this node's raft id.
func (s *Store) MemberID() uint64 { return s.identity.Member }

// Term is the raft term, for the header of every etcd answer.
func (s *Store) Term() uint64 { return s.log.Status().Term }

// Compacted is the oldest revision that can be read, 0 when all can: that of the last step, which costs nothing to ask for.
func (s *Store) Compacted() int64 { return s.oldest.Load() }

// Revision is the store's revision; watches have been given everything up to it.
func (s *Store) Revision() int64 { return s.shown.Load() }
