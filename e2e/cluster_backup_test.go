package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Backups: taken from a cluster that serves, restored into a cluster of any size.

func TestABackupBecomesAClusterOfAnySize(t *testing.T) {
	c := startCluster(t, 3)
	leader := c.awaitLeader()
	follower := c.followers(leader)[0]
	ctx := testContext(t)
	at := follower.at(t)
	for n := range 300 {
		must[string](t)(at.redis.Set(ctx, fmt.Sprintf("/k%d", n), n, 0).Result())
	}
	must[int64](t)(at.redis.RPush(ctx, "list", "a", "b", "c").Result())
	must[int64](t)(at.redis.HSet(ctx, "hash", "f", "v").Result())
	must[string](t)(at.zk.Create("/tree", []byte("root"), 0, open))
	must[string](t)(at.zk.Create("/tree/leaf", []byte("leaf"), 0, open))
	old := must[*pb.PutResponse](t)(pb.NewKVClient(leader.admin).Put(ctx, &pb.PutRequest{Key: []byte("/rev"), Value: []byte("old")}))
	must[*pb.PutResponse](t)(pb.NewKVClient(leader.admin).Put(ctx, &pb.PutRequest{Key: []byte("/rev"), Value: []byte("new")}))

	path := filepath.Join(t.TempDir(), "backup")
	load := c.startWrites(200)
	follower.triglot(t, "snapshot", "save", path)
	load.end(t, "while the backup was made")
	if said := tool(t, binary, "snapshot", "status", path); said == "" {
		t.Error("snapshot status says nothing")
	}
	must[string](t)(at.redis.Set(ctx, "/k0", "after the backup", 0).Result())

	for _, size := range []int{1, 3, 5} {
		t.Run(fmt.Sprintf("%d members", size), func(t *testing.T) {
			restored := newCluster(t, size)
			for _, m := range restored.all() {
				args := []string{"snapshot", "restore", path, "--name", m.name, "--data-dir", m.data,
					"--initial-cluster", restored.initialCluster(), "--initial-cluster-token", restored.token}
				if size == 1 {
					restored.tellCluster(m, restored.initialCluster(), "new")
				}
				if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			for _, m := range restored.all() {
				restored.spawn(m)
			}
			for _, m := range restored.all() {
				m.awaitPing()
			}
			restored.awaitService()
			for _, m := range restored.all() {
				restored.expectBackup(t, m, old.Header.Revision)
			}
			restored.sameEverywhere()
		})
	}

	// One that was damaged on its way is not restored.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := newCluster(t, 1).all()[0]
	if out, err := exec.Command(binary, "snapshot", "restore", path, "--name", damaged.name, "--data-dir", damaged.data).CombinedOutput(); err == nil {
		t.Errorf("a damaged backup was restored:\n%s", out)
	}
}

func (c *cluster) expectBackup(t *testing.T, m *member, old int64) {
	t.Helper()
	ctx := testContext(t)
	at := m.at(t)
	for n := range 300 {
		expect(t, fmt.Sprintf("/k%d at %s", n, m.name), must[string](t)(at.redis.Get(ctx, fmt.Sprintf("/k%d", n)).Result()), fmt.Sprint(n))
	}
	expect(t, "the list", fmt.Sprint(must[[]string](t)(at.redis.LRange(ctx, "list", 0, -1).Result())), "[a b c]")
	expect(t, "the hash", must[string](t)(at.redis.HGet(ctx, "hash", "f").Result()), "v")
	expect(t, "the node", zkRead(t, at.zk, "/tree/leaf"), "leaf")
	if names, _, err := at.zk.Children("/tree"); err != nil || len(names) != 1 {
		t.Errorf("the children of /tree are %q, %v", names, err)
	}
	r, err := pb.NewKVClient(m.admin).Range(context.Background(), &pb.RangeRequest{Key: []byte("/rev"), Revision: old})
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "old" {
		t.Errorf("an old revision: %v, %v", r, err)
	}
}
