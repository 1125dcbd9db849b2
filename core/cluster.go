package core

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

// MemberStatus is what a member says of itself, or why it says nothing.
type MemberStatus struct {
	Member
	Status    Status // as far as members tell each other: see StatusAnswer in peer.proto
	IsLeader  bool   // as seen by whoever asks
	Reachable bool
	Err       error         // why it is not reachable
	RoundTrip time.Duration // of the question; 0 for this member itself
	Alarms    []Alarm       // of this member, as this node knows them
}

// Cluster asks every member how it is, at the same time. The answer is in the order of the members' ids. A member that
// does not answer until the context ends, or the request time-out, is not reachable.
func (s *Store) Cluster(ctx context.Context) []MemberStatus {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
	defer cancel()
	members := s.Members()
	leader, _ := s.LeaderWatch()
	all := make([]MemberStatus, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		all[i] = MemberStatus{Member: m, IsLeader: m.ID == leader}
		for _, alarm := range s.Alarms() {
			if alarm.Member == m.ID {
				all[i].Alarms = append(all[i].Alarms, alarm)
			}
		}
		asked.Go(func() { s.askStatus(ctx, &all[i]) })
	}
	asked.Wait()
	return all
}

func (s *Store) askStatus(ctx context.Context, m *MemberStatus) {
	begun := time.Now()
	answer, err := s.ask(ctx, m.ID, &corepb.PeerRequest{Request: &corepb.PeerRequest_Status{Status: &corepb.StatusRequest{}}})
	if err == nil && answer.GetStatus() == nil {
		err = errors.New("the member's answer is empty")
	}
	if err != nil {
		m.Err = err
		return
	}
	m.Reachable = true
	if m.ID != s.identity.Member {
		m.RoundTrip = time.Since(begun)
	}
	a := answer.GetStatus()
	m.Status = Status{
		Name: m.Name, ClusterID: s.identity.Cluster, MemberID: m.ID, Role: roleOf(m.ID, a.Leader, m.Learner),
		Leader: a.Leader, Term: a.Term, RaftIndex: a.CommitIndex, AppliedIndex: a.AppliedIndex,
		Revision: a.Revision, Compacted: a.Compacted, Keys: a.Keys, DiskBytes: a.DiskBytes, LiveBytes: a.LiveBytes,
		Version: a.Version, StartedAt: time.UnixMilli(a.StartedMillis),
	}
}

func (s *Store) statusAnswer() *corepb.StatusAnswer {
	status := s.Status()
	return &corepb.StatusAnswer{
		Leader: status.Leader, Term: status.Term, CommitIndex: status.RaftIndex, AppliedIndex: status.AppliedIndex,
		Revision: status.Revision, Compacted: status.Compacted, Keys: status.Keys,
		DiskBytes: status.DiskBytes, LiveBytes: status.LiveBytes,
		Version: status.Version, StartedMillis: status.StartedAt.UnixMilli(),
	}
}

// Peer is another member as this node sees it.
type Peer struct {
	Member
	Connected bool
	Since     time.Time     // of Connected
	RoundTrip time.Duration // of the transport's last probe; 0 before the first
}

// Peers lists the other members, by id, and how they were reached lately. It asks nobody.
func (s *Store) Peers() []Peer {
	members := s.Members()
	if len(members) == 0 {
		members = s.identity.members()
	}
	var peers []Peer
	for _, m := range members {
		if m.ID == s.identity.Member {
			continue
		}
		peer := Peer{Member: m}
		if s.cfg.Transport != nil {
			contact := s.cfg.Transport.Contact(m.ID)
			peer.Connected, peer.Since, peer.RoundTrip = contact.Connected, contact.Since, contact.RoundTrip
		}
		peers = append(peers, peer)
	}
	return peers
}

// Replication is what the leader knows of how far a member has come.
type Replication struct {
	Match     uint64 // its log agrees with the leader's up to this entry
	Active    bool   // it was heard of within the last election time-out
	Learner   bool
	Snapshots bool // it is being sent a snapshot
}

// Replications gives the progress of every member, this one included; nil on a node that does not lead.
func (s *Store) Replications(ctx context.Context) map[uint64]Replication {
	if !s.IsLeader() {
		return nil
	}
	wait := s.patience(ctx)
	defer wait.release()
	progress, err := s.log.Progress(wait)
	if err != nil {
		return nil
	}
	out := make(map[uint64]Replication, len(progress))
	for id, p := range progress {
		out[id] = Replication{Match: p.Match, Active: p.RecentActive, Learner: p.Learner, Snapshots: p.State == "snapshot"}
	}
	return out
}
