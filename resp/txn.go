package resp

import (
	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

const inMulti = session | flagFast | flagAllowBusy | flagInMulti

var txnCommands = []*command{
	{
		name: "multi", arity: 1, flags: inMulti, since: "1.2.0", group: "transactions",
		summary: "Begins a transaction: what follows is queued.", run: runMulti,
	}, {
		name: "exec", arity: 1, flags: session | flagSkipSlowlog | flagInMulti, since: "1.2.0", group: "transactions",
		summary: "Executes the queued commands, all at one moment.", run: runExec,
	}, {
		name: "discard", arity: 1, flags: inMulti, since: "2.0.0", group: "transactions",
		summary: "Forgets the queued commands.", run: runDiscard,
	}, {
		name: "watch", arity: -2, flags: inMulti, keys: allKeys, since: "2.2.0", group: "transactions", args: "key...",
		summary: "Makes the next transaction depend on keys staying as they are.", run: runWatch,
	}, {
		name: "unwatch", arity: 1, flags: session | flagFast | flagAllowBusy, since: "2.2.0", group: "transactions",
		summary: "Forgets the watched keys.",
		run: func(c *conn, _ *request) {
			c.watched = nil
			c.out.ok()
		},
	},
}

// transaction is what was queued since MULTI.
type transaction struct {
	calls  []request // with copies of their arguments
	bytes  int
	broken bool // a request was refused: EXEC will be too
}

// watchedKey is what a key was when it was watched. These properties change with everything that Redis counts as
// touching a key: every write moves the mod revision, but a new deadline alone does not.
type watchedKey struct{ mod, deadline, lease int64 }

// watchedName tells watched keys apart.
type watchedName struct {
	space uint32
	key   string
}

func (c *conn) enqueue(cmd *command, args [][]byte) {
	size := 0
	for _, a := range args {
		size += len(a)
	}
	if c.tx.bytes += size + 32*len(args); c.tx.bytes > c.srv.opts.MaxQueryBytes {
		c.tx.broken = true
		c.tx.calls = nil
		c.add(refuse("ERR the transaction exceeds the maximum allowed size"))
		return
	}
	copied := make([][]byte, len(args))
	all := make([]byte, 0, size)
	for i, a := range args {
		all = append(all, a...)
		copied[i] = all[len(all)-len(a) : len(all) : len(all)]
	}
	c.tx.calls = append(c.tx.calls, request{cmd: cmd, args: copied, opts: &c.srv.opts, queued: true})
	c.public.queued.Store(int64(len(c.tx.calls)))
	c.alone(func() { c.out.simple("QUEUED") })
}

// leaveMulti ends the transaction, and with it the watching of keys.
func (c *conn) leaveMulti() {
	c.tx, c.watched = nil, nil
	c.public.queued.Store(-1)
}

func runMulti(c *conn, _ *request) {
	if c.tx != nil {
		c.out.err("ERR MULTI calls can not be nested")
		return
	}
	c.tx = &transaction{}
	c.public.queued.Store(0)
	c.out.ok()
}

func runDiscard(c *conn, _ *request) {
	if c.tx == nil {
		c.out.err("ERR DISCARD without MULTI")
		return
	}
	c.leaveMulti()
	c.out.ok()
}

func runWatch(c *conn, q *request) {
	if c.tx != nil {
		c.out.err("ERR WATCH inside MULTI is not allowed")
		return
	}
	if len(c.watched)+len(q.args)-1 > q.opts.MaxNames {
		c.out.err("ERR too many watched keys")
		return
	}
	view := c.readView()
	if view == nil {
		return
	}
	if c.watched == nil {
		c.watched = map[watchedName]watchedKey{}
	}
	for _, key := range q.args[1:] {
		name := watchedName{q.db, string(key)}
		if _, ok := c.watched[name]; ok {
			continue // as it was when it was watched first
		}
		var k watchedKey
		if record := view.Get(byte(q.db), key); record != nil {
			k = watchedKey{record.ModRevision, record.DeadlineMillis, record.Lease}
		}
		c.watched[name] = k
	}
	c.out.ok()
	c.checkView()
}

func (k watchedKey) guards(name watchedName) []*corepb.Guard {
	guard := func(target corepb.Guard_Target, number int64) *corepb.Guard {
		return &corepb.Guard{
			Space: name.space, Key: []byte(name.key), Target: target, Comparison: corepb.Guard_EQUAL, Number: number,
			AnyKind: true,
		}
	}
	if k.mod == 0 {
		return []*corepb.Guard{guard(corepb.Guard_MOD_REVISION, 0)}
	}
	return []*corepb.Guard{
		guard(corepb.Guard_MOD_REVISION, k.mod), guard(corepb.Guard_DEADLINE, k.deadline), guard(corepb.Guard_LEASE, k.lease),
	}
}

// runExec makes one Txn of the plans of all queued commands, and their replies from its results. Commands that are not
// about keys run in their place among the replies.
func runExec(c *conn, _ *request) {
	tx, watched := c.tx, c.watched
	if tx == nil {
		c.out.err("ERR EXEC without MULTI")
		return
	}
	c.leaveMulti()
	if tx.broken {
		c.out.err("EXECABORT Transaction discarded because of previous errors.")
		return
	}
	txn := &corepb.Txn{}
	for name, k := range watched {
		txn.Guards = append(txn.Guards, k.guards(name)...)
	}
	plans := make([]plan, len(tx.calls))
	db := c.db
	for i := range tx.calls {
		q := &tx.calls[i]
		q.db = db
		switch {
		case q.cmd.plan != nil:
			plans[i] = q.cmd.plan(q)
			txn.Then = append(txn.Then, plans[i].ops...)
		case q.cmd.name == "select":
			if n, text := parseDB(q.args[1]); text == "" {
				db = n
			}
		}
	}
	result, ok := c.transact(txn)
	if !ok {
		return
	}
	results := result.Results
	c.out.array(len(plans))
	for i := range plans {
		q := &tx.calls[i]
		if q.cmd.plan == nil {
			q.db = c.db
			q.cmd.run(c, q)
			continue
		}
		n := len(plans[i].ops)
		plans[i].reply(&c.out, results[:n])
		results = results[n:]
		c.rememberCall(tx.calls, i, result)
	}
}

// transact runs a Txn. ok is false when the reply is written already: its guards did not hold, or it failed.
func (c *conn) transact(txn *corepb.Txn) (result *core.TxnResult, ok bool) {
	if len(txn.Then) == 0 && len(txn.Guards) == 0 {
		return &core.TxnResult{}, true
	}
	c.closeView()
	result, err := c.do(txn)
	switch {
	case err != nil:
		c.out.fail(err)
	case result.Err != nil:
		c.out.fail(result.Err)
	case !result.Succeeded:
		c.out.nullArray()
	default:
		return result, true
	}
	return nil, false
}
