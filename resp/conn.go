package resp

import (
	"errors"
	"net"
	"strings"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// conn is one client's connection. Its fields belong to its goroutine, except for those that say otherwise.
//
// A pipeline is handled as it arrives. Writes that follow one another are gathered in group and enter the log together.
// A small read behind a write joins the group, which costs the log a few bytes where waiting for the write first would
// cost a disk sync; whatever else comes waits for the group. Reads that follow one another share a view: all their
// requests had arrived when it was taken, so that each of them is as linearizable as if it were alone.
type conn struct {
	srv *Server
	nc  net.Conn
	id  int64
	in  parser
	out writer

	view  *core.View // of the reads under way, nil for none
	group group

	caller  *corepb.Caller // who it speaks for; nil is nobody
	db      uint32
	tx      *transaction // nil outside MULTI
	watched map[watchedName]watchedKey
	subs    subscriptions
	mail    mailbox   // takes the output
	track   *tracking // nil while CLIENT TRACKING is off

	muted  bool // CLIENT REPLY OFF
	skip   bool // CLIENT REPLY SKIP: the next request has no reply
	silent bool // the request under way has no reply
	mark   int  // where in out its reply begins
	ending bool // close when everything is written

	public publicInfo // what other connections may see and do
}

// group is a run of writes, and small reads among them, that are not in the log yet. Their arguments are still in the read buffer.
type group struct {
	items []groupItem
	txns  []*corepb.Txn
	bytes int
}

// newTxn gives the group another command to fill.
func (g *group) newTxn() *corepb.Txn {
	n := len(g.txns)
	if n == cap(g.txns) || g.txns[:n+1][n] == nil {
		g.txns = append(g.txns, &corepb.Txn{})
	} else {
		g.txns = g.txns[:n+1]
	}
	return g.txns[n]
}

// groupKeptMax is how many commands' memory a connection keeps from one group to the next.
const groupKeptMax = 32

// end makes the group empty.
func (g *group) end() {
	clear(g.items)
	for i, txn := range g.txns {
		if i < groupKeptMax {
			txn.Reset()
		} else {
			g.txns[i] = nil
		}
	}
	g.items, g.txns, g.bytes = g.items[:0], g.txns[:0], 0
}

// groupItem is a command of a group, or an error between two of them, which has no ops.
type groupItem struct {
	plan   plan
	silent bool
}

func newConn(srv *Server, nc net.Conn, id int64) *conn {
	c := &conn{srv: srv, nc: nc, id: id, in: newParser(&srv.opts)}
	c.out.srv = srv
	c.public.start(nc)
	return c
}

// serve handles requests until the connection ends.
func (c *conn) serve() {
	defer c.end()
	for {
		args, ok, err := c.in.next()
		if err != nil {
			c.refuse(err)
			return
		}
		if ok {
			c.execute(args)
			c.spendCaching()
			if c.ending || len(c.out.buf) > outputFlushBytes && c.flush() != nil {
				c.settle()
				c.flush()
				return
			}
			continue
		}
		c.settle()
		if c.flush() != nil || c.srv.isClosing() {
			return
		}
		c.public.active.Store(nowMillis())
		if err := c.in.fill(c.nc); err != nil {
			c.refuse(err)
			return
		}
	}
}

// refuse answers a request that cannot be read. Other errors are the connection's, and have no answer.
func (c *conn) refuse(err error) {
	var broken protocolError
	if !errors.As(err, &broken) {
		return
	}
	c.settle()
	c.out.err("ERR " + broken.Error())
	c.flush()
}

// end releases everything that the connection holds.
func (c *conn) end() {
	c.closeView()
	c.srv.pubsub.drop(c)
	c.stopTracking()
	if box := c.mail.close(); box != nil {
		c.nc.SetWriteDeadline(time.Now().Add(lastWordsMax))
		box.finish()
	}
	c.nc.Close()
	c.srv.unregister(c)
}

// lastWordsMax is how long a subscriber has to take what was written before its connection ended.
const lastWordsMax = 5 * time.Second

// execute handles one request.
func (c *conn) execute(args [][]byte) {
	c.srv.stats.commands.Add(1)
	c.silent = c.muted || c.skip
	c.skip = false
	cmd, text := resolve(args)
	if text == "" {
		c.public.command.Store(cmd)
		if c.subs.total() > 0 && !c.out.resp3 && cmd.flags&flagSubscribed == 0 {
			text = "ERR Can't execute '" + cmd.fullName + "': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / " +
				"RESET are allowed in this context"
		}
	}
	if text == "" {
		text = c.refusal(cmd)
	}
	if text != "" {
		if is(args[0], "EXEC") { // it ends what it cannot carry out
			c.leaveMulti()
			text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
		}
		if c.tx != nil {
			c.tx.broken = true
		}
		c.add(refuse(text))
		return
	}
	if c.tx != nil && cmd.flags&flagInMulti == 0 {
		c.enqueue(cmd, args)
		return
	}
	q := request{cmd: cmd, args: args, db: c.db, opts: &c.srv.opts}
	if c.track != nil {
		c.hold() // an invalidation that came before a reply would be about another value than the reply's
	}
	if c.observes(cmd) {
		c.settle() // the view that it is answered from says what the client has read
		defer func() { c.observe(&q) }()
	}
	switch {
	case cmd.block != nil:
		b, text := cmd.block(&q)
		if text != "" {
			c.add(refuse(text))
			return
		}
		c.alone(func() { c.ending = !c.block(&b) || c.ending })
	case cmd.read != nil && len(c.group.items) == 0:
		if view := c.readView(); view != nil {
			cmd.read(&q, view, &c.out)
			c.checkView()
		}
		c.mute()
	case cmd.plan != nil:
		c.add(cmd.plan(&q))
	case cmd.run != nil:
		c.alone(func() { cmd.run(c, &q) })
	default:
		c.add(refuse(errArity(cmd.fullName))) // a container without its subcommand
	}
}

// alone runs something that must not overtake the writes before it.
func (c *conn) alone(run func()) {
	c.settle()
	run()
	c.mute()
}

// mute takes back the reply of a request that shall have none.
func (c *conn) mute() {
	if c.silent {
		c.out.buf = c.out.buf[:c.mark]
	}
	c.mark = len(c.out.buf)
}

// add carries out a plan: a write joins the group; a read does too when it is small and comes behind a write, and is
// answered from a view otherwise.
func (c *conn) add(p plan) {
	if len(p.ops) == 0 && len(c.group.items) == 0 {
		p.reply(&c.out, nil)
		c.mute()
		return
	}
	if len(p.ops) > 0 && !p.changes() && (len(c.group.items) == 0 || !p.cheap()) {
		c.settle()
		c.readPlan(&p)
		c.mute()
		return
	}
	g := &c.group
	g.items = append(g.items, groupItem{plan: p, silent: c.silent})
	if len(p.ops) > 0 {
		txn := g.newTxn()
		txn.Then = p.ops
		g.bytes += txn.SizeVT()
	}
	if len(g.items) >= c.srv.opts.MaxGroupCommands || g.bytes >= c.srv.opts.MaxGroupBytes {
		c.settle()
	}
}

// readPlan answers a plan that only reads.
func (c *conn) readPlan(p *plan) {
	view := c.readView()
	if view == nil {
		return
	}
	result, err := view.Do(&corepb.Txn{Then: p.ops})
	if err != nil {
		c.out.fail(err)
		c.closeView()
		return
	}
	p.reply(&c.out, result.Results)
}

// readView gives the view of the reads under way. When it is nil, the reply is an error that is written already.
func (c *conn) readView() *core.View {
	if c.view == nil {
		view, err := c.srv.store.View(c.srv.ctx, c.srv.readLevel())
		if err != nil {
			c.out.fail(err)
			return nil
		}
		view.As(c.caller)
		c.view = view
		c.out.now = view.NowMillis()
	}
	return c.view
}

// checkView replaces the reply by an error when storage failed while it was made.
func (c *conn) checkView() {
	if err := c.view.Err(); err != nil {
		c.out.buf = c.out.buf[:c.mark]
		c.out.fail(err)
		c.closeView()
	}
}

func (c *conn) closeView() {
	if c.view != nil {
		c.view.Close()
		c.view = nil
		c.out.now = 0
	}
}

// settle puts the group into the log, waits for it and writes its replies.
func (c *conn) settle() {
	g := &c.group
	if len(g.items) == 0 {
		return
	}
	c.closeView()
	var results []*core.TxnResult
	var err error
	if len(g.txns) > 0 {
		results, err = c.submit(g.txns...)
	}
	rest := results
	silent := c.silent
	for i := range g.items {
		item := &g.items[i]
		c.silent = item.silent
		switch {
		case len(item.plan.ops) == 0:
			item.plan.reply(&c.out, nil)
		case err != nil:
			c.out.fail(err)
		default:
			if rest[0].Err != nil {
				c.out.fail(rest[0].Err)
			} else {
				item.plan.reply(&c.out, rest[0].Results)
			}
			rest = rest[1:]
		}
		c.mute()
	}
	core.Recycle(results...)
	c.silent = silent
	g.end()
}

// flush writes what there is to write. It lets the view go first: a client that does not read must not hold old data.
func (c *conn) flush() error {
	c.closeView()
	if len(c.out.buf) == 0 {
		if box := c.mail.get(); box != nil {
			box.release()
		}
		return nil
	}
	err := c.mail.write(c.nc, c.out.buf)
	if cap(c.out.buf) > 4*keptBufferBytes {
		c.out.buf = nil
	}
	c.out.buf, c.mark = c.out.buf[:0], 0
	return err
}

// lookout reads ahead while a connection is blocked, since only a read tells that the client has hung up.
type lookout struct {
	c    *conn
	gone chan struct{} // closed when the connection is lost
	done chan struct{} // closed when run has returned
}

func (c *conn) lookAhead() *lookout {
	l := &lookout{c: c, gone: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

func (l *lookout) run() {
	defer close(l.done)
	buf := make([]byte, 4<<10)
	for l.c.in.buffered() < l.c.srv.opts.MaxQueryBytes {
		n, err := l.c.nc.Read(buf)
		l.c.in.add(buf[:n])
		if err != nil {
			if timeout, ok := err.(net.Error); !ok || !timeout.Timeout() {
				close(l.gone)
			}
			return
		}
	}
}

// stop ends the looking. open is false when the connection was lost, or has to end because the server does.
func (l *lookout) stop() (open bool) {
	l.c.nc.SetReadDeadline(time.Unix(1, 0))
	<-l.done
	l.c.nc.SetReadDeadline(time.Time{})
	if l.c.srv.isClosing() {
		return false
	}
	select {
	case <-l.gone:
		return false
	default:
		return true
	}
}
