package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// clients are one real client of each protocol, on one server.
type clients struct {
	*server
	etcd  *clientv3.Client
	redis *redis.Client
	zk    *zk.Conn
}

func startClients(t *testing.T, args ...string) clients {
	t.Helper()
	s := startServer(t, args...)
	return clients{s, etcdClient(t, s.etcd), redisClient(t, s.resp), zkClient(t, s.zk)}
}

// readAll checks what each protocol reads under a key.
func (c clients) readAll(t *testing.T, key, want string) {
	t.Helper()
	ctx := testContext(t)
	got := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, key))
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != want {
		t.Errorf("etcd reads %v under %s, want %q", got.Kvs, key, want)
	}
	if value := must[string](t)(c.redis.Get(ctx, key).Result()); value != want {
		t.Errorf("redis reads %q under %s, want %q", value, key, want)
	}
	data, _, err := c.zk.Get(key)
	if err != nil || string(data) != want {
		t.Errorf("zookeeper reads %q, %v under %s, want %q", data, err, key, want)
	}
}

// goneEverywhere checks that no protocol finds a key.
func (c clients) goneEverywhere(t *testing.T, key string) {
	t.Helper()
	ctx := testContext(t)
	if got := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, key)); len(got.Kvs) != 0 {
		t.Errorf("etcd still finds %s", key)
	}
	if n := must[int64](t)(c.redis.Exists(ctx, key).Result()); n != 0 {
		t.Errorf("redis still finds %s", key)
	}
	if there, _, err := c.zk.Exists(key); err != nil || there {
		t.Errorf("zookeeper still finds %s (%v)", key, err)
	}
}

func TestAKeyWrittenByOneProtocolIsReadByTheOthers(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/from-etcd", "e"))
	must[string](t)(c.redis.Set(ctx, "/from-redis", "r", 0).Result())
	must[string](t)(c.zk.Create("/from-zk", []byte("z"), 0, open))
	c.readAll(t, "/from-etcd", "e")
	c.readAll(t, "/from-redis", "r")
	c.readAll(t, "/from-zk", "z")

	must[string](t)(c.redis.Set(ctx, "/from-etcd", "r2", 0).Result())
	must[*zk.Stat](t)(c.zk.Set("/from-redis", []byte("z2"), -1))
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/from-zk", "e2"))
	c.readAll(t, "/from-etcd", "r2")
	c.readAll(t, "/from-redis", "z2")
	c.readAll(t, "/from-zk", "e2")

	must[*clientv3.DeleteResponse](t)(c.etcd.Delete(ctx, "/from-redis"))
	must[int64](t)(c.redis.Del(ctx, "/from-zk").Result())
	if err := c.zk.Delete("/from-etcd", -1); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"/from-etcd", "/from-redis", "/from-zk"} {
		c.goneEverywhere(t, key)
	}
}

func TestOnePortServesAllThreeProtocols(t *testing.T) {
	s := startServer(t)
	ctx := testContext(t)
	must[*clientv3.PutResponse](t)(etcdClient(t, s.shared).Put(ctx, "/k", "v"))
	if v := must[string](t)(redisClient(t, s.shared).Get(ctx, "/k").Result()); v != "v" {
		t.Errorf("redis reads %q", v)
	}
	if data, _, err := zkClient(t, s.shared).Get("/k"); err != nil || string(data) != "v" {
		t.Errorf("zookeeper reads %q, %v", data, err)
	}
}

// Only keys that are paths are nodes; the others are there for etcd and Redis alone.
func TestKeysThatAreNoPathsAreHiddenFromZooKeeper(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	for _, key := range []string{"plain", "/a//b", "/a/", "/a/./b", "/a/../b", "/nul\x00", "/visible"} {
		must[string](t)(c.redis.Set(ctx, key, "v", 0).Result())
		if got := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, key)); len(got.Kvs) != 1 {
			t.Errorf("etcd does not find %q", key)
		}
	}
	names, _, err := c.zk.Children("/")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "zookeeper" })
	if !slices.Equal(names, []string{"visible"}) {
		t.Errorf("zookeeper lists %q", names)
	}
}

func TestPrivateSpacesAreSeenByRedisAlone(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	private := redis.NewClient(&redis.Options{Addr: c.resp, DB: 7})
	defer private.Close()
	must[string](t)(private.Set(ctx, "/private", "v", 0).Result())
	c.goneEverywhere(t, "/private")
	if v := must[string](t)(private.Get(ctx, "/private").Result()); v != "v" {
		t.Errorf("its own space reads %q", v)
	}
}

func TestCollectionsAreInvisibleToEtcdAndZooKeeper(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[int64](t)(c.redis.RPush(ctx, "/list", "a", "b").Result())
	must[int64](t)(c.redis.HSet(ctx, "/hash", "f", "v").Result())

	if got := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/", clientv3.WithPrefix())); got.Count != 0 {
		t.Errorf("etcd lists %v", got.Kvs)
	}
	_, err := c.etcd.Put(ctx, "/list", "v")
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "list") {
		t.Errorf("an etcd put on a list: %v, want FailedPrecondition that says why", err)
	}
	if got := must[*clientv3.DeleteResponse](t)(c.etcd.Delete(ctx, "/", clientv3.WithPrefix())); got.Deleted != 0 {
		t.Errorf("an etcd delete-range removed %d collections", got.Deleted)
	}

	if names, _, err := c.zk.Children("/"); err != nil || slices.Contains(names, "list") {
		t.Errorf("zookeeper lists %q (%v)", names, err)
	}
	if _, err := c.zk.Create("/list", nil, 0, open); !errors.Is(err, zk.ErrNodeExists) {
		t.Errorf("zookeeper create on a list: %v, want NodeExists", err)
	}
	if _, err := c.zk.Set("/list", nil, -1); !errors.Is(err, zk.ErrNoNode) {
		t.Errorf("zookeeper set on a list: %v, want NoNode", err)
	}
	if err := c.zk.Delete("/list", -1); !errors.Is(err, zk.ErrNoNode) {
		t.Errorf("zookeeper delete on a list: %v, want NoNode", err)
	}
	if n := must[int64](t)(c.redis.LLen(ctx, "/list").Result()); n != 2 {
		t.Errorf("the list has %d elements left", n)
	}
}

func TestAbsentAncestorsAreEmptyNodes(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/a/b", "v"))

	data, stat, err := c.zk.Get("/a")
	if err != nil || len(data) != 0 || stat.Version != 0 || stat.NumChildren != 1 || stat.EphemeralOwner != 0 {
		t.Fatalf("the implicit parent: %q %+v %v", data, stat, err)
	}
	if got := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/a")); len(got.Kvs) != 0 {
		t.Error("etcd sees the implicit parent")
	}
	if _, err := c.redis.Get(ctx, "/a").Result(); !errors.Is(err, redis.Nil) {
		t.Errorf("redis sees the implicit parent: %v", err)
	}
	if err := c.zk.Delete("/a", -1); !errors.Is(err, zk.ErrNotEmpty) {
		t.Errorf("delete of the implicit parent: %v, want NotEmpty", err)
	}
	if _, err := c.zk.Create("/a", []byte("real"), 0, open); err != nil {
		t.Errorf("create of the implicit parent: %v", err)
	}
	c.readAll(t, "/a", "real")

	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/c/d/e", "v"))
	if _, err := c.zk.Set("/c/d", []byte("set"), 0); err != nil {
		t.Errorf("setData on an implicit node: %v", err)
	}
	c.readAll(t, "/c/d", "set")

	must[*clientv3.DeleteResponse](t)(c.etcd.Delete(ctx, "/c/d/e"))
	must[*clientv3.DeleteResponse](t)(c.etcd.Delete(ctx, "/c/d"))
	if there, _, err := c.zk.Exists("/c"); err != nil || there {
		t.Errorf("/c outlives its last descendant (%v)", err)
	}
}

func TestEveryLimitNamesItself(t *testing.T) {
	c := startClients(t, "--max-request-bytes", "4096", "--zk-max-packet-bytes", "4096")
	ctx := testContext(t)
	big := strings.Repeat("x", 5000)
	if _, err := c.etcd.Put(ctx, "k", big); !errors.Is(err, rpctypes.ErrRequestTooLarge) {
		t.Errorf("etcd: %v", err)
	}
	if err := c.redis.Set(ctx, "k", big, 0).Err(); err == nil || !strings.Contains(err.Error(), "bulk length") {
		t.Errorf("redis: %v", err)
	}
	if _, err := c.zk.Create("/k", []byte(big), 0, open); err == nil {
		t.Error("zookeeper took a packet past the limit")
	}
	// The server goes on for everybody else.
	must[string](t)(redisClient(t, c.resp).Set(ctx, "k", "small", 0).Result())
}

// revisionOf gives etcd's view of the clock of changes.
func (c clients) revision(t *testing.T) int64 {
	t.Helper()
	return must[*clientv3.GetResponse](t)(c.etcd.Get(testContext(t), "no-such-key")).Header.Revision
}

func TestOneClockCountsTheChangesOfAllProtocols(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	before := c.revision(t)
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/k", "1"))
	must[string](t)(c.redis.Set(ctx, "/k", "2", 0).Result())
	stat := must[*zk.Stat](t)(c.zk.Set("/k", []byte("3"), -1))
	if after := c.revision(t); after != before+3 {
		t.Errorf("three changes moved the revision from %d to %d", before, after)
	}
	kv := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/k")).Kvs[0]
	if stat.Czxid != kv.CreateRevision || stat.Mzxid != kv.ModRevision || kv.ModRevision != before+3 {
		t.Errorf("zookeeper has czxid %d, mzxid %d; etcd create %d, mod %d", stat.Czxid, stat.Mzxid, kv.CreateRevision, kv.ModRevision)
	}
	if kv.Version != 3 || stat.Version != 2 {
		t.Errorf("etcd version %d, dataVersion %d; want 3 and 2", kv.Version, stat.Version)
	}
	if stat.Ctime == 0 || stat.Mtime < stat.Ctime {
		t.Errorf("times of the node: %d, %d", stat.Ctime, stat.Mtime)
	}
	info := must[string](t)(c.redis.Info(ctx).Result())
	if want := fmt.Sprintf("revision:%d", before+3); !strings.Contains(info, want) {
		t.Errorf("redis' INFO does not say %s", want)
	}
}

func TestChildrenAreCountedWhoeverMakesThem(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[string](t)(c.zk.Create("/p", nil, 0, open))
	must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/p/e", ""))
	must[string](t)(c.redis.Set(ctx, "/p/r", "", 0).Result())
	must[string](t)(c.zk.Create("/p/z", nil, 0, open))
	must[int64](t)(c.redis.Del(ctx, "/p/e").Result())
	names, stat, err := c.zk.Children("/p")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"r", "z"}) || stat.NumChildren != 2 || stat.Cversion != 4 || stat.Pzxid != c.revision(t) {
		t.Errorf("children %q, stat %+v", names, stat)
	}
	// The sequence counter counts the creations of all protocols.
	if path := must[string](t)(c.zk.Create("/p/s-", nil, zk.FlagSequence, open)); path != "/p/s-0000000003" {
		t.Errorf("the sequential node is %s", path)
	}
}

func TestAtomicGroupsOfAllProtocolsGuardEachOther(t *testing.T) {
	c := startClients(t)
	ctx := testContext(t)
	must[string](t)(c.redis.Set(ctx, "/k", "1", 0).Result())

	// Redis' WATCH sees an etcd put.
	err := c.redis.Watch(ctx, func(tx *redis.Tx) error {
		must[string](t)(tx.Get(ctx, "/k").Result())
		must[*clientv3.PutResponse](t)(c.etcd.Put(ctx, "/k", "2"))
		_, err := tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "/k", "lost", 0)
			return nil
		})
		return err
	}, "/k")
	if !errors.Is(err, redis.TxFailedErr) {
		t.Errorf("EXEC after another's put: %v", err)
	}

	// An etcd Txn sees a ZooKeeper setData.
	mod := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/k")).Kvs[0].ModRevision
	stat := must[*zk.Stat](t)(c.zk.Set("/k", []byte("3"), -1))
	txn := must[*clientv3.TxnResponse](t)(c.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("/k"), "=", mod)).Then(clientv3.OpPut("/k", "lost")).Commit())
	if txn.Succeeded {
		t.Error("the etcd Txn did not see the setData")
	}

	// A ZooKeeper multi sees a Redis SET, and is all or nothing.
	must[string](t)(c.redis.Set(ctx, "/k", "4", 0).Result())
	_, err = c.zk.Multi(&zk.CreateRequest{Path: "/other", Acl: open}, &zk.SetDataRequest{Path: "/k", Data: []byte("lost"), Version: stat.Version})
	if !errors.Is(err, zk.ErrBadVersion) {
		t.Errorf("multi after another's SET: %v", err)
	}
	c.goneEverywhere(t, "/other")
	c.readAll(t, "/k", "4")

	// What a group writes appears at one revision.
	must[[]redis.Cmder](t)(c.redis.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "/g1", "x", 0)
		p.Set(ctx, "/g2", "x", 0)
		return nil
	}))
	kvs := must[*clientv3.GetResponse](t)(c.etcd.Get(ctx, "/g", clientv3.WithPrefix())).Kvs
	if len(kvs) != 2 || kvs[0].ModRevision != kvs[1].ModRevision {
		t.Errorf("EXEC's writes are %v", kvs)
	}
}
