package grpcsvc

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Of each operation that etcd knows: the check of its request, its translation into core's vocabulary, and the filling
// of its answer from core's result. They are the same whether the operation comes alone or within a Txn.
//
// The numbers of etcd's enumerations for sorting and comparing are corepb's too; a test holds them together.

// oneOp is a command of one operation.
type oneOp struct {
	txn  corepb.Txn
	op   corepb.Op
	then [1]*corepb.Op
}

// command makes a Txn of one operation, for the caller to fill in.
func command() (*corepb.Txn, *corepb.Op) {
	c := &oneOp{}
	c.begin()
	return &c.txn, &c.op
}

func (c *oneOp) begin() {
	c.then[0] = &c.op
	c.txn.AbortOnError = true
	c.txn.Then = c.then[:]
}

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if _, ok := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if _, ok := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func setRange(op *corepb.Op, r *pb.RangeRequest) {
	op.Op = &corepb.Op_Range{Range: &corepb.Range{
		Key:               r.Key,
		End:               r.RangeEnd,
		Limit:             max(r.Limit, 0),
		Revision:          r.Revision,
		SortTarget:        corepb.Range_SortTarget(r.SortTarget),
		SortOrder:         corepb.Range_SortOrder(r.SortOrder),
		KeysOnly:          r.KeysOnly,
		CountOnly:         r.CountOnly,
		MinModRevision:    r.MinModRevision,
		MaxModRevision:    r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision,
		MaxCreateRevision: r.MaxCreateRevision,
	}}
}

func fillRange(answer *pb.RangeResponse, r *pb.RangeRequest, result *core.Result) {
	answer.Kvs = keyValues(result.Records)
	if hidesLeases(r) {
		for _, kv := range answer.Kvs {
			kv.Lease = 0
		}
	}
	answer.Count = result.Count
	answer.More = result.More
}

// hidesLeases reports whether a range is one that etcd 3.7 answers from its index of keys, which knows no leases.
func hidesLeases(r *pb.RangeRequest) bool {
	return r.KeysOnly && r.SortTarget != pb.RangeRequest_VALUE
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func setPut(op *corepb.Op, r *pb.PutRequest) {
	wrapped := &corepb.Op_Put{Put: &corepb.Put{}}
	translatePut(wrapped.Put, r)
	op.Op = wrapped
}

func translatePut(put *corepb.Put, r *pb.PutRequest) {
	put.Key, put.Value, put.Lease = r.Key, r.Value, r.Lease
	put.IgnoreValue, put.IgnoreLease, put.WantPrev = r.IgnoreValue, r.IgnoreLease, r.PrevKv
}

func fillPut(answer *pb.PutResponse, key []byte, result *core.Result) {
	if result.Prev != nil {
		answer.PrevKv = keyValue(key, result.Prev)
	}
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

func setDelete(op *corepb.Op, r *pb.DeleteRangeRequest) {
	op.Op = &corepb.Op_Delete{Delete: &corepb.Delete{Key: r.Key, End: r.RangeEnd, WantPrev: r.PrevKv}}
}

func fillDelete(answer *pb.DeleteRangeResponse, result *core.Result) {
	answer.Deleted = result.Int
	answer.PrevKvs = keyValues(result.Records)
}

// guardNumber is what a compare compares with. As in etcd, a number given for another target than the one asked counts
// as 0.
func guardNumber(c *pb.Compare) int64 {
	switch c.Target {
	case pb.Compare_VERSION:
		return c.GetVersion()
	case pb.Compare_CREATE:
		return c.GetCreateRevision()
	case pb.Compare_MOD:
		return c.GetModRevision()
	case pb.Compare_LEASE:
		return c.GetLease()
	}
	return 0
}

func setGuard(guard *corepb.Guard, c *pb.Compare) {
	guard.Key = c.Key
	guard.End = c.RangeEnd
	guard.Target = corepb.Guard_Target(c.Target)
	guard.Comparison = corepb.Guard_Comparison(c.Result)
	guard.Number = guardNumber(c)
	if c.Target == pb.Compare_VALUE {
		guard.Value = c.GetValue()
	}
	_, targetKnown := pb.Compare_CompareTarget_name[int32(c.Target)]
	_, resultKnown := pb.Compare_CompareResult_name[int32(c.Result)]
	if targetKnown && resultKnown {
		return
	}
	// etcd takes what it does not know as equal, and a comparison that it does not know as true, unless the value of an
	// absent key is asked for.
	holds := !resultKnown || c.Result == pb.Compare_EQUAL
	guard.Number, guard.Value = 0, nil
	guard.Target = corepb.Guard_VERSION
	guard.Comparison = corepb.Guard_LESS // a version below 0: never
	if holds {
		guard.Number = -1
		guard.Comparison = corepb.Guard_GREATER // a version above -1: always
		if c.Target == pb.Compare_VALUE {
			guard.Number = 0 // there must be a key
		}
	}
}
