package grpcsvc

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func BenchmarkTranslatePut(b *testing.B) {
	r := &pb.PutRequest{Key: []byte("key-0000000001"), Value: make([]byte, 256)}
	b.ReportAllocs()
	for b.Loop() {
		if checkPut(r) != nil {
			b.Fatal("refused")
		}
		txn, op := command()
		setPut(op, r)
		if txn.SizeVT() == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkTranslateRangeOf100(b *testing.B) {
	result := &core.Result{Count: 100}
	for i := range 100 {
		result.Records = append(result.Records, core.KeyRecord{
			Key: fmt.Appendf(nil, "key-%010d", i), Record: storage.Record{Kind: storage.KindBytes, Version: 1, Value: make([]byte, 256)},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		answer := &pb.RangeResponse{}
		fillRange(answer, &pb.RangeRequest{}, result)
		if len(answer.Kvs) != 100 {
			b.Fatal("keys are missing")
		}
	}
}

func BenchmarkTranslateTxn(b *testing.B) { // as Kubernetes updates an object
	r := &pb.TxnRequest{
		Compare: []*pb.Compare{versionIs("key-0000000001", 3)},
		Success: ops(putOp("key-0000000001", string(make([]byte, 256)))),
		Failure: ops(getOp("key-0000000001")),
	}
	s := &kvService{Server: &Server{opts: Options{}.withDefaults()}}
	b.ReportAllocs()
	for b.Loop() {
		if s.checkTxn(r) != nil {
			b.Fatal("refused")
		}
		setTxn(&corepb.Txn{}, r)
	}
}

// sink is a watch stream that encodes as gRPC does and sends nowhere.
type sink struct {
	pb.Watch_WatchServer
	sent, bytes int
	buffer      []byte
}

func (s *sink) Context() context.Context     { return context.Background() }
func (s *sink) SendHeader(metadata.MD) error { return nil }
func (s *sink) Send(r *pb.WatchResponse) (err error) {
	s.buffer, err = proto.MarshalOptions{}.MarshalAppend(s.buffer[:0], r)
	s.sent++
	s.bytes += len(s.buffer)
	return err
}

// One change that 1000 watchers are told of.
func BenchmarkFanOutEncode1000(b *testing.B) {
	n := startNode(b, Options{})
	out := &sink{}
	w := &watchStream{Server: n.server, stream: out, watchers: map[int64]*watcher{}}
	notice := core.Notice{Events: []*storage.Event{{
		Type: storage.EventPut, Key: []byte("key-0000000001"), Revision: 7,
		Record: storage.Record{Kind: storage.KindBytes, CreateRevision: 2, ModRevision: 7, Version: 3, Value: make([]byte, 256)},
	}}}
	for id := range int64(1000) {
		w.watchers[id] = &watcher{id: id}
	}
	b.ReportAllocs()
	for b.Loop() {
		for id := range int64(1000) {
			notice.ID = id
			if _, _, err := w.send(&notice); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// The whole way of a request over gRPC; the difference to the store's own time is what the API costs.
func BenchmarkPutOverGRPC(b *testing.B) {
	n := startNode(b, Options{})
	value := make([]byte, 256)
	var i atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			key := fmt.Appendf(nil, "key-%010d", i.Add(1))
			if _, err := n.kv.Put(context.Background(), &pb.PutRequest{Key: key, Value: value}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkGetOverGRPC(b *testing.B) {
	n := startNode(b, Options{})
	n.put("key", string(make([]byte, 256)))
	for _, serializable := range []bool{false, true} {
		b.Run(fmt.Sprintf("serializable=%v", serializable), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(64)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					r := &pb.RangeRequest{Key: []byte("key"), Serializable: serializable}
					if _, err := n.kv.Range(context.Background(), r); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
