package grpcsvc

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

func TestPutGetDeleteCountRevisionsAndVersions(t *testing.T) {
	n := startNode(t, Options{})
	status := n.store.Status()
	if r := n.get(&pb.RangeRequest{Key: []byte("a")}); r.Header.Revision != 1 || r.Count != 0 || len(r.Kvs) != 0 {
		t.Errorf("empty store: %v", r)
	}
	put := n.put("a", "1")
	wantEqual(t, "header", put.Header, &pb.ResponseHeader{
		ClusterId: status.ClusterID, MemberId: status.MemberID, Revision: 2, RaftTerm: status.Term,
	})
	n.put("a", "2")
	got := n.get(&pb.RangeRequest{Key: []byte("a")})
	wantEqual(t, "kv", got.Kvs[0], &mvccpb.KeyValue{
		Key: []byte("a"), Value: []byte("2"), CreateRevision: 2, ModRevision: 3, Version: 2,
	})
	if d := n.delete("a", ""); d.Deleted != 1 || d.Header.Revision != 4 {
		t.Errorf("delete: %v", d)
	}
	if d := n.delete("a", ""); d.Deleted != 0 || d.Header.Revision != 4 {
		t.Errorf("delete of nothing: %v", d)
	}
	n.put("a", "3")
	if kv := n.get(&pb.RangeRequest{Key: []byte("a")}).Kvs[0]; kv.CreateRevision != 5 || kv.Version != 1 {
		t.Errorf("after a new creation: %v", kv)
	}
}

func TestRequestsWithoutSenseAreRefused(t *testing.T) {
	n := startNode(t, Options{})
	key := []byte("k")
	_, err := n.kv.Range(n.ctx, &pb.RangeRequest{})
	wantStatus(t, "range", err, rpctypes.ErrGRPCEmptyKey)
	_, err = n.kv.Range(n.ctx, &pb.RangeRequest{Key: key, SortOrder: 9})
	wantStatus(t, "sort order", err, rpctypes.ErrGRPCInvalidSortOption)
	_, err = n.kv.Range(n.ctx, &pb.RangeRequest{Key: key, SortTarget: 9})
	wantStatus(t, "sort target", err, rpctypes.ErrGRPCInvalidSortOption)
	_, err = n.kv.Range(n.ctx, &pb.RangeRequest{Key: key, Revision: 99})
	wantStatus(t, "future", err, rpctypes.ErrGRPCFutureRev)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{})
	wantStatus(t, "put", err, rpctypes.ErrGRPCEmptyKey)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: key, Value: key, IgnoreValue: true})
	wantStatus(t, "ignore_value", err, rpctypes.ErrGRPCValueProvided)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: key, Lease: 1, IgnoreLease: true})
	wantStatus(t, "ignore_lease", err, rpctypes.ErrGRPCLeaseProvided)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: key, IgnoreValue: true})
	wantStatus(t, "ignore_value, absent", err, rpctypes.ErrGRPCKeyNotFound)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: key, IgnoreLease: true})
	wantStatus(t, "ignore_lease, absent", err, rpctypes.ErrGRPCKeyNotFound)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: key, Lease: 77})
	wantStatus(t, "unknown lease", err, rpctypes.ErrGRPCLeaseNotFound)
	_, err = n.kv.DeleteRange(n.ctx, &pb.DeleteRangeRequest{})
	wantStatus(t, "delete", err, rpctypes.ErrGRPCEmptyKey)
	if r := n.get(&pb.RangeRequest{Key: key}); r.Header.Revision != 1 {
		t.Errorf("a refused request took a revision: %v", r.Header)
	}
}

func TestRangeBounds(t *testing.T) {
	n := startNode(t, Options{})
	for _, key := range []string{"a", "b", "b/1", "b/2", "c", "\xff"} {
		n.put(key, "v")
	}
	for _, c := range []struct{ key, end, want string }{
		{"b", "", "b "},
		{"x", "", ""},
		{"b", "c", "b b/1 b/2 "},
		{"b/", "b0", "b/1 b/2 "},
		{"b/2", "\x00", "b/2 c \xff "},
		{"\x00", "\x00", "a b b/1 b/2 c \xff "},
		{"c", "b", ""},
		{"c", "c", ""},
	} {
		r := n.get(&pb.RangeRequest{Key: []byte(c.key), RangeEnd: []byte(c.end)})
		if keysOf(r) != c.want || r.Count != int64(len(r.Kvs)) || r.More {
			t.Errorf("[%q, %q): %q count %d more %v, want %q", c.key, c.end, keysOf(r), r.Count, r.More, c.want)
		}
	}
	if d := n.delete("c", "b"); d.Deleted != 0 {
		t.Errorf("delete of an empty range: %v", d)
	}
	if d := n.delete("b/2", "\x00"); d.Deleted != 3 {
		t.Errorf("delete to the end: %v", d)
	}
}

func TestRangeLimitFiltersAndOrder(t *testing.T) {
	n := startNode(t, Options{})
	// revisions: a 2, b 3 and 5, c 4, d 6
	n.put("a", "4")
	n.put("b", "1")
	n.put("c", "2")
	n.put("b", "3")
	n.put("d", "1")
	all := func(r *pb.RangeRequest) *pb.RangeRequest {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
		return r
	}
	for _, c := range []struct {
		what  string
		r     *pb.RangeRequest
		keys  string
		more  bool
		count int64
	}{
		{"limit", &pb.RangeRequest{Limit: 2}, "a b ", true, 4},
		{"limit of all", &pb.RangeRequest{Limit: 4}, "a b c d ", false, 4},
		{"negative limit", &pb.RangeRequest{Limit: -1}, "a b c d ", false, 4},
		{"count only", &pb.RangeRequest{CountOnly: true, Limit: 1}, "", false, 4},
		{"by key, descending", &pb.RangeRequest{SortOrder: pb.RangeRequest_DESCEND, Limit: 3}, "d c b ", true, 4},
		{"by mod", &pb.RangeRequest{SortTarget: pb.RangeRequest_MOD}, "a c b d ", false, 4},
		{"by mod, descending", &pb.RangeRequest{SortTarget: pb.RangeRequest_MOD, SortOrder: pb.RangeRequest_DESCEND, Limit: 2}, "d b ", true, 4},
		{"by create", &pb.RangeRequest{SortTarget: pb.RangeRequest_CREATE, SortOrder: pb.RangeRequest_DESCEND}, "d c b a ", false, 4},
		{"by version", &pb.RangeRequest{SortTarget: pb.RangeRequest_VERSION, SortOrder: pb.RangeRequest_DESCEND, Limit: 1}, "b ", true, 4},
		{"by value, keys only", &pb.RangeRequest{SortTarget: pb.RangeRequest_VALUE, SortOrder: pb.RangeRequest_ASCEND, KeysOnly: true}, "d c b a ", false, 4},
		{"min mod", &pb.RangeRequest{MinModRevision: 5}, "b d ", false, 4},
		{"max mod", &pb.RangeRequest{MaxModRevision: 4}, "a c ", false, 4},
		{"min create", &pb.RangeRequest{MinCreateRevision: 4}, "c d ", false, 4},
		{"max create", &pb.RangeRequest{MaxCreateRevision: 3}, "a b ", false, 4},
		{"filter before limit", &pb.RangeRequest{MinModRevision: 6, Limit: 1}, "d ", false, 4},
		{"old revision", &pb.RangeRequest{Revision: 4}, "a b c ", false, 3},
	} {
		r := n.get(all(c.r))
		if keysOf(r) != c.keys || r.More != c.more || r.Count != c.count || r.Header.Revision != 6 {
			t.Errorf("%s: %v", c.what, r)
		}
		if c.r.KeysOnly && r.Kvs[0].Value != nil {
			t.Errorf("%s: values are there", c.what)
		}
	}
	// A single key goes another way and must answer alike.
	one := []byte("b")
	if r := n.get(&pb.RangeRequest{Key: one, CountOnly: true}); r.Count != 1 || r.Kvs != nil {
		t.Errorf("one key, count only: %v", r)
	}
	if r := n.get(&pb.RangeRequest{Key: one, KeysOnly: true}); r.Kvs[0].Value != nil || r.Kvs[0].Version != 2 {
		t.Errorf("one key, keys only: %v", r)
	}
	if r := n.get(&pb.RangeRequest{Key: one, MinModRevision: 6}); r.Count != 1 || r.Kvs != nil {
		t.Errorf("one key, filtered: %v", r)
	}
	if r := n.get(&pb.RangeRequest{Key: one, Revision: 3, Serializable: true}); string(r.Kvs[0].Value) != "1" {
		t.Errorf("one key, old: %v", r)
	}
}

func TestPutOptions(t *testing.T) {
	n := startNode(t, Options{})
	grant := must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 100, ID: 7}))(t)
	first := must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: grant.ID, PrevKv: true}))(t)
	if first.PrevKv != nil {
		t.Errorf("a creation has a previous value: %v", first)
	}
	second := must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("2"), IgnoreLease: true, PrevKv: true}))(t)
	wantEqual(t, "prev_kv", second.PrevKv, &mvccpb.KeyValue{
		Key: []byte("a"), Value: []byte("1"), CreateRevision: 2, ModRevision: 2, Version: 1, Lease: 7,
	})
	if kv := n.get(&pb.RangeRequest{Key: []byte("a")}).Kvs[0]; kv.Lease != 7 || string(kv.Value) != "2" {
		t.Errorf("ignore_lease: %v", kv)
	}
	for _, end := range []string{"", "b"} {
		r := &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte(end), KeysOnly: true}
		if kv := n.get(r).Kvs[0]; kv.Lease != 0 || kv.Version != 2 {
			t.Errorf("keys only shows no lease: %v", kv)
		}
	}
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), IgnoreValue: true}))(t)
	if kv := n.get(&pb.RangeRequest{Key: []byte("a")}).Kvs[0]; kv.Lease != 0 || string(kv.Value) != "2" || kv.Version != 3 {
		t.Errorf("ignore_value, which detaches the lease: %v", kv)
	}
	d := must(n.kv.DeleteRange(n.ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true}))(t)
	if d.Deleted != 1 || string(d.PrevKvs[0].Value) != "2" || string(d.PrevKvs[0].Key) != "a" {
		t.Errorf("delete with prev_kv: %v", d)
	}
}

func TestRequestsThatAreTooLarge(t *testing.T) {
	n := startNode(t, Options{MaxRequestBytes: 64 << 10})
	value := make([]byte, 64<<10)
	_, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("k"), Value: value})
	wantStatus(t, "put", err, rpctypes.ErrGRPCRequestTooLarge)
	_, err = n.kv.Txn(n.ctx, &pb.TxnRequest{Success: []*pb.RequestOp{putOp("k", string(value))}})
	wantStatus(t, "txn", err, rpctypes.ErrGRPCRequestTooLarge)
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("k"), Value: value[:len(value)-100]}))(t)
	_, err = n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("k"), Value: make([]byte, 64<<10+512<<10)})
	wantCode(t, "beyond what is received", err, codes.ResourceExhausted)
}

func TestTheLargestRequestIsCarriedOut(t *testing.T) {
	n := startNode(t, Options{})
	value := make([]byte, maxRequestBytesDefault-100)
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("k"), Value: value}))(t)
	if r := n.get(&pb.RangeRequest{Key: []byte("k")}); len(r.Kvs[0].Value) != len(value) {
		t.Errorf("%d bytes came back", len(r.Kvs[0].Value))
	}
}

func TestCompactKeepsWhatIsVisible(t *testing.T) {
	n := startNode(t, Options{})
	must(n.kv.Compact(n.ctx, &pb.CompactionRequest{}))(t) // revision 0, while nothing is compacted
	n.put("a", "1")
	n.put("a", "2")
	n.put("a", "3")
	_, err := n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: 5})
	wantStatus(t, "future", err, rpctypes.ErrGRPCFutureRev)
	_, err = n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: -1})
	wantStatus(t, "negative", err, rpctypes.ErrGRPCCompacted)
	done := must(n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: 3, Physical: true}))(t)
	if done.Header.Revision != 4 {
		t.Errorf("compaction took a revision: %v", done.Header)
	}
	_, err = n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: 3})
	wantStatus(t, "again", err, rpctypes.ErrGRPCCompacted)
	_, err = n.kv.Compact(n.ctx, &pb.CompactionRequest{})
	wantStatus(t, "at 0", err, rpctypes.ErrGRPCCompacted)
	_, err = n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 2})
	wantStatus(t, "read below", err, rpctypes.ErrGRPCCompacted)
	if r := n.get(&pb.RangeRequest{Key: []byte("a"), Revision: 3}); string(r.Kvs[0].Value) != "2" {
		t.Errorf("read at the compacted revision: %v", r)
	}
}

func TestCollectionsAreNotSeen(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	n.push("list")
	all := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	if r := n.get(all); keysOf(r) != "a " || r.Count != 1 {
		t.Errorf("range: %v", r)
	}
	if r := n.get(&pb.RangeRequest{Key: []byte("list")}); r.Count != 0 || r.Kvs != nil {
		t.Errorf("get: %v", r)
	}
	_, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("list"), Value: []byte("v")})
	wantStatus(t, "put", err, errCollection)
	if d := n.delete("list", ""); d.Deleted != 0 {
		t.Errorf("delete: %v", d)
	}
	if d := n.delete("\x00", "\x00"); d.Deleted != 1 {
		t.Errorf("delete of everything: %v", d)
	}
	txn := must(n.kv.Txn(n.ctx, &pb.TxnRequest{Compare: []*pb.Compare{versionIs("list", 0)}}))(t)
	if !txn.Succeeded {
		t.Error("a compare sees a list")
	}
}

func TestRangeStreamSortsWithinMessagesAndLosesNoKey(t *testing.T) {
	n := startNode(t, Options{})
	const keys = 35
	for i := range keys {
		n.put(fmt.Sprintf("key-%02d", i), fmt.Sprint(9-i%10))
	}
	stream := must(n.kv.RangeStream(n.ctx, &pb.RangeRequest{
		Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_VALUE, KeysOnly: true,
	}))(t)
	var messages [][]string
	for {
		part, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, kv := range part.RangeResponse.Kvs {
			if kv.Value != nil {
				t.Errorf("%s has a value", kv.Key)
			}
			names = append(names, string(kv.Key))
		}
		messages = append(messages, names)
	}
	first := []string{"key-09", "key-08", "key-07", "key-06", "key-05", "key-04", "key-03", "key-02", "key-01", "key-00"}
	if !slices.Equal(messages[0], first) {
		t.Errorf("the first message has %v", messages[0])
	}
	all := slices.Concat(messages...)
	slices.Sort(all)
	if all = slices.Compact(all); len(messages) < 2 || len(all) != keys {
		t.Errorf("%d keys in %d messages", len(all), len(messages))
	}
}

func TestRangeStreamMergesToTheAnswerOfRange(t *testing.T) {
	n := startNode(t, Options{MaxRequestBytes: 8 << 10})
	value := strings.Repeat("v", 300)
	for i := range 100 {
		n.put(fmt.Sprintf("key-%03d", i), value)
	}
	for name, r := range map[string]*pb.RangeRequest{
		"everything": {Key: []byte{0}, RangeEnd: []byte{0}},
		"limit":      {Key: []byte{0}, RangeEnd: []byte{0}, Limit: 55},
		"limit 3":    {Key: []byte{0}, RangeEnd: []byte{0}, Limit: 3},
		"old":        {Key: []byte{0}, RangeEnd: []byte{0}, Revision: 40},
		"keys only":  {Key: []byte{0}, RangeEnd: []byte{0}, KeysOnly: true},
		"count only": {Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true},
		"nothing":    {Key: []byte("x"), RangeEnd: []byte("y")},
		"one key":    {Key: []byte("key-007")},
		"ascending":  {Key: []byte{0}, RangeEnd: []byte{0}, SortOrder: pb.RangeRequest_ASCEND},
	} {
		merged, messages := &pb.RangeResponse{}, 0
		stream := must(n.kv.RangeStream(n.ctx, r))(t)
		for {
			part, err := stream.Recv()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if merged.Header != nil {
				t.Errorf("%s: a message after the last", name)
			}
			if messages == 0 && len(part.RangeResponse.Kvs) > 10 {
				t.Errorf("%s: the first message has %d keys", name, len(part.RangeResponse.Kvs))
			}
			messages++
			proto.Merge(merged, part.RangeResponse)
		}
		wantEqual(t, name, merged, n.get(r))
		if name == "everything" && messages < 4 || name == "count only" && messages != 1 {
			t.Errorf("%s: %d messages", name, messages)
		}
	}
	for name, r := range map[string]*pb.RangeRequest{
		"sorted":   {Key: []byte{0}, RangeEnd: []byte{0}, SortOrder: pb.RangeRequest_DESCEND},
		"filtered": {Key: []byte{0}, RangeEnd: []byte{0}, MinModRevision: 2},
	} {
		_, err := must(n.kv.RangeStream(n.ctx, r))(t).Recv()
		wantCode(t, name, err, codes.Unimplemented)
	}
}
