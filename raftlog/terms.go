package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// terms says which entry has which term: those from a start's index on have its term, up to the next start. It is a few
// numbers for a log of any length.
type terms []termStart

type termStart struct{ index, term uint64 }

// add notes an entry. What it replaces, and all after that, is forgotten.
func (t terms) add(index, term uint64) terms {
	for len(t) > 0 && t[len(t)-1].index >= index {
		t = t[:len(t)-1]
	}
	if len(t) == 0 || t[len(t)-1].term != term {
		t = append(t, termStart{index, term})
	}
	return t
}

func (t terms) addAll(entries []*raftpb.Entry) terms {
	for _, e := range entries {
		t = t.add(e.GetIndex(), e.GetTerm())
	}
	return t
}

// at is the term of an entry that is not after the last one; 0 if it is before the first.
func (t terms) at(index uint64) uint64 {
	for i := len(t) - 1; i >= 0; i-- {
		if t[i].index <= index {
			return t[i].term
		}
	}
	return 0
}

// from forgets what only entries before index need.
func (t terms) from(index uint64) terms {
	for len(t) > 1 && t[1].index <= index {
		t = t[1:]
	}
	return t
}

// replay follows the records of a log in the order in which they were written, and says which of them count in the end.
// It finds records that cannot follow each other.
type replay struct {
	marker termStart // the last marker
	state  *raftpb.HardState
	// Entries that count: [first, last]. Both 0 before the first entry of the records that are left.
	first, last uint64
	terms       terms
}

// entry follows the one before it, or replaces earlier ones that are not committed. What replaces them may have a lower
// term than they had: a leader that was elected without them brings entries that are older. It may even be the same entry,
// if in between there was another in its place that was never written by itself.
func (r *replay) entry(index, term uint64) error {
	if r.last == 0 {
		r.first, r.last = index, index
		r.terms = r.terms.add(index, term)
		return nil
	}
	follows := index == r.last+1
	replaces := index <= r.last && index > max(r.state.GetCommit(), r.marker.index)
	if !follows && !replaces || term < r.terms.at(index-1) {
		return fmt.Errorf("entry %d of term %d after %d of term %d", index, term, r.last, r.terms.at(r.last))
	}
	r.terms = r.terms.add(index, term)
	r.first, r.last = min(r.first, index), index
	return nil
}

// hardState checks that term and commit do not go back.
func (r *replay) hardState(s *raftpb.HardState) error {
	if s.GetTerm() < r.state.GetTerm() || s.GetCommit() < r.state.GetCommit() {
		return fmt.Errorf("state %v after %v", s, r.state)
	}
	r.state = s
	return nil
}

// mark takes a marker. If the log holds its entry, then what comes before is not needed any more: a truncation. If the
// log ends before it or has another term there, nothing in the log counts any more: a snapshot was installed, and the log
// begins again from it.
//
// A marker before the first entry that is left is a truncation as well, or what the installed snapshot discarded is
// followed by what replaces it: the segments that are kept begin before the last marker.
func (r *replay) mark(index, term uint64) error {
	if index < r.marker.index || term < r.marker.term {
		return fmt.Errorf("marker at entry %d of term %d after one at %d of term %d", index, term, r.marker.index, r.marker.term)
	}
	r.marker = termStart{index, term}
	if r.last == 0 || index < r.first || index <= r.last && r.terms.at(index) == term {
		return nil
	}
	r.first, r.last, r.terms = index, index, terms{{index, term}}
	return nil
}
