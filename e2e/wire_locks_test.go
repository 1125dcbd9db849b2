package e2e

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// How each protocol takes a lock, works under it, and gives it back.

// --- etcd: a lease, and a transaction on the create revision ---

type etcdLocker struct {
	kv       pb.KVClient
	leases   pb.LeaseClient
	revision int64 // at which the lock was created
	lease    int64
}

func (l *etcdLocker) take(key, holder string) (took bool, until int64, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	begin := now()
	grant, err := l.leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: int64(lockTTL / time.Second)})
	if err != nil {
		return false, 0, refused, err // whatever became of the lease: no key hangs on it
	}
	l.lease, until = grant.ID, begin+int64(lockTTL)
	r, err := l.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(key, 0)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(holder), Lease: grant.ID},
		}}},
	})
	if errors.Is(rpctypes.Error(err), rpctypes.ErrLeaseNotFound) && now() >= until {
		return false, until, refused, nil // the request took longer than the lease lasts
	}
	if err != nil {
		return false, until, etcdFate(err), err
	}
	l.revision = r.Header.Revision
	return r.Succeeded, until, done, nil
}

func created(key string, revision int64) *pb.Compare {
	return &pb.Compare{
		Key: []byte(key), Result: pb.Compare_EQUAL, Target: pb.Compare_CREATE,
		TargetUnion: &pb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func (l *etcdLocker) count(key, _, counter string) (n int64, took bool, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	r, err := l.kv.Range(ctx, &pb.RangeRequest{Key: []byte(counter)})
	if err != nil {
		return 0, false, err
	}
	if len(r.Kvs) > 0 {
		n, _ = strconv.ParseInt(string(r.Kvs[0].Value), 10, 64)
	}
	n++
	txn, err := l.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(key, l.revision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{
			RequestPut: &pb.PutRequest{Key: []byte(counter), Value: []byte(strconv.FormatInt(n, 10))},
		}}},
	})
	return n, err == nil && txn.Succeeded, err
}

func (l *etcdLocker) give(key, _ string) (took bool, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	txn, err := l.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{created(key, l.revision)},
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestDeleteRange{
			RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)},
		}}},
	})
	if err != nil {
		return false, etcdFate(err), err
	}
	return txn.Succeeded, done, nil
}

func (l *etcdLocker) look(key string) (holder string, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	r, err := l.kv.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
	if err == nil && len(r.Kvs) > 0 {
		holder = string(r.Kvs[0].Value)
	}
	return holder, err
}

func (l *etcdLocker) abandon() { l.lease, l.revision = 0, 0 }
func (l *etcdLocker) close()   {}

// --- Redis: SET NX PX, and WATCH ---

type redisLocker struct{ client *redis.Client }

func (l *redisLocker) take(key, holder string) (took bool, until int64, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	until = now() + int64(lockTTL)
	err = l.client.SetArgs(ctx, key, holder, redis.SetArgs{Mode: "NX", TTL: lockTTL}).Err()
	switch {
	case err == nil:
		return true, until, done, nil
	case errors.Is(err, redis.Nil):
		return false, until, done, nil
	}
	return false, until, redisFate(err), err
}

// guarded carries out what is queued if the lock is the holder's to the end.
func (l *redisLocker) guarded(key, holder string, queue func(ctx context.Context, tx *redis.Tx) (func(redis.Pipeliner), error)) (took bool, f fate, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	f = refused
	err = l.client.Watch(ctx, func(tx *redis.Tx) error {
		whose, err := tx.Get(ctx, key).Result()
		if err == nil && whose != holder || errors.Is(err, redis.Nil) {
			return redis.TxFailedErr
		}
		if err != nil {
			return err
		}
		commands, err := queue(ctx, tx)
		if err != nil {
			return err
		}
		f = unknown
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { commands(p); return nil })
		if err != nil {
			f = redisFate(err)
		}
		return err
	}, key)
	if err == nil || errors.Is(err, redis.TxFailedErr) {
		return err == nil, done, nil
	}
	return false, f, err
}

func (l *redisLocker) count(key, holder, counter string) (n int64, took bool, err error) {
	took, _, err = l.guarded(key, holder, func(ctx context.Context, tx *redis.Tx) (func(redis.Pipeliner), error) {
		n, err = tx.Get(ctx, counter).Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
		n++
		return func(p redis.Pipeliner) { p.Set(ctx, counter, n, 0) }, nil
	})
	return n, took, err
}

func (l *redisLocker) give(key, holder string) (took bool, f fate, err error) {
	return l.guarded(key, holder, func(ctx context.Context, _ *redis.Tx) (func(redis.Pipeliner), error) {
		return func(p redis.Pipeliner) { p.Del(ctx, key) }, nil
	})
}

func (l *redisLocker) look(key string) (holder string, err error) {
	ctx, cancel := contextFor(opPatience)
	defer cancel()
	holder, err = l.client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		err = nil
	}
	return holder, err
}

func (l *redisLocker) abandon() {}
func (l *redisLocker) close()   { l.client.Close() }

// --- ZooKeeper: an ephemeral node; the session is the guard, since it ends with the node ---

type zkLocker struct{ line *zkLine }

func (l *zkLocker) take(key, holder string) (took bool, until int64, f fate, err error) {
	if l.line.gone {
		l.line.renew()
	}
	body := &juteWriter{}
	body.text(key)
	body.text(holder)
	body.openACL()
	body.int(1)
	until = now() + int64(zkReliance(lockTTL))
	_, err = l.line.ask(zkOps["create"], body)
	switch {
	case err == nil:
		return true, until, done, nil
	case errors.Is(err, zkNodeExists):
		return false, until, done, nil
	}
	f = zkFate(err)
	l.abandon()
	return false, until, f, err
}

// zkReliance is how long after a request that was answered a client may rely on a session. A member answers when the leader has
// confirmed the session within the last two fifths of its time-out.
func zkReliance(timeout time.Duration) time.Duration { return timeout * 6 / 10 }

func (l *zkLocker) count(_, _, counter string) (n int64, took bool, err error) {
	body := &juteWriter{}
	body.text(counter)
	if _, err := l.line.ask(zkOps["sync"], body); err != nil {
		return 0, false, err
	}
	body.bool(false)
	r, err := l.line.ask(zkOps["get"], body)
	body = &juteWriter{}
	body.text(counter)
	switch {
	case errors.Is(err, zkNoNode):
		body.text("1")
		body.openACL()
		body.int(0)
		_, err = l.line.ask(zkOps["create"], body)
		return 1, err == nil, err
	case err != nil:
		return 0, false, err
	}
	n, _ = strconv.ParseInt(r.text(), 10, 64)
	n++
	body.text(strconv.FormatInt(n, 10))
	body.int(-1)
	_, err = l.line.ask(zkOps["set"], body)
	return n, err == nil, err
}

func (l *zkLocker) give(key, _ string) (took bool, f fate, err error) {
	body := &juteWriter{}
	body.text(key)
	body.int(-1)
	_, err = l.line.ask(zkOps["delete"], body)
	if err == nil {
		return true, done, nil
	}
	f = zkFate(err)
	if errors.Is(err, zkNoNode) {
		return false, done, nil
	}
	return false, f, err
}

func (l *zkLocker) look(key string) (holder string, err error) {
	if l.line.gone {
		l.line.renew()
	}
	body := &juteWriter{}
	body.text(key)
	if _, err = l.line.ask(zkOps["sync"], body); err != nil {
		return "", err
	}
	body.bool(false)
	r, err := l.line.ask(zkOps["get"], body)
	if errors.Is(err, zkNoNode) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return r.text(), nil
}

// abandon leaves the session to its time.
func (l *zkLocker) abandon() {
	l.line.renew()
}

func (l *zkLocker) close() { l.line.close() }
