package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// applier is the apply goroutine: the only caller of the Machine. What has gathered while it was busy becomes one run.
type applier struct {
	n           *Node
	stampMillis int64 // of the last entry handed over

	entries   []Entry    // kept to be reused
	proposals []Proposal // those of all entries of a run
}

// run ends when raft hands over no more. fresh says that the Machine has not seen the entry at bootstrapIndex.
func (a *applier) run(fresh bool) {
	if fresh {
		if err := a.n.cfg.Machine.Apply([]Entry{{Index: bootstrapIndex, Term: bootstrapTerm}}); err != nil {
			a.n.fail(fmt.Errorf("raftlog: apply entry %d: %w", bootstrapIndex, err))
			return
		}
	}
	var batch []*raftpb.Message
	for {
		var ok bool
		if batch, ok = a.n.applies.wait(batch); !ok || a.n.failed() {
			return
		}
		if err := a.apply(batch); err != nil {
			a.n.fail(err)
			return
		}
		for _, m := range batch {
			a.n.applied.put(m)
		}
		a.n.signal()
	}
}

func (a *applier) apply(batch []*raftpb.Message) error {
	for _, m := range batch {
		for _, e := range m.GetEntries() {
			if err := a.decode(e); err != nil {
				return fmt.Errorf("raftlog: entry %d: %w", e.GetIndex(), err)
			}
		}
	}
	first, last := a.entries[0].Index, a.entries[len(a.entries)-1].Index
	s := &a.n.status
	s.handed.Store(last) // before the Machine can report a flush of it
	if err := a.n.cfg.Machine.Apply(a.entries); err != nil {
		return fmt.Errorf("raftlog: apply entries %d to %d: %w", first, last, err)
	}
	clear(a.entries)
	clear(a.proposals)
	a.entries, a.proposals = a.entries[:0], a.proposals[:0]

	s.applied.Store(last)
	if at := s.readyAt.Load(); at != 0 && last >= at && !s.ready {
		s.ready = true
		close(a.n.ready)
	}
	return nil
}

// decode adds an entry to the run.
func (a *applier) decode(e *raftpb.Entry) error {
	if e.GetType() != raftpb.EntryNormal {
		return fmt.Errorf("%w: type %v", ErrMalformed, e.GetType())
	}
	from := len(a.proposals)
	if data := e.GetData(); len(data) > 0 {
		stampMillis, proposals, err := decodeEntry(a.proposals, data)
		if err != nil {
			return err
		}
		a.proposals = proposals
		a.stampMillis = stampMillis
	}
	a.entries = append(a.entries, Entry{
		Index: e.GetIndex(), Term: e.GetTerm(), StampMillis: a.stampMillis,
		Proposals: a.proposals[from:len(a.proposals):len(a.proposals)],
	})
	return nil
}
