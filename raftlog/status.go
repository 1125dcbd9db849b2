package raftlog

import (
	"sync/atomic"
	"time"
)

// Status is a node's place in the log and in the cluster. Its fields are read one by one, so they may be of slightly
// different moments.
type Status struct {
	ID       uint64
	Leader   uint64 // 0 if none is known
	IsLeader bool
	Term     uint64
	// FirstIndex is the first entry that the log holds. FirstIndex-1 is where it was truncated last.
	FirstIndex uint64
	LastIndex  uint64 // written or being written
	Commit     uint64
	Applied    uint64
	// Voters and Learners are how many members there are; while a joint configuration holds, the voters of both halves.
	Voters, Learners int
	LearnerSelf      bool // this node is one
	Installing       bool // a snapshot is about to replace the state
}

// published is what the goroutines let others see. Each field has one writer, or is a count.
type published struct {
	leader, term, last, commit atomic.Uint64 // raft goroutine
	// sole is 0 unless this node is the only member and leads: then the entry that begins its term. raft goroutine.
	sole            atomic.Uint64
	members         atomic.Pointer[membership] // raft goroutine
	installing      atomic.Bool                // transport and raft goroutine: a snapshot has arrived that may be installed
	handed, applied atomic.Uint64              // apply goroutine: the Machine was called with it, has returned
	marking         atomic.Uint64              // apply and append goroutine: a snapshot that the Machine may have and the log not
	marker          atomic.Uint64              // append goroutine
	readyAt         atomic.Uint64              // ready once this is applied; 0 while unknown

	leaderChanges, dropped, lost, appliedOwn          atomic.Uint64
	readRounds, readsFailed, readsRepeated, beatsLate atomic.Uint64
	snapshotsSent, snapshotsFailed, snapshotsReceived atomic.Uint64
	outstanding                                       atomic.Int64
	sync                                              durations
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
	leader, members := s.leader.Load(), s.members.Load()
	return Status{
		ID: n.cfg.NodeID, Leader: leader, IsLeader: leader == n.cfg.NodeID,
		Term:        s.term.Load(),
		FirstIndex:  s.marker.Load() + 1,
		LastIndex:   s.last.Load(),
		Commit:      s.commit.Load(),
		Applied:     s.applied.Load(),
		Voters:      len(members.voters),
		Learners:    len(members.all) - len(members.voters),
		LearnerSelf: members.all[n.cfg.NodeID] && !members.voters[n.cfg.NodeID],
		Installing:  s.installing.Load(),
	}
}

// Metrics are counts since the start, and present amounts.
type Metrics struct {
	LeaderChanges     uint64 // another leader was seen
	ProposalsApplied  uint64 // of this node
	ProposalsDropped  uint64
	ProposalsLost     uint64
	ProposalsPending  int64 // of this node: in the queue, or on their way through the log
	SnapshotsSent     uint64
	SnapshotsFailed   uint64 // while they were sent
	SnapshotsReceived uint64
	ReadRounds        uint64
	ReadsFailed       uint64
	ReadsRepeated     uint64    // rounds that this node had to ask the leader for again
	BeatsLate         uint64    // ticks that this node, leading, came to only when the next heartbeat was due as well
	Sync              Histogram // of writes of entries
}

// Metrics is cheap enough to be asked for every second.
func (n *Node) Metrics() Metrics {
	s := &n.status
	return Metrics{
		LeaderChanges:     s.leaderChanges.Load(),
		ProposalsApplied:  s.appliedOwn.Load(),
		ProposalsDropped:  s.dropped.Load(),
		ProposalsLost:     s.lost.Load(),
		ProposalsPending:  int64(n.queue.waiting()) + s.outstanding.Load(),
		SnapshotsSent:     s.snapshotsSent.Load(),
		SnapshotsFailed:   s.snapshotsFailed.Load(),
		SnapshotsReceived: s.snapshotsReceived.Load(),
		ReadRounds:        s.readRounds.Load(),
		ReadsFailed:       s.readsFailed.Load(),
		ReadsRepeated:     s.readsRepeated.Load(),
		BeatsLate:         s.beatsLate.Load(),
		Sync:              s.sync.histogram(),
	}
}

// Histogram counts durations. Counts[i] are those longer than Bounds[i-1] and no longer than Bounds[i]; the last count,
// one more than there are bounds, is of those beyond all.
type Histogram struct {
	Bounds []float64 // seconds
	Counts []uint64
	Sum    float64 // seconds
}

// durationBounds is how many bounds there are: 1 ms, and twice the one before.
const durationBounds = 14

// durations is a Histogram that one goroutine writes.
type durations struct {
	counts   [durationBounds + 1]atomic.Uint64
	sumNanos atomic.Int64
}

func (d *durations) observe(took time.Duration) {
	i := 0
	for bound := time.Millisecond; i < durationBounds && took > bound; bound *= 2 {
		i++
	}
	d.counts[i].Add(1)
	d.sumNanos.Add(int64(took))
}

func (d *durations) histogram() Histogram {
	h := Histogram{Sum: time.Duration(d.sumNanos.Load()).Seconds()}
	for i := range d.counts {
		h.Counts = append(h.Counts, d.counts[i].Load())
		if i < durationBounds {
			h.Bounds = append(h.Bounds, (time.Millisecond << i).Seconds())
		}
	}
	return h
}
