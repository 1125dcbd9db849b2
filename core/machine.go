package core

import (
	"bytes"
	"cmp"
	"fmt"
	"sync/atomic"
	"time"

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
	// installed is called after a snapshot has replaced the state, with the same guarantees.
	installed func(before *storage.View)
	measures  *measures // nil = nobody counts
	grants    *grantCache

	begun time.Time // when the present command was; the end of one is the beginning of the next, which spares a look at the clock

	// Reused from command to command.
	completed []completion
	work      work
	decoder   decoder
}

// work is memory that commands need while they are carried out, and not after.
type work struct {
	scratch, encoded []byte
	events           []*storage.Event
}

// workBytesMax bounds what a command leaves to the next one.
const workBytesMax = 64 << 10

func (w *work) lend(t *tx) { t.scratch, t.encoded, t.events = w.scratch, w.encoded, w.events[:0] }

func (w *work) takeBack(t *tx) {
	*w = work{}
	if cap(t.scratch) <= workBytesMax {
		w.scratch = t.scratch
	}
	if cap(t.encoded) <= workBytesMax {
		w.encoded = t.encoded
	}
	if cap(t.events) <= workBytesMax/8 {
		clear(t.events)
		w.events = t.events
	}
}

// step is what a run of entries did.
type step struct {
	index    uint64
	term     uint64
	revision int64
	events   []*storage.Event
	leases   []leaseChange
	moves    []sessionMove
	logins   []loginChange
	// deadline is the soonest deadline that the step set, 0 for none.
	deadline int64
	// superseded is State.SupersededBytes.
	superseded int64
	auth       uint64 // see authOf
	oldest     int64  // State.Compacted
	// compacted says that the compacted revision moved.
	compacted bool
	// members and alarms say that these tables were written.
	members, alarms bool
	// hashCheck is the HashCheck in the step's last entry, 0 for none.
	hashCheck uint64
}

type completion struct {
	pending *Pending
	place   int
	result  *TxnResult
}

// confChange is a change of who replicates the log, which an entry makes if its command succeeds.
type confChange struct {
	conf   []byte // the configuration then
	stands bool   // set by the step
}

// Apply implements raftlog.Machine.
func (m *machine) Apply(entries []raftlog.Entry) error {
	for len(entries) > 0 {
		n, err := m.apply(entries, nil)
		if err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}

// ApplyChange implements raftlog.Machine.
func (m *machine) ApplyChange(entry raftlog.Entry, conf []byte) (stands bool, err error) {
	change := &confChange{conf: conf, stands: true}
	_, err = m.apply([]raftlog.Entry{entry}, change)
	return change.stands, err
}

// apply carries out entries in one step, from the first to the last or to one that ends its step, and says how many.
func (m *machine) apply(entries []raftlog.Entry, change *confChange) (n int, err error) {
	batch := m.db.NewBatch()
	defer batch.Discard()
	state := batch.State()
	compacted := state.Compacted
	m.begun = time.Now()
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
	for n < len(entries) {
		if err := m.applyEntry(batch, &entries[n], change, s); err != nil {
			return n, err
		}
		n++
		if s.hashCheck != 0 {
			break // replicas cut the log into steps as it comes, and hash the state of this very entry
		}
	}
	if change != nil && change.stands {
		state.Conf = bytes.Clone(change.conf)
	}
	s.index, s.term, s.revision = state.AppliedIndex, state.AppliedTerm, state.Revision
	s.auth, s.oldest = authOf(state), state.Compacted
	s.superseded, s.compacted = state.SupersededBytes, state.Compacted != compacted
	if err := batch.Err(); err != nil {
		return n, fmt.Errorf("core: reading state: %w", err)
	}
	begun := time.Now()
	if err := batch.Commit(); err != nil {
		return n, fmt.Errorf("core: writing state: %w", err)
	}
	if m.measures != nil {
		m.measures.commit.Since(begun)
	}
	m.applied(s)
	committed = true
	return n, nil
}

func (m *machine) applyEntry(batch *storage.Batch, entry *raftlog.Entry, change *confChange, s *step) error {
	state := batch.State()
	if entry.Index != state.AppliedIndex+1 {
		return fmt.Errorf("core: entry %d follows %d: the log has a gap", entry.Index, state.AppliedIndex)
	}
	state.AppliedIndex, state.AppliedTerm = entry.Index, entry.Term
	state.StampMillis = max(state.StampMillis, entry.StampMillis)
	origin := m.origin.Load()
	for j := range entry.Proposals {
		proposal := &entry.Proposals[j]
		result, err := m.applyOne(batch, proposal.Payload, change != nil, s)
		if err != nil {
			return fmt.Errorf("core: entry %d, proposal %d: %w", entry.Index, j, err)
		}
		if change != nil && result.Err != nil {
			change.stands = false
		}
		var pending *Pending
		var place int
		if proposal.Origin == origin && origin != 0 {
			pending, place = m.waiting.take(proposal.Seq)
		}
		if pending == nil { // another member's, or nobody waits any more
			result.end()
			continue
		}
		m.completed = append(m.completed, completion{pending, place, result})
	}
	return nil
}

// applyOne carries out one command. reconfigures says that the log's configuration changes with it, if it succeeds.
func (m *machine) applyOne(batch *storage.Batch, payload []byte, reconfigures bool, s *step) (*TxnResult, error) {
	// The entry's bytes are this command's alone from here on: records may keep pieces of them.
	txn, err := m.decoder.decode(payload)
	if err != nil {
		return nil, err
	}
	state := batch.State()
	t := tx{
		r: batch, b: batch, now: state.StampMillis, term: state.AppliedTerm, reconfigures: reconfigures,
		caller: txn.Caller, cache: m.grants, whole: txn,
	}
	m.work.lend(&t)
	defer m.work.takeBack(&t)
	result := t.run(txn)
	if m.measures != nil {
		now := time.Now()
		m.measures.applied(txn, result.Err == nil, now.Sub(m.begun))
		m.begun = now
	}
	s.events = append(s.events, t.events...)
	s.leases = append(s.leases, t.leases...)
	s.moves = append(s.moves, t.moves...)
	s.logins = append(s.logins, t.logins...)
	if t.deadline != 0 && (s.deadline == 0 || t.deadline < s.deadline) {
		s.deadline = t.deadline
	}
	s.members = s.members || t.members
	s.alarms = s.alarms || t.alarms
	s.hashCheck = cmp.Or(t.hashCheck, s.hashCheck)
	return result, nil
}
