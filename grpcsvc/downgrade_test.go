package grpcsvc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestNoDowngradeIsBegunAndBadOnesAreRefusedInEtcdsWords(t *testing.T) {
	n := startNode(t, Options{})
	for _, action := range []pb.DowngradeRequest_DowngradeAction{pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE} {
		for version, want := range map[string]error{
			"": rpctypes.ErrGRPCWrongDowngradeVersionFormat, "three": rpctypes.ErrGRPCWrongDowngradeVersionFormat,
			"3": rpctypes.ErrGRPCWrongDowngradeVersionFormat, "3.0": rpctypes.ErrGRPCInvalidDowngradeTargetVersion,
			"3.7": rpctypes.ErrGRPCInvalidDowngradeTargetVersion, "3.8.1": rpctypes.ErrGRPCInvalidDowngradeTargetVersion,
			"3.6": errNoDowngrade, "3.6.0": errNoDowngrade,
		} {
			_, err := n.maintenance().Downgrade(n.ctx, &pb.DowngradeRequest{Action: action, Version: version})
			wantStatus(t, version, err, want)
		}
	}
	answer, err := n.maintenance().Downgrade(n.ctx, &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL})
	if err != nil || answer.Version != "3.7" || answer.Header == nil {
		t.Errorf("CANCEL: %v, %v", answer, err)
	}
}
