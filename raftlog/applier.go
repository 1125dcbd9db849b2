package raftlog

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// application is one thing for the apply goroutine to do: a MsgStorageApply, or a MsgStorageAppend with a snapshot to be
// installed.
type application struct{ message *raftpb.Message }

// outcome is what came of it.
type outcome struct {
	message   *raftpb.Message // a MsgStorageApply, or
	installed *raftpb.Message // a MsgStorageAppend whose snapshot is the state now

	own     []uint64  // the numbers of this node's proposals in the entries, in order
	changes []changed // of the configuration, in order
}

// changed is a change of the configuration and what the Machine said to it.
type changed struct {
	index  uint64
	change *raftpb.ConfChangeV2
	conf   *raftpb.ConfState // if it stands
	stands bool
}

// applier is the apply goroutine: the only caller of the Machine. What has gathered while it was busy becomes one run,
// interrupted by changes of the configuration, each of which is handed over alone.
type applier struct {
	n           *Node
	fresh       bool  // the Machine has not seen the entry at bootstrapIndex
	stampMillis int64 // of the last entry handed over
	conf        *raftpb.ConfState

	batch     []application // kept to be reused, like what follows
	outcomes  []outcome
	entries   []Entry
	proposals []Proposal // those of all entries of a run
}

// run ends when raft hands over no more, or the Machine failed.
func (a *applier) run() {
	for ok := a.begin(); ok; ok = a.do(a.batch) {
		if a.batch, ok = a.n.applies.wait(a.batch); !ok {
			return
		}
	}
}

// step does what is there without waiting, and says whether there was anything.
func (a *applier) step() bool {
	if fresh := a.fresh; !a.begin() || fresh {
		return fresh
	}
	a.batch = a.n.applies.poll(a.batch)
	return len(a.batch) > 0 && a.do(a.batch)
}

// begin hands over the first entry of a new cluster, if this node was there at the time.
func (a *applier) begin() bool {
	if !a.fresh {
		return true
	}
	a.fresh = false
	boot := a.n.cfg.Bootstrap
	first := Entry{Index: bootstrapIndex, Term: bootstrapTerm, Proposals: []Proposal{{Payload: boot.Payload}}}
	if _, err := a.n.cfg.Machine.ApplyChange(first, NewConf(boot.Voters, nil)); err != nil {
		a.n.fail(fmt.Errorf("raftlog: apply entry %d: %w", bootstrapIndex, err))
		return false
	}
	return true
}

// do reports false once the node has failed.
func (a *applier) do(batch []application) bool {
	for len(batch) > 0 && !a.n.failed() {
		applies := 0
		for applies < len(batch) && batch[applies].message.GetType() == raftpb.MsgStorageApply {
			applies++
		}
		var err error
		if applies > 0 {
			err = a.apply(batch[:applies])
		} else {
			applies = 1
			err = a.install(batch[0].message)
			a.outcomes = append(a.outcomes, outcome{installed: batch[0].message})
		}
		if err != nil {
			a.n.fail(err)
			return false
		}
		for _, o := range a.outcomes {
			a.n.applied.put(o)
		}
		clear(a.outcomes)
		a.outcomes = a.outcomes[:0]
		a.n.signal()
		batch = batch[applies:]
	}
	return !a.n.failed()
}

// apply hands the entries of messages to the Machine.
func (a *applier) apply(batch []application) error {
	var own []uint64
	for _, b := range batch {
		o, from := outcome{message: b.message}, len(own)
		for _, e := range b.message.GetEntries() {
			var err error
			if e.GetType() == raftpb.EntryNormal {
				own, err = a.decode(e, e.GetData(), own)
			} else {
				own, err = a.change(e, own, &o)
			}
			if err != nil {
				return fmt.Errorf("raftlog: entry %d: %w", e.GetIndex(), err)
			}
		}
		o.own = own[from:len(own):len(own)]
		a.outcomes = append(a.outcomes, o)
	}
	if err := a.hand(); err != nil {
		return err
	}
	a.n.checkReady()
	return nil
}

// decode adds an entry to the run.
func (a *applier) decode(e *raftpb.Entry, data []byte, own []uint64) ([]uint64, error) {
	from := len(a.proposals)
	if len(data) > 0 {
		stampMillis, proposals, err := decodeEntry(a.proposals, data)
		if err != nil {
			return own, err
		}
		a.proposals = proposals
		a.stampMillis = stampMillis
	}
	proposals := a.proposals[from:len(a.proposals):len(a.proposals)]
	for i := range proposals {
		if proposals[i].Origin == a.n.origin {
			own = append(own, proposals[i].Seq)
		}
	}
	a.entries = append(a.entries, Entry{
		Index: e.GetIndex(), Term: e.GetTerm(), StampMillis: a.stampMillis, Proposals: proposals,
	})
	return own, nil
}

// hand gives the run that has gathered to the Machine.
func (a *applier) hand() error {
	if len(a.entries) == 0 {
		return nil
	}
	first, last := a.entries[0].Index, a.entries[len(a.entries)-1].Index
	s := &a.n.status
	s.handed.Store(last) // before the Machine can report a flush of it
	if err := a.n.cfg.Machine.Apply(a.entries); err != nil {
		return fmt.Errorf("raftlog: apply entries %d to %d: %w", first, last, err)
	}
	a.forget()
	s.applied.Store(last)
	return nil
}

func (a *applier) forget() {
	clear(a.entries)
	clear(a.proposals)
	a.entries, a.proposals = a.entries[:0], a.proposals[:0]
}

// change hands over an entry that changes the configuration. What comes of it is computed here, the way raft does, so that
// the Machine can keep it together with the entry; the raft goroutine makes raft follow before raft hears that the entry is
// applied.
func (a *applier) change(e *raftpb.Entry, own []uint64, o *outcome) ([]uint64, error) {
	if err := a.hand(); err != nil {
		return own, err
	}
	change, err := decodeChange(e)
	if err != nil {
		return own, err
	}
	conf, err := nextConf(a.conf, change)
	if err != nil {
		return own, fmt.Errorf("change of the configuration %v: %w", a.conf, err)
	}
	if own, err = a.decode(e, change.GetContext(), own); err != nil {
		return own, err
	}
	s := &a.n.status
	s.handed.Store(e.GetIndex())
	stands, err := a.n.cfg.Machine.ApplyChange(a.entries[0], encodeConf(conf))
	if err != nil {
		return own, fmt.Errorf("apply a change of the configuration: %w", err)
	}
	a.forget()
	if stands {
		a.conf = conf
		a.n.confs.add(e.GetIndex(), conf)
	} else if change.LeaveJoint() {
		return own, fmt.Errorf("the machine does not leave a joint configuration")
	}
	o.changes = append(o.changes, changed{index: e.GetIndex(), change: change, conf: conf, stands: stands})
	s.applied.Store(e.GetIndex())
	return own, nil
}
