package grpcsvc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func putOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func deleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func getOp(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte(key)}}}
}

func txnOp(success, failure []*pb.RequestOp, compares ...*pb.Compare) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{
		RequestTxn: &pb.TxnRequest{Compare: compares, Success: success, Failure: failure}}}
}

func ops(ops ...*pb.RequestOp) []*pb.RequestOp { return ops }

func versionIs(key string, version int64) *pb.Compare {
	return &pb.Compare{Key: []byte(key), TargetUnion: &pb.Compare_Version{Version: version}}
}

func TestComparesChooseTheBranch(t *testing.T) {
	n := startNode(t, Options{})
	must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 100, ID: 7}))(t)
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("v"), Lease: 7}))(t) // revision 2
	n.put("b", "w")                                                                          // 3
	n.put("b", "w")                                                                          // 4
	const (
		eq = pb.Compare_EQUAL
		gt = pb.Compare_GREATER
		lt = pb.Compare_LESS
		ne = pb.Compare_NOT_EQUAL
	)
	compare := func(key string, target pb.Compare_CompareTarget, result pb.Compare_CompareResult) *pb.Compare {
		return &pb.Compare{Key: []byte(key), Target: target, Result: result}
	}
	version := func(c *pb.Compare, n int64) *pb.Compare { c.TargetUnion = &pb.Compare_Version{Version: n}; return c }
	create := func(c *pb.Compare, n int64) *pb.Compare {
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: n}
		return c
	}
	mod := func(c *pb.Compare, n int64) *pb.Compare {
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: n}
		return c
	}
	lease := func(c *pb.Compare, n int64) *pb.Compare { c.TargetUnion = &pb.Compare_Lease{Lease: n}; return c }
	value := func(c *pb.Compare, v string) *pb.Compare {
		c.TargetUnion = &pb.Compare_Value{Value: []byte(v)}
		return c
	}
	to := func(end string, c *pb.Compare) *pb.Compare { c.RangeEnd = []byte(end); return c }
	for i, c := range []struct {
		compare *pb.Compare
		want    bool
	}{
		{version(compare("a", pb.Compare_VERSION, eq), 1), true},
		{version(compare("b", pb.Compare_VERSION, gt), 1), true},
		{version(compare("b", pb.Compare_VERSION, ne), 2), false},
		{create(compare("b", pb.Compare_CREATE, eq), 3), true},
		{mod(compare("b", pb.Compare_MOD, lt), 4), false},
		{mod(compare("b", pb.Compare_MOD, eq), 4), true},
		{value(compare("a", pb.Compare_VALUE, eq), "v"), true},
		{value(compare("a", pb.Compare_VALUE, lt), "w"), true},
		{lease(compare("a", pb.Compare_LEASE, eq), 7), true},
		{lease(compare("b", pb.Compare_LEASE, eq), 0), true},
		// What is absent counts as 0, but has no value, not even another one.
		{version(compare("x", pb.Compare_VERSION, eq), 0), true},
		{mod(compare("x", pb.Compare_MOD, lt), 1), true},
		{value(compare("x", pb.Compare_VALUE, eq), ""), false},
		{value(compare("x", pb.Compare_VALUE, ne), "v"), false},
		// Every key of a range must hold.
		{to("c", version(compare("a", pb.Compare_VERSION, gt), 0)), true},
		{to("c", version(compare("a", pb.Compare_VERSION, eq), 1)), false},
		{to("\x00", mod(compare("a", pb.Compare_MOD, gt), 1)), true},
		{to("z", version(compare("x", pb.Compare_VERSION, eq), 0)), true},
		{to("z", value(compare("x", pb.Compare_VALUE, ne), "v")), false},
		// A number for another target counts as 0.
		{version(compare("a", pb.Compare_MOD, gt), 99), true},
		{mod(compare("a", pb.Compare_VERSION, eq), 0), false},
		{version(compare("a", pb.Compare_VALUE, gt), 99), true},
		// What etcd does not know it takes as equal, or as true.
		{compare("a", 77, eq), true},
		{compare("a", 77, gt), false},
		{compare("a", pb.Compare_VERSION, 77), true},
		{compare("a", pb.Compare_VALUE, 77), true},
		{compare("x", pb.Compare_VALUE, 77), false},
	} {
		r := must(n.kv.Txn(n.ctx, &pb.TxnRequest{
			Compare: []*pb.Compare{c.compare}, Success: ops(getOp("a")), Failure: ops(getOp("b")),
		}))(t)
		key := "a"
		if !c.want {
			key = "b"
		}
		if r.Succeeded != c.want || string(r.Responses[0].GetResponseRange().Kvs[0].Key) != key {
			t.Errorf("%d: %v: %v", i, c.compare, r)
		}
	}
	if r := must(n.kv.Txn(n.ctx, &pb.TxnRequest{}))(t); !r.Succeeded || r.Header.Revision != 4 {
		t.Errorf("empty txn: %v", r)
	}
}

func TestTxnIsOneChangeAndSeesItself(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	r := must(n.kv.Txn(n.ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{versionIs("a", 1)},
		Success: ops(
			getOp("a"),
			putOp("b", "2"),
			getOp("b"),
			deleteOp("a", ""),
			deleteOp("x", ""),
			txnOp(ops(getOp("a"), putOp("c", "3")), ops(putOp("c", "4")), versionIs("a", 1)),
		),
	}))(t)
	status := n.store.Status()
	h := func(revision int64) *pb.ResponseHeader { return &pb.ResponseHeader{Revision: revision} }
	wantEqual(t, "header", r.Header, &pb.ResponseHeader{
		ClusterId: status.ClusterID, MemberId: status.MemberID, Revision: 3, RaftTerm: status.Term,
	})
	if !r.Succeeded || len(r.Responses) != 6 {
		t.Fatalf("txn: %v", r)
	}
	wantEqual(t, "read before a change", r.Responses[0].GetResponseRange().Header, h(2))
	wantEqual(t, "put", r.Responses[1].GetResponsePut(), &pb.PutResponse{Header: h(3)})
	if got := r.Responses[2].GetResponseRange(); got.Header.Revision != 3 || string(got.Kvs[0].Value) != "2" {
		t.Errorf("read after the put: %v", got)
	}
	wantEqual(t, "delete", r.Responses[3].GetResponseDeleteRange(), &pb.DeleteRangeResponse{Header: h(3), Deleted: 1})
	wantEqual(t, "delete of nothing", r.Responses[4].GetResponseDeleteRange(), &pb.DeleteRangeResponse{Header: h(3)})
	nested := r.Responses[5].GetResponseTxn()
	wantEqual(t, "nested header", nested.Header, &pb.ResponseHeader{})
	if !nested.Succeeded || nested.Responses[0].GetResponseRange().Count != 0 {
		t.Errorf("nested: its compare is made before the txn, its reads see the txn: %v", nested)
	}
	for _, key := range []string{"b", "c"} {
		if kv := n.get(&pb.RangeRequest{Key: []byte(key)}).Kvs[0]; kv.ModRevision != 3 {
			t.Errorf("%s: %v", key, kv)
		}
	}
	quiet := must(n.kv.Txn(n.ctx, &pb.TxnRequest{Success: ops(deleteOp("x", ""), getOp("b"))}))(t)
	if quiet.Header.Revision != 3 || quiet.Responses[1].GetResponseRange().Header.Revision != 3 {
		t.Errorf("a txn that changes nothing: %v", quiet)
	}
}

func TestFailedTxnChangesNothing(t *testing.T) {
	n := startNode(t, Options{})
	n.push("list")
	revision := n.get(&pb.RangeRequest{Key: []byte("a")}).Header.Revision
	lease := putOp("b", "1")
	lease.GetRequestPut().Lease = 99
	absent := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), IgnoreValue: true}}}
	future := getOp("b")
	future.GetRequestRange().Revision = revision + 1
	for name, c := range map[string]struct {
		op   *pb.RequestOp
		want error
	}{
		"lease":        {lease, rpctypes.ErrGRPCLeaseNotFound},
		"ignore_value": {absent, rpctypes.ErrGRPCKeyNotFound},
		"future":       {future, rpctypes.ErrGRPCFutureRev},
		"collection":   {putOp("list", "1"), errCollection},
		"nested":       {txnOp(ops(putOp("c", "1"), lease), nil), rpctypes.ErrGRPCLeaseNotFound},
	} {
		_, err := n.kv.Txn(n.ctx, &pb.TxnRequest{Success: ops(putOp("a", "1"), c.op)})
		wantStatus(t, name, err, c.want)
		if r := n.get(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); r.Count != 0 || r.Header.Revision != revision {
			t.Errorf("%s: something changed: %v", name, r)
		}
	}
}

func TestTxnLimits(t *testing.T) {
	many := func(n int) []*pb.RequestOp {
		list := make([]*pb.RequestOp, n)
		for i := range list {
			list[i] = getOp("a")
		}
		return list
	}
	for name, c := range map[string]struct {
		r    *pb.TxnRequest
		want error
	}{
		"as many as allowed":       {&pb.TxnRequest{Success: many(8), Failure: many(8)}, nil},
		"one more":                 {&pb.TxnRequest{Success: many(9)}, rpctypes.ErrGRPCTooManyOps},
		"compares count":           {&pb.TxnRequest{Compare: make([]*pb.Compare, 9)}, rpctypes.ErrGRPCTooManyOps},
		"nested: what is left":     {&pb.TxnRequest{Success: ops(txnOp(many(7), nil))}, nil},
		"nested: more":             {&pb.TxnRequest{Success: ops(txnOp(many(8), nil))}, rpctypes.ErrGRPCTooManyOps},
		"nested: beside many":      {&pb.TxnRequest{Success: ops(txnOp(many(2), nil)), Failure: many(7)}, rpctypes.ErrGRPCTooManyOps},
		"compare without a key":    {&pb.TxnRequest{Compare: []*pb.Compare{{}}}, rpctypes.ErrGRPCEmptyKey},
		"op without a key":         {&pb.TxnRequest{Failure: ops(putOp("", "v"))}, rpctypes.ErrGRPCEmptyKey},
		"op of no kind":            {&pb.TxnRequest{Success: ops(&pb.RequestOp{})}, rpctypes.ErrGRPCKeyNotFound},
		"nested op without a key":  {&pb.TxnRequest{Success: ops(txnOp(nil, ops(getOp(""))))}, rpctypes.ErrGRPCEmptyKey},
		"nested compare, no key":   {&pb.TxnRequest{Success: ops(txnOp(nil, nil, &pb.Compare{}))}, rpctypes.ErrGRPCEmptyKey},
		"value where none belongs": {&pb.TxnRequest{Success: ops(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("v"), IgnoreValue: true}}})}, rpctypes.ErrGRPCValueProvided},
	} {
		wantStatus(t, name, checkTxnOps(c.r, 8), c.want)
	}
}

func TestKeysThatATxnMayNotTouchTwice(t *testing.T) {
	put, del := putOp, deleteOp
	for name, c := range map[string]struct {
		r       *pb.TxnRequest
		refused bool
	}{
		"put twice":                       {&pb.TxnRequest{Success: ops(put("a", ""), put("a", ""))}, true},
		"put twice on failure":            {&pb.TxnRequest{Failure: ops(put("a", ""), put("a", ""))}, true},
		"put in both branches":            {&pb.TxnRequest{Success: ops(put("a", "")), Failure: ops(put("a", ""))}, false},
		"put and delete":                  {&pb.TxnRequest{Success: ops(put("a", ""), del("a", ""))}, true},
		"delete and put":                  {&pb.TxnRequest{Success: ops(del("a", ""), put("a", ""))}, true},
		"put within a deleted range":      {&pb.TxnRequest{Success: ops(del("a", "c"), put("b", ""))}, true},
		"put at a deleted range's end":    {&pb.TxnRequest{Success: ops(del("a", "c"), put("c", ""))}, false},
		"delete twice":                    {&pb.TxnRequest{Success: ops(del("a", "c"), del("b", "d"))}, false},
		"put and get":                     {&pb.TxnRequest{Success: ops(put("a", ""), getOp("a"))}, false},
		"put beside a nested put":         {&pb.TxnRequest{Success: ops(put("a", ""), txnOp(ops(put("a", "")), nil))}, true},
		"put beside a nested else":        {&pb.TxnRequest{Success: ops(txnOp(nil, ops(put("a", ""))), put("a", ""))}, true},
		"put in then and else":            {&pb.TxnRequest{Success: ops(txnOp(ops(put("a", "")), ops(put("a", ""))))}, false},
		"put in two nested":               {&pb.TxnRequest{Success: ops(txnOp(ops(put("a", "")), nil), txnOp(nil, ops(put("a", ""))))}, true},
		"delete beside a nested put":      {&pb.TxnRequest{Success: ops(txnOp(ops(put("b", "")), nil), del("a", "c"))}, true},
		"nested delete beside a put":      {&pb.TxnRequest{Success: ops(put("b", ""), txnOp(ops(del("a", "c")), nil))}, true},
		"nested delete, later nested put": {&pb.TxnRequest{Success: ops(txnOp(ops(del("a", "c")), nil), txnOp(ops(put("b", "")), nil))}, true},
		"nested put, later nested delete": {&pb.TxnRequest{Success: ops(txnOp(ops(put("b", "")), nil), txnOp(ops(del("a", "c")), nil))}, false},
		"put then, delete else":           {&pb.TxnRequest{Success: ops(txnOp(ops(put("b", "")), ops(del("a", "c"))))}, false},
		"twice, two levels down":          {&pb.TxnRequest{Success: ops(txnOp(ops(txnOp(ops(put("a", ""), put("a", "")), nil)), nil))}, true},
		"delete to the end":               {&pb.TxnRequest{Success: ops(del("a", "\x00"), put("a", ""), put("b", ""))}, false},
		"delete of an empty range":        {&pb.TxnRequest{Success: ops(del("b", "a"), put("b", ""))}, false},
	} {
		var want error
		if c.refused {
			want = rpctypes.ErrGRPCDuplicateKey
		}
		wantStatus(t, name, checkTxnKeys(c.r), want)
	}
}

func TestIntervalsContainWhatWasAdded(t *testing.T) {
	var s intervals
	var added [256]bool
	for i := range 60 {
		start := byte(i * 37)
		end := start + byte(i*11%23)
		s.add([]byte{start}, []byte{end})
		for k := start; k < end; k++ {
			added[k] = true
		}
		for k := range added {
			if s.contain(string([]byte{byte(k)})) != added[k] {
				t.Fatalf("after %d intervals, key %d: got %v", i+1, k, !added[k])
			}
		}
	}
}
