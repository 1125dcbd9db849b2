package grpcsvc

import (
	"math"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/triglot/triglot/core/corepb"
)

func TestLeaseGrant(t *testing.T) {
	n := startNode(t, Options{})
	for _, c := range []struct{ ttl, want int64 }{{100, 100}, {2, 2}, {1, 2}, {0, 2}, {-5, 2}, {math.MinInt64, 2}, {9_000_000_000, 9_000_000_000}} {
		granted := must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: c.ttl}))(t)
		if granted.TTL != c.want || granted.ID <= 0 || granted.Error != "" || granted.Header.Revision != 1 {
			t.Errorf("ttl %d: %v", c.ttl, granted)
		}
	}
	for _, ttl := range []int64{9_000_000_001, math.MaxInt64} {
		_, err := n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: ttl})
		wantStatus(t, "too long", err, rpctypes.ErrGRPCLeaseTTLTooLarge)
	}
	for _, id := range []int64{5, -5} {
		if granted := must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 10, ID: id}))(t); granted.ID != id {
			t.Errorf("id %d: %v", id, granted)
		}
		_, err := n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 10, ID: id})
		wantStatus(t, "taken", err, rpctypes.ErrGRPCLeaseExist)
	}
}

func TestLeaseRevokeRemovesItsKeys(t *testing.T) {
	n := startNode(t, Options{})
	for id := int64(1); id <= 2; id++ {
		must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 10, ID: id}))(t)
	}
	for _, key := range []string{"b", "a", "moved"} {
		must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte(key), Lease: 1}))(t)
	}
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("moved"), Lease: 2}))(t)
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	revoked := must(n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: 1}))(t)
	if revoked.Header.Revision != 6 {
		t.Errorf("revoke: %v", revoked)
	}
	w.want("events", events(w.next()), "DELETE a=@6, DELETE b=@6")
	if r := n.get(&pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}); keysOf(r) != "moved " {
		t.Errorf("left: %v", r)
	}
	_, err := n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: 1})
	wantStatus(t, "again", err, rpctypes.ErrGRPCLeaseNotFound)
	must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 10, ID: 1}))(t)
	if empty := must(n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: 1}))(t); empty.Header.Revision != 6 {
		t.Errorf("a lease without keys took a revision: %v", empty)
	}
}

func TestKeepAliveAnswersEachRequestInOrder(t *testing.T) {
	n := startNode(t, Options{})
	must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 30, ID: 1}))(t)
	n.put("a", "1")
	stream := must(n.lease.LeaseKeepAlive(n.ctx))(t)
	for _, c := range []struct{ id, ttl int64 }{{1, 30}, {99, 0}, {1, 30}, {0, 0}} {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: c.id}); err != nil {
			t.Fatal(err)
		}
		wantEqual(t, "keep-alive", must(stream.Recv())(t), &pb.LeaseKeepAliveResponse{
			Header: n.server.header(2), ID: c.id, TTL: c.ttl,
		})
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Errorf("end: %v", err)
	}
}

func TestLeaseTimeToLiveAndList(t *testing.T) {
	n := startNode(t, Options{})
	if list := must(n.lease.LeaseLeases(n.ctx, &pb.LeaseLeasesRequest{}))(t); len(list.Leases) != 0 {
		t.Errorf("no lease: %v", list)
	}
	for id, ttl := range map[int64]int64{1: 300, 2: 100, 3: 200} {
		must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: ttl, ID: id}))(t)
	}
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Lease: 1}))(t)
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("b"), Lease: 1}))(t)
	alive := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: 1, Keys: true}))(t)
	if alive.GrantedTTL != 300 || alive.TTL < 270 || alive.TTL > 300 || len(alive.Keys) != 2 || alive.Header.Revision != 3 {
		t.Errorf("time to live: %v", alive)
	}
	if alive := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: 1}))(t); alive.Keys != nil {
		t.Errorf("keys that were not asked for: %v", alive)
	}
	gone := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: 99, Keys: true}))(t)
	wantEqual(t, "unknown", gone, &pb.LeaseTimeToLiveResponse{Header: n.server.header(3), ID: 99, TTL: -1})
	list := must(n.lease.LeaseLeases(n.ctx, &pb.LeaseLeasesRequest{}))(t)
	if len(list.Leases) != 3 || list.Leases[0].ID != 2 || list.Leases[1].ID != 3 || list.Leases[2].ID != 1 {
		t.Errorf("list: %v", list)
	}
}

func TestExpiryRemovesKeys(t *testing.T) {
	n := startNode(t, Options{})
	must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 2, ID: 1}))(t)
	must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: 1}))(t)
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true})
	w.want("event", w.take(1), "DELETE a=@3<1")
	gone := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: 1}))(t)
	if gone.TTL != -1 || gone.GrantedTTL != 0 {
		t.Errorf("after its end: %v", gone)
	}
}

func TestSessionsAreLeases(t *testing.T) {
	n := startNode(t, Options{})
	n.run(&corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: 9, TtlMillis: 4500, Password: make([]byte, 16)}}})
	alive := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: 9}))(t)
	if alive.GrantedTTL != 5 || alive.TTL < 0 || alive.TTL > 4 {
		t.Errorf("time to live, in whole seconds: %v", alive)
	}
	must(n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: 9}))(t)
}
