package grpcsvc

import (
	"slices"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

func (n *node) alarm(action pb.AlarmRequest_AlarmAction, kind pb.AlarmType, member uint64) []*pb.AlarmMember {
	n.t.Helper()
	answer := must(n.maintenance().Alarm(n.ctx, &pb.AlarmRequest{Action: action, Alarm: kind, MemberID: member}))(n.t)
	if answer.Header.MemberId != n.store.MemberID() {
		n.t.Errorf("header %v", answer.Header)
	}
	return answer.Alarms
}

// wantAlarms compares alarms of one member with what is wanted, by kind.
func wantAlarms(t *testing.T, what string, got []*pb.AlarmMember, member uint64, want ...pb.AlarmType) {
	t.Helper()
	var kinds []pb.AlarmType
	for _, a := range got {
		if a.MemberID != member {
			t.Errorf("%s: an alarm of %x", what, a.MemberID)
		}
		kinds = append(kinds, a.Alarm)
	}
	if !slices.Equal(kinds, want) {
		t.Errorf("%s: %v, want %v", what, kinds, want)
	}
}

func TestAlarmsAreRaisedToldAndCleared(t *testing.T) {
	const (
		get, raise, disarm     = pb.AlarmRequest_GET, pb.AlarmRequest_ACTIVATE, pb.AlarmRequest_DEACTIVATE
		none, noSpace, corrupt = pb.AlarmType_NONE, pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT
	)
	n := startNode(t, Options{})
	id := n.store.MemberID()
	n.put("a", "1")
	wantAlarms(t, "none", n.alarm(get, none, 0), id)
	wantAlarms(t, "raised", n.alarm(raise, noSpace, id), id, noSpace)
	wantAlarms(t, "raised", n.alarm(raise, corrupt, id), id, corrupt)
	wantAlarms(t, "raised again", n.alarm(raise, corrupt, id), id, corrupt)
	wantAlarms(t, "all", n.alarm(get, none, 0), id, noSpace, corrupt)
	wantAlarms(t, "of a kind", n.alarm(get, corrupt, 0), id, corrupt)
	wantAlarms(t, "raising none", n.alarm(raise, none, id), id)
	wantAlarms(t, "disarming none", n.alarm(disarm, none, 0), id)
	_, err := n.maintenance().Alarm(n.ctx, &pb.AlarmRequest{Action: raise, Alarm: corrupt, MemberID: 12345})
	wantStatus(t, "an alarm of a stranger", err, rpctypes.ErrGRPCMemberNotFound)
	own := must(n.maintenance().Status(n.ctx, &pb.StatusRequest{}))(t)
	if len(own.Errors) != 2 {
		t.Errorf("status: %v", own.Errors)
	}
	wantAlarms(t, "disarmed", n.alarm(disarm, noSpace, id), id, noSpace)
	wantAlarms(t, "disarmed again", n.alarm(disarm, noSpace, id), id)
	wantAlarms(t, "left", n.alarm(get, none, 0), id, corrupt)
}

func TestWhileReplicasDifferWritesAreRefusedAndReadsAnswered(t *testing.T) {
	n := startNode(t, Options{})
	id := n.store.MemberID()
	n.put("a", "1")
	health := must(grpc_health_v1.NewHealthClient(n.conn).Watch(n.ctx, &grpc_health_v1.HealthCheckRequest{}))(t)
	wantHealth := func(want grpc_health_v1.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r := must(health.Recv())(t); r.Status != want {
			t.Errorf("health %v, want %v", r.Status, want)
		}
	}
	wantHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	n.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_CORRUPT, id)
	wantHealth(grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	_, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a")})
	wantStatus(t, "put", err, rpctypes.ErrGRPCCorrupt)
	_, err = n.kv.DeleteRange(n.ctx, &pb.DeleteRangeRequest{Key: []byte("a")})
	wantStatus(t, "delete", err, rpctypes.ErrGRPCCorrupt)
	_, err = n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 60})
	wantStatus(t, "grant", err, rpctypes.ErrGRPCCorrupt)
	for _, end := range []string{"", "b"} {
		if r := n.get(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte(end)}); r.Count != 1 {
			t.Errorf("range: %v", r)
		}
	}
	n.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_CORRUPT, id)
	wantHealth(grpc_health_v1.HealthCheckResponse_SERVING)
	n.put("a", "2")
}

func TestMembersHashTheSameKeyspaceAlike(t *testing.T) {
	c := startCluster(t, 3, Options{})
	n := c.nodes[0]
	n.put("a", "1")
	n.put("b", "1")
	last := n.delete("a", "").Header.Revision
	hashes := func(revision int64) []uint32 {
		var sums []uint32
		for _, n := range c.nodes {
			n.get(&pb.RangeRequest{Key: []byte("a")}) // all is applied here now
			r := must(n.maintenance().HashKV(n.ctx, &pb.HashKVRequest{Revision: revision}))(t)
			if r.Header.MemberId != n.store.MemberID() || r.HashRevision != max(revision, r.HashRevision) {
				t.Errorf("hash: %v", r)
			}
			sums = append(sums, r.Hash)
		}
		return slices.Compact(sums)
	}
	newest, before := hashes(0), hashes(last-1)
	if len(newest) != 1 || len(before) != 1 || newest[0] == before[0] {
		t.Errorf("hashes %x and, of another revision, %x", newest, before)
	}
	if at := hashes(last); !slices.Equal(at, newest) {
		t.Errorf("the newest revision has hash %x by name and %x as such", at, newest)
	}
	if r := must(n.maintenance().Hash(n.ctx, &pb.HashRequest{}))(t); r.Hash != newest[0] || r.Header.Revision != last {
		t.Errorf("hash: %v", r)
	}
	_, err := n.maintenance().HashKV(n.ctx, &pb.HashKVRequest{Revision: last + 1})
	wantStatus(t, "of the future", err, rpctypes.ErrGRPCFutureRev)
	must(n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: last}))(t)
	_, err = n.maintenance().HashKV(n.ctx, &pb.HashKVRequest{Revision: last - 1})
	wantStatus(t, "of what is gone", err, rpctypes.ErrGRPCCompacted)
}

func TestStatusTellsOurVersionInMetadata(t *testing.T) {
	n := startNode(t, Options{Version: "1.2.3"})
	var header metadata.MD
	must(n.maintenance().Status(n.ctx, &pb.StatusRequest{}, grpc.Header(&header)))(t)
	if got := header.Get("triglot-version"); !slices.Equal(got, []string{"1.2.3"}) {
		t.Errorf("metadata %v", header)
	}
}
