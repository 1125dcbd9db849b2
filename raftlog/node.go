package raftlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"
)

// Node is one member of the replicated log.
type Node struct {
	cfg    Config
	origin uint64
	queue  queue

	driver   *driver
	appender *appender
	applier  *applier

	// wake tells the raft goroutine that the queue or one of its mailboxes is not empty. One pending wake-up is enough.
	wake        chan struct{}
	inbox       *inbox                    // other members → raft
	unreachable unreachable               // transport → raft
	called      atomic.Bool               // something is in inbox, asks, reads or unreachable
	asks        *mailbox[func(*driver)]   // calls → raft
	reads       *mailbox[*read]           // calls → raft
	writes      *mailbox[write]           // raft → append
	applies     *mailbox[application]     // raft → apply
	written     *mailbox[*raftpb.Message] // append → raft
	applied     *mailbox[outcome]         // apply → raft

	status published
	confs  confs

	ready     chan struct{}
	readyOnce sync.Once
	stopping  chan struct{}
	stopOnce  sync.Once
	done      chan struct{}
	failure   atomic.Pointer[error]
	fatal     sync.Once

	alive context.Context // ends when the node stops
	kill  context.CancelFunc
	tasks sync.WaitGroup
	spawn func(func()) // runs what may wait for a disk; a simulation runs it itself

	purging sync.Mutex // held while Log.Purge runs and while the Log is closed; guards what follows
	log     Log        // nil once closed
}

// launch starts the goroutines.
func (n *Node) launch() error {
	if t := n.cfg.Transport; t != nil {
		if err := t.Start(handler{n}); err != nil {
			return fmt.Errorf("raftlog: start transport: %w", err)
		}
	}
	var raft, workers sync.WaitGroup
	raft.Go(n.driver.run)
	workers.Go(n.appender.run)
	workers.Go(n.applier.run)
	go n.lifetime(&raft, &workers)
	return nil
}

// Origin marks this node's proposals of this run. It differs from that of every other node and every earlier run, so
// that a replayed entry never looks like the answer to a new proposal.
func (n *Node) Origin() uint64 { return n.origin }

// Ready is closed when the node knows a leader and has applied everything that was committed when it first asked.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when the node has stopped, for whatever reason: no call to the Machine is running or will follow.
// A proposal that was queued and not applied by then may or may not be in the log.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is the failure that stopped the node, nil if there was none.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Stop ends the node and returns its failure, if any. What was handed to the disk is written and synced, what was
// committed and handed over is applied; what still waits in the queue is dropped. It may be called more than once,
// and from Config.OnFatal, but not from the Machine or a Handler's functions.
func (n *Node) Stop() error {
	n.halt()
	<-n.done
	return n.Err()
}

func (n *Node) halt() {
	n.stopOnce.Do(func() {
		n.queue.close()
		n.inbox.close()
		n.kill()
		close(n.stopping)
	})
}

// readyAt says that the node is ready once an index is applied. Only the first one counts.
func (n *Node) readyAt(index uint64) {
	if n.status.readyAt.CompareAndSwap(0, index) {
		n.checkReady()
	}
}

// checkReady is called when what is applied or what has to be has changed.
func (n *Node) checkReady() {
	if at := n.status.readyAt.Load(); at != 0 && n.status.applied.Load() >= at {
		n.readyOnce.Do(func() { close(n.ready) })
	}
}

// fail stops the node because of err. The first failure is the one that is reported.
func (n *Node) fail(err error) {
	n.fatal.Do(func() {
		n.failure.Store(&err)
		if errors.Is(err, ErrRemoved) {
			n.cfg.Logger.Warn("this member was removed from the cluster, node stops")
		} else {
			n.cfg.Logger.Error("raft log failed, node stops", "error", err)
		}
	})
	n.halt()
}

func (n *Node) failed() bool { return n.failure.Load() != nil }

// stopped is the error for callers of a node that takes no more calls.
func (n *Node) stopped() error {
	if err := n.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return ErrStopped
}

// lifetime ends the node once its goroutines have ended.
func (n *Node) lifetime(raft, workers *sync.WaitGroup) {
	raft.Wait()
	if t := n.cfg.Transport; t != nil {
		t.Stop()
	}
	workers.Wait()
	n.tasks.Wait()
	for _, f := range n.asks.poll(nil) {
		f(n.driver) // it may bring a snapshot that has to be released
	}
	n.driver.senders.close()
	failed := n.failed()
	n.purging.Lock()
	err := n.log.Close()
	n.log = nil
	n.purging.Unlock()
	if err != nil {
		n.fail(fmt.Errorf("raftlog: close log: %w", err))
	}
	close(n.done)
	if failed {
		n.cfg.OnFatal(n.Err())
	}
}

// signal wakes the raft goroutine.
func (n *Node) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// call wakes the raft goroutine for something that is neither a proposal nor a result. These come so much more often that
// it looks for the rest only when it is told.
func (n *Node) call() {
	n.called.Store(true)
	n.signal()
}

// ask has the raft goroutine do something.
func (n *Node) ask(f func(*driver)) {
	if n.asks.put(f) {
		n.call()
	}
}

// await waits for the raft goroutine's answer.
func await[T any](ctx context.Context, n *Node, answer <-chan T) (T, error) {
	var none T
	select {
	case a := <-answer:
		return a, nil
	case <-n.stopping:
		return none, n.stopped()
	case <-ctx.Done():
		if n.status.leader.Load() == 0 {
			return none, fmt.Errorf("%w: %w", ErrNoLeader, ctx.Err())
		}
		return none, ctx.Err()
	}
}

// awaitError is await for what answers with an error alone.
func awaitError(ctx context.Context, n *Node, answer <-chan error) error {
	answered, err := await(ctx, n, answer)
	if err != nil {
		return err
	}
	return answered
}
