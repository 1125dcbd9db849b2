package resp

import (
	"errors"
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

// find looks for the first key that is a list, -1 when there is none, and tells the revision at which it looked. A key of
// another kind is an error for a command that has just begun, and nothing to take for one that waits, as in Redis.
// Looking costs the log nothing.
func (c *conn) find(b *blocking, waiting bool) (at int, revision int64, err error) {
	view, err := c.srv.store.View(c.srv.ctx, core.Linearizable)
	if err != nil {
		return -1, 0, err
	}
	defer view.Close()
	view.As(c.caller)
	for i, key := range b.keys {
		switch record := view.Get(byte(b.space), key); {
		case record == nil:
		case record.Kind == storage.KindList:
			return i, view.Revision(), view.Err()
		case !waiting:
			return -1, 0, core.ErrWrongKind
		}
	}
	return -1, view.Revision(), view.Err()
}

// take runs the op on some of the keys. answered is false when there was nothing to take.
func (c *conn) take(b *blocking, keys [][]byte) (answered bool, err error) {
	if c.track != nil {
		c.hold() // what it waited for was held for the request, not for the reply
	}
	results, err := c.submit(&corepb.Txn{Then: []*corepb.Op{b.take(keys)}})
	if err != nil {
		return false, err
	}
	result := &results[0].Results[0]
	if result.Err != nil || !result.OK {
		return false, result.Err
	}
	b.format(&c.out, result)
	return true, nil
}

// takeWoken looks again for a client that waits. A view shows at least what events told.
func (c *conn) takeWoken(b *blocking) (answered bool) {
	at, _, err := c.find(b, true)
	if err == nil && at >= 0 {
		answered, err = c.take(b, b.keys[at:at+1])
	}
	if err != nil {
		c.out.fail(err)
		return true
	}
	return answered
}

// enterQueue queues a client that found nothing to take, unless it is answered before that.
func (c *conn) enterQueue(b *blocking) (w *waiter, err error) {
	for {
		at, revision, err := c.find(b, false)
		if err != nil {
			return nil, err
		}
		// Somebody who waits already comes first.
		if at >= 0 && !c.srv.blockers.contended(b) {
			if answered, err := c.take(b, b.keys[at:at+1]); answered || err != nil {
				return nil, err
			}
		}
		w, err := c.srv.blockers.enter(b, revision+1)
		if !errors.Is(err, core.ErrCompacted) { // so much has happened since: look again
			return w, err
		}
	}
}

// block runs a blocking command. open is false when the connection has to end.
func (c *conn) block(b *blocking) (open bool) {
	w, err := c.enterQueue(b)
	if err != nil {
		c.out.fail(err)
	}
	if w == nil {
		return true
	}
	defer c.srv.blockers.leave(w)
	if c.flush() != nil {
		return false
	}
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
			if c.takeWoken(b) {
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
