package raftlog

import (
	"fmt"

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
	terms  []termStart

	entries []*raftpb.Entry // gathered from several messages; kept to be reused
}

// termStart says that entries from index on have the term, up to the next termStart.
type termStart struct{ index, term uint64 }

func termsOf(r *Recovered) []termStart {
	terms := []termStart{{r.Marker.Index, r.Marker.Term}}
	return addTerms(terms, r.Entries)
}

func addTerms(terms []termStart, entries []*raftpb.Entry) []termStart {
	for _, e := range entries {
		if e.GetTerm() != terms[len(terms)-1].term {
			terms = append(terms, termStart{e.GetIndex(), e.GetTerm()})
		}
	}
	return terms
}

func (a *appender) run() {
	var batch []write
	for {
		var ok bool
		if batch, ok = a.n.writes.wait(batch); !ok {
			return
		}
		for rest := batch; len(rest) > 0; {
			var err error
			if t := rest[0].truncate; t != nil {
				err = a.truncate(t.index)
				t.answer <- err
				rest = rest[1:]
			} else {
				messages := 1
				for messages < len(rest) && rest[messages].message != nil {
					messages++
				}
				err = a.append(rest[:messages])
				rest = rest[messages:]
			}
			if err != nil {
				a.n.fail(err)
				a.refuse(rest)
				return
			}
		}
	}
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
	var state *raftpb.HardState
	entries := writes[0].message.GetEntries()
	for i, w := range writes {
		if i == 1 {
			a.entries = append(a.entries[:0], entries...)
		}
		if i >= 1 {
			a.entries = append(a.entries, w.message.GetEntries()...)
			entries = a.entries
		}
		if w.message.Term != nil { // raft sets it along with a changed state only
			state = &raftpb.HardState{Term: w.message.Term, Vote: w.message.Vote, Commit: w.message.Commit}
		}
	}
	if state != nil || len(entries) > 0 {
		if err := a.log.Append(state, entries); err != nil {
			return fmt.Errorf("raftlog: write log: %w", err)
		}
		a.terms = addTerms(a.terms, entries)
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

// truncate moves the marker to index. The Machine is only given durable entries, and only what it was given can be
// truncated, so the entry is in the log before the marker is.
func (a *appender) truncate(index uint64) error {
	if index <= a.marker.Index {
		return nil
	}
	keep := 0
	for keep+1 < len(a.terms) && a.terms[keep+1].index <= index {
		keep++
	}
	a.terms = a.terms[keep:]
	marker := Marker{Index: index, Term: a.terms[0].term, Conf: a.marker.Conf}
	if err := a.log.Mark(marker); err != nil {
		return fmt.Errorf("raftlog: write marker: %w", err)
	}
	a.marker = marker
	a.n.status.marker.Store(index)
	return nil
}

// Truncate says that everything up to the entry flushed is durable elsewhere, so that Config.Applied will not be less
// after a restart. The log may forget it. It returns when that is recorded, one sync later, and may be called from
// anywhere, even from Machine.Apply. Calling it with what is forgotten already does nothing. An error means that the
// node has stopped, or that disk space could not be given back.
func (n *Node) Truncate(flushed uint64) error {
	if handed := n.status.handed.Load(); flushed > handed {
		return fmt.Errorf("raftlog: cannot truncate to %d: the machine has been given entries up to %d only", flushed, handed)
	}
	t := &truncation{index: flushed, answer: make(chan error, 1)}
	if !n.writes.put(write{truncate: t}) {
		return n.stopped()
	}
	if err := <-t.answer; err != nil {
		return err
	}
	// Deleting a segment can take milliseconds: too long for the append goroutine.
	n.purging.Lock()
	defer n.purging.Unlock()
	if n.log == nil {
		return n.stopped()
	}
	if err := n.log.Purge(flushed); err != nil {
		return fmt.Errorf("raftlog: purge log: %w", err)
	}
	return nil
}
