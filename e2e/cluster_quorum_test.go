package e2e

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Without a quorum: what needs one fails within a bounded time and in each protocol's own words, what does not goes on,
// and all is well again by itself once the others are back.
func TestWithoutAQuorumRequestsFailInTimeAndLocalReadsGoOn(t *testing.T) {
	const bound = 2 * time.Second // --request-timeout
	c := startCluster(t, 3, "--request-timeout", bound.String(), "--resp-local-reads")
	c.awaitService()
	left := c.all()[0]
	etcd, redis := newEtcdKeys(t, left.etcd), redisClient(t, left.resp)
	session := &zkLine{address: left.zk, timeout: 6 * time.Second}
	if _, _, err := etcd.do("/k", putOf("v")); err != nil {
		t.Fatal(err)
	}
	look := &juteWriter{}
	look.text("/k")
	look.bool(false)
	if _, err := session.ask(zkOps["get"], look); err != nil {
		t.Fatal(err)
	}

	for _, m := range c.all()[1:] {
		c.kill(m)
	}
	ctx := testContext(t)
	get := func(serializable bool) error {
		_, err := etcd.kv.Range(ctx, &pb.RangeRequest{Key: []byte("/k"), Serializable: serializable})
		return err
	}
	// The bound is the server's: the client here would wait for a minute.
	_, err := etcd.kv.Put(ctx, &pb.PutRequest{Key: []byte("/k"), Value: []byte("lost")})
	if code := status.Code(err); code != codes.Unavailable || !strings.HasPrefix(status.Convert(err).Message(), "etcdserver: ") {
		t.Errorf("an etcd put: %v", err)
	}
	if err := get(false); status.Code(err) != codes.Unavailable {
		t.Errorf("a linearizable etcd get: %v", err)
	}
	if err := get(true); err != nil {
		t.Errorf("a serializable etcd get: %v", err)
	}
	if err := redis.Set(ctx, "/k", "lost", 0).Err(); err == nil || !redisExpected(err) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Redis SET: %v", err)
	}
	expect(t, "a local Redis GET", must[string](t)(redis.Get(ctx, "/k").Result()), "v")

	// ZooKeeper's word for it is a connection that ends. Reads go on until then.
	if _, err := session.ask(zkOps["get"], look); err != nil && !errors.Is(err, io.EOF) && !zkExpected(err) {
		t.Errorf("a ZooKeeper read: %v", err)
	}
	eventually(t, "the end of the ZooKeeper connection", func() error {
		if session.conn == nil {
			return nil
		}
		_, _ = session.ask(zkOps["get"], look)
		return errors.New("it is served")
	})
	fresh := &zkLine{address: left.zk, timeout: 6 * time.Second}
	if _, err := fresh.ask(zkOps["get"], look); err == nil {
		t.Error("a ZooKeeper client was given a session")
	}

	for _, m := range c.all()[1:] {
		c.spawn(m)
	}
	for _, m := range c.all()[1:] {
		m.awaitPing()
	}
	c.awaitService()
	out, _, err := etcd.do("/k", read)
	if err != nil || !out.after.present {
		t.Fatalf("after it healed: %v, %v", out, err)
	}
	eventually(t, "the session at the member that was alone", func() error {
		_, err := session.ask(zkOps["get"], look)
		return err
	})
	must[string](t)(redis.Set(ctx, "/k", "v2", 0).Result())
	c.sameEverywhere()
}

// A leader that is cut off does not know it. Nobody is answered by it with what is old by then.
func TestALeaderThatIsCutOffAnswersNobodyWithOldState(t *testing.T) {
	c := startCluster(t, 3)
	c.awaitService()
	leader := c.awaitLeader()
	others := c.followers(leader)
	old := newEtcdKeys(t, leader.etcd)
	if _, _, err := old.do("/k", putOf("old")); err != nil {
		t.Fatal(err)
	}
	for _, m := range others {
		c.cut(leader.name, m.name)
		c.cut(m.name, leader.name)
	}
	eventually(t, "a write beyond the cut", func() error {
		_, _, err := newEtcdKeys(t, others[0].etcd).do("/k", putOf("new"))
		return err
	})
	var asking sync.WaitGroup // each waits until somebody gives up
	asking.Go(func() {
		if out, _, err := old.do("/k", read); err == nil {
			t.Errorf("etcd was answered %v", out)
		}
	})
	asking.Go(func() {
		if out, _, err := newRedisKeys(leader.resp).do("/k", read); err == nil {
			t.Errorf("Redis was answered %v", out)
		}
	})
	asking.Go(func() {
		if out, _, err := newZKKeys(leader.zk).do("/k", read); err == nil { // behind a sync
			t.Errorf("ZooKeeper was answered %v", out)
		}
	})
	asking.Go(func() {
		if _, f, err := old.do("/k", putOf("lost")); err == nil {
			t.Error("a write was acknowledged")
		} else if f == done {
			t.Error("done, with an error")
		}
	})
	asking.Wait()
	c.heal()
	c.awaitService()
	for _, m := range c.all() {
		out, _, err := newEtcdKeys(t, m.etcd).do("/k", read)
		if err != nil || out.after.value == "old" {
			t.Errorf("%s answers %v, %v", m.name, out, err)
		}
	}
}
