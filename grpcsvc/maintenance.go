package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The release of etcd whose API and behaviour this package offers. Clients choose what they use by it.
const (
	apiVersion     = "3.7.3"
	storageVersion = "3.7.0"
)

// maintenanceService is etcdserverpb.Maintenance as far as one node has it; the rest answers Unimplemented.
type maintenanceService struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// Status describes this member. It is answered without a leader.
func (s *maintenanceService) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	status := s.store.Status()
	answer := &pb.StatusResponse{
		Header:           s.header(status.Revision),
		Version:          apiVersion,
		StorageVersion:   storageVersion,
		DbSize:           status.DiskBytes,
		DbSizeInUse:      status.LiveBytes,
		Leader:           status.Leader,
		RaftIndex:        status.RaftIndex,
		RaftTerm:         status.Term,
		RaftAppliedIndex: status.AppliedIndex,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if status.Leader == 0 {
		answer.Errors = append(answer.Errors, rpctypes.ErrNoLeader.Error())
	}
	return answer, nil
}

// Alarm tells the alarms that are raised, of which this version knows none. etcdctl's "endpoint health" asks for them.
func (s *maintenanceService) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, status.Error(codes.Unimplemented, "etcdserver: alarms cannot be raised by clients")
	}
	return &pb.AlarmResponse{Header: s.header(s.store.Revision())}, nil
}
