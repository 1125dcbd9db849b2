package zkcompat

import (
	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Requests that change something: each becomes one op, and a request, or a multi of them, one Txn under its session.

const (
	anyVersion = -1
	noVersion  = -2 // no node ever has it
)

func buildCreate(c *conn, r *request) *corepb.Op {
	create := &corepb.NodeCreate{Path: r.path, Data: r.data, Sequential: r.sequential(), TtlMillis: r.ttl}
	create.Container = r.mode == modeContainer
	if r.ephemeral() {
		create.Owner = c.session
	}
	return &corepb.Op{Op: &corepb.Op_NodeCreate{NodeCreate: create}}
}

func buildDelete(_ *conn, r *request) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeDelete{NodeDelete: &corepb.NodeDelete{Path: r.path, Version: r.version}}}
}

func buildSetData(_ *conn, r *request) *corepb.Op {
	set := &corepb.NodeSetData{Path: r.path, Data: r.data, Version: r.version}
	return &corepb.Op{Op: &corepb.Op_NodeSetData{NodeSetData: set}}
}

// buildCheck looks at the root in place of a reserved node, which the store does not know: like those it is always there.
func buildCheck(_ *conn, r *request) *corepb.Op {
	check := &corepb.NodeCheck{Path: r.path, Version: r.version}
	if isReservedNode(r.path) {
		if r.version != anyVersion && r.version != 0 {
			return alwaysFails()
		}
		check = &corepb.NodeCheck{Path: "/", Version: anyVersion}
	}
	return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: check}}
}

func buildCloseSession(c *conn, _ *request) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: c.session}}}
}

// alwaysFails is an op that undoes its Txn. It stands for an item that is refused without a
// look at the state, so that the items before it are tried first, as ZooKeeper does.
func alwaysFails() *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: &corepb.NodeCheck{Path: "/", Version: noVersion}}}
}

// build translates a request into the command that is proposed for it.
func (c *conn) build(r *request, txn *corepb.Txn) {
	txn.AbortOnError, txn.Session, txn.Owner, txn.Caller = true, c.session, c.owner, c.caller
	txn.Then = txn.Then[:0]
	if r.op.code != opMulti {
		txn.Then = append(txn.Then, r.op.build(c, r))
		return
	}
	for _, item := range r.items {
		c.noteRefusal(item)
		if item.refused != codeOK {
			txn.Then = append(txn.Then, alwaysFails())
			break
		}
		txn.Then = append(txn.Then, item.op.build(c, item))
	}
}

// writeResult writes the answer to a request that went through the log and returns the code for its header.
func (c *conn) writeResult(r *request, result *core.TxnResult, e *encoder) code {
	if result.Err != nil && result.FailedOp < 0 {
		return codeOf(result.Err) // the session is over, or another connection's
	}
	if r.op.code == opMulti {
		writeMulti(r, result, e)
		return codeOK
	}
	if result.Err != nil {
		return codeOf(result.Err)
	}
	r.op.reply(e, &result.Results[0])
	return codeOK
}

// writeMulti writes a multi's results. When an item failed the answer's header still says success, every item's result is
// an error: none for those before it, its own code, and "not reached" for those after it.
func writeMulti(r *request, result *core.TxnResult, e *encoder) {
	for i, item := range r.items {
		if result.Err == nil {
			number, reply := item.itemReply()
			e.itemHeader(number, codeOK)
			reply(e, &result.Results[i])
			continue
		}
		failure := codeOK
		switch {
		case i > result.FailedOp:
			failure = codeRuntimeInconsistency
		case i == result.FailedOp && item.refused != codeOK:
			failure = item.refused
		case i == result.FailedOp:
			failure = codeOf(result.Err)
		}
		e.itemHeader(opError, failure)
		e.int32(int32(failure))
	}
	e.itemsEnd()
}

// itemReply gives the opcode that a multi's answer shows for an item, and what writes its result. Creates are told apart
// by what they made, whichever of the creating opcodes they had.
func (r *request) itemReply() (int32, func(*encoder, *core.Result)) {
	switch {
	case r.op.code != opCreate && r.op.code != opCreate2 && r.op.code != opCreateContainer && r.op.code != opCreateTTL:
		return r.op.code, r.op.reply
	case r.mode >= modeContainer:
		return opCreate2, replyPathStat
	default:
		return opCreate, replyPath
	}
}

func (e *encoder) itemHeader(number int32, failure code) {
	e.int32(number)
	e.bool(false)
	e.int32(int32(failure))
}

func (e *encoder) itemsEnd() {
	e.int32(-1)
	e.bool(true)
	e.int32(-1)
}

func replyNothing(*encoder, *core.Result) {}

func replyPath(e *encoder, result *core.Result) { e.string(result.Path) }

func replyStat(e *encoder, result *core.Result) { e.stat(result.Stat) }

func replyPathStat(e *encoder, result *core.Result) {
	e.string(result.Path)
	e.stat(result.Stat)
}
