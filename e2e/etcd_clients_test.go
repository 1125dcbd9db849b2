package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// What etcd's client library and etcdctl make of its API beyond the calls themselves.

func put(t *testing.T, kv clientv3.KV, key, value string) {
	t.Helper()
	must[*clientv3.PutResponse](t)(kv.Put(testContext(t), key, value))
}

// values lists "key=value" of all keys with a prefix.
func values(t *testing.T, kv clientv3.KV, prefix string) (found []string) {
	t.Helper()
	for _, pair := range must[*clientv3.GetResponse](t)(kv.Get(testContext(t), prefix, clientv3.WithPrefix())).Kvs {
		found = append(found, fmt.Sprintf("%s=%s", pair.Key, pair.Value))
	}
	return found
}

func expectValues(t *testing.T, kv clientv3.KV, prefix string, want ...string) {
	t.Helper()
	if got := values(t, kv, prefix); !slices.Equal(got, want) {
		t.Errorf("under %q there are %q, want %q", prefix, got, want)
	}
}

func TestEtcdsNamespacesShowTheirOwnKeysOnly(t *testing.T) {
	ctx, client := testContext(t), etcdClient(t, startServer(t).etcd)
	kv, watcher := namespace.NewKV(client, "app/"), namespace.NewWatcher(client, "app/")
	events := watcher.Watch(ctx, "", clientv3.WithPrefix())
	put(t, client, "outside", "1")
	put(t, kv, "inside", "2")
	expectValues(t, kv, "", "inside=2")
	expectValues(t, client, "", "app/inside=2", "outside=1")
	if r := <-events; r.Err() != nil || len(r.Events) != 1 || string(r.Events[0].Kv.Key) != "inside" {
		t.Errorf("the watch tells %+v", r)
	}
	txn, err := kv.Txn(ctx).If(clientv3.Compare(clientv3.Value("inside"), "=", "2")).Then(clientv3.OpDelete("inside")).Commit()
	if err != nil || !txn.Succeeded {
		t.Errorf("%+v %v", txn, err)
	}
	expectValues(t, client, "", "outside=1")
}

// A client that holds the lease of a key reads it from its own memory, until another one writes it and takes it away.
func TestEtcdsLeasedKeysAreReadFromTheClient(t *testing.T) {
	s := startServer(t)
	ctx, plain := testContext(t), etcdClient(t, s.etcd)
	open := func() clientv3.KV {
		kv, end, err := leasing.NewKV(etcdClient(t, s.etcd), "leasing/")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(end)
		return kv
	}
	one, other := open(), open()
	put(t, plain, "k", "1")
	expectValues(t, one, "k", "k=1")
	must[*clientv3.GetResponse](t)(one.Get(ctx, "k")) // takes the key's lease
	put(t, other, "k", "2")
	if got := must[*clientv3.GetResponse](t)(one.Get(ctx, "k")); string(got.Kvs[0].Value) != "2" {
		t.Errorf("after another client wrote it is read as %q", got.Kvs[0].Value)
	}
	must[*clientv3.DeleteResponse](t)(one.Delete(ctx, "k"))
	if got := must[*clientv3.GetResponse](t)(other.Get(ctx, "k")); len(got.Kvs) != 0 {
		t.Errorf("a deleted key is read as %q", got.Kvs[0].Value)
	}
}

func TestEtcdsOrderedReadsDoNotGoBack(t *testing.T) {
	c := startCluster(t, 3)
	c.awaitLeader()
	var endpoints []string
	for _, m := range c.all() {
		endpoints = append(endpoints, m.etcd)
	}
	client := etcdClient(t, endpoints[0])
	kv := ordering.NewKV(client, func(clientv3.Op, clientv3.OpResponse, int64) error { return ordering.ErrNoGreaterRev })
	for i := range 60 {
		client.SetEndpoints(endpoints[i%len(endpoints)])
		put(t, kv, "k", fmt.Sprint(i))
		got := must[*clientv3.GetResponse](t)(kv.Get(testContext(t), "k"))
		if string(got.Kvs[0].Value) != fmt.Sprint(i) {
			t.Fatalf("write %d is read as %q", i, got.Kvs[0].Value)
		}
	}
}

func TestEtcdsMirrorSendsWhatIsThereAndWhatComes(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	client := etcdClient(t, startServer(t).etcd)
	for i := range 30 {
		put(t, client, fmt.Sprintf("m/%02d", i), "v")
	}
	syncer := mirror.NewSyncer(client, "m/", 0)
	base, failed := syncer.SyncBase(ctx)
	count := 0
	for r := range base {
		count += len(r.Kvs)
	}
	if err := <-failed; err != nil || count != 30 {
		t.Fatalf("%d keys of 30, %v", count, err)
	}
	updates := syncer.SyncUpdates(ctx)
	put(t, client, "m/new", "v")
	if r := <-updates; r.Err() != nil || string(r.Events[0].Kv.Key) != "m/new" {
		t.Errorf("then came %+v", r)
	}
}

// startTool runs a program that goes on until the test ends, and gives what it prints.
func startTool(t *testing.T, name string, args ...string) io.Reader {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		out.Close()
	})
	return out
}

// awaitText reads until a text was printed.
func awaitText(t *testing.T, from io.Reader, text string) {
	t.Helper()
	found := make(chan string, 1)
	go func() {
		var all strings.Builder
		piece := make([]byte, 4096)
		for !strings.Contains(all.String(), text) {
			n, err := from.Read(piece)
			all.Write(piece[:n])
			if err != nil {
				break
			}
		}
		found <- all.String()
	}()
	if all := await(t, found, text); !strings.Contains(all, text) {
		t.Fatalf("no %q in\n%s", text, all)
	}
}

func TestEtcdctlMirrorsToAnotherServer(t *testing.T) {
	etcdctl := lookPath(t, "etcdctl")
	from, to := startServer(t), startServer(t)
	source, target := etcdClient(t, from.etcd), etcdClient(t, to.etcd)
	put(t, source, "m/1", "there")
	ctx, events := testContext(t), make(chan string, 10)
	go func() {
		for r := range target.Watch(ctx, "", clientv3.WithPrefix()) {
			for _, e := range r.Events {
				events <- fmt.Sprintf("%s %s=%s", e.Type, e.Kv.Key, e.Kv.Value)
			}
		}
	}()
	startTool(t, etcdctl, "--endpoints", from.etcd, "make-mirror", "--prefix", "m/", "--dest-prefix", "copy/", to.etcd)
	if got := await(t, events, "the key that was there"); got != "PUT copy/1=there" {
		t.Fatalf("the target saw %s", got)
	}
	put(t, source, "m/2", "new")
	put(t, source, "other", "not mirrored")
	must[*clientv3.DeleteResponse](t)(source.Delete(ctx, "m/1"))
	for _, want := range []string{"PUT copy/2=new", "DELETE copy/1="} {
		if got := await(t, events, want); got != want {
			t.Errorf("the target saw %s, want %s", got, want)
		}
	}
}

func TestEtcdctlRunsACommandForEachEvent(t *testing.T) {
	etcdctl, s := lookPath(t, "etcdctl"), startServer(t)
	client := etcdClient(t, s.etcd)
	put(t, client, "k", "before")
	out := startTool(t, etcdctl, "--endpoints", s.etcd, "watch", "k", "--rev", "2", "--", "sh", "-c", `echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"`)
	awaitText(t, out, `"PUT" "k" "before"`)
	put(t, client, "k", "after")
	awaitText(t, out, `"PUT" "k" "after"`)
}

func TestEtcdctlLocksAndElects(t *testing.T) {
	etcdctl, s := lookPath(t, "etcdctl"), startServer(t)
	client := etcdClient(t, s.etcd)
	if out := tool(t, etcdctl, "--endpoints", s.etcd, "lock", "mutex", "echo", "held"); out != "held\n" {
		t.Errorf("lock with a command prints %q", out)
	}
	expectValues(t, client, "mutex")
	awaitText(t, startTool(t, etcdctl, "--endpoints", s.etcd, "lock", "mutex"), "mutex/")
	if got := values(t, client, "mutex/"); len(got) != 1 {
		t.Errorf("a lock that is held is %q", got)
	}
	awaitText(t, startTool(t, etcdctl, "--endpoints", s.etcd, "elect", "post", "first"), "first")
	awaitText(t, startTool(t, etcdctl, "--endpoints", s.etcd, "elect", "--listen", "post"), "first")
}

// The check writes 10,000 keys under a prefix of its own, and removes them.
func TestEtcdctlChecksTheScaleOfData(t *testing.T) {
	etcdctl, s := lookPath(t, "etcdctl"), startServer(t)
	cmd := exec.CommandContext(testContext(t), etcdctl, "--endpoints", s.etcd, "check", "datascale", "--load", "s")
	cmd.Env, cmd.Dir = append(os.Environ(), "ETCDCTL_API=3"), filepath.Dir(s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: Approximate system memory used") {
		t.Errorf("%v\n%s", err, out)
	}
	expectValues(t, etcdClient(t, s.etcd), "")
}
