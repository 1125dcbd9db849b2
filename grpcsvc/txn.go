package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// Txn runs operations as one change, chosen by compares.
func (s *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.checkTxn(r); err != nil {
		return nil, err
	}
	txn := &corepb.Txn{}
	setTxn(txn, r)
	result, err := s.runTxn(ctx, r, txn)
	if err != nil {
		return nil, err
	}
	answer := &pb.TxnResponse{Header: s.header(result.Revision), Succeeded: result.Succeeded}
	revision := result.Revision
	if result.Changed {
		revision--
	}
	w := txnWording{before: revision}
	answer.Responses = w.responses(branch(r, result.Succeeded), result)
	s.opts.Meters.txns.Add(1)
	for _, part := range answer.Responses {
		if part.GetResponseRange() != nil {
			s.opts.Meters.ranges.Add(1)
		}
	}
	return answer, nil
}

// checkTxn refuses what must not get into the log.
func (s *kvService) checkTxn(r *pb.TxnRequest) error {
	if err := checkTxnOps(r, s.opts.MaxTxnOps); err != nil {
		return err
	}
	if err := checkTxnKeys(r); err != nil {
		return err
	}
	if s.tooLarge(proto.Size(r)) {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

func (s *kvService) runTxn(ctx context.Context, r *pb.TxnRequest, txn *corepb.Txn) (*core.TxnResult, error) {
	onlyReads, serializable := readsOf(r)
	if !onlyReads {
		return s.do(ctx, txn)
	}
	view, err := s.view(ctx, serializable)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return read(view, txn)
}

// readsOf reports whether a Txn consists of ranges, and whether all of them may be answered from local state.
func readsOf(r *pb.TxnRequest) (onlyReads, serializable bool) {
	serializable = true
	for _, ops := range [2][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			ranged, ok := op.Request.(*pb.RequestOp_RequestRange)
			if !ok {
				return false, false
			}
			serializable = serializable && ranged.RequestRange.Serializable
		}
	}
	return true, serializable
}

func setTxn(txn *corepb.Txn, r *pb.TxnRequest) {
	txn.AbortOnError = true
	if len(r.Compare) != 0 {
		guards := make([]corepb.Guard, len(r.Compare))
		txn.Guards = make([]*corepb.Guard, len(r.Compare))
		for i, c := range r.Compare {
			setGuard(&guards[i], c)
			txn.Guards[i] = &guards[i]
		}
	}
	txn.Then = coreOps(r.Success)
	txn.Otherwise = coreOps(r.Failure)
}

func coreOps(requests []*pb.RequestOp) []*corepb.Op {
	if len(requests) == 0 {
		return nil
	}
	backing := make([]corepb.Op, len(requests))
	ops := make([]*corepb.Op, len(requests))
	for i, request := range requests {
		op := &backing[i]
		ops[i] = op
		switch request := request.Request.(type) {
		case *pb.RequestOp_RequestRange:
			setRange(op, request.RequestRange)
		case *pb.RequestOp_RequestPut:
			setPut(op, request.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			setDelete(op, request.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			nested := &corepb.Txn{}
			setTxn(nested, request.RequestTxn)
			op.Op = &corepb.Op_Txn{Txn: nested}
		}
	}
	return ops
}

func branch(r *pb.TxnRequest, succeeded bool) []*pb.RequestOp {
	if succeeded {
		return r.Success
	}
	return r.Failure
}

// txnWording words the results of a Txn. The header of each operation's answer carries one thing only, the revision as
// the operation saw it: the one before the Txn until something has changed, then the Txn's own.
type txnWording struct {
	before  int64
	changed bool
}

func (w *txnWording) header() *pb.ResponseHeader {
	h := &pb.ResponseHeader{Revision: w.before}
	if w.changed {
		h.Revision++
	}
	return h
}

func (w *txnWording) responses(requests []*pb.RequestOp, result *core.TxnResult) []*pb.ResponseOp {
	if len(requests) == 0 {
		return nil
	}
	backing := make([]pb.ResponseOp, len(requests))
	responses := make([]*pb.ResponseOp, len(requests))
	for i, request := range requests {
		responses[i] = &backing[i]
		w.fill(&backing[i], request, &result.Results[i])
	}
	return responses
}

func (w *txnWording) fill(response *pb.ResponseOp, request *pb.RequestOp, result *core.Result) {
	switch request := request.Request.(type) {
	case *pb.RequestOp_RequestRange:
		answer := &pb.RangeResponse{Header: w.header()}
		fillRange(answer, request.RequestRange, result)
		response.Response = &pb.ResponseOp_ResponseRange{ResponseRange: answer}
	case *pb.RequestOp_RequestPut:
		w.changed = true
		answer := &pb.PutResponse{Header: w.header()}
		fillPut(answer, request.RequestPut.Key, result)
		response.Response = &pb.ResponseOp_ResponsePut{ResponsePut: answer}
	case *pb.RequestOp_RequestDeleteRange:
		w.changed = w.changed || result.Int > 0
		answer := &pb.DeleteRangeResponse{Header: w.header()}
		fillDelete(answer, result)
		response.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: answer}
	case *pb.RequestOp_RequestTxn:
		nested := result.Txn
		answer := &pb.TxnResponse{Header: &pb.ResponseHeader{}, Succeeded: nested.Succeeded}
		answer.Responses = w.responses(branch(request.RequestTxn, nested.Succeeded), nested)
		response.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: answer}
	}
}
