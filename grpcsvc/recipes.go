package grpcsvc

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// What locks and elections have in common. Both are a queue: the keys under one prefix in the order in which they were
// created, each of which belongs to a lease and has its name. Whoever has the first key holds the lock, or leads. Every
// step is a request of the KV or Lease service on behalf of the caller, so that permissions, limits and alarms are what
// they are there; and clientv3's own recipes, which write the same keys, stand in the same queue.

// queueLeaseSeconds is for how long a lease lives that a request did not bring along. Nobody renews it.
const queueLeaseSeconds = 60

// recipes is the services that the steps are requests of.
type recipes struct {
	*Server
	kv     *kvService
	leases *leaseService
}

func newRecipes(s *Server) recipes {
	return recipes{Server: s, kv: &kvService{Server: s}, leases: &leaseService{Server: s}}
}

// lease is the given lease, or a new one in place of 0.
func (s *recipes) lease(ctx context.Context, id int64) (int64, error) {
	if id != 0 {
		return id, nil
	}
	granted, err := s.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: queueLeaseSeconds})
	if err != nil {
		return 0, err
	}
	return granted.ID, nil
}

// queuePrefix is where the keys of a lock or an election are.
func queuePrefix(name []byte) []byte {
	return append(append(make([]byte, 0, len(name)+1), name...), '/')
}

// queueKey is the place of a lease in a queue.
func queueKey(prefix []byte, lease int64) []byte { return fmt.Appendf(nil, "%s%x", prefix, lease) }

// underPrefix is a range of all keys that begin with a prefix that ends in "/", without the further fields.
func underPrefix(prefix []byte) *pb.RangeRequest {
	end := append([]byte(nil), prefix...)
	end[len(end)-1]++
	return &pb.RangeRequest{Key: prefix, RangeEnd: end}
}

// firstUnder asks for the key at the head of a queue.
func firstUnder(prefix []byte) *pb.RangeRequest {
	r := underPrefix(prefix)
	r.SortTarget, r.SortOrder, r.Limit = pb.RangeRequest_CREATE, pb.RangeRequest_ASCEND, 1
	return r
}

// createdAt holds if a key was created at a revision and is still there; at revision 0, if there is no such key.
func createdAt(key []byte, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func opPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func opDelete(key []byte) *pb.RequestOp {
	r := &pb.DeleteRangeRequest{Key: key}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

// enter puts a key into a queue, and looks whether it was there. It goes on when the caller goes meanwhile, as far as the
// store's own time-out: of a key whose write nobody waited for, nobody would know that it has to leave the queue.
func (s *recipes) enter(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if ctx.Err() != nil {
		return nil, statusOf(context.Cause(ctx))
	}
	return s.kv.Txn(context.WithoutCancel(ctx), r)
}

// waitTurn returns when no key of a queue is older than a revision. Of the older ones only the youngest is waited for at
// a time, so that the end of one wakes one.
func (s *recipes) waitTurn(ctx context.Context, prefix []byte, createRevision int64) error {
	older := underPrefix(prefix)
	older.SortTarget, older.SortOrder, older.Limit = pb.RangeRequest_CREATE, pb.RangeRequest_DESCEND, 1
	older.MaxCreateRevision = createRevision - 1
	older.KeysOnly = true
	for {
		ahead, err := s.kv.Range(ctx, older)
		if err != nil {
			return err
		}
		if len(ahead.Kvs) == 0 {
			return nil
		}
		watch := core.Watch{Match: core.MatchKey, Key: ahead.Kvs[0].Key, From: ahead.Header.Revision + 1}
		isGone := func(e *storage.Event) (bool, error) { return e.Type == storage.EventDelete, nil }
		if err := s.follow(ctx, watch, isGone); err != nil {
			return err
		}
	}
}

// follow gives the events of a watch, in order, until it is told that they are enough. It fails with what ends the
// watch or the call.
func (s *recipes) follow(ctx context.Context, watch core.Watch, visit func(*storage.Event) (enough bool, err error)) error {
	feed := s.store.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(0, watch); err != nil {
		return statusOf(err)
	}
	for {
		select {
		case <-feed.Ready():
		case <-s.lifetime.Done():
			return rpctypes.ErrGRPCStopped
		case <-feed.Done():
			return rpctypes.ErrGRPCStopped
		case <-ctx.Done():
			return statusOf(context.Cause(ctx))
		}
		for notices := feed.Next(eventsFirst); len(notices) > 0; notices = feed.Next(eventsFirst) {
			if enough, err := visitAll(notices, visit); enough || err != nil {
				return err
			}
		}
	}
}

func visitAll(notices []core.Notice, visit func(*storage.Event) (enough bool, err error)) (enough bool, err error) {
	for _, notice := range notices {
		switch {
		case notice.Err != nil:
			return false, statusOf(notice.Err)
		case notice.Compacted != 0:
			return false, rpctypes.ErrGRPCCompacted
		}
		for _, e := range notice.Events {
			if enough, err := visit(e); enough || err != nil {
				return enough, err
			}
		}
	}
	return false, nil
}

// recipeError words the end of a lock's or an election's step. etcd's servers for these are clients of its others, and
// so tell the words of those errors but not their codes.
func recipeError(err error) error {
	if err == nil {
		return nil
	}
	var known rpctypes.EtcdError
	if errors.As(rpctypes.Error(err), &known) {
		return status.Error(codes.Unknown, known.Error())
	}
	return err
}

// rangeAnswer is the n-th answer of a Txn, which is to a range.
func rangeAnswer(r *pb.TxnResponse, n int) []*mvccpb.KeyValue {
	return r.Responses[n].GetResponseRange().Kvs
}
