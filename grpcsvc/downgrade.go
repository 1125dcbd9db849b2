package grpcsvc

import (
	"context"
	"regexp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Downgrades. A cluster of etcd can be taken one minor version back; what that would be here is a matter of the program that
// is installed, since the data of all versions that there are is of one form. So no downgrade is begun, and what etcd would
// refuse is refused in its words.

// downgradeTarget is a version as a request may write it: major and minor, and anything of a patch.
var downgradeTarget = regexp.MustCompile(`^(\d+\.\d+)(\.\d+.*)?$`)

// ClusterVersion is what the cluster is taken for, and oneMinorBelow the only version that etcd would take it back to.
const (
	ClusterVersion = "3.7"
	oneMinorBelow  = "3.6"
)

var errNoDowngrade = status.Error(codes.FailedPrecondition,
	"etcdserver: no downgrade is needed: every version of this server reads the same data; install the one that is wanted")

// Downgrade judges a version to go back to; CANCEL, with nothing to cancel, is content.
func (s *maintenanceService) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if r.Action == pb.DowngradeRequest_CANCEL {
		return &pb.DowngradeResponse{Header: s.header(s.store.Revision()), Version: ClusterVersion}, nil
	}
	switch target := downgradeTarget.FindStringSubmatch(r.Version); {
	case target == nil:
		return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
	case target[1] != oneMinorBelow:
		return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	}
	return nil, errNoDowngrade
}
