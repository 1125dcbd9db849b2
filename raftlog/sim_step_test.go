package raftlog

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// How the simulation gets at the inside of a Node: it is assembled without its goroutines, and each worker is stepped.

// assemble makes the run's node, which begins with the first step of its driver.
func (r *simRun) assemble(cfg Config) error {
	n, err := newNode(cfg)
	if err != nil {
		return err
	}
	// As drawn at random: different in every run of every member. The one for each snapshot that follows it is free, too.
	n.origin = r.m.id<<40 | r.m.runs<<20
	n.driver.reading.round = n.origin
	n.spawn = func(f func()) {
		r.w.after(r.w.between(time.Millisecond, 60*time.Millisecond), func() {
			if r.alive() {
				r.do(func() error { f(); return nil })
			}
		})
	}
	r.node = n
	if err := r.wire.Start(handler{n}); err != nil {
		return err
	}
	n.driver.begin()
	return nil
}

func (r *simRun) origin() uint64 { return r.node.origin }

// tick lets the driver's time pass.
func (r *simRun) tick() error {
	r.node.driver.tick()
	return r.step(workerDriver)
}

// step is one round of a worker's loop.
func (r *simRun) step(worker int) error {
	n := r.node
	switch worker {
	case workerDriver:
		select {
		case <-n.wake:
		default:
		}
		if err := n.driver.step(); err != nil {
			return err
		}
	case workerAppender:
		n.appender.step()
	case workerApplier:
		n.applier.step()
	}
	if err := n.Err(); errors.Is(err, ErrRemoved) {
		r.stopped = true
	} else if err != nil {
		return err
	}
	return nil
}

// hasWork says whether a worker would not wait.
func (r *simRun) hasWork(worker int) bool {
	n := r.node
	switch worker {
	case workerDriver:
		return len(n.wake) > 0
	case workerAppender:
		return n.writes.hasItems()
	default:
		return n.applies.hasItems() || n.applier.fresh
	}
}

func (m *mailbox[T]) hasItems() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.items) > 0
}

// askRead asks for a read index and gives a function that looks for the answer.
func (r *simRun) askRead() func() (index uint64, ok bool) {
	if index, ok := r.node.knownIndex(); ok {
		return func() (uint64, bool) { return index, true }
	}
	read := r.node.askRead()
	return func() (uint64, bool) {
		select {
		case index := <-read.index:
			return index, true
		default:
			return 0, false
		}
	}
}

// askTransfer asks for a transfer of the leadership; whether it succeeds is seen by who leads.
func (r *simRun) askTransfer(to uint64) { r.node.askTransfer(to) }

// askChange asks for a change of the membership.
func (r *simRun) askChange(changes []Change, seq uint64, payload []byte, told func(error)) {
	answer, err := r.node.askChange(changes, seq, payload)
	if err != nil {
		told(err)
		return
	}
	r.answers = append(r.answers, func() bool {
		select {
		case err := <-answer:
			told(err)
			return true
		default:
			return false
		}
	})
}

// truncate lets the log go up to an entry that is flushed: Node.Truncate without its wait.
func (r *simRun) truncate(index uint64) {
	n := r.node
	if marking := n.status.marking.Load(); marking != 0 && index >= marking {
		return
	}
	n.writes.put(write{truncate: &truncation{index: index, answer: make(chan error, 1)}})
}

// describe is a message in a line.
func describe(m *raftpb.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %d→%d term %d", m.GetType(), m.GetFrom(), m.GetTo(), m.GetTerm())
	if m.GetIndex() != 0 || m.GetLogTerm() != 0 {
		fmt.Fprintf(&b, ", at %d of term %d", m.GetIndex(), m.GetLogTerm())
	}
	if m.GetCommit() != 0 {
		fmt.Fprintf(&b, ", commit %d", m.GetCommit())
	}
	if len(m.GetEntries()) > 0 {
		fmt.Fprintf(&b, ", %s", entriesText(m.GetEntries()))
	}
	if m.GetReject() {
		fmt.Fprintf(&b, ", REJECT, hint %d", m.GetRejectHint())
	}
	if s := m.GetSnapshot(); s != nil {
		fmt.Fprintf(&b, ", snapshot %d of term %d", s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm())
	}
	if len(m.GetContext()) > 0 {
		fmt.Fprintf(&b, ", context %x", m.GetContext())
	}
	return b.String()
}

func entriesText(entries []*raftpb.Entry) string {
	if len(entries) == 0 {
		return "no entries"
	}
	first, last := entries[0], entries[len(entries)-1]
	return fmt.Sprintf("entries %d (term %d) to %d (term %d)", first.GetIndex(), first.GetTerm(), last.GetIndex(), last.GetTerm())
}

func confText(conf []byte) string {
	if conf == nil {
		return "no configuration"
	}
	c := mustConf(conf)
	return fmt.Sprintf("voters %v, learners %v, outgoing %v, learners next %v", c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext())
}

func (r *simRun) status() raft.BasicStatus { return r.node.driver.rn.BasicStatus() }
