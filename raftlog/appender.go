package raftlog

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// write is one thing for the append goroutine to do.
type write struct {
	message  *raftpb.Message // a MsgStorageAppend, or
	truncate *truncation
}

// truncation asks for a marker. Its answer has room for one, so that giving it never blocks.
type truncation struct {
	index  uint64
	answer chan error
}

// appender is the append goroutine: the only writer of the log. What has gathered while it was busy shares one write
// and one sync. At the first error it stops the node; no write is tried again, because after a failed sync the kernel
// may have dropped the pages and report success the next time.
type appender struct {
	n      *Node
	log    Log
	marker Marker
	terms  terms

	state  *raftpb.HardState // what raft wants to be on disk
	disk   *raftpb.HardState // what is there
	synced uint64            // the last entry that is there

	batch   []write
	entries []*raftpb.Entry // gathered from several messages; kept to be reused
}

func newAppender(n *Node, log Log, r *Recovered) *appender {
	a := &appender{n: n, log: log, marker: r.Marker, state: r.State, disk: r.State}
	a.terms = terms{{r.Marker.Index, r.Marker.Term}}.addAll(r.Entries)
	a.synced = max(r.Marker.Index, lastIndex(r.Entries))
	return a
}

// run ends when the mailbox is closed and empty, or at the first error.
func (a *appender) run() {
	for {
		var ok bool
		if a.batch, ok = a.n.writes.wait(a.batch); !ok {
			return
		}
		if !a.do(a.batch) {
			return
		}
	}
}

// step does what is there without waiting, and says whether there was anything.
func (a *appender) step() bool {
	a.batch = a.n.writes.poll(a.batch)
	return len(a.batch) > 0 && a.do(a.batch)
}

// do reports false once the node has failed.
func (a *appender) do(batch []write) bool {
	for rest := batch; len(rest) > 0; {
		var err error
		switch {
		case rest[0].truncate != nil:
			err = a.truncate(rest[0].truncate.index)
			rest[0].truncate.answer <- err
			rest = rest[1:]
		default:
			if rest[0].message.GetSnapshot() != nil {
				err = a.restart(rest[0].message)
			}
			messages := 1
			for messages < len(rest) && rest[messages].message != nil && rest[messages].message.GetSnapshot() == nil {
				messages++
			}
			if err == nil {
				err = a.append(rest[:messages])
			}
			rest = rest[messages:]
		}
		if err != nil {
			a.n.fail(err)
			a.refuse(rest)
			return false
		}
	}
	return true
}

// refuse answers those who wait for what will not be done.
func (a *appender) refuse(rest []write) {
	a.n.writes.close()
	for _, w := range append(rest, a.n.writes.poll(nil)...) {
		if w.truncate != nil {
			w.truncate.answer <- a.n.stopped()
		}
	}
}

// append writes the messages' entries and the last of their states, then gives the raft goroutine their responses.
func (a *appender) append(writes []write) error {
	entries := a.gather(writes)
	if state := a.hardState(entries); state != nil || len(entries) > 0 {
		started := time.Now()
		if err := a.log.Append(state, entries); err != nil {
			return fmt.Errorf("raftlog: write log: %w", err)
		}
		if state != nil {
			a.disk = state
		}
		if len(entries) > 0 {
			a.n.status.sync.observe(time.Since(started))
			a.terms = a.terms.addAll(entries)
			a.synced = lastIndex(entries)
		}
	}
	clear(a.entries)
	answers := false
	for _, w := range writes {
		if len(w.message.GetResponses()) > 0 {
			a.n.written.put(w.message)
			answers = true
		}
	}
	if answers {
		a.n.signal()
	}
	return nil
}

// gather takes what is to be written from messages. Entries of a later one may replace those of an earlier one.
func (a *appender) gather(writes []write) (entries []*raftpb.Entry) {
	copied := false
	for _, w := range writes {
		switch more := w.message.GetEntries(); {
		case len(more) == 0:
		case len(entries) == 0:
			entries = more
		default:
			if !copied {
				copied = true
				a.entries = append(a.entries[:0], entries...)
			}
			a.entries = append(until(a.entries, more[0].GetIndex()), more...)
			entries = a.entries
		}
		if w.message.Term != nil { // raft sets it along with a changed state only
			a.state = &raftpb.HardState{Term: w.message.Term, Vote: w.message.Vote, Commit: w.message.Commit}
		}
	}
	return entries
}

// until are the entries before an index.
func until(entries []*raftpb.Entry, index uint64) []*raftpb.Entry {
	for len(entries) > 0 && entries[len(entries)-1].GetIndex() >= index {
		entries = entries[:len(entries)-1]
	}
	return entries
}

// hardState is what is to be written along with entries, nil if that is on disk already.
//
// A commit index may say of no entry that it is committed before that entry is synced here: reading the log, a commit of
// what is not there tells damage from a write that a crash interrupted. With other voters raft knows of commits that are
// ahead of this disk, or of the very entries that are to be written now; they are held back for a later write. The log's
// commit index is a lower bound anyway.
func (a *appender) hardState(entries []*raftpb.Entry) *raftpb.HardState {
	bound := a.synced
	if len(entries) > 0 {
		bound = min(bound, entries[0].GetIndex()-1)
	}
	commit := max(a.disk.GetCommit(), min(a.state.GetCommit(), bound))
	if commit == a.disk.GetCommit() && a.state.GetTerm() == a.disk.GetTerm() && a.state.GetVote() == a.disk.GetVote() {
		return nil
	}
	if commit == a.state.GetCommit() {
		return a.state
	}
	return &raftpb.HardState{Term: new(a.state.GetTerm()), Vote: new(a.state.GetVote()), Commit: new(commit)}
}
