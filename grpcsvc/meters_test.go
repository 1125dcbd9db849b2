package grpcsvc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/triglot/triglot/core"
)

func count(h core.Histogram) (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func TestMetersCountRequestsByWhatTheyAskFor(t *testing.T) {
	n := startNode(t, Options{})
	put := func(key string) {
		t.Helper()
		must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("v")}))(t)
	}
	put("a")
	must(n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("a")}))(t)
	if _, err := n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("a"), Revision: 1000}); err == nil {
		t.Fatal("a revision of the future was read")
	}
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
	drop := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}}
	must(n.kv.Txn(n.ctx, &pb.TxnRequest{Success: []*pb.RequestOp{get, get, drop}}))(t)
	if _, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("b"), Lease: 99}); err == nil {
		t.Fatal("a key got a lease that there is not")
	}

	stream := must(pb.NewWatchClient(n.conn).Watch(n.ctx))(t)
	create := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("w")}}}
	if err := stream.Send(create); err != nil {
		t.Fatal(err)
	}
	must(stream.Recv())(t)
	put("w")
	must(stream.Recv())(t)
	// Once it answers this the stream has counted what it sent before.
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}); err != nil {
		t.Fatal(err)
	}
	must(stream.Recv())(t)

	r := n.server.opts.Meters.Read()
	if r.Ranges != 4 || r.Txns != 1 || count(r.RangesDone) != 1 || count(r.RangesFailed) != 1 {
		t.Errorf("%d ranges and %d transactions; alone %d done, %d failed", r.Ranges, r.Txns, count(r.RangesDone), count(r.RangesFailed))
	}
	if r.EventsSent != 1 || r.EventsWaiting != 0 || count(r.SendEvents) != 1 || count(r.SendControl) != 1 {
		t.Errorf("%d events sent, %d requests of the stream", r.EventsSent, count(r.SendControl))
	}
	got := map[string]uint64{}
	for _, c := range r.Requests {
		name := c.Op
		if !c.OK {
			name = "failed " + name
		}
		got[name] = count(c.Took)
	}
	if got["Put"] != 2 || got["failed Put"] != 1 || got["Txn"] != 1 || len(got) != 3 {
		t.Errorf("writes: %v", got)
	}
}

func TestMetersCountWhatProbesAnswer(t *testing.T) {
	n := startNode(t, Options{})
	n.ask("GET", "/health", "")
	n.ask("GET", "/livez", "")
	n.ask("GET", "/livez", "")
	if err := n.store.RaiseAlarm(n.ctx, core.AlarmCorrupt, n.server.memberID); err != nil {
		t.Fatal(err)
	}
	n.ask("GET", "/health", "")
	n.ask("GET", "/readyz/data_corruption", "")
	r := n.server.opts.Meters.Read()
	if r.Healthy != 1 || r.Failing != 1 {
		t.Errorf("/health was good %d times and bad %d times", r.Healthy, r.Failing)
	}
	want := []CheckReading{
		{Probe: "livez", Name: "serializable_read", Passes: true, Passed: 2},
		{Probe: "readyz", Name: "data_corruption", Failures: 1},
	}
	if len(r.Checks) != 2 || r.Checks[0] != want[0] || r.Checks[1] != want[1] {
		t.Errorf("checks: %+v", r.Checks)
	}
}
