package raftlog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// platter is a member's disk as far as the log uses it: records in the order in which they were written, of which those
// that no sync covers may be lost in any combination.
type platter struct {
	w       *world
	m       *simMember
	records []record
	synced  int               // of the records, from the first
	state   *raftpb.HardState // the last one written
	terms   map[uint64]uint64 // of the entries in it that count
	marker  uint64
}

// record is one of the three.
type record struct {
	entry  *raftpb.Entry
	state  *raftpb.HardState
	marker *Marker
}

// platterLog is a platter as one run of a member sees it.
type platterLog struct {
	p *platter
	r *simRun
}

func (p *platter) write(r record) { p.records = append(p.records, r) }

// Append follows the rule of Log: entries and a change of term or vote are synced.
func (l platterLog) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	p := l.p
	for _, e := range entries {
		p.write(record{entry: proto.Clone(e).(*raftpb.Entry)})
	}
	sync := len(entries) > 0
	if state != nil {
		sync = sync || p.state.GetTerm() != state.GetTerm() || p.state.GetVote() != state.GetVote()
		p.state = proto.Clone(state).(*raftpb.HardState)
		p.write(record{state: p.state})
	}
	if l.r.crashes("append") {
		return errCrash
	}
	if sync {
		p.synced = len(p.records)
	}
	p.w.say(p.m.id, "wrote %s, %v", entriesText(entries), state)
	return p.w.truth.written(p, entries)
}

func (l platterLog) Mark(m Marker) error {
	p := l.p
	m.Conf = proto.Clone(m.Conf).(*raftpb.ConfState)
	if l.r.crashes("before-mark") {
		return errCrash
	}
	p.write(record{marker: &m})
	if l.r.crashes("mark") {
		return errCrash
	}
	p.synced = len(p.records)
	p.w.say(p.m.id, "marked %d of term %d", m.Index, m.Term)
	p.marker = m.Index
	if p.terms[m.Index] != m.Term { // a snapshot takes the log's place
		clear(p.terms)
		p.terms[m.Index] = m.Term
	}
	return nil
}

func (platterLog) Purge(uint64) error { return nil }
func (platterLog) Close() error       { return nil }

// crash keeps what was synced and, of the rest, none, all, a beginning, an end or any part. What follows a hole cannot
// be read, but may tell of what was lost.
func (p *platter) crash() error {
	loose := p.records[p.synced:]
	kept := make([]bool, len(loose))
	pattern, cut := p.w.dice.IntN(5), p.w.dice.IntN(len(loose)+1)
	for i := range kept {
		switch pattern {
		case 1:
			kept[i] = true
		case 2:
			kept[i] = i < cut
		case 3:
			kept[i] = i >= cut
		case 4:
			kept[i] = p.w.dice.IntN(2) == 0
		}
	}
	readable := 0
	for readable < len(kept) && kept[readable] {
		readable++
	}
	lost := loose[readable:]
	p.records = p.records[:p.synced+readable]
	p.w.say(p.m.id, "of %d unsynced records %d can be read", len(loose), readable)
	p.synced = len(p.records)
	_, found, err := p.read()
	if err != nil {
		return err
	}
	last, entry := max(found.last, found.marker.index), raftNoLimit
	for i, r := range lost {
		if !kept[readable+i] {
			continue
		}
		if r.entry != nil {
			entry = min(entry, r.entry.GetIndex())
		}
		if synced := max(r.state.GetCommit(), r.index()); synced > last {
			return fmt.Errorf("%w: a record behind a torn one says that entries up to %d were synced, the log ends at %d", ErrCorrupt, synced, last)
		}
		if r.state.GetCommit() >= entry {
			return fmt.Errorf("%w: what follows a torn record was synced", ErrCorrupt)
		}
	}
	p.remember(found)
	return nil
}

// remember takes the terms of the entries from what was read.
func (p *platter) remember(found *replay) {
	p.marker = found.marker.index
	clear(p.terms)
	p.terms[p.marker] = found.marker.term
	if found.last == 0 {
		return
	}
	for index := max(found.first, p.marker); index <= found.last; index++ {
		p.terms[index] = found.terms.at(index)
	}
}

func (r record) index() uint64 {
	if r.marker == nil {
		return 0
	}
	return r.marker.Index
}

// read goes through the records by the rules of inspect, and gathers what counts from the last marker on.
func (p *platter) read() (*Recovered, *replay, error) {
	in := &replay{state: &raftpb.HardState{}}
	found := &Recovered{}
	for i, r := range p.records {
		var err error
		switch {
		case r.entry != nil:
			err = in.entry(r.entry.GetIndex(), r.entry.GetTerm())
		case r.state != nil:
			err = in.hardState(r.state)
			found.State = r.state
		default:
			err = in.mark(r.marker.Index, r.marker.Term)
			found.Marker = *r.marker
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: record %d: %w", ErrCorrupt, i, err)
		}
	}
	for _, r := range p.records {
		if r.entry == nil || r.entry.GetIndex() <= found.Marker.Index {
			continue
		}
		at := r.entry.GetIndex() - found.Marker.Index - 1
		if at > uint64(len(found.Entries)) {
			return nil, nil, fmt.Errorf("%w: a gap before entry %d", ErrCorrupt, r.entry.GetIndex())
		}
		found.Entries = append(found.Entries[:at], r.entry)
	}
	// What an installed snapshot discarded.
	kept := int(max(in.last, found.Marker.Index) - found.Marker.Index)
	if kept > len(found.Entries) {
		return nil, nil, fmt.Errorf("%w: %d entries after the marker, then %d", ErrCorrupt, kept, len(found.Entries))
	}
	found.Entries = found.Entries[:kept:kept]
	return found, in, nil
}

func (p *platter) open(r *simRun) OpenLog {
	return func(o LogOptions) (Log, *Recovered, error) {
		if o.MustExist && len(p.records) == 0 {
			return nil, nil, ErrMissing
		}
		found, _, err := p.read()
		if err != nil {
			return nil, nil, err
		}
		if found.State != nil { // as OpenDisk does, for the segments
			p.write(record{state: found.State})
			p.state = found.State
			found.State = proto.Clone(found.State).(*raftpb.HardState)
		}
		return platterLog{p, r}, found, nil
	}
}

// errors of a simulated member that has lost its power.
func crashed(err error) bool { return errors.Is(err, errCrash) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
