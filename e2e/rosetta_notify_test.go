package e2e

import (
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/redis/go-redis/v9"
)

func TestRedisIsNotifiedOfTheChangesOfAllProtocols(t *testing.T) {
	c := startClients(t, "--resp-notify-keyspace-events", "KEA")
	ctx := testContext(t)
	subscriber := c.redis.PSubscribe(ctx, "__keyevent@0__:*")
	defer subscriber.Close()
	if _, err := subscriber.Receive(ctx); err != nil { // the subscription is there
		t.Fatal(err)
	}
	messages := subscriber.Channel()
	told := func(by, verb, key string) {
		t.Helper()
		m := await[*redis.Message](t, messages, "a notification of "+by)
		if m.Channel != "__keyevent@0__:"+verb || m.Payload != key {
			t.Errorf("%s gave %s %s, want %s %s", by, m.Channel, m.Payload, verb, key)
		}
	}

	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/n", "1"))
	told("an etcd put", "set", "/n")
	if _, err := c.zk.Set("/n", []byte("2"), -1); err != nil {
		t.Fatal(err)
	}
	told("a setData", "set", "/n")
	if err := c.zk.Delete("/n", -1); err != nil {
		t.Fatal(err)
	}
	told("a ZooKeeper delete", "del", "/n")

	lease := must[*clientv3.LeaseGrantResponse](t)(c.etcd.Grant(ctx, 60))
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/leased", "v", clientv3.WithLease(lease.ID)))
	told("a leased put", "set", "/leased")
	must[*clientv3.LeaseRevokeResponse](t)(c.etcd.Revoke(ctx, lease.ID))
	told("a lease's end", "expired", "/leased")

	must[string](t)(c.redis.Set(ctx, "/ttl", "v", 50*time.Millisecond).Result())
	told("a SET", "set", "/ttl")
	told("its time to live", "expire", "/ttl")
	told("its deadline", "expired", "/ttl")
}
