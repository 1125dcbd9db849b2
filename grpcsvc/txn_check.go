package grpcsvc

import (
	"bytes"
	"slices"

	"github.com/tidwall/btree"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// checkTxnOps checks each request of a Txn by itself, and their number: the longest of compares, success and failure
// counts, and a nested Txn may have what those around it leave over.
func checkTxnOps(r *pb.TxnRequest, opsMax int) error {
	longest := max(len(r.Compare), len(r.Success), len(r.Failure))
	if longest > opsMax {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, ops := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkTxnOp(op, opsMax-longest); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTxnOp(op *pb.RequestOp, opsMax int) error {
	switch op := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(op.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(op.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(op.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxnOps(op.RequestTxn, opsMax)
	}
	return rpctypes.ErrGRPCKeyNotFound // an operation of no kind
}

// checkTxnKeys refuses a Txn that could put one key twice, or put and delete it, since the changes of one revision have
// no order that history could tell. Branches that exclude each other may use the same keys.
func checkTxnKeys(r *pb.TxnRequest) error {
	for _, ops := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		if !needsKeyCheck(ops) {
			continue
		}
		if _, err := touchedBy(ops); err != nil {
			return err
		}
	}
	return nil
}

// needsKeyCheck is false for the Txn of everyday, whose branches have one operation each.
func needsKeyCheck(ops []*pb.RequestOp) bool {
	if len(ops) > 1 {
		return true
	}
	return slices.ContainsFunc(ops, func(op *pb.RequestOp) bool { return op.GetRequestTxn() != nil })
}

// touched is what operations that can run together put and delete.
type touched struct {
	puts    map[string]struct{}
	deletes intervals
}

func (t *touched) put(key string) error {
	if _, twice := t.puts[key]; twice || t.deletes.contain(key) {
		return rpctypes.ErrGRPCDuplicateKey
	}
	t.puts[key] = struct{}{}
	return nil
}

// touchedBy collects what a branch touches in the order in which etcd does, which decides what it refuses: the deletes
// of this level, then nested Txns one after the other, then the puts of this level. A put within a nested Txn
// therefore does not collide with a delete within a later one.
func touchedBy(ops []*pb.RequestOp) (*touched, error) {
	all := &touched{puts: make(map[string]struct{}, len(ops))}
	for _, op := range ops {
		if r := op.GetRequestDeleteRange(); r != nil {
			all.deletes.add(r.Key, r.RangeEnd)
		}
	}
	for _, op := range ops {
		if r := op.GetRequestTxn(); r != nil {
			if err := all.nest(r); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if r := op.GetRequestPut(); r != nil {
			if err := all.put(string(r.Key)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// nest adds what a nested Txn touches. Its two branches exclude each other, so both may put one key.
func (t *touched) nest(r *pb.TxnRequest) error {
	then, err := touchedBy(r.Success)
	if err != nil {
		return err
	}
	otherwise, err := touchedBy(r.Failure)
	if err != nil {
		return err
	}
	for key := range otherwise.puts {
		then.puts[key] = struct{}{}
	}
	for key := range then.puts {
		if err := t.put(key); err != nil {
			return err
		}
	}
	t.deletes.merge(&then.deletes)
	t.deletes.merge(&otherwise.deletes)
	return nil
}

// intervals is a set of keys, as disjoint half-open intervals ordered by their start: start -> end.
type intervals struct {
	ends btree.Map[string, string]
}

// add adds the range of a delete. etcd takes "\0", the end that stands for every key from the first on, by its bytes
// here, so that such a delete, as one that ends before it starts, collides with nothing.
func (s *intervals) add(key, end []byte) {
	switch {
	case len(end) == 0:
		s.insert(string(key), string(key)+"\x00")
	case bytes.Compare(key, end) < 0:
		s.insert(string(key), string(end))
	}
}

func (s *intervals) insert(start, end string) {
	if before, beforeEnd, ok := s.floor(start); ok && beforeEnd >= start {
		start, end = before, max(end, beforeEnd)
	}
	var within []string
	s.ends.Ascend(start, func(next, nextEnd string) bool {
		if next > end {
			return false
		}
		within = append(within, next)
		end = max(end, nextEnd)
		return true
	})
	for _, next := range within {
		s.ends.Delete(next)
	}
	s.ends.Set(start, end)
}

func (s *intervals) merge(other *intervals) {
	other.ends.Scan(func(start, end string) bool {
		s.insert(start, end)
		return true
	})
}

func (s *intervals) contain(key string) bool {
	_, end, ok := s.floor(key)
	return ok && key < end
}

// floor finds the interval with the greatest start that is not above key.
func (s *intervals) floor(key string) (start, end string, ok bool) {
	s.ends.Descend(key, func(k, v string) bool {
		start, end, ok = k, v, true
		return false
	})
	return start, end, ok
}
