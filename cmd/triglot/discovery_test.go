package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/triglot/triglot/core"
)

// startRegistry runs a server that clusters can be found in, with the size of one, and gives its address.
func startRegistry(t *testing.T, token, size string) (string, pb.KVClient) {
	t.Helper()
	p := launchServer(t, anywhere(t.TempDir())...)
	conn, err := grpc.NewClient(p.addrs["etcd"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	kv := pb.NewKVClient(conn)
	if size != "" {
		register(t, kv, registry+"/"+token+"/_config/size", size)
	}
	return p.addrs["etcd"], kv
}

func register(t *testing.T, kv pb.KVClient, key, value string) {
	t.Helper()
	if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte(key), Value: []byte(value)}); err != nil {
		t.Fatal(err)
	}
}

func testDiscovery(t *testing.T, token string, endpoints ...string) *discovery {
	t.Helper()
	d, err := discoveryOf(map[string]string{"discovery-token": token, "discovery-endpoints": strings.Join(endpoints, ",")})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestMembersOfANewClusterFindEachOtherInAnotherOne(t *testing.T) {
	endpoint, kv := startRegistry(t, "tok", "3")
	dir := t.TempDir()
	type member struct {
		*process
		args []string
	}
	var members []*member
	for i := range 3 {
		client, peer := "http://"+steadyAddress(t), "http://"+steadyAddress(t)
		m := &member{args: []string{
			"etcd", "--name", fmt.Sprint("m", i), "--data-dir", filepath.Join(dir, fmt.Sprint(i)),
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
			"--discovery-token=tok", "--discovery-endpoints", endpoint,
		}}
		m.process = begin(t, exec.Command(binary, m.args...))
		members = append(members, m)
	}
	for _, m := range members {
		m.await(t, "ready to serve client requests")
	}
	first, found := members[0].args, ""
	for _, kv := range list(t, kv, registry+"/tok/members/") {
		found += kv + "\n"
	}
	id := fmt.Sprintf("%x", core.FirstMemberID([]string{first[12]}, "tok"))
	if !strings.Contains(found, "/"+id+" m0="+first[12]+"\n") {
		t.Errorf("the registry has\n%swithout %s", found, id)
	}

	// Once it has started a member needs the registry no more.
	register(t, kv, registry+"/tok/_config/size", "none")
	members[0].end(t, syscall.SIGTERM)
	members[0].process = begin(t, exec.Command(binary, first...))
	members[0].await(t, "ready to serve client requests")

	late := exec.Command(binary, append(first[:len(first):len(first)], "--name=late", "--data-dir", filepath.Join(dir, "late"))...)
	register(t, kv, registry+"/tok/_config/size", "3")
	late.Args = append(late.Args, "--initial-advertise-peer-urls=http://127.0.0.1:1")
	p := begin(t, late)
	if code := p.exitCode(t); code != 1 || !strings.Contains(p.stderr(), "discovery: cluster is full") {
		t.Errorf("one too many ends with %d\n%s", code, p.stderr())
	}
}

// list gives the keys below a prefix, each with its value.
func list(t *testing.T, kv pb.KVClient, prefix string) (all []string) {
	t.Helper()
	end := []byte(prefix)
	end[len(end)-1]++
	answer, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte(prefix), RangeEnd: end})
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range answer.Kvs {
		all = append(all, string(kv.Key)+" "+string(kv.Value))
	}
	return all
}

func TestDiscoveryGivesUpOnARegistryThatIsNotPreparedForIt(t *testing.T) {
	endpoint, kv := startRegistry(t, "", "")
	for _, c := range []struct {
		token, size, member string
		want                error
	}{
		{"nothing", "", "", errNoSize},
		{"word", "three", "", errBadSize},
		{"zero", "0", "", errBadSize},
		{"full", "1", "other=http://127.0.0.1:2", errFull},
	} {
		if c.size != "" {
			register(t, kv, registry+"/"+c.token+"/_config/size", c.size)
		}
		if c.member != "" {
			register(t, kv, registry+"/"+c.token+"/members/1", c.member)
		}
		_, err := testDiscovery(t, c.token, endpoint).join(t.Context(), "a", "a=http://127.0.0.1:1", slog.New(slog.DiscardHandler))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.token, err, c.want)
		}
	}
	register(t, kv, registry+"/odd/_config/size", "2")
	register(t, kv, registry+"/odd/members/1", "nonsense") // which is passed over, as by etcd
	register(t, kv, registry+"/odd/members/2", "b=nowhere")
	if _, err := testDiscovery(t, "odd", endpoint).join(t.Context(), "a", "a=http://127.0.0.1:1", slog.New(slog.DiscardHandler)); !errors.Is(err, errNotAPeer) {
		t.Errorf("an address that is none: %v", err)
	}
}

func TestDiscoveryAsksTheNextEndpointWhenOneIsAway(t *testing.T) {
	endpoint, _ := startRegistry(t, "tok", "1")
	got, err := testDiscovery(t, "tok", steadyAddress(t), endpoint).join(t.Context(), "a", "a=http://127.0.0.1:1", slog.New(slog.DiscardHandler))
	if err != nil || got != "a=http://127.0.0.1:1" {
		t.Errorf("got %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := testDiscovery(t, "tok", steadyAddress(t)).join(ctx, "a", "a=http://127.0.0.1:1", slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it went on after it was told to stop")
	}
}

func TestDiscoveryFlagsGoTogether(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--discovery-token=x", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-endpoints=x:1", "both --discovery-token and --discovery-endpoints must be set"},
		{"--discovery-token=x --discovery-endpoints=x:1 --initial-cluster=default=http://localhost:2380", "multiple discovery or bootstrap flags are set"},
		{"--discovery-token=x --discovery-endpoints=x:1 --discovery-srv=example", "multiple discovery or bootstrap flags are set"},
		{"--discovery-token=x --discovery-endpoints=x:1 --discovery-request-timeout=5", "--discovery-request-timeout: "},
	} {
		if _, _, err := etcdLine(nil, strings.Fields(c.args)...); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.args, err, c.says)
		}
	}
	c, _, err := etcdLine(nil, "--discovery-token=x", "--discovery-endpoints=x:1,y:1", "--discovery-cacert=ca", "--discovery-user=me", "--discovery-password=pw")
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Discovery; c.InitialCluster != "" || c.ClusterToken != "x" || len(d.endpoints) != 2 || !d.dialer.always || d.dialer.user != "me:pw" {
		t.Errorf("got %+v of %+v", d, c)
	}
}
