package raftlog

import (
	"hash/crc32"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// truth is what an observer of all members knows, and compares every step with: the log as the first to apply each
// entry saw it, who led which term, what became of every proposal.
type truth struct {
	w       *world
	log     []fact              // by index; [0] is before the first entry
	entries map[place]entryFact // every entry ever written anywhere
	leaders map[uint64]uint64   // by term

	proposals map[proposalID]*simProposal
	lastSeq   map[uint64]uint64 // by origin: the last in the log
	// floor: somebody outside has been told of everything up to this entry. Whoever asks from now on must see it.
	floor           uint64
	reads, installs int // that were answered; snapshots
	acked           int
}

// fact is an entry, and the state after it.
type fact struct {
	image
	proposals []proposalID
}

type place struct{ index, term uint64 }

type entryFact struct {
	sum    uint32
	before uint64 // term of the entry before
}

type proposalID struct{ origin, seq uint64 }

// simProposal is one proposal's way.
type simProposal struct {
	id       proposalID
	r        *simRun
	fate     fate
	floor    uint64 // when it was proposed: its entry comes later
	index    uint64 // its entry; 0 while it has none
	ofChange bool
	made     int // steps of the world, when it was proposed and when its member was told its fate
	settled  int
}

type fate uint8

const (
	fateOpen fate = iota
	fateAcked
	fateDropped
	fateLost
	fateRefused
	fateCrashed // its member lost its power before it was told
)

func (f fate) String() string {
	return [...]string{"open", "acked", "dropped", "lost", "refused", "crashed"}[f]
}

func newTruth(w *world) *truth {
	return &truth{
		w: w, log: make([]fact, 1), entries: map[place]entryFact{}, leaders: map[uint64]uint64{},
		proposals: map[proposalID]*simProposal{}, lastSeq: map[uint64]uint64{},
	}
}

func (t *truth) last() uint64 { return uint64(len(t.log)) - 1 }

// applied: state machine safety. The first to apply an entry says what it is.
func (t *truth) applied(r *simRun, e *Entry, after image) error {
	id := r.m.id
	switch {
	case e.Index <= t.last():
		if known := &t.log[e.Index]; known.hash != after.hash || known.term != after.term {
			t.w.fail("node %d applied another entry %d than others: state %x of term %d, theirs %x of term %d",
				id, e.Index, after.hash, after.term, known.hash, known.term)
		}
	case e.Index == t.last()+1:
		t.extend(r, e, after)
	default:
		t.w.fail("node %d applied entry %d, nobody has applied %d", id, e.Index, t.last()+1)
	}
	for _, p := range e.Proposals {
		if p.Origin == r.origin() {
			t.ack(r, p.Seq, e.Index)
		}
	}
	return t.w.failure
}

func (t *truth) extend(r *simRun, e *Entry, after image) {
	w, before := t.w, &t.log[t.last()]
	if after.term < before.term || after.stamp < before.stamp {
		w.fail("entry %d has term %d and stamp %d after term %d and stamp %d", e.Index, after.term, after.stamp, before.term, before.stamp)
	}
	f := fact{image: after}
	for _, p := range e.Proposals {
		if p.Origin == 0 { // the payload of the bootstrap
			continue
		}
		id := proposalID{p.Origin, p.Seq}
		f.proposals = append(f.proposals, id)
		known := t.proposals[id]
		switch {
		case known == nil:
			w.fail("entry %d holds proposal %v, which nobody made", e.Index, id)
			return
		case known.index != 0:
			w.fail("entry %d holds proposal %d of node %d, and so does entry %d", e.Index, p.Seq, known.r.m.id, known.index)
		case p.Seq <= t.lastSeq[p.Origin] && !known.ofChange: // a change does not wait in the queue
			w.fail("entry %d holds proposal %d of node %d after %d", e.Index, p.Seq, known.r.m.id, t.lastSeq[p.Origin])
		case known.fate == fateDropped || known.fate == fateRefused:
			w.fail("entry %d holds proposal %d of node %d, which was told that it is %v", e.Index, p.Seq, known.r.m.id, known.fate)
		case t.gapBefore(known):
			w.fail("entry %d holds proposal %d of node %d, but not the one that was queued before it", e.Index, p.Seq, known.r.m.id)
		case e.Index <= known.floor:
			w.fail("entry %d holds proposal %d of node %d, which was made after entry %d was known", e.Index, p.Seq, known.r.m.id, known.floor)
		}
		known.index = e.Index
		if !known.ofChange {
			t.lastSeq[p.Origin] = p.Seq
		}
	}
	t.log = append(t.log, f)
}

// gapBefore says whether the log lacks what the same member queued before a proposal and had not told the fate of by then:
// who pipelines two commands must not find the second one done without the first. What it is told is lost may be missing,
// since nobody was told that it is not there.
func (t *truth) gapBefore(p *simProposal) bool {
	for seq := p.id.seq - 1; seq > 0 && !p.ofChange; seq-- {
		before := t.proposals[proposalID{p.id.origin, seq}]
		switch {
		case before.ofChange || before.fate == fateRefused || before.fate == fateLost:
		case before.fate == fateDropped && before.settled <= p.made:
			return false
		default:
			return before.index == 0
		}
	}
	return false
}

// ack: a member told its own client.
func (t *truth) ack(r *simRun, seq, index uint64) {
	p := t.proposals[proposalID{r.origin(), seq}]
	if p == nil {
		return // already a failure
	}
	if p.fate != fateOpen && p.fate != fateLost {
		t.w.fail("node %d was told that its proposal %d is %v, and now applies it", r.m.id, seq, p.fate)
	}
	if p.fate == fateOpen {
		r.pending--
	}
	p.fate = fateAcked
	t.acked++
	t.floor = max(t.floor, index)
}

// settled: a member was told that a proposal of its run never reaches its Machine.
func (t *truth) settled(r *simRun, seq uint64, f fate) {
	p := t.proposals[proposalID{r.origin(), seq}]
	switch {
	case p == nil:
		t.w.fail("node %d is told of a proposal %d that it never made", r.m.id, seq)
		return
	case p.fate != fateOpen:
		t.w.fail("node %d is told that its proposal %d is %v, after %v", r.m.id, seq, f, p.fate)
	case f == fateDropped && p.index != 0:
		t.w.fail("node %d is told that its proposal %d is dropped, but it is entry %d", r.m.id, seq, p.index)
	}
	p.fate, p.settled = f, t.w.steps
	r.pending--
}

// installed: a snapshot is the same state that others came to by applying.
func (t *truth) installed(r *simRun, i image) error {
	t.installs++
	if i.index > t.last() || t.log[i.index].hash != i.hash {
		t.w.fail("node %d installed a state %x at %d that nobody had", r.m.id, i.hash, i.index)
	}
	return t.w.failure
}

// written: log matching. Two logs that have an entry of one index and term have the same one, and the same before it.
// And leader completeness: a leader that writes has all that was ever applied.
func (t *truth) written(p *platter, entries []*raftpb.Entry) error {
	for _, e := range entries {
		at := place{e.GetIndex(), e.GetTerm()}
		now := entryFact{crc32.Checksum(append(e.GetData(), byte(e.GetType())), chainTable), p.terms[at.index-1]}
		known, ok := t.entries[at]
		switch {
		case !ok:
			t.entries[at] = now
		case known.sum != now.sum:
			t.w.fail("node %d writes another entry %d of term %d than there is", p.m.id, at.index, at.term)
		case known.before == 0:
			t.entries[at] = now
		case now.before != 0 && known.before != now.before:
			t.w.fail("node %d writes entry %d of term %d after one of term %d, elsewhere it follows one of term %d",
				p.m.id, at.index, at.term, now.before, known.before)
		}
		for index := at.index + 1; p.terms[index] != 0; index++ { // replaced
			delete(p.terms, index)
		}
		p.terms[at.index] = at.term
		if t.leaders[at.term] == p.m.id {
			t.complete(p, at)
		}
	}
	return t.w.failure
}

func (t *truth) complete(p *platter, at place) {
	for index := min(t.last(), at.index-1); index > p.marker; index-- {
		term := t.log[index].term
		if term >= at.term {
			continue // committed by a later leader, which this one does not know of yet
		}
		if p.terms[index] != term {
			t.w.fail("node %d leads term %d without the applied entry %d of term %d: it has one of term %d",
				p.m.id, at.term, index, term, p.terms[index])
		}
		if at.index-index > 20 { // those before it are in the log by log matching
			break
		}
	}
}

// stepped looks at a member after each step of its driver.
func (t *truth) stepped(r *simRun) {
	s := r.status()
	if s.RaftState == raft.StateLeader {
		term := s.HardState.GetTerm()
		if other, ok := t.leaders[term]; ok && other != r.m.id {
			t.w.fail("nodes %d and %d both lead term %d", other, r.m.id, term)
		} else if !ok {
			t.leaders[term] = r.m.id
			t.w.say(r.m.id, "LEADS term %d", term)
		}
	}
	if c := s.HardState.GetCommit(); c < r.commit {
		t.w.fail("the commit index of node %d went back from %d to %d", r.m.id, r.commit, c)
	} else {
		r.commit = c
	}
}

// crashed: nobody will be told of what a member had been asked.
func (t *truth) crashed(r *simRun) {
	for seq := uint64(1); seq <= r.seq; seq++ {
		if p := t.proposals[proposalID{r.origin(), seq}]; p.fate == fateOpen {
			p.fate = fateCrashed
		}
	}
}
