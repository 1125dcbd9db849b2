package zkcompat

import (
	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// opcode is what the adapter knows of one kind of request. Dispatch, statistics and metric names are read off it.
type opcode struct {
	code   int32
	name   string // in statistics and metrics
	short  string // as ZooKeeper's cons command writes it
	decode func(*decoder, *request)

	// Requests that go through the log: build translates one into an op, reply writes what the op answered.
	logged bool
	build  func(*conn, *request, *opRoom) *corepb.Op
	reply  func(*encoder, *core.Result)

	// Requests that are answered from a view. read writes the answer, unless it returns a code for an error.
	read func(*conn, *request, *core.View, *encoder) code
	// first runs before the answer is begun, so that the events it sends are ahead of it.
	first func(*conn, *request, *core.View)
	// looks says what the caller must be allowed to read.
	looks sight
	// fresh makes the view linearizable.
	fresh bool
	// last says that the connection ends with the answer.
	last bool
	// index is the row's place in the table, for counters.
	index int
}

// The numbers that code outside the table needs.
const (
	opCreate          = 1
	opGetData         = 4
	opGetChildren     = 8
	opMulti           = 14
	opCreate2         = 15
	opCreateContainer = 19
	opCreateTTL       = 21
	opCloseSession    = -11
	opError           = -1 // in a multi's answer: the item failed, or another one did
)

// opcodeTable is filled by init because rows and the functions in them refer to each other.
var opcodeTable []opcode

// opcodes finds a row by its number.
var opcodes = map[int32]*opcode{}

// unknownOpcode stands for every number that is not in the table: an error answer, then the connection ends.
var unknownOpcode = opcode{name: "unknown", short: "NA", decode: decodeNothing, read: readUnimplemented, last: true}

// brokenOpcode stands for a packet that is not what its opcode says, in the same way.
var brokenOpcode = opcode{name: "malformed", short: "NA", last: true}

func init() {
	opcodeTable = []opcode{
		{code: opCreate, name: "create", short: "CREA", decode: decodeCreate, logged: true, build: buildCreate, reply: replyPath},
		{code: 2, name: "delete", short: "DELE", decode: decodeDelete, logged: true, build: buildDelete, reply: replyNothing},
		{code: 3, name: "exists", looks: atNode, short: "EXIS", decode: decodePathWatch, read: readExists},
		{code: opGetData, name: "getData", looks: atNode, short: "GETD", decode: decodePathWatch, read: readData},
		{code: 5, name: "setData", short: "SETD", decode: decodeSetData, logged: true, build: buildSetData, reply: replyStat},
		{code: 6, name: "getACL", looks: atNode, short: "GETA", decode: decodePath, read: readACL},
		{code: 7, name: "setACL", looks: atNode, short: "SETA", decode: decodeSetACL, read: readSetACL},
		{code: opGetChildren, name: "getChildren", looks: atNode, short: "GETC", decode: decodePathWatch, read: readChildren},
		{code: 9, name: "sync", short: "SYNC", decode: decodePath, read: readSync, fresh: true},
		{code: 11, name: "ping", short: "PING", decode: decodeNothing, read: readNothing},
		{code: 12, name: "getChildren2", looks: atNode, short: "GETC", decode: decodePathWatch, read: readChildren2},
		{code: 13, name: "check", short: "CHEC", decode: decodeCheck, build: buildCheck, reply: replyNothing, read: readUnimplemented, last: true},
		{code: opMulti, name: "multi", short: "MULT", decode: decodeMulti, logged: true, read: readEmptyMulti},
		{code: opCreate2, name: "create2", short: "CREA", decode: decodeCreate, logged: true, build: buildCreate, reply: replyPathStat},
		{code: 16, name: "reconfig", short: "RECO", decode: decodeNothing, read: readReconfig},
		{code: 17, name: "checkWatches", short: "CHKW", decode: decodeWatchKind, read: readCheckWatches},
		{code: 18, name: "removeWatches", short: "REMW", decode: decodeWatchKind, read: readRemoveWatches},
		{code: opCreateContainer, name: "createContainer", short: "CREA", decode: decodeCreate, logged: true, build: buildCreate, reply: replyPathStat},
		{code: opCreateTTL, name: "createTTL", short: "CREA", decode: decodeCreateTTL, logged: true, build: buildCreate, reply: replyPathStat},
		{code: 22, name: "multiRead", short: "MLTR", decode: decodeMultiRead, read: readMultiRead},
		{code: 100, name: "auth", short: "AUTH", decode: decodeAuth, read: readAuth},
		{code: 101, name: "setWatches", looks: atRenewed, short: "SETW", decode: decodeSetWatches, first: renewWatches, read: readNothing},
		{code: 102, name: "sasl", short: "SASL", decode: decodeNothing, read: readSASL, last: true},
		{code: 103, name: "getEphemerals", short: "GETE", decode: decodePrefix, read: readEphemerals},
		{code: 104, name: "getAllChildrenNumber", looks: atSubtree, short: "GETACN", decode: decodePath, read: readDescendants},
		{code: 105, name: "setWatches2", looks: atRenewed, short: "SETW", decode: decodeSetWatches2, first: renewWatches, read: readNothing},
		{code: 106, name: "addWatch", looks: atWatched, short: "ADDW", decode: decodeAddWatch, read: readAddWatch},
		{code: 107, name: "whoAmI", short: "WHOA", decode: decodeNothing, read: readWhoAmI},
		{code: opCloseSession, name: "closeSession", short: "CLOS", decode: decodeNothing, logged: true, build: buildCloseSession, reply: replyNothing, last: true},
	}
	for i := range opcodeTable {
		row := &opcodeTable[i]
		row.index = i
		opcodes[row.code] = row
	}
	unknownOpcode.index = len(opcodeTable)
	brokenOpcode.index = len(opcodeTable) + 1
}
