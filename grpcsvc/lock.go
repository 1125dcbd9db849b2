package grpcsvc

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/grpcsvc/lockpb"
)

// lockService is v3lockpb.Lock: a queue whose first key holds the lock (recipes.go). Whoever waits is woken by the end of
// the key before theirs.
type lockService struct {
	lockpb.UnimplementedLockServer
	recipes
}

// errKeyVanished says that the key of a waiter was gone when its turn came: its lease has ended, or somebody removed it.
var errKeyVanished = status.Error(codes.Unknown, "mutex: session is expired")

// Lock waits until the lock is held. A wait that fails, be it because the client has gone, leaves the queue.
func (s *lockService) Lock(ctx context.Context, r *lockpb.LockRequest) (*lockpb.LockResponse, error) {
	answer, err := s.lock(ctx, r)
	return answer, recipeError(err)
}

func (s *lockService) lock(ctx context.Context, r *lockpb.LockRequest) (*lockpb.LockResponse, error) {
	lease, err := s.lease(ctx, r.Lease)
	if err != nil {
		return nil, err
	}
	prefix := queuePrefix(r.Name)
	key := queueKey(prefix, lease)
	entered, err := s.enter(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(key, 0)},
		Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: key, Lease: lease}), opRange(firstUnder(prefix))},
		Failure: []*pb.RequestOp{opRange(&pb.RangeRequest{Key: key}), opRange(firstUnder(prefix))},
	})
	if err != nil {
		return nil, err
	}
	created := entered.Header.Revision
	if !entered.Succeeded {
		created = rangeAnswer(entered, 0)[0].CreateRevision
	}
	if first := rangeAnswer(entered, 1); len(first) == 0 || first[0].CreateRevision == created {
		return &lockpb.LockResponse{Header: entered.Header, Key: key}, nil
	}
	own, err := s.awaitLock(ctx, prefix, key, created)
	if err != nil {
		// The call may be over; what is left behind would hold the lock until the lease ends.
		_, _ = s.kv.DeleteRange(context.WithoutCancel(ctx), &pb.DeleteRangeRequest{Key: key})
		return nil, err
	}
	if len(own.Kvs) == 0 {
		return nil, errKeyVanished
	}
	return &lockpb.LockResponse{Header: own.Header, Key: key}, nil
}

// awaitLock waits until a key is the first of its queue, and looks whether it is still there.
func (s *lockService) awaitLock(ctx context.Context, prefix, key []byte, created int64) (*pb.RangeResponse, error) {
	if err := s.waitTurn(ctx, prefix, created); err != nil {
		return nil, err
	}
	return s.kv.Range(ctx, &pb.RangeRequest{Key: key})
}

// Unlock removes a key, if it is there.
func (s *lockService) Unlock(ctx context.Context, r *lockpb.UnlockRequest) (*lockpb.UnlockResponse, error) {
	removed, err := s.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: r.Key})
	if err != nil {
		return nil, recipeError(err)
	}
	return &lockpb.UnlockResponse{Header: removed.Header}, nil
}
