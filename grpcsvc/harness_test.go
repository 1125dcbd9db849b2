package grpcsvc

import (
	"context"
	"net"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// node is a store of its own with a server before it and a connection to that.
type node struct {
	t      testing.TB
	ctx    context.Context
	store  *core.Store
	server *Server
	dial   func(context.Context) (net.Conn, error) // to the client port
	conn   *grpc.ClientConn
	kv     pb.KVClient
	lease  pb.LeaseClient
}

func startNode(t testing.TB, opts Options) *node {
	t.Helper()
	store, err := core.Open(core.Config{
		Dir: t.TempDir(), Name: "test", PeerURLs: []string{"http://127.0.0.1:2380"},
		Published: core.Member{ClientURLs: []string{"http://127.0.0.1:2379"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return serveNode(t, store, opts)
}

// awaitMembers waits until so many members have published who they are, which they do once they are ready.
func (n *node) awaitMembers(started int) {
	n.t.Helper()
	for {
		count := 0
		for _, m := range n.store.Members() {
			if len(m.ClientURLs) > 0 {
				count++
			}
		}
		if count == started {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond): // nothing announces it
		case <-n.ctx.Done():
			n.t.Fatalf("%d members have started, not %d", count, started)
		}
	}
}

// serveNode puts a server before a store.
func serveNode(t testing.TB, store *core.Store, opts Options) *node {
	t.Helper()
	var err error
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	n := &node{t: t, ctx: ctx, store: store, server: New(store, opts)}
	listener := bufconn.Listen(1 << 20)
	n.dial = listener.DialContext
	served := make(chan error, 1)
	go func() { served <- n.server.Serve(listener) }()
	n.conn, err = grpc.NewClient("passthrough:///test",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	n.kv, n.lease = pb.NewKVClient(n.conn), pb.NewLeaseClient(n.conn)
	t.Cleanup(func() {
		cancel()
		n.conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return n
}

func (n *node) put(key, value string) *pb.PutResponse {
	n.t.Helper()
	return must(n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)}))(n.t)
}

func (n *node) delete(key, end string) *pb.DeleteRangeResponse {
	n.t.Helper()
	return must(n.kv.DeleteRange(n.ctx, &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}))(n.t)
}

func (n *node) get(r *pb.RangeRequest) *pb.RangeResponse {
	n.t.Helper()
	return must(n.kv.Range(n.ctx, r))(n.t)
}

// push makes a list, which etcd clients do not see.
func (n *node) push(key string) {
	n.t.Helper()
	n.run(&corepb.Op{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: []byte(key), Values: [][]byte{[]byte("x")}}}})
}

func (n *node) run(ops ...*corepb.Op) *core.TxnResult {
	n.t.Helper()
	result, err := n.store.Do(n.ctx, &corepb.Txn{Then: ops, AbortOnError: true})
	if err == nil {
		err = result.Err
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return result
}

// must fails the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// wantStatus compares an error with one of rpctypes', by code and text.
func wantStatus(t testing.TB, what string, err, want error) {
	t.Helper()
	g, w := status.Convert(err), status.Convert(want)
	if g.Code() != w.Code() || g.Message() != w.Message() {
		t.Errorf("%s: got %v %q, want %v %q", what, g.Code(), g.Message(), w.Code(), w.Message())
	}
}

func wantCode(t testing.TB, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: got %v (%v), want %v", what, got, err, want)
	}
}

func wantEqual(t testing.TB, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

// keysOf lists the keys of an answer, for comparison.
func keysOf(r *pb.RangeResponse) string {
	keys := ""
	for _, kv := range r.Kvs {
		keys += string(kv.Key) + " "
	}
	return keys
}
