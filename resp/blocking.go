package resp

import (
	"math"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

var blockingCommands = []*command{
	{
		name: "blpop", arity: -3, flags: flagWrite | flagNoscript | flagBlocking,
		keys: keySpec{first: 1, last: -2, step: 1}, since: "2.0.0", group: "list", args: "key... timeout",
		summary: "Takes the head of the first list that is not empty, waiting for one.",
		plan:    func(q *request) plan { return planOf(blockPop(q, true)) },
		block:   func(q *request) (blocking, string) { return blockPop(q, true) },
	}, {
		name: "brpop", arity: -3, flags: flagWrite | flagNoscript | flagBlocking,
		keys: keySpec{first: 1, last: -2, step: 1}, since: "2.0.0", group: "list", args: "key... timeout",
		summary: "Takes the tail of the first list that is not empty, waiting for one.",
		plan:    func(q *request) plan { return planOf(blockPop(q, false)) },
		block:   func(q *request) (blocking, string) { return blockPop(q, false) },
	}, {
		name: "blmpop", arity: -5, flags: flagWrite | flagBlocking | flagMovableKeys, keys: keySpec{count: 2},
		since: "7.0.0", group: "list", args: "timeout numkeys key... (LEFT|RIGHT) [COUNT count]",
		summary: "Takes elements from the first list that is not empty, waiting for one.",
		plan:    func(q *request) plan { return planOf(blockMPop(q)) }, block: blockMPop,
	}, {
		name: "blmove", arity: 6, flags: writes | flagNoscript | flagBlocking, keys: twoKeys, since: "6.2.0",
		group: "list", args: "source destination (LEFT|RIGHT) (LEFT|RIGHT) timeout",
		summary: "Moves an element from one list to another, waiting for one.",
		plan:    func(q *request) plan { return planOf(blockMove(q)) }, block: blockMove,
	}, {
		name: "brpoplpush", arity: 4, flags: writes | flagNoscript | flagBlocking, keys: twoKeys, since: "2.2.0",
		group: "list", args: "source destination timeout",
		summary: "Moves the last element of a list to the head of another, waiting for one.",
		plan:    func(q *request) plan { return planOf(blockRPopLPush(q)) }, block: blockRPopLPush,
	},
}

// blocking says how a command takes from a list, and what it waits for when there is nothing to take.
type blocking struct {
	space   uint32
	keys    [][]byte
	timeout time.Duration // 0 = for ever
	// take is the op, given the keys to take from.
	take   func(keys [][]byte) *corepb.Op
	format func(*writer, *core.Result)
}

// planOf makes a blocking command one that takes what there is: so it is within MULTI.
func planOf(b blocking, errText string) plan {
	if errText != "" {
		return refuse(errText)
	}
	return single(b.take(b.keys), b.format)
}

func parseTimeout(word []byte) (time.Duration, string) {
	seconds, ok := parseFloat(word)
	if !ok {
		return 0, "ERR timeout is not a float or out of range"
	}
	if seconds < 0 {
		return 0, "ERR timeout is negative"
	}
	millis := math.Ceil(seconds * 1000)
	if millis > float64(math.MaxInt64-nowMillis()) {
		return 0, "ERR timeout is out of range"
	}
	if millis > float64(math.MaxInt64/time.Millisecond) {
		return 0, "" // centuries: for ever
	}
	return time.Duration(millis) * time.Millisecond, ""
}

func blockPop(q *request, left bool) (b blocking, errText string) {
	last := len(q.args) - 1
	b = blocking{space: q.db, keys: q.args[1:last], format: formatKeyValue}
	b.timeout, errText = parseTimeout(q.args[last])
	b.take = func(keys [][]byte) *corepb.Op { return popOp(q.db, keys, 1, left) }
	return b, errText
}

func formatKeyValue(w *writer, r *core.Result) {
	if !r.OK {
		w.nullArray()
		return
	}
	w.array(2)
	w.bulk(r.Key)
	w.bulk(firstOf(r.Values))
}

func blockMPop(q *request) (b blocking, errText string) {
	m, errText := parseMPop(q.args[2:])
	if errText != "" {
		return b, errText
	}
	b = blocking{space: q.db, keys: m.keys, format: formatMPop}
	b.timeout, errText = parseTimeout(q.args[1])
	b.take = func(keys [][]byte) *corepb.Op { return popOp(q.db, keys, m.count, m.left) }
	return b, errText
}

func blockMove(q *request) (b blocking, errText string) {
	fromLeft, ok1 := parseSide(q.args[3])
	toLeft, ok2 := parseSide(q.args[4])
	if !ok1 || !ok2 {
		return b, errSyntax
	}
	return blockMoveOf(q, moveOp(q, fromLeft, toLeft), q.args[5])
}

func blockRPopLPush(q *request) (blocking, string) {
	return blockMoveOf(q, moveOp(q, false, true), q.args[3])
}

func blockMoveOf(q *request, op *corepb.Op, timeout []byte) (b blocking, errText string) {
	b = blocking{space: q.db, keys: q.args[1:2], format: formatMove}
	b.timeout, errText = parseTimeout(timeout)
	b.take = func([][]byte) *corepb.Op { return op }
	return b, errText
}

// find looks for the first key that is a list, -1 when there is none. A key of another kind is an error for a command
// that has just begun, and nothing to take for one that waits, as in Redis. Looking costs the log nothing.
//
// The view is linearizable whatever the server's choice, since a waiter that is woken by a change must see it.
func (c *conn) find(b *blocking, waiting bool) (at int, err error) {
	view, err := c.srv.store.View(c.srv.ctx, core.Linearizable)
	if err != nil {
		return -1, err
	}
	defer view.Close()
	for i, key := range b.keys {
		switch record := view.Get(byte(b.space), key); {
		case record == nil:
		case record.Kind == storage.KindList:
			return i, view.Err()
		case !waiting:
			return -1, core.ErrWrongKind
		}
	}
	return -1, view.Err()
}

// take takes from the first list there is. answered is false when there was nothing to take.
func (c *conn) take(b *blocking, waiting bool) (answered bool) {
	at, err := c.find(b, waiting)
	if err != nil {
		c.out.fail(err)
		return true
	}
	if at < 0 {
		return false
	}
	results, err := c.srv.store.Do(c.srv.ctx, &corepb.Txn{Then: []*corepb.Op{b.take(b.keys[at : at+1])}})
	if err != nil {
		c.out.fail(err)
		return true
	}
	result := &results.Results[0]
	switch {
	case result.Err != nil:
		c.out.fail(result.Err)
	case !result.OK:
		return false // somebody was faster
	default:
		b.format(&c.out, result)
	}
	return true
}

// block runs a blocking command. open is false when the connection has to end.
func (c *conn) block(b *blocking) (open bool) {
	if !c.srv.blockers.contended(b) {
		if c.take(b, false) {
			return true
		}
	} else if _, err := c.find(b, false); err != nil {
		c.out.fail(err)
		return true
	}
	if c.flush() != nil {
		return false
	}
	w, err := c.srv.blockers.enter(b)
	if err != nil {
		c.out.fail(err)
		return true
	}
	defer c.srv.blockers.leave(w)
	c.public.blocked.Store(w)
	defer c.public.blocked.Store(nil)

	var expired <-chan time.Time
	if b.timeout > 0 {
		timer := time.NewTimer(b.timeout)
		defer timer.Stop()
		expired = timer.C
	}
	ahead := c.lookAhead()
	open = c.await(w, b, expired, ahead.gone)
	return ahead.stop() && open
}

// await waits until a blocked command has its answer.
func (c *conn) await(w *waiter, b *blocking, expired <-chan time.Time, gone <-chan struct{}) (open bool) {
	for {
		select {
		case <-w.wake:
			if c.take(b, true) {
				return true
			}
		case <-expired:
			c.out.nullArray()
			return true
		case withError := <-w.unblock:
			if withError {
				c.out.err("UNBLOCKED client unblocked via CLIENT UNBLOCK")
			} else {
				c.out.nullArray()
			}
			return true
		case <-gone:
			return false
		case <-c.srv.closing:
			return false
		}
	}
}
