package raftlog

import "sync/atomic"

// Status is a node's place in the log. Its fields are read one by one, so they may be of slightly different moments.
type Status struct {
	ID       uint64
	Leader   uint64 // 0 if there is none
	IsLeader bool
	Term     uint64
	// FirstIndex is the first entry that the log holds. FirstIndex-1 is where it was truncated last.
	FirstIndex uint64
	LastIndex  uint64 // written or being written
	Commit     uint64
	Applied    uint64
}

// published is what the goroutines let others see. Each field has one writer.
type published struct {
	leader, term, last, commit atomic.Uint64 // raft goroutine
	readyAt                    atomic.Uint64 // raft goroutine: Ready once this is applied; 0 while unknown
	handed, applied            atomic.Uint64 // apply goroutine: Machine.Apply was called with it, has returned
	marker                     atomic.Uint64 // append goroutine

	ready bool // whether Node.ready is closed; the apply goroutine's alone
}

func (p *published) start(r *Recovered, applied uint64) {
	p.term.Store(r.State.GetTerm())
	p.commit.Store(r.State.GetCommit())
	p.last.Store(r.Marker.Index + uint64(len(r.Entries)))
	p.marker.Store(r.Marker.Index)
	p.handed.Store(applied)
	p.applied.Store(applied)
}

// Status is cheap enough to ask for at every request.
func (n *Node) Status() Status {
	s := &n.status
	leader := s.leader.Load()
	return Status{
		ID: n.cfg.NodeID, Leader: leader, IsLeader: leader == n.cfg.NodeID,
		Term:       s.term.Load(),
		FirstIndex: s.marker.Load() + 1,
		LastIndex:  s.last.Load(),
		Commit:     s.commit.Load(),
		Applied:    s.applied.Load(),
	}
}
