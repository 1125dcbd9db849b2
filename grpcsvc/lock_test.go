package grpcsvc

import (
	"context"
	"errors"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/grpcsvc/lockpb"
)

func (n *node) grant() int64 {
	n.t.Helper()
	return must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 600}))(n.t).ID
}

// lockCall is a Lock that is under way.
type lockCall struct {
	cancel context.CancelFunc
	end    chan error // its end, once
	answer *lockpb.LockResponse
}

func (n *node) lockLater(name string, lease int64) *lockCall {
	ctx, cancel := context.WithCancel(n.ctx)
	call := &lockCall{cancel: cancel, end: make(chan error, 1)}
	go func() {
		answer, err := lockpb.NewLockClient(n.conn).Lock(ctx, &lockpb.LockRequest{Name: []byte(name), Lease: lease})
		call.answer = answer
		call.end <- err
	}()
	return call
}

func (n *node) lock(name string, lease int64) *lockpb.LockResponse {
	n.t.Helper()
	call := n.lockLater(name, lease)
	defer call.cancel()
	if err := <-call.end; err != nil {
		n.t.Fatal(err)
	}
	return call.answer
}

// awaitQueue waits until a queue has so many keys. It follows the events of its prefix.
func (n *node) awaitQueue(prefix string, count int64) {
	n.t.Helper()
	stream := must(pb.NewWatchClient(n.conn).Watch(n.ctx))(n.t)
	create := &pb.WatchCreateRequest{Key: []byte(prefix), RangeEnd: []byte(prefix + "\xff")}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: create}}); err != nil {
		n.t.Fatal(err)
	}
	for {
		must(stream.Recv())(n.t)
		found := n.get(&pb.RangeRequest{Key: create.Key, RangeEnd: create.RangeEnd, CountOnly: true})
		if found.Count == count {
			return
		}
	}
}

func TestALockPassesFromOneToTheNextInTheOrderInWhichTheyAsked(t *testing.T) {
	n := startNode(t, Options{})
	held := n.lock("l", n.grant())
	second := n.lockLater("l", n.grant())
	n.awaitQueue("l/", 2)
	third := n.lockLater("l", n.grant())
	n.awaitQueue("l/", 3)
	locks := lockpb.NewLockClient(n.conn)
	must(locks.Unlock(n.ctx, &lockpb.UnlockRequest{Key: held.Key}))(t)
	if err := <-second.end; err != nil {
		t.Fatal(err)
	}
	select {
	case <-third.end:
		t.Fatal("two hold the lock")
	default:
	}
	if second.answer.Header.Revision <= held.Header.Revision+2 {
		t.Errorf("the answer after a wait is of revision %d, from before it", second.answer.Header.Revision)
	}
	must(locks.Unlock(n.ctx, &lockpb.UnlockRequest{Key: second.answer.Key}))(t)
	if err := <-third.end; err != nil {
		t.Fatal(err)
	}
}

func TestALockIsTheKeyOfItsLeaseAndTakenTwiceByTheSameOne(t *testing.T) {
	n := startNode(t, Options{})
	must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{ID: 0xabc, TTL: 600}))(t)
	first := n.lock("l", 0xabc)
	if string(first.Key) != "l/abc" {
		t.Errorf("the key is %q", first.Key)
	}
	if again := n.lock("l", 0xabc); string(again.Key) != "l/abc" || again.Header.Revision != first.Header.Revision {
		t.Errorf("taken again: %v", again)
	}
}

func TestALockThatBringsNoLeaseHasOneOfAMinute(t *testing.T) {
	n := startNode(t, Options{})
	held := n.lock("l", 0)
	lease := n.get(&pb.RangeRequest{Key: held.Key}).Kvs[0].Lease
	left := must(n.lease.LeaseTimeToLive(n.ctx, &pb.LeaseTimeToLiveRequest{ID: lease}))(t)
	if left.GrantedTTL != 60 {
		t.Errorf("the lease was granted for %d s", left.GrantedTTL)
	}
}

func TestALockIsFreedByTheEndOfItsLease(t *testing.T) {
	n := startNode(t, Options{})
	lease := n.grant()
	n.lock("l", lease)
	waiter := n.lockLater("l", n.grant())
	n.awaitQueue("l/", 2)
	must(n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: lease}))(t)
	if err := <-waiter.end; err != nil {
		t.Fatal(err)
	}
}

func TestAWaiterThatGoesLeavesTheQueue(t *testing.T) {
	n := startNode(t, Options{})
	n.lock("l", n.grant())
	waiter := n.lockLater("l", n.grant())
	n.awaitQueue("l/", 2)
	waiter.cancel()
	wantCode(t, "a wait that was given up", <-waiter.end, codes.Canceled)
	n.awaitQueue("l/", 1)
}

func TestAWaiterWhoseLeaseEndsIsToldWhenItsTurnComes(t *testing.T) {
	n := startNode(t, Options{})
	held := n.lock("l", n.grant())
	lease := n.grant()
	waiter := n.lockLater("l", lease)
	n.awaitQueue("l/", 2)
	must(n.lease.LeaseRevoke(n.ctx, &pb.LeaseRevokeRequest{ID: lease}))(t)
	must(lockpb.NewLockClient(n.conn).Unlock(n.ctx, &lockpb.UnlockRequest{Key: held.Key}))(t)
	wantStatus(t, "its lock", <-waiter.end, status.Error(codes.Unknown, "mutex: session is expired"))
}

func TestTheErrorsOfALockHaveTheWordsOfTheirStepsAndNoCode(t *testing.T) {
	n := startNode(t, Options{MaxRequestBytes: 1000})
	locks := lockpb.NewLockClient(n.conn)
	unknown := func(err error) error { return status.Error(codes.Unknown, status.Convert(err).Message()) }
	_, err := locks.Lock(n.ctx, &lockpb.LockRequest{Name: []byte("l"), Lease: 77})
	wantStatus(t, "an unknown lease", err, unknown(rpctypes.ErrGRPCLeaseNotFound))
	_, err = locks.Lock(n.ctx, &lockpb.LockRequest{Name: []byte(strings.Repeat("l", 1000))})
	wantStatus(t, "a long name", err, unknown(rpctypes.ErrGRPCRequestTooLarge))
	_, err = locks.Unlock(n.ctx, &lockpb.UnlockRequest{})
	wantStatus(t, "no key", err, unknown(rpctypes.ErrGRPCEmptyKey))
	if _, err := locks.Unlock(n.ctx, &lockpb.UnlockRequest{Key: []byte("nothing")}); err != nil {
		t.Errorf("nothing to give back: %v", err)
	}
}

func TestShutdownEndsTheWaitForALock(t *testing.T) {
	n := startNode(t, Options{})
	n.lock("l", n.grant())
	waiter := n.lockLater("l", n.grant())
	n.awaitQueue("l/", 2)
	if err := n.server.Shutdown(n.ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-waiter.end; !errors.Is(rpctypes.Error(err), rpctypes.ErrStopped) {
		t.Errorf("the wait ended with %v", err)
	}
}
