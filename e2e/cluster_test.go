package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Any client at any member: what one is told is done, all see, whoever leads.

// at gives the clients of all protocols on a member.
func (m *member) at(t *testing.T) clients {
	t.Helper()
	return clients{m.server, etcdClient(t, m.etcd), redisClient(t, m.resp), zkClient(t, m.zk)}
}

func (c *cluster) clients(t *testing.T) (all []clients) {
	t.Helper()
	for _, m := range c.all() {
		all = append(all, m.at(t))
	}
	return all
}

// zkRead is a read that sees all that was done before it.
func zkRead(t *testing.T, c *zk.Conn, path string) string {
	t.Helper()
	must[string](t)(c.Sync(path))
	data, _, err := c.Get(path)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return string(data)
}

func TestEveryMemberServesEveryProtocol(t *testing.T) {
	c := startCluster(t, 3)
	all := c.clients(t)
	ctx := testContext(t)
	for i, writer := range all {
		name := c.all()[i].name
		must[*clientv3.PutResponse](t)(writer.etcd.Put(ctx, "/etcd", name))
		must[string](t)(writer.redis.Set(ctx, "/redis", name, 0).Result())
		must[*clientv3.PutResponse](t)(writer.etcd.Put(ctx, "/zk", ""))
		must[*zk.Stat](t)(writer.zk.Set("/zk", []byte(name), -1))
		must[int64](t)(writer.redis.RPush(ctx, "list", name).Result())
		for j, reader := range all {
			for _, key := range []string{"/etcd", "/redis", "/zk"} {
				where := fmt.Sprintf("%s, written at %s and read at %s,", key, name, c.all()[j].name)
				expect(t, where+" by etcd", string(must[*clientv3.GetResponse](t)(reader.etcd.Get(ctx, key)).Kvs[0].Value), name)
				expect(t, where+" by redis", must[string](t)(reader.redis.Get(ctx, key).Result()), name)
				expect(t, where+" by zookeeper", zkRead(t, reader.zk, key), name)
			}
			if n := must[int64](t)(reader.redis.LLen(ctx, "list").Result()); n != int64(i+1) {
				t.Errorf("the list has %d elements at member %d, want %d", n, j, i+1)
			}
		}
	}
	c.sameEverywhere()
}

func TestWatchersOnEveryMemberAreToldOfWritesElsewhere(t *testing.T) {
	c := startCluster(t, 3, "--resp-notify-keyspace-events", "KEA")
	all := c.clients(t)
	ctx := testContext(t)
	for i, watcher := range all {
		writer := all[(i+1)%len(all)]
		key := fmt.Sprintf("/k%d", i)
		events := watcher.etcd.Watch(ctx, key, clientv3.WithCreatedNotify())
		await(t, events, "the watch")
		_, _, created, err := watcher.zk.ExistsW(key)
		if err != nil {
			t.Fatal(err)
		}
		notified := subscribed(t, watcher.redis.Subscribe(ctx, "__keyspace@0__:"+key))
		heard := subscribed(t, watcher.redis.Subscribe(ctx, "channel"))
		popped := make(chan []string, 1)
		blocked := redisClient(t, c.all()[i].resp)
		go func() {
			values, _ := blocked.BLPop(ctx, patience, "queue"+key).Result()
			popped <- values
		}()
		watcher.awaitInfo(t, "blocked_clients:1")

		must[*clientv3.PutResponse](t)(writer.etcd.Put(ctx, key, "v"))
		if r := await(t, events, "etcd's event"); len(r.Events) != 1 || string(r.Events[0].Kv.Value) != "v" {
			t.Errorf("etcd's watch was told %v", r)
		}
		if e := await(t, created, "ZooKeeper's event"); e.Type != zk.EventNodeCreated {
			t.Errorf("ZooKeeper's watch was told %v", e)
		}
		if m := await(t, notified, "Redis' notification"); m.Payload != "set" {
			t.Errorf("Redis was notified of %v", m)
		}
		must[int64](t)(writer.redis.Publish(ctx, "channel", key).Result())
		if m := await(t, heard, "a message"); m.Payload != key {
			t.Errorf("the subscriber heard %v", m)
		}
		must[int64](t)(writer.redis.RPush(ctx, "queue"+key, "job").Result())
		if got := await(t, popped, "BLPOP"); !slices.Equal(got, []string{"queue" + key, "job"}) {
			t.Errorf("BLPOP gave %q", got)
		}
	}
}

// subscribed gives the messages of a subscription that is there.
func subscribed(t *testing.T, s *redis.PubSub) <-chan *redis.Message {
	t.Helper()
	t.Cleanup(func() { s.Close() })
	if _, err := s.Receive(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return s.Channel()
}

// A ZooKeeper client that knows all members keeps its session, its ephemeral nodes and its watches when the one that it
// is on is killed.
func TestASessionMovesToAnotherMemberWhenItsOwnIsKilled(t *testing.T) {
	c := startCluster(t, 3)
	var servers []string
	for _, m := range c.all() {
		servers = append(servers, m.zk)
	}
	conn, events, err := zk.Connect(servers, 20*time.Second, zk.WithLogger(quietLogger{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	for await(t, events, "a session").State != zk.StateHasSession {
	}
	session := conn.SessionID()
	for round := range 2 {
		node := fmt.Sprintf("/ephemeral%d", round)
		must[string](t)(conn.Create(node, nil, zk.FlagEphemeral, open))
		_, _, changed, err := conn.GetW(node)
		if err != nil {
			t.Fatal(err)
		}
		var killed *member
		for _, m := range c.all() {
			if m.zk == conn.Server() {
				killed = m
			}
		}
		c.kill(killed)
		for {
			e := await(t, events, "the session on another member")
			if e.State == zk.StateExpired {
				t.Fatal("the session has ended")
			}
			if e.State == zk.StateHasSession {
				break
			}
		}
		if conn.SessionID() != session || conn.Server() == killed.zk {
			t.Errorf("session %#x at %s, was %#x at %s", conn.SessionID(), conn.Server(), session, killed.zk)
		}
		_, stat, err := conn.Get(node)
		if err != nil || stat.EphemeralOwner != session {
			t.Errorf("the ephemeral node after the move: %+v, %v", stat, err)
		}
		eventually(t, "a write by another client", func() error {
			ctx, cancel := contextFor(opPatience)
			defer cancel()
			return redisClient(t, c.followers(killed)[0].resp).Append(ctx, node, "x").Err()
		})
		if e := await(t, changed, "the watch"); e.Type != zk.EventNodeDataChanged {
			t.Errorf("the watch was told %v", e)
		}
		c.start(killed)
		c.awaitService()
	}
}

// What leaves the place that a session was on without a word must not keep it: the old connection is cut when the session
// goes on at another member.
func TestAConnectionEndsWhenItsSessionGoesOnElsewhere(t *testing.T) {
	c := startCluster(t, 3)
	a, b := c.all()[0], c.all()[1]
	old := &zkLine{address: a.zk, timeout: 10 * time.Second}
	look := &juteWriter{}
	look.text("/")
	look.bool(false)
	if _, err := old.ask(zkOps["get"], look); err != nil {
		t.Fatal(err)
	}
	moved := &zkLine{address: b.zk, timeout: 10 * time.Second, session: old.session, password: old.password, zxid: old.zxid}
	if _, err := moved.ask(zkOps["get"], look); err != nil || moved.session != old.session {
		t.Fatalf("session %#x did not move: %#x, %v", old.session, moved.session, err)
	}
	eventually(t, "the end of the old connection", func() error {
		if old.conn == nil {
			return nil
		}
		_, _ = old.ask(zkOps["get"], look)
		return fmt.Errorf("it is served")
	})
	stolen := &zkLine{address: b.zk, timeout: 10 * time.Second, session: old.session, password: strings.Repeat("x", 16)}
	if _, err := stolen.ask(zkOps["get"], look); err == nil {
		t.Error("a session was had with a wrong password")
	}
}
