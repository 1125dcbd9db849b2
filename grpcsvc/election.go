package grpcsvc

import (
	"bytes"
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/electionpb"
	"github.com/triglot/triglot/storage"
)

// electionService is v3electionpb.Election: a queue whose first key leads, with its value as what the leader proclaims
// (recipes.go).
type electionService struct {
	electionpb.UnimplementedElectionServer
	recipes
}

// What elections answer, in etcd's words; it knows no codes for them.
var (
	errLeaderMissing = status.Error(codes.Unknown, `"leader" field must be provided`)
	errNotLeading    = status.Error(codes.Unknown, "election: not leader")
	errNobodyLeads   = status.Error(codes.Unknown, "election: no leader")
)

// Campaign waits until the election is won. A campaign whose client goes leaves the queue; when the wait fails otherwise
// its key stays, as in etcd, and its lease decides.
func (s *electionService) Campaign(ctx context.Context, r *electionpb.CampaignRequest) (*electionpb.CampaignResponse, error) {
	answer, err := s.campaign(ctx, r)
	return answer, recipeError(err)
}

func (s *electionService) campaign(ctx context.Context, r *electionpb.CampaignRequest) (*electionpb.CampaignResponse, error) {
	lease, err := s.lease(ctx, r.Lease)
	if err != nil {
		return nil, err
	}
	prefix := queuePrefix(r.Name)
	key := queueKey(prefix, lease)
	entered, err := s.enter(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, 0)},
		Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: key, Value: r.Value, Lease: lease})},
		Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: key})},
	})
	if err != nil {
		return nil, err
	}
	leader := &electionpb.LeaderKey{Name: r.Name, Key: key, Rev: entered.Header.Revision, Lease: lease}
	if !entered.Succeeded {
		// The lease campaigns already; what it proclaims is what it was told last.
		own := rangeAnswer(entered, 0)[0]
		leader.Rev = own.CreateRevision
		if !bytes.Equal(own.Value, r.Value) {
			if _, err := s.proclaim(ctx, leader, r.Value); err != nil {
				_, _ = s.resign(context.WithoutCancel(ctx), leader)
				return nil, err
			}
		}
	}
	if err := s.waitTurn(ctx, prefix, leader.Rev); err != nil {
		if ctx.Err() != nil || s.lifetime.Err() != nil {
			_, _ = s.resign(context.WithoutCancel(ctx), leader)
		}
		return nil, err
	}
	return &electionpb.CampaignResponse{Header: entered.Header, Leader: leader}, nil
}

// Proclaim changes the value of a leader, or of one who campaigns.
func (s *electionService) Proclaim(ctx context.Context, r *electionpb.ProclaimRequest) (*electionpb.ProclaimResponse, error) {
	if r.Leader == nil {
		return nil, errLeaderMissing
	}
	header, err := s.proclaim(ctx, r.Leader, r.Value)
	if err != nil {
		return nil, recipeError(err)
	}
	return &electionpb.ProclaimResponse{Header: header}, nil
}

func (s *electionService) proclaim(ctx context.Context, leader *electionpb.LeaderKey, value []byte) (*pb.ResponseHeader, error) {
	lease, err := s.lease(ctx, leader.Lease)
	if err != nil {
		return nil, err
	}
	answer, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(leader.Key, leader.Rev)},
		Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: leader.Key, Value: value, Lease: lease})},
	})
	if err != nil {
		return nil, err
	}
	if !answer.Succeeded {
		return nil, errNotLeading
	}
	return answer.Header, nil
}

// Resign ends a leadership or a campaign, if it is not over already.
func (s *electionService) Resign(ctx context.Context, r *electionpb.ResignRequest) (*electionpb.ResignResponse, error) {
	if r.Leader == nil {
		return nil, errLeaderMissing
	}
	header, err := s.resign(ctx, r.Leader)
	if err != nil {
		return nil, recipeError(err)
	}
	return &electionpb.ResignResponse{Header: header}, nil
}

func (s *electionService) resign(ctx context.Context, leader *electionpb.LeaderKey) (*pb.ResponseHeader, error) {
	answer, err := s.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(leader.Key, leader.Rev)},
		Success: []*pb.RequestOp{opDelete(leader.Key)},
	})
	if err != nil {
		return nil, err
	}
	return answer.Header, nil
}

// Leader tells who leads.
func (s *electionService) Leader(ctx context.Context, r *electionpb.LeaderRequest) (*electionpb.LeaderResponse, error) {
	first, err := s.kv.Range(ctx, firstUnder(queuePrefix(r.Name)))
	if err != nil {
		return nil, recipeError(err)
	}
	if len(first.Kvs) == 0 {
		return nil, errNobodyLeads
	}
	return &electionpb.LeaderResponse{Header: first.Header, Kv: first.Kvs[0]}, nil
}

// Observe tells who leads, then what they proclaim, then who leads next. As in etcd the stream ends well when a read or a
// watch of it fails, a compaction among them: the client observes anew.
func (s *electionService) Observe(r *electionpb.LeaderRequest, stream electionpb.Election_ObserveServer) error {
	observer := &observer{recipes: &s.recipes, stream: stream, prefix: queuePrefix(r.Name)}
	for {
		err := observer.nextLeader(stream.Context())
		switch {
		case err == nil:
		case observer.lost != nil:
			return observer.lost
		case stream.Context().Err() != nil:
			return statusIn(stream.Context(), err)
		case s.lifetime.Err() != nil:
			return err
		default:
			return nil
		}
	}
}

// observer is one Observe call.
type observer struct {
	*recipes
	stream electionpb.Election_ObserveServer
	prefix []byte
	lost   error // why nothing more can be sent to the client
}

func (o *observer) send(header *pb.ResponseHeader, kv *mvccpb.KeyValue) error {
	o.lost = o.stream.Send(&electionpb.LeaderResponse{Header: header, Kv: kv})
	return o.lost
}

// nextLeader waits until somebody leads, and tells of them until their key is gone.
func (o *observer) nextLeader(ctx context.Context) error {
	first, err := o.kv.Range(ctx, firstUnder(o.prefix))
	if err != nil {
		return err
	}
	header := first.Header
	var leader *mvccpb.KeyValue
	if len(first.Kvs) != 0 {
		leader = first.Kvs[0]
	} else {
		all := underPrefix(o.prefix)
		watch := core.Watch{Match: core.MatchKey, Key: all.Key, End: all.RangeEnd, From: header.Revision + 1}
		err := o.follow(ctx, watch, func(e *storage.Event) (bool, error) {
			if e.Type != storage.EventPut {
				return false, nil
			}
			leader, header = keyValue(e.Key, &e.Record), o.header(e.Revision)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	if err := o.send(header, leader); err != nil {
		return err
	}
	watch := core.Watch{Match: core.MatchKey, Key: leader.Key, From: header.Revision + 1}
	return o.follow(ctx, watch, func(e *storage.Event) (bool, error) {
		if e.Type == storage.EventDelete {
			return true, nil
		}
		revision := max(o.store.Revision(), e.Revision)
		return false, o.send(o.header(revision), keyValue(e.Key, &e.Record))
	})
}
