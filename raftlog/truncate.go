package raftlog

import "fmt"

// Truncate says that everything up to the entry flushed is durable elsewhere, so that Config.Applied will not be less
// after a restart. The log may forget it. It returns when that is recorded, one sync later, and may be called from
// anywhere, even from the Machine's methods. Calling it with what is forgotten already does nothing. An error means that
// the node has stopped, or that disk space could not be given back.
func (n *Node) Truncate(flushed uint64) error {
	// Between Machine.Install and the marker of the snapshot the log does not have what the Machine has. The marker that is
	// on its way does the same.
	if marking := n.status.marking.Load(); marking != 0 && flushed >= marking {
		return nil
	}
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
	if err := n.log.Purge(min(flushed, n.status.marker.Load())); err != nil {
		return fmt.Errorf("raftlog: purge log: %w", err)
	}
	return nil
}

// truncate moves the marker to index. The Machine is only given durable entries, and only what it was given can be
// truncated, so the entry is in the log before the marker is.
func (a *appender) truncate(index uint64) error {
	index, conf := a.n.confs.truncate(index)
	if index <= a.marker.Index {
		return nil
	}
	a.terms = a.terms.from(index)
	marker := Marker{Index: index, Term: a.terms.at(index), Conf: conf}
	if err := a.log.Mark(marker); err != nil {
		return fmt.Errorf("raftlog: write marker: %w", err)
	}
	a.marker = marker
	a.n.status.marker.Store(index)
	return nil
}
