package grpcsvc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Translation casts these from one to the other.
func TestEnumerationsHaveTheSameNumbers(t *testing.T) {
	for theirs, ours := range map[int32]int32{
		int32(pb.RangeRequest_KEY):     int32(corepb.Range_KEY),
		int32(pb.RangeRequest_VERSION): int32(corepb.Range_BY_VERSION),
		int32(pb.RangeRequest_CREATE):  int32(corepb.Range_BY_CREATE),
		int32(pb.RangeRequest_MOD):     int32(corepb.Range_BY_MOD),
		int32(pb.RangeRequest_VALUE):   int32(corepb.Range_BY_VALUE),
	} {
		if theirs != ours {
			t.Errorf("sort target %d is %d", theirs, ours)
		}
	}
	pairs := []struct {
		what         string
		theirs, ours int32
	}{
		{"order none", int32(pb.RangeRequest_NONE), int32(corepb.Range_NONE)},
		{"order ascend", int32(pb.RangeRequest_ASCEND), int32(corepb.Range_ASCEND)},
		{"order descend", int32(pb.RangeRequest_DESCEND), int32(corepb.Range_DESCEND)},
		{"target version", int32(pb.Compare_VERSION), int32(corepb.Guard_VERSION)},
		{"target create", int32(pb.Compare_CREATE), int32(corepb.Guard_CREATE_REVISION)},
		{"target mod", int32(pb.Compare_MOD), int32(corepb.Guard_MOD_REVISION)},
		{"target value", int32(pb.Compare_VALUE), int32(corepb.Guard_VALUE)},
		{"target lease", int32(pb.Compare_LEASE), int32(corepb.Guard_LEASE)},
		{"result equal", int32(pb.Compare_EQUAL), int32(corepb.Guard_EQUAL)},
		{"result greater", int32(pb.Compare_GREATER), int32(corepb.Guard_GREATER)},
		{"result less", int32(pb.Compare_LESS), int32(corepb.Guard_LESS)},
		{"result not equal", int32(pb.Compare_NOT_EQUAL), int32(corepb.Guard_NOT_EQUAL)},
	}
	for _, p := range pairs {
		if p.theirs != p.ours {
			t.Errorf("%s: %d is %d", p.what, p.theirs, p.ours)
		}
	}
}

func TestRequestsTranslateFieldByField(t *testing.T) {
	key, end, value := []byte("k"), []byte("l"), []byte("v")
	for _, c := range []struct {
		what string
		set  func(*corepb.Op)
		want *corepb.Op
	}{
		{"put", func(op *corepb.Op) {
			setPut(op, &pb.PutRequest{Key: key, Value: value, Lease: 5, PrevKv: true, IgnoreValue: true, IgnoreLease: true})
		}, &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{
			Key: key, Value: value, Lease: 5, WantPrev: true, IgnoreValue: true, IgnoreLease: true,
		}}}},
		{"delete", func(op *corepb.Op) {
			setDelete(op, &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: true})
		}, &corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: key, End: end, WantPrev: true}}}},
		{"range", func(op *corepb.Op) {
			setRange(op, &pb.RangeRequest{
				Key: key, RangeEnd: end, Limit: 1, Revision: 2, SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_MOD,
				Serializable: true, KeysOnly: true, CountOnly: true,
				MinModRevision: 3, MaxModRevision: 4, MinCreateRevision: 5, MaxCreateRevision: 6,
			})
		}, &corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{
			Key: key, End: end, Limit: 1, Revision: 2, SortOrder: corepb.Range_DESCEND, SortTarget: corepb.Range_BY_MOD,
			KeysOnly: true, CountOnly: true,
			MinModRevision: 3, MaxModRevision: 4, MinCreateRevision: 5, MaxCreateRevision: 6,
		}}}},
		{"a target without an order", func(op *corepb.Op) {
			setRange(op, &pb.RangeRequest{Key: key, Limit: -1, SortTarget: pb.RangeRequest_VALUE})
		}, &corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{
			Key: key, SortTarget: corepb.Range_BY_VALUE,
		}}}},
	} {
		got := &corepb.Op{}
		c.set(got)
		wantEqual(t, c.what, got, c.want)
	}
	txn := &corepb.Txn{}
	setTxn(txn, &pb.TxnRequest{
		Compare: []*pb.Compare{versionIs("a", 3)},
		Success: ops(txnOp(ops(putOp("b", "v")), nil)),
		Failure: ops(deleteOp("c", "d")),
	})
	wantEqual(t, "txn", txn, &corepb.Txn{
		AbortOnError: true,
		Guards:       []*corepb.Guard{{Key: []byte("a"), Number: 3}},
		Then: []*corepb.Op{{Op: &corepb.Op_Txn{Txn: &corepb.Txn{
			AbortOnError: true,
			Then:         []*corepb.Op{{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("b"), Value: value}}}},
		}}}},
		Otherwise: []*corepb.Op{{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("c"), End: []byte("d")}}}},
	})
}

func TestChunksSteerTowardsTheirSize(t *testing.T) {
	for _, c := range []struct {
		keys int64
		size int
		want int64
	}{{10, 10, 20}, {10, 499, 20}, {10, 500, 10}, {10, 2000, 10}, {10, 2001, 5}, {1, 2001, 1}} {
		if got := chunkKeysNext(c.keys, c.size, 1000); got != c.want {
			t.Errorf("%d keys in %d bytes: %d, want %d", c.keys, c.size, got, c.want)
		}
	}
}

func TestMessagesEndBetweenRevisions(t *testing.T) {
	event := func(revision int64, bytes int) *mvccpb.Event {
		return &mvccpb.Event{Kv: &mvccpb.KeyValue{ModRevision: revision, Value: make([]byte, bytes)}}
	}
	const half = messageBytesMax / 2
	for _, c := range []struct {
		what   string
		events []*mvccpb.Event
		want   int
	}{
		{"one", []*mvccpb.Event{event(1, 1)}, 1},
		{"many small", []*mvccpb.Event{event(1, 1), event(2, 1), event(3, 1)}, 3},
		{"many bytes", []*mvccpb.Event{event(1, half), event(2, half), event(3, 1)}, 2},
		{"many bytes of one revision", []*mvccpb.Event{event(1, half), event(2, half), event(2, half), event(3, 1)}, 3},
	} {
		if got := messageLength(c.events); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

func TestOnlyBytesReachWatchers(t *testing.T) {
	bytes, list := storage.Record{Kind: storage.KindBytes}, storage.Record{Kind: storage.KindList}
	for _, c := range []struct {
		what  string
		event storage.Event
		want  bool
	}{
		{"put", storage.Event{Type: storage.EventPut, Record: bytes}, true},
		{"put of a list", storage.Event{Type: storage.EventPut, Record: list}, false},
		{"delete", storage.Event{Type: storage.EventDelete, Prev: &bytes}, true},
		{"delete, before unknown", storage.Event{Type: storage.EventDelete}, true},
		{"delete of a list", storage.Event{Type: storage.EventDelete, Prev: &list}, false},
		{"touch", storage.Event{Type: storage.EventTouch, Record: bytes}, false},
		{"message", storage.Event{Type: storage.EventPublish}, false},
	} {
		if got := (&watcher{}).wants(&c.event); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestFragmentSizesAreReckonedExactly(t *testing.T) {
	for _, n := range []int{0, 1, 100, 200, 20_000} {
		var cell eventCell
		cell.fill(&storage.Event{Type: storage.EventPut, Key: []byte("k"), Record: storage.Record{Version: 1, Value: make([]byte, n)}})
		empty, one := &pb.WatchResponse{}, &pb.WatchResponse{}
		one.Events = append(one.Events, &cell.event)
		if got, want := repeatedSize(&cell.event), proto.Size(one)-proto.Size(empty); got != want {
			t.Errorf("%d bytes: %d, want %d", n, got, want)
		}
	}
}
