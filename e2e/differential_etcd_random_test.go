package e2e

import (
	"bytes"
	"math/rand/v2"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// etcdGenerator draws requests over few keys and leases, and over revisions that are mostly there.
type etcdGenerator struct {
	*rand.Rand
	pair      *etcdPair
	compacted int64
	upwards   bool // no range ends where it begins, or before: who may read such a one is a matter of chance in etcd
}

func (g *etcdGenerator) key() []byte {
	return []byte(pick(g.Rand, "a", "b", "c", "d", "e", "f", "g", "ab", "b\x00"))
}

// end is that of a range from a key on.
func (g *etcdGenerator) end(key []byte) []byte {
	end := g.anyEnd()
	if g.upwards && len(end) > 0 && end[0] != 0 && bytes.Compare(end, key) <= 0 {
		return nil
	}
	return end
}

func (g *etcdGenerator) anyEnd() []byte {
	switch g.IntN(6) {
	case 0, 1:
		return nil
	case 2:
		return []byte{0}
	default:
		return g.key()
	}
}

// large is a value that is kept apart from its record.
var large = strings.Repeat("large", 300)

func (g *etcdGenerator) value() []byte {
	return []byte(pick(g.Rand, "", "1", "2", "3", "\x00\xff", "long long long long", large, large[1:]))
}

// lease is one that may be there, or none.
func (g *etcdGenerator) lease() int64 { return pick[int64](g.Rand, 0, 0, 0, 1, 2, 3) }

// revision is one that may be read; a wrong one sometimes.
func (g *etcdGenerator) revision() int64 {
	switch g.IntN(20) {
	case 0:
		return g.pair.revision + 1 + g.Int64N(3)
	case 1:
		return max(g.compacted-g.Int64N(4), 1)
	case 2, 3, 4, 5, 6, 7, 8:
		return g.compacted + g.Int64N(g.pair.revision-g.compacted+1)
	default:
		return 0
	}
}

// near is a number close to revisions that keys have.
func (g *etcdGenerator) near() int64 { return max(g.pair.revision-g.Int64N(20), 0) }

func (g *etcdGenerator) rangeRequest() *pb.RangeRequest {
	key := g.key()
	r := &pb.RangeRequest{
		Key: key, RangeEnd: g.end(key), Revision: g.revision(), Limit: pick[int64](g.Rand, 0, 0, 0, 1, 2, 3, 10),
		SortOrder:  pb.RangeRequest_SortOrder(g.IntN(3)),
		SortTarget: pb.RangeRequest_SortTarget(g.IntN(5)),
		KeysOnly:   chance(g.Rand, 5), CountOnly: chance(g.Rand, 8), Serializable: chance(g.Rand, 4),
	}
	if chance(g.Rand, 2) {
		r.SortOrder, r.SortTarget = 0, 0
	}
	if chance(g.Rand, 4) {
		r.MinModRevision = g.near()
	}
	if chance(g.Rand, 4) {
		r.MaxModRevision = g.near()
	}
	if chance(g.Rand, 6) {
		r.MinCreateRevision = g.near()
	}
	if chance(g.Rand, 6) {
		r.MaxCreateRevision = g.near()
	}
	return r
}

func (g *etcdGenerator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: g.lease(), PrevKv: chance(g.Rand, 3)}
	if chance(g.Rand, 10) {
		r.IgnoreValue, r.Value = true, nil
	}
	if chance(g.Rand, 10) {
		r.IgnoreLease, r.Lease = true, 0
	}
	return r
}

func (g *etcdGenerator) deleteRange() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: chance(g.Rand, 2)}
	if chance(g.Rand, 3) {
		r.RangeEnd = g.end(r.Key)
	}
	return r
}

// deleteInTxn never deletes all keys from one on: etcd does not see that such a delete and a put are of the same key,
// and panics when the put is one that ignores the value.
func (g *etcdGenerator) deleteInTxn() *pb.DeleteRangeRequest {
	for {
		if r := g.deleteRange(); len(r.RangeEnd) != 1 || r.RangeEnd[0] != 0 {
			return r
		}
	}
}

func (g *etcdGenerator) comparison() *pb.Compare {
	c := &pb.Compare{Key: g.key(), Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5))}
	if chance(g.Rand, 4) {
		c.RangeEnd = g.end(c.Key)
	}
	switch c.Target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: g.Int64N(4)}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: pick(g.Rand, 0, g.near())}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: pick(g.Rand, 0, g.near())}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.lease()}
	}
	return c
}

func (g *etcdGenerator) ops(depth int) (ops []*pb.RequestOp) {
	for range g.IntN(4) {
		op := &pb.RequestOp{}
		switch n := g.IntN(8); {
		case n < 3:
			op.Request = &pb.RequestOp_RequestPut{RequestPut: g.put()}
		case n < 5:
			op.Request = &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}
		case n < 6:
			op.Request = &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.deleteInTxn()}
		case depth > 0:
			op.Request = &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth - 1)}
		default:
			op.Request = &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}
		}
		ops = append(ops, op)
	}
	return ops
}

func (g *etcdGenerator) txn(depth int) *pb.TxnRequest {
	r := &pb.TxnRequest{Success: g.ops(depth), Failure: g.ops(depth)}
	for range g.IntN(3) {
		r.Compare = append(r.Compare, g.comparison())
	}
	return r
}

// watcher begins anywhere that is still there.
func (g *etcdGenerator) watcher() *pb.WatchCreateRequest {
	key := g.key()
	r := &pb.WatchCreateRequest{Key: key, RangeEnd: g.end(key), PrevKv: chance(g.Rand, 2), Fragment: chance(g.Rand, 2)}
	if chance(g.Rand, 2) {
		r.StartRevision = max(g.compacted, 1) + g.Int64N(g.pair.revision-g.compacted+1)
	}
	if chance(g.Rand, 4) {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_FilterType(g.IntN(2)))
	}
	return r
}
