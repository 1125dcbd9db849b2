package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// The release of etcd whose API and behaviour this package offers. Clients choose what they use by it.
const (
	APIVersion     = "3.7.3"
	storageVersion = "3.7.0"
)

// versionHeader is the metadata in which an answer to Status names Triglot's own version, for which etcd has no field.
const versionHeader = "triglot-version"

// maintenanceService is etcdserverpb.Maintenance.
type maintenanceService struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// Status describes this member. It is answered without a leader.
func (s *maintenanceService) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	own := s.store.Status()
	answer := &pb.StatusResponse{
		Header:           s.header(own.Revision),
		Version:          APIVersion,
		StorageVersion:   storageVersion,
		DbSize:           own.SizeBytes,
		DbSizeInUse:      own.InUseBytes,
		DbSizeQuota:      own.QuotaBytes,
		Leader:           own.Leader,
		RaftIndex:        own.RaftIndex,
		RaftTerm:         own.Term,
		RaftAppliedIndex: own.AppliedIndex,
		IsLearner:        own.Role == core.RoleLearner,
		DowngradeInfo:    &pb.DowngradeInfo{},
	}
	if own.Leader == 0 {
		answer.Errors = append(answer.Errors, rpctypes.ErrNoLeader.Error())
	}
	for _, alarm := range s.store.Alarms() {
		answer.Errors = append(answer.Errors, alarmMember(alarm).String())
	}
	if s.opts.Version != "" {
		// Fails only where there is no call, as in a test.
		_ = grpc.SetHeader(ctx, metadata.Pairs(versionHeader, s.opts.Version))
	}
	return answer, nil
}

// alarmMember words an alarm; core numbers the kinds as etcd does.
func alarmMember(a core.Alarm) *pb.AlarmMember {
	return &pb.AlarmMember{MemberID: a.Member, Alarm: pb.AlarmType(a.Kind)}
}

// Alarm tells the alarms, as this member knows them, raises one or clears one. As in etcd, kind NONE asks for all of them,
// and neither raises nor clears anything: "etcdctl alarm disarm" clears them one by one.
func (s *maintenanceService) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	permit := s.permitRoot
	if r.Action == pb.AlarmRequest_GET {
		permit = s.permitSomebody
	}
	if err := permit(ctx); err != nil {
		return nil, err
	}
	answer := &pb.AlarmResponse{}
	kind := corepb.Alarm_Kind(r.Alarm)
	asked := &pb.AlarmMember{MemberID: r.MemberID, Alarm: r.Alarm}
	switch {
	case r.Action == pb.AlarmRequest_GET:
		for _, alarm := range s.store.Alarms() {
			if kind == corepb.Alarm_NONE || kind == alarm.Kind {
				answer.Alarms = append(answer.Alarms, alarmMember(alarm))
			}
		}
	case kind == corepb.Alarm_NONE:
	case r.Action == pb.AlarmRequest_ACTIVATE:
		if err := s.store.RaiseAlarm(ctx, kind, r.MemberID); err != nil {
			return nil, statusOf(err)
		}
		answer.Alarms = append(answer.Alarms, asked)
	case r.Action == pb.AlarmRequest_DEACTIVATE:
		raised := s.isRaised(kind, r.MemberID)
		if err := s.store.ClearAlarm(ctx, kind, r.MemberID); err != nil {
			return nil, statusOf(err)
		}
		if raised {
			answer.Alarms = append(answer.Alarms, asked)
		}
	}
	answer.Header = s.header(s.store.Revision())
	return answer, nil
}

func (s *maintenanceService) isRaised(kind corepb.Alarm_Kind, member uint64) bool {
	for _, alarm := range s.store.Alarms() {
		if alarm.Kind == kind && alarm.Member == member {
			return true
		}
	}
	return false
}

// MoveLeader makes another voter the leader. As in etcd only the leader takes this request, whose clients look for it, and
// the answer has no header.
func (s *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	switch {
	case !s.store.IsLeader():
		return nil, rpctypes.ErrGRPCNotLeader
	case r.TargetID == 0:
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	case r.TargetID == s.memberID:
		return &pb.MoveLeaderResponse{}, nil
	}
	if err := s.store.MoveLeader(ctx, r.TargetID); err != nil {
		return nil, statusOf(err)
	}
	return &pb.MoveLeaderResponse{}, nil
}

// Defragment gives back the room that this member's disk holds for what is gone. The engine does so by itself in time;
// unlike etcd, the member goes on serving. As in etcd the answer has no header.
func (s *maintenanceService) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if err := s.store.Defragment(ctx); err != nil {
		return nil, statusOf(err)
	}
	return &pb.DefragmentResponse{}, nil
}

// Hash hashes the keyspace at its newest revision. etcd hashes its file, which differs between members that agree.
func (s *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	sum, _, revision, err := s.store.HashAt(ctx, 0)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.HashResponse{Header: s.header(revision), Hash: sum}, nil
}

// HashKV hashes the keyspace at a revision, 0 for the newest. Members that have compacted the same answer the same.
func (s *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	sum, compacted, revision, err := s.store.HashAt(ctx, r.Revision)
	if err != nil {
		return nil, statusOf(err)
	}
	if compacted == 0 {
		compacted = -1 // as etcd says that nothing has been
	}
	return &pb.HashKVResponse{
		Header: s.header(s.store.Revision()), Hash: sum, CompactRevision: compacted, HashRevision: revision,
	}, nil
}
