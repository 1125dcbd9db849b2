package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// clusterService is etcdserverpb.Cluster as far as a cluster of one node has it; the rest answers Unimplemented.
type clusterService struct {
	pb.UnimplementedClusterServer
	*Server
}

// MemberList names the members and where to reach them.
func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	view, err := s.view(ctx, !r.Linearizable)
	if err != nil {
		return nil, err
	}
	view.Close()
	return &pb.MemberListResponse{
		Header: s.header(0), // membership is not part of the keyspace: etcd gives no revision here
		Members: []*pb.Member{{
			ID:         s.memberID,
			Name:       s.opts.Name,
			PeerURLs:   s.opts.PeerURLs,
			ClientURLs: s.opts.ClientURLs,
		}},
	}, nil
}
