package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	etcdRoot  = "bench/"
	etcdWatch = "bench-watch/"
	leaseTTL  = 60 // seconds
)

var (
	errConflict = errors.New("compare-and-swap conflict")
	errMissing  = errors.New("key missing or incomplete")
)

// etcdDriver spreads clients over connections, each pinned to one server.
type etcdDriver struct {
	conns []*clientv3.Client
	stuck sync.Once // makes the watchers that do not read
	err   error     // of that
}

func newEtcd(cfg Config, hosts []string) (driver, error) {
	d := &etcdDriver{}
	for i := range cfg.Conns {
		conn, err := clientv3.New(clientv3.Config{
			Endpoints: []string{hosts[i%len(hosts)]},
			Logger:    zap.NewNop(),
			// One caller waits for each reply anyway; large windows spare
			// prefix reads a round of flow control.
			DialOptions: []grpc.DialOption{grpc.WithInitialWindowSize(1 << 20), grpc.WithInitialConnWindowSize(1 << 20)},
		})
		if err != nil {
			d.close()
			return nil, err
		}
		d.conns = append(d.conns, conn)
	}
	return d, nil
}

func (d *etcdDriver) close() {
	for _, conn := range d.conns {
		conn.Close()
	}
}

func (d *etcdDriver) conn(id int) *clientv3.Client { return d.conns[id%len(d.conns)] }

func (d *etcdDriver) ping(ctx context.Context) error {
	_, err := d.conn(0).Get(ctx, etcdRoot)
	return err
}

func (d *etcdDriver) loadGroup(ctx context.Context, group int, c *client) error {
	var puts []clientv3.Op
	for _, name := range groupKeys(group) {
		puts = append(puts, clientv3.OpPut(etcdRoot+name, c.value()))
	}
	_, err := d.conn(c.id).Txn(ctx).Then(puts...).Commit()
	return err
}

func (d *etcdDriver) workloads() map[string]workload {
	return map[string]workload{
		"put":           {load: true, start: stateless(d.put)},
		"get":           {load: true, start: stateless(d.get)},
		"get-stale":     {load: true, start: stateless(d.getStale)},
		"mixed":         {load: true, start: mixed(d.get, d.put)},
		"range100":      {load: true, start: stateless(d.rangeGroup)},
		"txn":           {load: true, start: d.startTxn},
		"create-delete": {start: alternate(d.create, d.delete)},
		"lease":         {start: stateless(d.lease)},
		"lock":          {start: d.startLock},
		"watch":         {start: stateless(d.putWatched), watch: d.watch},
		"put-unread":    {load: true, start: d.startPutUnread},
	}
}

func (d *etcdDriver) put(ctx context.Context, c *client) error {
	_, err := d.conn(c.id).Put(ctx, etcdRoot+c.key(), c.value())
	return err
}

func (d *etcdDriver) get(ctx context.Context, c *client) error { return d.read(ctx, c) }

func (d *etcdDriver) getStale(ctx context.Context, c *client) error {
	return d.read(ctx, c, clientv3.WithSerializable())
}

func (d *etcdDriver) read(ctx context.Context, c *client, opts ...clientv3.OpOption) error {
	resp, err := d.conn(c.id).Get(ctx, etcdRoot+c.key(), opts...)
	if err == nil && len(resp.Kvs) != 1 {
		err = errMissing
	}
	return err
}

func (d *etcdDriver) rangeGroup(ctx context.Context, c *client) error {
	resp, err := d.conn(c.id).Get(ctx, etcdRoot+groupName(c.group())+"/", clientv3.WithPrefix())
	if err == nil && len(resp.Kvs) != groupSize {
		err = errMissing
	}
	return err
}

// startTxn swaps keys of the client's own, whose revisions it remembers.
func (d *etcdDriver) startTxn(ctx context.Context, c *client) (op, error) {
	conn := d.conn(c.id)
	names := c.ownKeys()
	revisions := make([]int64, len(names))
	for i, name := range names {
		resp, err := conn.Get(ctx, etcdRoot+name)
		if err != nil {
			return nil, err
		}
		if len(resp.Kvs) != 1 {
			return nil, errMissing
		}
		revisions[i] = resp.Kvs[0].ModRevision
	}
	return func(ctx context.Context) error {
		i := c.rng.IntN(len(names))
		key := etcdRoot + names[i]
		resp, err := conn.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revisions[i])).
			Then(clientv3.OpPut(key, c.value())).
			Commit()
		if err != nil {
			return err
		}
		if !resp.Succeeded {
			return errConflict
		}
		revisions[i] = resp.Header.Revision
		return nil
	}, nil
}

func (d *etcdDriver) create(ctx context.Context, c *client, name string) error {
	key := etcdRoot + name
	resp, err := d.conn(c.id).Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, c.value())).
		Commit()
	if err == nil && !resp.Succeeded {
		err = errConflict
	}
	return err
}

func (d *etcdDriver) delete(ctx context.Context, c *client, name string) error {
	resp, err := d.conn(c.id).Delete(ctx, etcdRoot+name)
	if err == nil && resp.Deleted != 1 {
		err = errMissing
	}
	return err
}

// lease grants a lease, puts a key under it and revokes it.
func (d *etcdDriver) lease(ctx context.Context, c *client) error {
	conn := d.conn(c.id)
	grant, err := conn.Grant(ctx, leaseTTL)
	if err != nil {
		return err
	}
	if _, err = conn.Put(ctx, fmt.Sprintf("bench-lease/%d", c.id), c.value(), clientv3.WithLease(grant.ID)); err != nil {
		return err
	}
	_, err = conn.Revoke(ctx, grant.ID)
	return err
}

// startLock takes and releases one of the locks; the client has a session of
// its own, since sessions are what owns them.
func (d *etcdDriver) startLock(_ context.Context, c *client) (op, error) {
	session, err := concurrency.NewSession(d.conn(c.id), concurrency.WithTTL(leaseTTL))
	if err != nil {
		return nil, err
	}
	c.onClose(func() { session.Close() })
	return func(ctx context.Context) error {
		mutex := concurrency.NewMutex(session, fmt.Sprintf("bench-lock/%d", c.rng.IntN(c.cfg.Locks)))
		if err := mutex.Lock(ctx); err != nil {
			return err
		}
		return mutex.Unlock(ctx)
	}, nil
}

func (d *etcdDriver) putWatched(ctx context.Context, c *client) error {
	_, err := d.conn(c.id).Put(ctx, fmt.Sprintf("%s%d", etcdWatch, c.id), string(c.stamped()))
	return err
}

// startPutUnread puts while watchers of everything read nothing of what they are sent.
func (d *etcdDriver) startPutUnread(ctx context.Context, c *client) (op, error) {
	d.stuck.Do(func() { d.err = d.watchUnread(c) })
	if d.err != nil {
		return nil, d.err
	}
	return stateless(d.put)(ctx, c)
}

// unreadWindow is how many bytes a server can send to a watcher that does not read. It is fixed, since gRPC would let it
// grow with what arrives. The connection's window is no bound: gRPC gives it back as soon as bytes arrive.
const unreadWindow = 64 << 10

// watchUnread makes the watchers, over a connection of their own, which lasts until c is closed.
func (d *etcdDriver) watchUnread(c *client) error {
	conn, err := grpc.NewClient(d.conn(0).Endpoints()[0],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithStaticStreamWindowSize(unreadWindow))
	if err != nil {
		return err
	}
	c.onClose(func() { conn.Close() })
	for range c.cfg.Watchers {
		stream, err := etcdserverpb.NewWatchClient(conn).Watch(context.Background())
		if err != nil {
			return err
		}
		everything := &etcdserverpb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}}
		err = stream.Send(&etcdserverpb.WatchRequest{
			RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{CreateRequest: everything},
		})
		if err != nil {
			return err
		}
		if _, err := stream.Recv(); err != nil { // that it was created, and nothing after it
			return err
		}
	}
	return nil
}

// watch watches the prefix that every putWatched writes under.
func (d *etcdDriver) watch(ctx context.Context, id int, deliver func(value []byte)) error {
	events := d.conn(id).Watch(ctx, etcdWatch, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	created, ok := <-events
	if !ok {
		return errors.New("watch refused")
	}
	if err := created.Err(); err != nil {
		return err
	}
	go func() {
		for resp := range events {
			for _, event := range resp.Events {
				deliver(event.Kv.Value)
			}
		}
	}()
	return nil
}
