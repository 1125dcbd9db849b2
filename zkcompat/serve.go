package zkcompat

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/triglot/triglot/core"
)

// submit hands the gathered requests to the log.
func (c *conn) submit() {
	for len(c.commands) < len(c.batch) {
		c.commands = append(c.commands, &command{})
	}
	for i, r := range c.batch {
		c.build(r, c.commands[i])
		c.txns = append(c.txns, &c.commands[i].txn)
		if r.op.code == opCloseSession {
			// The end of the session is to be answered, not to cut the connection.
			c.server.leave(c)
		}
	}
	c.flight = append(c.flight, group{c.store.Submit(c.ctx, c.txns...), c.batch})
	c.flying += len(c.batch)
	for i := range c.batch {
		c.commands[i].end() // the log has a copy
	}
	clear(c.txns)
	c.batch, c.txns = nil, c.txns[:0]
	c.commands = slices.Delete(c.commands, min(commandsKeptMax, len(c.commands)), len(c.commands))
}

// commandsKeptMax is how many commands' memory an idle connection keeps.
const commandsKeptMax = 16

// answerGroup answers the oldest group, whose results are there.
func (c *conn) answerGroup() error {
	oldest := c.flight[0]
	c.flight[0] = group{}
	c.flight = c.flight[1:]
	c.flying -= len(oldest.requests)
	results, err := oldest.pending.Wait(c.ctx)
	if err != nil {
		// The client learns what there is to know: the connection is lost and the outcome unknown.
		return fmt.Errorf("commands were not carried out: %w", err)
	}
	for i, r := range oldest.requests {
		result := results[i]
		if err := c.watches.deliver(result.Revision, c.out.event); err != nil {
			return err
		}
		start := c.out.begin()
		failure := c.writeResult(r, result, &c.out.encoder)
		c.out.end(start, r.xid, result.Revision, failure)
		last := c.answered(r, result.Revision, failure)
		if last || failure == codeSessionExpired || failure == codeSessionMoved {
			c.ending = true
			return nil
		}
	}
	core.Recycle(results...)
	return nil
}

// answer answers a request from a view.
func (c *conn) answer(r *request) error {
	if err := context.Cause(c.ctx); err != nil {
		return err
	}
	c.noteRefusal(r)
	level := core.Local
	if r.op.fresh || c.server.opts.LinearizableReads {
		level = core.Linearizable
	}
	view, err := c.store.View(c.ctx, level)
	if err != nil {
		return fmt.Errorf("no view to read from: %w", err)
	}
	defer view.Close()
	view.As(c.caller)
	if r.refused == codeOK {
		r.refused = permitted(r, view)
	}
	zxid := view.Revision()
	if err := c.watches.deliver(zxid, c.out.event); err != nil {
		return err
	}
	if r.op.first != nil && r.refused == codeOK {
		r.op.first(c, r, view)
	}
	start := c.out.begin()
	failure := r.refused
	if failure == codeOK {
		failure = r.op.read(c, r, view, &c.out.encoder)
	}
	if err := view.Err(); codeOf(err) == codeNoAuth {
		failure = codeNoAuth
	} else if err != nil {
		c.log.Error("a zookeeper request met a storage failure", "op", r.op.name, "err", err)
		failure = codeSystemError
	}
	shown := zxid
	if failure == codeUnimplemented {
		shown = -1 // as the peer has it
	}
	c.out.end(start, r.xid, shown, failure)
	if c.answered(r, zxid, failure) {
		c.ending = true
	}
	return nil
}

// answered does the accounts of a request, which ends here. last says that it is its connection's last one.
func (c *conn) answered(r *request, zxid int64, failure code) (last bool) {
	c.unanswered.Add(-1)
	c.held.Add(-int64(r.bytes))
	select {
	case c.freed <- struct{}{}:
	default:
	}
	took := time.Since(r.received)
	c.counters.answered(r, zxid, took)
	c.server.stats.answered(r.op, took, failure)
	last = r.op.last
	r.end()
	return last
}

// noteRefusal tells the operator, once for each connection, of an ACL that is not served, since the client's own error
// does not say why.
func (c *conn) noteRefusal(r *request) {
	if r.refused != codeInvalidACL || c.warned {
		return
	}
	c.warned = true
	c.log.Warn("zookeeper ACL refused", "op", r.op.name, "path", r.path, "reason", r.acl)
}
