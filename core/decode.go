package core

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/triglot/triglot/core/corepb"
)

// decoder decodes commands for the state machine. The commonest, which have one op and no guards, are decoded into memory that
// is used again.
type decoder struct {
	txn  corepb.Txn
	op   corepb.Op
	then [1]*corepb.Op

	put         corepb.Put
	remove      corepb.Delete
	add         corepb.Add
	hashSet     corepb.HashSet
	listPush    corepb.ListPush
	nodeCreate  corepb.NodeCreate
	nodeDelete  corepb.NodeDelete
	nodeSetData corepb.NodeSetData

	putOp         corepb.Op_Put
	removeOp      corepb.Op_Delete
	addOp         corepb.Op_Add
	hashSetOp     corepb.Op_HashSet
	listPushOp    corepb.Op_ListPush
	nodeCreateOp  corepb.Op_NodeCreate
	nodeDeleteOp  corepb.Op_NodeDelete
	nodeSetDataOp corepb.Op_NodeSetData
}

// Numbers of fields in command.proto.
const (
	fieldThen = 2 // of Txn

	fieldPut         = 20 // of Op
	fieldDelete      = 21
	fieldAdd         = 32
	fieldHashSet     = 40
	fieldListPush    = 50
	fieldNodeCreate  = 60
	fieldNodeDelete  = 61
	fieldNodeSetData = 62
)

// decode gives the command of a payload, whose byte strings are pieces of the payload. It holds until the next call; they hold
// as long as the payload does.
func (d *decoder) decode(payload []byte) (*corepb.Txn, error) {
	if txn, ok := d.decodeOne(payload); ok {
		return txn, nil
	}
	txn := &corepb.Txn{}
	return txn, txn.UnmarshalVTUnsafe(payload)
}

// decodeOne decodes what begins with its only op. ok is false when a payload is something else, or broken.
func (d *decoder) decodeOne(payload []byte) (txn *corepb.Txn, ok bool) {
	op, rest, ok := consumeMessage(payload, fieldThen)
	if !ok || !d.prepare(op) || d.op.UnmarshalVTUnsafe(op) != nil {
		return nil, false
	}
	d.txn.Reset()
	if d.txn.UnmarshalVTUnsafe(rest) != nil || len(d.txn.Guards)+len(d.txn.Then)+len(d.txn.Otherwise) > 0 {
		return nil, false
	}
	d.then[0] = &d.op
	d.txn.Then = d.then[:]
	return &d.txn, true
}

// prepare makes room for an op in its encoded form. ok is false when it is not of those for which there is any.
func (d *decoder) prepare(op []byte) (ok bool) {
	number, _, n := protowire.ConsumeTag(op)
	if n < 0 {
		return false
	}
	switch number {
	case fieldPut:
		d.put.Reset()
		d.putOp.Put = &d.put
		d.op.Op = &d.putOp
	case fieldDelete:
		d.remove.Reset()
		d.removeOp.Delete = &d.remove
		d.op.Op = &d.removeOp
	case fieldAdd:
		d.add.Reset()
		d.addOp.Add = &d.add
		d.op.Op = &d.addOp
	case fieldHashSet:
		d.hashSet.Reset()
		d.hashSetOp.HashSet = &d.hashSet
		d.op.Op = &d.hashSetOp
	case fieldListPush:
		d.listPush.Reset()
		d.listPushOp.ListPush = &d.listPush
		d.op.Op = &d.listPushOp
	case fieldNodeCreate:
		d.nodeCreate.Reset()
		d.nodeCreateOp.NodeCreate = &d.nodeCreate
		d.op.Op = &d.nodeCreateOp
	case fieldNodeDelete:
		d.nodeDelete.Reset()
		d.nodeDeleteOp.NodeDelete = &d.nodeDelete
		d.op.Op = &d.nodeDeleteOp
	case fieldNodeSetData:
		d.nodeSetData.Reset()
		d.nodeSetDataOp.NodeSetData = &d.nodeSetData
		d.op.Op = &d.nodeSetDataOp
	default:
		return false
	}
	return true
}

// consumeMessage takes a message of a given number from the beginning of a payload.
func consumeMessage(payload []byte, want protowire.Number) (message, rest []byte, ok bool) {
	number, kind, n := protowire.ConsumeTag(payload)
	if n < 0 || number != want || kind != protowire.BytesType {
		return nil, nil, false
	}
	message, m := protowire.ConsumeBytes(payload[n:])
	if m < 0 {
		return nil, nil, false
	}
	return message, payload[n+m:], true
}
