package zkcompat

import (
	"sync"
	"time"
)

// request is one decoded packet, or one item of a multi. The fields after the first block are those of all opcodes
// together; each opcode's decoder fills its own.
type request struct {
	xid      int32
	op       *opcode
	bytes    int       // of the packet
	received time.Time // by the reader
	refused  code      // the answer when it is known without a look at the state

	path    string
	data    []byte
	version int32
	mode    int32 // create mode, or watch mode, or kind of watch to remove
	ttl     int64 // milliseconds
	watch   bool
	openACL bool
	acl     string // why the ACL is not open, for the log
	scheme  string // of an auth packet
	items   []*request
	renewed *renewedWatches
}

// renewedWatches are what a client sets again on a new connection.
type renewedWatches struct {
	seen       int64 // zxid up to which the client has seen changes
	data       []string
	exist      []string
	children   []string
	persistent []string
	recursive  []string
}

// logged reports whether a request goes through the log. The others are answered from a view.
func (r *request) logged() bool {
	if r.refused != codeOK || !r.op.logged {
		return false
	}
	return r.op.code != opMulti || len(r.items) > 0
}

// endedRequests are used again.
var endedRequests = sync.Pool{New: func() any { return &request{} }}

// end says that nobody looks at a request any more.
func (r *request) end() {
	*r = request{}
	endedRequests.Put(r)
}

// decodeRequest reads a packet that follows the connect request. ok is false when it has no header; broken when the
// record after the header is not what its opcode says.
func decodeRequest(packet []byte) (r *request, ok, broken bool) {
	d := decoder{rest: packet}
	r = endedRequests.Get().(*request)
	r.bytes = len(packet)
	r.xid = d.int32()
	number := d.int32()
	if !d.ok() {
		return nil, false, false
	}
	r.op = opcodes[number]
	if r.op == nil {
		r.op = &unknownOpcode
		return r, true, false
	}
	r.op.decode(&d, r)
	return r, true, !d.ok()
}

func decodeNothing(*decoder, *request) {}

func decodePath(d *decoder, r *request) { r.path = d.string() }

func decodePathWatch(d *decoder, r *request) {
	r.path = d.string()
	r.watch = d.bool()
}

func decodePathVersion(d *decoder, r *request) {
	r.path = d.string()
	r.version = d.int32()
}

func decodePrefix(d *decoder, r *request) { r.path = d.optionalString() }

// Create modes, the flags of a create.
const (
	modePersistent = iota
	modeEphemeral
	modeSequential
	modeEphemeralSequential
	modeContainer
	modeTTL
	modeSequentialTTL
)

// nodeTTLMillisMax is the longest time to live, which ZooKeeper keeps in 40 bits.
const nodeTTLMillisMax = 1<<40 - 1

func (r *request) sequential() bool {
	return r.mode == modeSequential || r.mode == modeEphemeralSequential || r.mode == modeSequentialTTL
}

func (r *request) ephemeral() bool {
	return r.mode == modeEphemeral || r.mode == modeEphemeralSequential
}

func (r *request) decodeCreate(d *decoder) {
	r.path = d.string()
	r.data = d.bytes()
	r.openACL, r.acl = decodeACL(d)
	r.mode = d.int32()
}

func decodeCreate(d *decoder, r *request) {
	r.decodeCreate(d)
	if r.mode < modePersistent || r.mode > modeContainer {
		r.refused = codeBadArguments
		return
	}
	r.refused = refuseCreate(r.path, r.sequential(), r.openACL)
}

func decodeCreateTTL(d *decoder, r *request) {
	r.decodeCreate(d)
	r.ttl = d.int64()
	if r.mode != modeTTL && r.mode != modeSequentialTTL || r.ttl < 1 || r.ttl > nodeTTLMillisMax {
		r.refused = codeBadArguments
		return
	}
	r.refused = refuseCreate(r.path, r.sequential(), r.openACL)
}

func decodeDelete(d *decoder, r *request) {
	decodePathVersion(d, r)
	r.refused = refuseDelete(r.path)
}

func decodeSetData(d *decoder, r *request) {
	r.path = d.string()
	r.data = d.bytes()
	r.version = d.int32()
	r.refused = refuseChange(r.path)
	if r.refused == codeOK && isReserved(r.path) {
		r.refused = codeNoAuth
	}
}

func decodeSetACL(d *decoder, r *request) {
	r.path = d.string()
	r.openACL, r.acl = decodeACL(d)
	r.version = d.int32()
	r.refused = refuseChange(r.path)
	switch {
	case r.refused != codeOK:
	case !r.openACL:
		r.refused = codeInvalidACL
	case isReserved(r.path):
		r.refused = codeNoAuth
	}
}

func decodeCheck(d *decoder, r *request) {
	decodePathVersion(d, r)
	r.refused = refuseChange(r.path)
}

func decodeAddWatch(d *decoder, r *request) {
	r.path = d.string()
	r.mode = d.int32()
	if r.mode != addPersistent && r.mode != addRecursive {
		r.refused = codeMarshallingError
	}
}

func decodeWatchKind(d *decoder, r *request) {
	r.path = d.string()
	r.mode = d.int32()
	if r.mode < watchTypeChildren || r.mode > watchTypeRecursive {
		r.refused = codeMarshallingError
	}
}

func decodeSetWatches(d *decoder, r *request) {
	r.renewed = &renewedWatches{seen: d.int64(), data: d.strings(), exist: d.strings(), children: d.strings()}
}

func decodeSetWatches2(d *decoder, r *request) {
	decodeSetWatches(d, r)
	r.renewed.persistent = d.strings()
	r.renewed.recursive = d.strings()
}

func decodeAuth(d *decoder, r *request) {
	d.int32() // type, always 0
	r.scheme = d.string()
	r.data = d.bytes()
}

// decodeItems reads the items of a multi: a header before each, and one that says it is the last.
func decodeItems(d *decoder, r *request, allowed func(*opcode) bool) {
	for d.ok() {
		number := d.int32()
		done := d.bool()
		d.int32() // error, which is for answers
		if done {
			return
		}
		item := &request{op: opcodes[number]}
		if item.op == nil || !allowed(item.op) {
			d.fail()
			return
		}
		item.op.decode(d, item)
		r.items = append(r.items, item)
	}
}

func decodeMulti(d *decoder, r *request) {
	decodeItems(d, r, func(op *opcode) bool { return op.build != nil && op.code != opCloseSession })
}

func decodeMultiRead(d *decoder, r *request) {
	decodeItems(d, r, func(op *opcode) bool { return op.code == opGetData || op.code == opGetChildren })
}
