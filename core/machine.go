package core

import (
	"fmt"
	"sync/atomic"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// machine is the state machine: it applies committed entries to storage, one batch for each run of entries, and tells
// the rest of the node what came of them. Everything in it belongs to raftlog's apply goroutine.
type machine struct {
	db      *storage.DB
	origin  atomic.Uint64 // of this node's own proposals; 0 until the log has started, before which there are none
	waiting *waiters
	// applied is called after each step, in this order of guarantees: the step is in storage; nothing of it is visible
	// to readers yet; no proposer has its answer yet.
	applied func(step *step)

	completed []completion // reused
}

// step is what a run of entries did.
type step struct {
	index    uint64
	revision int64
	events   []*storage.Event
	leases   []leaseChange
	// deadline is the soonest deadline that the step set, 0 for none.
	deadline int64
	// superseded is State.SupersededBytes.
	superseded int64
	// compacted says that the compacted revision moved.
	compacted bool
}

type completion struct {
	pending *Pending
	place   int
	result  *TxnResult
}

// Apply implements raftlog.Machine.
func (m *machine) Apply(entries []raftlog.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	batch := m.db.NewBatch()
	defer batch.Discard()
	state := batch.State()
	compacted := state.Compacted
	s := &step{}
	m.completed = m.completed[:0]
	committed := false
	defer func() {
		for i := range m.completed {
			c := &m.completed[i]
			if committed {
				c.pending.complete(c.place, c.result)
			} else {
				c.pending.fail(&Error{Code: CodeUnknownFate, Detail: "the node failed while applying"})
			}
			*c = completion{}
		}
	}()
	origin := m.origin.Load()
	for i := range entries {
		entry := &entries[i]
		if entry.Index != state.AppliedIndex+1 {
			return fmt.Errorf("core: entry %d follows %d: the log has a gap", entry.Index, state.AppliedIndex)
		}
		state.AppliedIndex, state.AppliedTerm = entry.Index, entry.Term
		state.StampMillis = max(state.StampMillis, entry.StampMillis)
		for j := range entry.Proposals {
			proposal := &entry.Proposals[j]
			result, err := m.applyOne(batch, proposal.Payload, s)
			if err != nil {
				return fmt.Errorf("core: entry %d, proposal %d: %w", entry.Index, j, err)
			}
			if proposal.Origin == origin {
				if pending, place := m.waiting.take(proposal.Seq); pending != nil {
					m.completed = append(m.completed, completion{pending, place, result})
				}
			}
		}
	}
	s.index, s.revision = state.AppliedIndex, state.Revision
	s.superseded, s.compacted = state.SupersededBytes, state.Compacted != compacted
	if err := batch.Err(); err != nil {
		return fmt.Errorf("core: reading state: %w", err)
	}
	if err := batch.Commit(); err != nil {
		return fmt.Errorf("core: writing state: %w", err)
	}
	m.applied(s)
	committed = true
	return nil
}

func (m *machine) applyOne(batch *storage.Batch, payload []byte, s *step) (*TxnResult, error) {
	// The entry's bytes are this command's alone from here on: records may keep pieces of them.
	txn := &corepb.Txn{}
	if err := txn.UnmarshalVTUnsafe(payload); err != nil {
		return nil, err
	}
	t := tx{r: batch, b: batch, now: batch.State().StampMillis}
	result := t.run(txn)
	s.events = append(s.events, t.events...)
	s.leases = append(s.leases, t.leases...)
	if t.deadline != 0 && (s.deadline == 0 || t.deadline < s.deadline) {
		s.deadline = t.deadline
	}
	return result, nil
}
