package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/triglot/triglot/core"
)

// clusterService is etcdserverpb.Cluster. Any member takes a change; core has the leader judge it. Every answer lists the
// members after it, as this member knows them then.
type clusterService struct {
	pb.UnimplementedClusterServer
	*Server
}

// header has no revision: membership is not part of the keyspace.
func (s *clusterService) header() *pb.ResponseHeader { return s.Server.header(0) }

func (s *clusterService) members() []*pb.Member {
	members := s.store.Members()
	list := make([]*pb.Member, len(members))
	for i, m := range members {
		list[i] = &pb.Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, IsLearner: m.Learner}
	}
	return list
}

// MemberList names the members and where to reach them. One that has not started yet has neither name nor client URLs.
func (s *clusterService) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	view, err := s.view(ctx, !r.Linearizable)
	if err != nil {
		return nil, err
	}
	view.Close()
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	return &pb.MemberListResponse{Header: s.header(), Members: s.members()}, nil
}

// MemberAdd makes room for a member, which then starts with the id and the list that the answer gives.
func (s *clusterService) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	if err := core.CheckPeerURLs(r.PeerURLs); err != nil { // which etcd looks at before who asks
		return nil, statusOf(err)
	}
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	added, err := s.store.MemberAdd(ctx, core.Member{PeerURLs: r.PeerURLs, Learner: r.IsLearner})
	if err != nil {
		return nil, statusOf(err)
	}
	return &pb.MemberAddResponse{
		Header:  s.header(),
		Member:  &pb.Member{ID: added.ID, PeerURLs: added.PeerURLs, IsLearner: added.Learner},
		Members: s.members(),
	}, nil
}

// MemberRemove removes a member for good.
func (s *clusterService) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if err := s.store.MemberRemove(ctx, r.ID); err != nil {
		return nil, statusOf(err)
	}
	return &pb.MemberRemoveResponse{Header: s.header(), Members: s.members()}, nil
}

// MemberUpdate changes where the other members find one.
func (s *clusterService) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if err := core.CheckPeerURLs(r.PeerURLs); err != nil { // which etcd looks at before who asks
		return nil, statusOf(err)
	}
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if err := s.store.MemberUpdate(ctx, r.ID, r.PeerURLs); err != nil {
		return nil, statusOf(err)
	}
	return &pb.MemberUpdateResponse{Header: s.header(), Members: s.members()}, nil
}

// MemberPromote gives a learner a vote.
func (s *clusterService) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if err := s.permitRoot(ctx); err != nil {
		return nil, err
	}
	if err := s.store.MemberPromote(ctx, r.ID); err != nil {
		return nil, statusOf(err)
	}
	return &pb.MemberPromoteResponse{Header: s.header(), Members: s.members()}, nil
}
