package grpcsvc

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// leaseService is etcdserverpb.Lease. Sessions of ZooKeeper clients are leases too, and are listed, kept alive and
// revoked like any other.
type leaseService struct {
	pb.UnimplementedLeaseServer
	*Server
}

// The bounds of a lease's time to live. etcd's least one is one and a half election timeouts, rounded up; clients pace
// their keep-alives by what they are granted.
const (
	leaseSecondsMin = 2
	leaseSecondsMax = 9_000_000_000
)

// wholeSeconds rounds up, since 0 would mean an ended lease to a client.
func wholeSeconds(millis int64) int64 { return (millis + 999) / 1000 }

// LeaseGrant makes a lease.
func (s *leaseService) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	if r.TTL > leaseSecondsMax {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	seconds := max(r.TTL, leaseSecondsMin)
	for {
		id := r.ID
		if id == 0 {
			id = s.store.NewLeaseID()
		}
		txn, op := command()
		op.Op = &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: id, TtlMillis: seconds * 1000}}
		result, err := s.do(ctx, txn)
		if r.ID == 0 && errors.Is(err, rpctypes.ErrGRPCLeaseExist) {
			continue // the id we picked was taken
		}
		if err != nil {
			return nil, err
		}
		return &pb.LeaseGrantResponse{Header: s.header(result.Revision), ID: id, TTL: seconds}, nil
	}
}

// LeaseRevoke ends a lease and removes its keys.
func (s *leaseService) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	txn, op := command()
	op.Op = &corepb.Op_LeaseRevoke{LeaseRevoke: &corepb.LeaseRevoke{Id: r.ID}}
	result, err := s.do(ctx, txn)
	if err != nil {
		return nil, err
	}
	return &pb.LeaseRevokeResponse{Header: s.header(result.Revision)}, nil
}

// LeaseKeepAlive renews leases, one answer for each request, in order. Requests that have gathered are renewed together:
// on a member that does not lead each renewal is a question to the leader.
func (s *leaseService) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx := stream.Context()
	requests := receive(s.Server, stream)
	for {
		select {
		case r := <-requests:
			ids, end := gatherLeases(r, requests)
			if err := s.keepAlive(ctx, ids, stream); err != nil {
				return err
			}
			if end == io.EOF {
				return nil
			}
			if end != nil {
				return end
			}
		case <-s.lifetime.Done():
			return rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			return statusOf(context.Cause(ctx))
		}
	}
}

// gatherLeases takes the requests that are there already, and how they end if they do.
func gatherLeases(r received[pb.LeaseKeepAliveRequest], requests <-chan received[pb.LeaseKeepAliveRequest]) (ids []int64, end error) {
	for {
		if r.err != nil {
			return ids, r.err
		}
		ids = append(ids, r.request.ID)
		if len(ids) == receivedMax {
			return ids, nil
		}
		select {
		case r = <-requests:
		default:
			return ids, nil
		}
	}
}

// keepAlive renews leases and answers for each. One that is unknown is answered with a TTL of 0, not with an error.
func (s *leaseService) keepAlive(ctx context.Context, ids []int64, stream pb.Lease_LeaseKeepAliveServer) error {
	if err := s.permitRenewal(ctx, ids); err != nil {
		return err
	}
	// The header comes first: a revision at which a lease has ended must not stand beside its renewal.
	header := s.header(s.store.Revision())
	ttls, err := s.store.KeepAliveAll(ctx, ids)
	if err != nil {
		return statusIn(ctx, err)
	}
	for i, id := range ids {
		if err := stream.Send(&pb.LeaseKeepAliveResponse{Header: header, ID: id, TTL: wholeSeconds(ttls[i])}); err != nil {
			return err
		}
	}
	return nil
}

// permitRenewal needs write permission on all keys of the leases, as their end does.
func (s *leaseService) permitRenewal(ctx context.Context, ids []int64) error {
	if enabled, _ := s.store.AuthEnabled(); !enabled {
		return nil
	}
	view, err := s.viewAt(ctx, core.Local)
	if err != nil {
		return err
	}
	defer view.Close()
	if err := s.permitSomebody(ctx); err != nil {
		return err
	}
	for _, id := range ids {
		if err := view.PermitAttached(id, true); err != nil {
			return statusOf(err)
		}
	}
	return nil
}

// LeaseTimeToLive tells what is left of a lease. One that is unknown has a TTL of -1.
func (s *leaseService) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	view, err := s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	if r.Keys {
		if err := view.PermitAttached(r.ID, false); err != nil {
			return nil, statusOf(err)
		}
	}
	answer := &pb.LeaseTimeToLiveResponse{Header: s.header(view.Revision()), ID: r.ID, TTL: -1}
	lease, granted := view.Lease(r.ID)
	if !granted {
		return answer, statusOf(view.Err())
	}
	remaining, living, err := s.store.LeaseRemaining(ctx, r.ID)
	if err != nil {
		return nil, statusOf(err)
	}
	if living {
		answer.TTL = max(remaining, 0) / 1000
		answer.GrantedTTL = wholeSeconds(lease.TTLMillis)
		if r.Keys {
			answer.Keys = view.LeaseKeys(r.ID)
		}
	}
	return answer, statusOf(view.Err())
}

// LeaseLeases lists all leases, soonest to end first. It needs read permission on all their keys.
func (s *leaseService) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	view, err := s.view(ctx, false)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	if err := s.permitSomebody(ctx); err != nil {
		return nil, err
	}
	leases, err := s.store.Leases(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	for _, lease := range leases {
		if err := view.PermitAttached(lease.ID, false); err != nil {
			return nil, statusOf(err)
		}
	}
	answer := &pb.LeaseLeasesResponse{Header: s.header(view.Revision())}
	backing := make([]pb.LeaseStatus, len(leases))
	answer.Leases = make([]*pb.LeaseStatus, len(leases))
	for i := range leases {
		backing[i].ID = leases[i].ID
		answer.Leases[i] = &backing[i]
	}
	return answer, nil
}
