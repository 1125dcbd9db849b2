package grpcsvc

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// kvService is etcdserverpb.KV. Each method checks the request as etcd does, in etcd's order, before anything runs;
// what depends on state is left to core.
type kvService struct {
	pb.UnimplementedKVServer
	*Server
}

// do runs a command through the log on behalf of the caller, and gives the result only if the command took effect.
func (s *Server) do(ctx context.Context, txn *corepb.Txn) (*core.TxnResult, error) {
	caller, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	txn.Caller = caller
	begun, done := time.Now(), false
	defer func() { s.opts.Meters.requests.Add(txn, done, time.Since(begun)) }()
	results, err := s.store.Submit(ctx, txn).Wait(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	if err := results[0].Err; err != nil {
		return nil, statusOf(err)
	}
	done = true
	return results[0], nil
}

// view gives the state to read from: the latest of the cluster, or what this node has. A read that found no leader in time
// is answered as etcd answers it; a write that found none was not carried out, which its answer says.
func (s *Server) view(ctx context.Context, serializable bool) (*core.View, error) {
	level := core.Linearizable
	if serializable {
		level = core.Local
	}
	view, err := s.viewAt(ctx, level)
	if errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		return nil, rpctypes.ErrGRPCTimeout
	}
	return view, err
}

// read runs a command that only reads on a view.
func read(view *core.View, txn *corepb.Txn) (*core.TxnResult, error) {
	result, err := view.Do(txn)
	if err != nil {
		return nil, statusOf(err)
	}
	if result.Err != nil {
		return nil, statusOf(result.Err)
	}
	return result, nil
}

// Range reads one key or a range.
func (s *kvService) Range(ctx context.Context, r *pb.RangeRequest) (_ *pb.RangeResponse, err error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	defer s.opts.Meters.ranging(time.Now(), &err)
	view, err := s.view(ctx, r.Serializable)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	if isPointRead(r) {
		return s.get(view, r)
	}
	r.Revision = max(r.Revision, 0) // alone, a negative one is the newest; within a Txn it is compacted
	txn, op := command()
	setRange(op, r)
	result, err := read(view, txn)
	if err != nil {
		return nil, err
	}
	answer := &pb.RangeResponse{Header: s.header(result.Revision)}
	fillRange(answer, r, &result.Results[0])
	return answer, nil
}

// isPointRead reports whether a Range is the plain get that most are.
func isPointRead(r *pb.RangeRequest) bool {
	return len(r.RangeEnd) == 0 && r.Revision <= 0 &&
		r.MinModRevision|r.MaxModRevision|r.MinCreateRevision|r.MaxCreateRevision == 0
}

// pointAnswer is all that the answer to a plain get consists of, in one allocation.
type pointAnswer struct {
	response pb.RangeResponse
	header   pb.ResponseHeader
	kv       mvccpb.KeyValue
	kvs      [1]*mvccpb.KeyValue
}

func (s *kvService) get(view *core.View, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	record := view.Get(0, r.Key)
	if err := view.Err(); err != nil {
		return nil, statusOf(err)
	}
	a := &pointAnswer{}
	s.fillHeader(&a.header, view.Revision())
	a.response.Header = &a.header
	if record == nil || record.Kind != storage.KindBytes {
		return &a.response, nil
	}
	a.response.Count = 1
	if r.CountOnly {
		return &a.response, nil
	}
	fillKeyValue(&a.kv, r.Key, record)
	if r.KeysOnly {
		a.kv.Value = nil
	}
	if hidesLeases(r) {
		a.kv.Lease = 0
	}
	a.kvs[0] = &a.kv
	a.response.Kvs = a.kvs[:]
	return &a.response, nil
}

// putAnswer is an answer to Put with its header, in one allocation.
type putAnswer struct {
	response pb.PutResponse
	header   pb.ResponseHeader
}

// putCommand is a command of one put.
type putCommand struct {
	oneOp
	wrapped corepb.Op_Put
	put     corepb.Put
}

// endedPuts are used again: the log copies what it gets.
var endedPuts = sync.Pool{New: func() any { return &putCommand{} }}

func (c *putCommand) fill(r *pb.PutRequest) {
	c.begin()
	translatePut(&c.put, r)
	c.wrapped.Put = &c.put
	c.op.Op = &c.wrapped
}

func (c *putCommand) end() {
	c.put.Reset()
	c.txn.Reset()
	endedPuts.Put(c)
}

// Put writes one key.
func (s *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	// Reckoning the exact size is worth its while only near the limit.
	if s.tooLarge(2*(len(r.Key)+len(r.Value))) && s.tooLarge(proto.Size(r)) {
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	c := endedPuts.Get().(*putCommand)
	c.fill(r)
	result, err := s.do(ctx, &c.txn)
	c.end()
	if err != nil {
		return nil, err
	}
	a := &putAnswer{}
	s.fillHeader(&a.header, result.Revision)
	a.response.Header = &a.header
	fillPut(&a.response, r.Key, &result.Results[0])
	core.Recycle(result)
	return &a.response, nil
}

// DeleteRange removes one key or a range.
func (s *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	if s.tooLarge(proto.Size(r)) {
		return nil, rpctypes.ErrGRPCRequestTooLarge
	}
	txn, op := command()
	setDelete(op, r)
	result, err := s.do(ctx, txn)
	if err != nil {
		return nil, err
	}
	answer := &pb.DeleteRangeResponse{Header: s.header(result.Revision)}
	fillDelete(answer, &result.Results[0])
	return answer, nil
}

// Compact forgets history. With physical set it waits until the space is free to be used again.
func (s *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if r.Revision == 0 {
		return s.compactNothing(ctx)
	}
	txn, op := command()
	op.Op = &corepb.Op_Compact{Compact: &corepb.Compact{Revision: r.Revision}}
	result, err := s.do(ctx, txn)
	if err != nil {
		return nil, err
	}
	if r.Physical {
		if err := s.store.WaitPurged(ctx, r.Revision); err != nil {
			return nil, statusOf(err)
		}
	}
	return &pb.CompactionResponse{Header: s.header(result.Revision)}, nil
}

// compactNothing answers a compaction at revision 0, which etcd accepts while nothing has been compacted.
func (s *kvService) compactNothing(ctx context.Context) (*pb.CompactionResponse, error) {
	view, err := s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	if view.Compacted() > 0 {
		return nil, rpctypes.ErrGRPCCompacted
	}
	return &pb.CompactionResponse{Header: s.header(view.Revision())}, nil
}
