package raftlog

import "context"

// ReadIndex returns an index such that whoever reads after it is applied sees everything that was acknowledged before
// the call.
//
// A leader must have committed an entry of its own term before it knows what is committed; Ready stands for that. From
// then on nobody else can have committed anything that a lone voter does not know of, so it asks nobody; and since its
// own Machine acknowledges nothing before it was handed it, what it was handed by now is enough. A read need not wait
// for entries that are still being written.
func (n *Node) ReadIndex(ctx context.Context) (uint64, error) {
	select {
	case <-n.stopping:
		return 0, n.stopped()
	default:
	}
	select {
	case <-n.ready: // the usual case, without looking at ctx
	default:
		select {
		case <-n.ready:
		case <-n.stopping:
			return 0, n.stopped()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return n.status.handed.Load(), nil
}
