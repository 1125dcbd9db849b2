package core

import (
	"sync"

	"github.com/triglot/triglot/storage"
)

// TxnResult is what a Txn answers.
type TxnResult struct {
	Revision  int64     // the store's revision after the command
	Changed   bool      // the command took a revision
	Succeeded bool      // every guard held
	Results   []Result  // one for each op of the branch that ran
	Err       error     // set when the whole command was undone; Results then end with the op that failed, or are empty when it was refused beforehand
	one       [1]Result // where Results are when there is one
	FailedOp  int       // index of that op, -1 when it was not an op (the session was gone)
}

// endedResults are used again.
var endedResults = sync.Pool{New: func() any { return &TxnResult{} }}

func newTxnResult() *TxnResult { return endedResults.Get().(*TxnResult) }

// Recycle lets results be used for other commands. Nobody may look at them any more; what they point to stays as it is.
func Recycle(results ...*TxnResult) {
	for _, r := range results {
		r.end()
	}
}

func (r *TxnResult) end() {
	*r = TxnResult{}
	endedResults.Put(r)
}

// Result is what one op answers. The comments of command.proto say which fields each op fills.
type Result struct {
	Err     error
	OK      bool
	Int     int64
	Bytes   []byte
	Key     []byte
	Values  [][]byte
	Cursor  uint64
	Record  *storage.Record
	Prev    *storage.Record
	Records []KeyRecord
	Count   int64
	More    bool
	Path    string
	Stat    Stat
	Txn     *TxnResult
}

// KeyRecord is a key with its record.
type KeyRecord struct {
	Key []byte
	storage.Record
}

// Stat is a znode's metadata, as ZooKeeper defines it. Times are Unix milliseconds.
type Stat struct {
	Czxid, Mzxid   int64
	Ctime, Mtime   int64
	Version        int32 // changes of the data since creation
	Cversion       int32 // children created and deleted
	Aversion       int32 // changes of the ACL
	EphemeralOwner int64
	DataLength     int32
	NumChildren    int32
	Pzxid          int64 // last change of the children
}
