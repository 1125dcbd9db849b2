package raftlog

import (
	"context"
	"errors"
)

// Propose queues a proposal of this node and returns once it is queued; the outcome reaches the Machine. Proposals of
// one goroutine keep their order. The payload is copied.
//
// The errors, ErrStopped, ErrTooLarge, ErrOverloaded or ctx's, all mean that the proposal was not queued. It never
// waits, so ctx is only looked at.
func (n *Node) Propose(ctx context.Context, seq uint64, payload []byte) error {
	group := [1]Proposal{{Seq: seq, Payload: payload}}
	return n.ProposeAll(ctx, group[:])
}

// ProposeAll queues a group: all of it or, with an error, nothing. In the log its proposals are in order and none of this
// node's is between them, though they are not always in one entry; and none is there without those before it. Their Origin
// is this node's, whatever it says.
func (n *Node) ProposeAll(ctx context.Context, group []Proposal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wake, err := n.queue.add(n.origin, group)
	if errors.Is(err, ErrStopped) {
		return n.stopped()
	}
	if err != nil {
		return err
	}
	if wake {
		n.signal()
	}
	return nil
}
