package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// watchers is a watch of each protocol on one key.
type watchers struct {
	etcd clientv3.WatchChan
	zk   <-chan zk.Event
}

func (c clients) watch(t *testing.T, key string) watchers {
	t.Helper()
	w := watchers{etcd: c.etcd.Watch(clientv3.WithRequireLeader(testContext(t)), key, clientv3.WithCreatedNotify())}
	if created := await(t, w.etcd, "the etcd watch"); !created.Created {
		t.Fatalf("the etcd watch began with %+v", created)
	}
	_, _, events, err := c.zk.ExistsW(key)
	if err != nil {
		t.Fatal(err)
	}
	w.zk = events
	return w
}

// fired checks what each watch has to say of the next change.
func (w watchers) fired(t *testing.T, by string, etcd mvccpb.Event_EventType, node zk.EventType) {
	t.Helper()
	got := await(t, w.etcd, "etcd's watch of a change by "+by)
	if len(got.Events) != 1 || got.Events[0].Type != etcd {
		t.Errorf("a change by %s gave etcd %+v", by, got.Events)
	}
	if event := await(t, w.zk, "zookeeper's watch of a change by "+by); event.Type != node {
		t.Errorf("a change by %s gave zookeeper %v", by, event)
	}
}

func TestAChangeByOneProtocolFiresTheWatchesOfTheOthers(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	changes := []struct {
		by    string
		write func(key, value string) error
		erase func(key string) error
	}{
		{"etcd",
			func(key, value string) error { _, err := c.etcd.Put(ctx, key, value); return err },
			func(key string) error { _, err := c.etcd.Delete(ctx, key); return err }},
		{"redis",
			func(key, value string) error { return c.redis.Set(ctx, key, value, 0).Err() },
			func(key string) error { return c.redis.Del(ctx, key).Err() }},
		{"zookeeper",
			func(key, value string) error {
				if _, err := c.zk.Set(key, []byte(value), -1); err != zk.ErrNoNode {
					return err
				}
				_, err := c.zk.Create(key, []byte(value), 0, open)
				return err
			},
			func(key string) error { return c.zk.Delete(key, -1) }},
	}
	for _, change := range changes {
		t.Run(change.by, func(t *testing.T) {
			key := "/watched-" + change.by
			w := c.watch(t, key)
			if err := change.write(key, "1"); err != nil {
				t.Fatal(err)
			}
			w.fired(t, change.by, mvccpb.PUT, zk.EventNodeCreated)
			w = c.watch(t, key)
			if err := change.write(key, "2"); err != nil {
				t.Fatal(err)
			}
			w.fired(t, change.by, mvccpb.PUT, zk.EventNodeDataChanged)
			w = c.watch(t, key)
			if err := change.erase(key); err != nil {
				t.Fatal(err)
			}
			w.fired(t, change.by, mvccpb.DELETE, zk.EventNodeDeleted)
		})
	}
}

// awaitInfo returns when Redis' INFO has a line.
func (c clients) awaitInfo(t *testing.T, line string) {
	t.Helper()
	ctx := testContext(t)
	for !strings.Contains(must[string](t)(c.redis.Info(ctx).Result()), line) {
		if ctx.Err() != nil {
			t.Fatalf("INFO never said %s", line)
		}
	}
}

func TestAWriteByOneProtocolWakesABlockedRedisReader(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	blocked := redisClient(t, c.resp)
	popped := make(chan []string, 1)
	go func() {
		values, err := blocked.BLPop(ctx, patience, "/queue").Result()
		if err != nil {
			values = []string{err.Error()}
		}
		popped <- values
	}()
	c.awaitInfo(t, "blocked_clients:1")
	// A plain value under the key does not concern the reader; a list that is renamed into place does.
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/queue", "no list"))
	must[*clientv3.DeleteResponse](t)(c.etcd.Delete(ctx, "/queue"))
	must[int64](t)(c.redis.RPush(ctx, "/elsewhere", "job").Result())
	must[string](t)(c.redis.Rename(ctx, "/elsewhere", "/queue").Result())
	if got := await(t, popped, "BLPOP"); len(got) != 2 || got[1] != "job" {
		t.Errorf("BLPOP gave %q", got)
	}
}

func TestAPutBelowAPathFiresTheWatchesOfItsParents(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[string](t)(c.zk.Create("/a", nil, 0, open))
	_, _, children, err := c.zk.ChildrenW("/a")
	if err != nil {
		t.Fatal(err)
	}
	_, _, created, err := c.zk.ExistsW("/a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/a/b/c", "v"))
	if e := await(t, created, "the exists watch"); e.Type != zk.EventNodeCreated || e.Path != "/a/b/c" {
		t.Errorf("the exists watch got %v", e)
	}
	if e := await(t, children, "the children watch"); e.Type != zk.EventNodeChildrenChanged || e.Path != "/a" {
		t.Errorf("the children watch got %v", e)
	}
}

func TestAnEphemeralNodeEndsEverywhereWithItsSession(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	session, _ := zkSession(t, c.server.zk, 4*time.Second)
	must[string](t)(session.Create("/ephemeral", []byte("v"), zk.FlagEphemeral, open))
	c.readAll(t, "/ephemeral", "v")

	stat := must[*zk.Stat](t)(func() (*zk.Stat, error) { _, s, err := c.zk.Get("/ephemeral"); return s, err }())
	kv := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/ephemeral")).Kvs[0]
	if kv.Lease != session.SessionID() || stat.EphemeralOwner != kv.Lease {
		t.Errorf("the owner is session %#x, lease %#x, ephemeralOwner %#x", session.SessionID(), kv.Lease, stat.EphemeralOwner)
	}
	if ttl := must[time.Duration](t)(c.redis.PTTL(ctx, "/ephemeral").Result()); ttl <= 0 || ttl > 4*time.Second {
		t.Errorf("redis shows a TTL of %v, want what the session has left", ttl)
	}
	w := c.watch(t, "/ephemeral")
	session.Close()
	w.fired(t, "the session's end", mvccpb.DELETE, zk.EventNodeDeleted)
	c.goneEverywhere(t, "/ephemeral")
}

func TestALeasedKeyEndsEverywhereWithItsLease(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	lease := must[*clientv3.LeaseGrantResponse](t)(c.etcd.Grant(ctx, 2))
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/leased", "v", clientv3.WithLease(lease.ID)))
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/leased/other", "v", clientv3.WithLease(lease.ID)))
	_, stat, err := c.zk.Get("/leased")
	if err != nil || stat.EphemeralOwner != int64(lease.ID) {
		t.Errorf("zookeeper's owner is %#x (%v), want the lease %#x", stat.EphemeralOwner, err, lease.ID)
	}
	w := c.watch(t, "/leased")
	other := c.watch(t, "/leased/other")
	w.fired(t, "the lease's expiry", mvccpb.DELETE, zk.EventNodeDeleted)
	other.fired(t, "the lease's expiry", mvccpb.DELETE, zk.EventNodeDeleted)
	c.goneEverywhere(t, "/leased")
}

func TestAKeyWithADeadlineEndsEverywhere(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[string](t)(c.redis.Set(ctx, "/ttl", "v", time.Second).Result())
	w := c.watch(t, "/ttl")
	kv := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/ttl")).Kvs[0]
	if kv.Lease != 0 {
		t.Errorf("etcd shows lease %d on a key with a deadline", kv.Lease)
	}
	w.fired(t, "the deadline", mvccpb.DELETE, zk.EventNodeDeleted)
	c.goneEverywhere(t, "/ttl")
}

func TestAPlainOverwriteReplacesLeaseAndDeadline(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	ttl := func(key string) time.Duration {
		t.Helper()
		return must[time.Duration](t)(c.redis.TTL(ctx, key).Result())
	}
	lease := must[*clientv3.LeaseGrantResponse](t)(c.etcd.Grant(ctx, 600))
	leased := func(key string) {
		t.Helper()
		must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, key, "v", clientv3.WithLease(lease.ID)))
	}
	leaseOf := func(key string) int64 {
		t.Helper()
		return must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, key)).Kvs[0].Lease
	}

	leased("/k")
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/k", "v"))
	if leaseOf("/k") != 0 {
		t.Error("an etcd put without a lease kept it")
	}
	leased("/k")
	must[string](t)(c.redis.Set(ctx, "/k", "v", 0).Result())
	if leaseOf("/k") != 0 || ttl("/k") != -1 {
		t.Error("a Redis SET kept the lease")
	}
	leased("/k")
	must[string](t)(c.redis.Set(ctx, "/k", "v", redis.KeepTTL).Result())
	if leaseOf("/k") != int64(lease.ID) {
		t.Error("SET KEEPTTL dropped the lease")
	}
	must[*zk.Stat](t)(c.zk.Set("/k", []byte("v2"), -1))
	if leaseOf("/k") != int64(lease.ID) {
		t.Error("setData dropped the lease")
	}
	if left := ttl("/k"); left <= 0 || left > 600*time.Second {
		t.Errorf("TTL of a leased key is %v", left)
	}
	if !must[bool](t)(c.redis.Persist(ctx, "/k").Result()) || leaseOf("/k") != 0 {
		t.Error("PERSIST did not detach the lease")
	}

	must[string](t)(c.redis.Set(ctx, "/d", "v", time.Hour).Result())
	must[*zk.Stat](t)(c.zk.Set("/d", []byte("v2"), -1))
	if ttl("/d") <= 0 {
		t.Error("setData dropped the deadline")
	}
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/d", "v"))
	if ttl("/d") != -1 {
		t.Error("an etcd put kept the deadline")
	}
}

func TestALeaseRevokeClosesAZooKeeperSession(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	session, events := zkSession(t, c.server.zk, 20*time.Second)
	must[string](t)(session.Create("/mine", nil, zk.FlagEphemeral, open))
	leases := must[*clientv3.LeaseLeasesResponse](t)(c.etcd.Leases(ctx))
	found := false
	for _, l := range leases.Leases {
		found = found || int64(l.ID) == session.SessionID()
	}
	if !found {
		t.Errorf("the session %#x is not among the leases %v", session.SessionID(), leases.Leases)
	}
	must[*clientv3.LeaseRevokeResponse](t)(c.etcd.Revoke(ctx, clientv3.LeaseID(session.SessionID())))
	c.goneEverywhere(t, "/mine")
	for {
		event := await(t, events, "the session's end")
		if event.State == zk.StateExpired {
			break
		}
	}
}

// A change of any protocol is in etcd's history, from any revision on.
func TestTheChangeFeedHoldsTheWritesOfAllProtocols(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	start := c.revision(t) + 1
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/f", "1"))
	must[int64](t)(c.redis.Append(ctx, "/f", "2").Result())
	must[*zk.Stat](t)(c.zk.Set("/f", []byte("3"), -1))
	must[int64](t)(c.redis.Incr(ctx, "/f").Result())
	must[int64](t)(c.redis.Del(ctx, "/f").Result())
	var got []string
	for response := range c.etcd.Watch(ctx, "/f", clientv3.WithRev(start), clientv3.WithPrevKV()) {
		for _, e := range response.Events {
			text := e.Type.String() + " " + string(e.Kv.Value)
			if e.PrevKv != nil {
				text += " after " + string(e.PrevKv.Value)
			}
			got = append(got, text+" at +"+strconv.FormatInt(e.Kv.ModRevision-start, 10))
		}
		if len(got) == 5 {
			break
		}
	}
	want := []string{"PUT 1 at +0", "PUT 12 after 1 at +1", "PUT 3 after 12 at +2", "PUT 4 after 3 at +3", "DELETE  after 4 at +4"}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("event %d is %q, want %q", i, got[i], want[i])
		}
	}
	if old := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/f", clientv3.WithRev(start+1))); string(old.Kvs[0].Value) != "12" {
		t.Errorf("at an old revision: %v", old.Kvs)
	}
}
