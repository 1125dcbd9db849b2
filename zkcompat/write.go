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

// command is a Txn on its way into the log, and memory for its op when it has one.
type command struct {
	txn  corepb.Txn
	then [1]*corepb.Op
	room opRoom
}

// opRoom is memory for an op that changes a node.
type opRoom struct {
	op      corepb.Op
	create  *corepb.Op_NodeCreate
	remove  *corepb.Op_NodeDelete
	setData *corepb.Op_NodeSetData
}

// end lets go of what a command carried, and makes it one that can be used again.
func (m *command) end() {
	m.txn.Reset()
	switch op := m.room.op.Op.(type) {
	case *corepb.Op_NodeCreate:
		op.NodeCreate.Reset()
	case *corepb.Op_NodeDelete:
		op.NodeDelete.Reset()
	case *corepb.Op_NodeSetData:
		op.NodeSetData.Reset()
	}
}

func buildCreate(c *conn, r *request, room *opRoom) *corepb.Op {
	if room.create == nil {
		room.create = &corepb.Op_NodeCreate{NodeCreate: &corepb.NodeCreate{}}
	}
	create := room.create.NodeCreate
	create.Path, create.Data, create.Sequential, create.TtlMillis = r.path, r.data, r.sequential(), r.ttl
	create.Container = r.mode == modeContainer
	if r.ephemeral() {
		create.Owner = c.session
	}
	room.op.Op = room.create
	return &room.op
}

func buildDelete(_ *conn, r *request, room *opRoom) *corepb.Op {
	if room.remove == nil {
		room.remove = &corepb.Op_NodeDelete{NodeDelete: &corepb.NodeDelete{}}
	}
	room.remove.NodeDelete.Path, room.remove.NodeDelete.Version = r.path, r.version
	room.op.Op = room.remove
	return &room.op
}

func buildSetData(_ *conn, r *request, room *opRoom) *corepb.Op {
	if room.setData == nil {
		room.setData = &corepb.Op_NodeSetData{NodeSetData: &corepb.NodeSetData{}}
	}
	set := room.setData.NodeSetData
	set.Path, set.Data, set.Version = r.path, r.data, r.version
	room.op.Op = room.setData
	return &room.op
}

// buildCheck looks at the root in place of a reserved node, which the store does not know: like those it is always there.
func buildCheck(_ *conn, r *request, _ *opRoom) *corepb.Op {
	check := &corepb.NodeCheck{Path: r.path, Version: r.version}
	if isReservedNode(r.path) {
		if r.version != anyVersion && r.version != 0 {
			return alwaysFails()
		}
		check = &corepb.NodeCheck{Path: "/", Version: anyVersion}
	}
	return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: check}}
}

func buildCloseSession(c *conn, _ *request, _ *opRoom) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: c.session}}}
}

// alwaysFails is an op that undoes its Txn. It stands for an item that is refused without a
// look at the state, so that the items before it are tried first, as ZooKeeper does.
func alwaysFails() *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: &corepb.NodeCheck{Path: "/", Version: noVersion}}}
}

// build translates a request into the command that is proposed for it.
func (c *conn) build(r *request, m *command) {
	txn := &m.txn
	txn.AbortOnError, txn.Session, txn.Owner, txn.Caller = true, c.session, c.owner, c.caller
	if r.op.code != opMulti {
		m.then[0] = r.op.build(c, r, &m.room)
		txn.Then = m.then[:]
		return
	}
	for _, item := range r.items {
		c.noteRefusal(item)
		if item.refused != codeOK {
			txn.Then = append(txn.Then, alwaysFails())
			break
		}
		txn.Then = append(txn.Then, item.op.build(c, item, &opRoom{}))
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
