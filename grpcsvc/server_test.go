package grpcsvc

import (
	"context"
	"errors"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/triglot/triglot/core"
)

func TestStatusAndMembersDescribeTheNode(t *testing.T) {
	n := startNode(t, Options{})
	n.awaitMembers(1)
	n.put("a", "1")
	maintenance := pb.NewMaintenanceClient(n.conn)
	status := must(maintenance.Status(n.ctx, &pb.StatusRequest{}))(t)
	own := n.store.Status()
	if status.Version != "3.7.3" || status.StorageVersion != "3.7.0" || status.Leader != own.MemberID ||
		status.RaftTerm == 0 || status.RaftIndex == 0 || status.RaftAppliedIndex == 0 || status.IsLearner ||
		len(status.Errors) != 0 || status.Header.Revision != 2 {
		t.Errorf("status: %v", status)
	}
	if alarms := must(maintenance.Alarm(n.ctx, &pb.AlarmRequest{}))(t); len(alarms.Alarms) != 0 {
		t.Errorf("alarms: %v", alarms)
	}
	wantEqual(t, "defragmented", must(maintenance.Defragment(n.ctx, &pb.DefragmentRequest{}))(t), &pb.DefragmentResponse{})
	for _, linearizable := range []bool{false, true} {
		members := must(pb.NewClusterClient(n.conn).MemberList(n.ctx, &pb.MemberListRequest{Linearizable: linearizable}))(t)
		header := n.server.header(0)
		wantEqual(t, "members", members, &pb.MemberListResponse{Header: header, Members: []*pb.Member{{
			ID: own.MemberID, Name: "test", PeerURLs: []string{"http://127.0.0.1:2380"}, ClientURLs: []string{"http://127.0.0.1:2379"},
		}}})
	}
}

func TestHealth(t *testing.T) {
	n := startNode(t, Options{})
	health := grpc_health_v1.NewHealthClient(n.conn)
	serving := must(health.Check(n.ctx, &grpc_health_v1.HealthCheckRequest{}))(t)
	if serving.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v", serving)
	}
	_, err := health.Check(n.ctx, &grpc_health_v1.HealthCheckRequest{Service: "x"})
	wantCode(t, "unknown service", err, codes.NotFound)
	stream := must(health.Watch(n.ctx, &grpc_health_v1.HealthCheckRequest{}))(t)
	must(stream.Recv())(t)
	if err := n.server.Shutdown(n.ctx); err != nil { // although somebody watches
		t.Fatal(err)
	}
}

func TestSeveralListeners(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	for range 2 {
		listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
		served := make(chan error, 1)
		go func() { served <- n.server.Serve(listener) }()
		t.Cleanup(func() {
			n.server.Shutdown(context.Background())
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
		conn := must(grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())))(t)
		t.Cleanup(func() { conn.Close() })
		if r := must(pb.NewKVClient(conn).Range(n.ctx, &pb.RangeRequest{Key: []byte("a")}))(t); r.Count != 1 {
			t.Errorf("range: %v", r)
		}
	}
}

func TestErrorsHaveEtcdsCodesAndWords(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{core.ErrWrongKind, errCollection},
		{&core.Error{Code: core.CodeCompacted, Number: 7}, rpctypes.ErrGRPCCompacted},
		{core.ErrUnknownFate, rpctypes.ErrGRPCTimeout},
		{core.ErrStopped, rpctypes.ErrGRPCStopped},
		{core.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{core.ErrOverloaded, rpctypes.ErrGRPCRequestTooManyRequests},
		{&core.Error{Code: core.CodeCorrupt}, rpctypes.ErrGRPCCorrupt},
		{&core.Error{Code: core.CodeLastVoter}, rpctypes.ErrGRPCMemberNotEnoughStarted},
		{&core.Error{Code: core.CodeTransferFailed}, errTransferFailed},
		{rpctypes.ErrGRPCEmptyKey, rpctypes.ErrGRPCEmptyKey},
	} {
		wantStatus(t, "error", statusOf(c.err), c.want)
	}
	wantCode(t, "canceled", statusOf(context.Canceled), codes.Canceled)
	wantCode(t, "deadline", statusOf(context.DeadlineExceeded), codes.DeadlineExceeded)
	wantCode(t, "anything", statusOf(errors.New("x")), codes.Unknown)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(rpctypes.ErrGRPCNoLeader)
	wantStatus(t, "the reason for an end", statusIn(ctx, core.ErrUnknownFate), rpctypes.ErrGRPCNoLeader)
}
