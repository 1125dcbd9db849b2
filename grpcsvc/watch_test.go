package grpcsvc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/core/corepb"
)

// watching is a client's end of a watch stream.
type watching struct {
	t      testing.TB
	stream pb.Watch_WatchClient
}

func (n *node) watch() *watching {
	n.t.Helper()
	return &watching{n.t, must(pb.NewWatchClient(n.conn).Watch(n.ctx))(n.t)}
}

func (w *watching) send(r *pb.WatchRequest) {
	w.t.Helper()
	if err := w.stream.Send(r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watching) next() *pb.WatchResponse {
	w.t.Helper()
	return must(w.stream.Recv())(w.t)
}

func (w *watching) create(r *pb.WatchCreateRequest) *pb.WatchResponse {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}})
	created := w.next()
	if !created.Created {
		w.t.Fatalf("not the answer to a creation: %v", created)
	}
	return created
}

func (w *watching) cancel(id int64) {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: id}}})
}

func (w *watching) askProgress() {
	w.t.Helper()
	w.send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}})
}

// events words events briefly: "PUT a=1@2".
func events(r *pb.WatchResponse) string {
	var words []string
	for _, e := range r.Events {
		word := fmt.Sprintf("%s %s=%s@%d", e.Type, e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
		if e.PrevKv != nil {
			word += fmt.Sprintf("<%s", e.PrevKv.Value)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// take reads events until a number of them is there.
func (w *watching) take(n int) string {
	w.t.Helper()
	var words []string
	for n > 0 {
		r := w.next()
		if len(r.Events) == 0 {
			w.t.Fatalf("no event: %v", r)
		}
		n -= len(r.Events)
		words = append(words, events(r))
	}
	return strings.Join(words, ", ")
}

func (w *watching) want(what, got, want string) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestWatchFromNowOn(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "0")
	w := n.watch()
	created := w.create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true})
	wantEqual(t, "created", created, &pb.WatchResponse{Header: n.server.header(2), Created: true})
	n.put("b", "1")
	n.put("a", "2")
	n.delete("a", "")
	w.want("events", w.take(2), "PUT a=2@4<0, DELETE a=@5<2")
	n.put("a", "3")
	r := w.next()
	wantEqual(t, "creation", r, &pb.WatchResponse{Header: n.server.header(6), Events: []*mvccpb.Event{{
		Kv: &mvccpb.KeyValue{Key: []byte("a"), Value: []byte("3"), CreateRevision: 6, ModRevision: 6, Version: 1},
	}}})
	n.delete("a", "")
	wantEqual(t, "deletion", w.next().Events[0].Kv, &mvccpb.KeyValue{Key: []byte("a"), ModRevision: 7})
}

func TestWatchRangesAndFilters(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	for i, r := range []*pb.WatchCreateRequest{
		{},                 // 0: the key "\0"
		{Key: []byte("b")}, // 1
		{Key: []byte("b"), RangeEnd: []byte("c")},     // 2
		{Key: []byte("b"), RangeEnd: []byte{0}},       // 3
		{RangeEnd: []byte{0}},                         // 4: everything
		{Key: []byte("a"), RangeEnd: []byte("b\x00")}, // 5
		{Key: []byte("b"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}},    // 6
		{Key: []byte("b"), Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NODELETE}}, // 7
	} {
		if created := w.create(r); created.WatchId != int64(i) {
			t.Fatalf("watch id: %v", created)
		}
	}
	for _, c := range []struct {
		change func()
		seen   map[int64]string
	}{
		{func() { n.put("b", "1") }, map[int64]string{1: "PUT b=1@2", 2: "PUT b=1@2", 3: "PUT b=1@2", 4: "PUT b=1@2", 5: "PUT b=1@2", 7: "PUT b=1@2"}},
		{func() { n.put("b/x", "2") }, map[int64]string{2: "PUT b/x=2@3", 3: "PUT b/x=2@3", 4: "PUT b/x=2@3"}},
		{func() { n.put("\x00", "3") }, map[int64]string{0: "PUT \x00=3@4", 4: "PUT \x00=3@4"}},
		{func() { n.delete("b", "") }, map[int64]string{1: "DELETE b=@5", 2: "DELETE b=@5", 3: "DELETE b=@5", 4: "DELETE b=@5", 5: "DELETE b=@5", 6: "DELETE b=@5"}},
		{func() { n.put("z", "4") }, map[int64]string{3: "PUT z=4@6", 4: "PUT z=4@6"}},
	} {
		c.change()
		seen := map[int64]string{}
		for range c.seen {
			r := w.next()
			seen[r.WatchId] = events(r)
		}
		if fmt.Sprint(seen) != fmt.Sprint(c.seen) {
			t.Errorf("got %v, want %v", seen, c.seen)
		}
	}
}

// Only a queue of Redis' commands can bring a key back in the revision in which it went.
func TestAKeyThatComesBackInTheSameRevisionHasNoPreviousValue(t *testing.T) {
	for _, size := range []int{1, 5000} { // large values are read for watchers only
		n := startNode(t, Options{})
		old, young := strings.Repeat("o", size), strings.Repeat("y", size)
		n.put("a", old)
		live := n.watch()
		live.create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true})
		queue := &corepb.Txn{Then: []*corepb.Op{
			{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("a")}}},
			{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("a"), Value: []byte(young)}}},
			{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("a"), Value: []byte(young)}}},
		}}
		must(n.store.Do(n.ctx, queue))(t)
		want := fmt.Sprintf("DELETE a=@3<%s, PUT a=%s@3, PUT a=%s@3", old, young, young)
		live.want("the live watch", live.take(3), want)
		past := n.watch()
		past.create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true, StartRevision: 3})
		past.want("the watch from the past", past.take(3), want)
	}
}

func TestWatchFromThePast(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	n.put("a", "2")
	n.delete("a", "")
	n.put("a", "3")
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3, PrevKv: true})
	w.want("replay", w.take(3), "PUT a=2@3<1, DELETE a=@4<2, PUT a=3@5")
	n.put("a", "4")
	w.want("then live", w.take(1), "PUT a=4@6<3")
}

func TestWatchFromTheFuture(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	n.put("a", "1")
	n.put("a", "2")
	w.askProgress()
	if r := w.next(); r.WatchId != noWatcher || r.Header.Revision != 3 {
		t.Errorf("progress: %v", r)
	}
	n.put("a", "3")
	w.want("events", w.take(1), "PUT a=3@4")
}

func TestOneRevisionIsOneMessage(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	must(n.kv.Txn(n.ctx, &pb.TxnRequest{Success: ops(putOp("b", "1"), putOp("a", "2"), putOp("c", "3"))}))(t)
	w.want("message", events(w.next()), "PUT b=1@2, PUT a=2@2, PUT c=3@2")
}

func TestLargeRevisionsComeInFragmentsWhereAskedFor(t *testing.T) {
	n := startNode(t, Options{MaxRequestBytes: 10 << 10}) // fragments of 522 KiB
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b"), Fragment: true})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b")})
	// Written beneath gRPC, which would refuse so large a request.
	value := make([]byte, 180<<10)
	put := func(key string) *corepb.Op {
		return &corepb.Op{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte(key), Value: value}}}
	}
	n.run(put("a1"), put("a2"), put("a3"), put("a4"), put("a5"))
	var fragments []int
	whole := 0
	for whole == 0 || len(fragments) < 3 {
		r := w.next()
		if r.WatchId == 1 {
			whole = len(r.Events)
			continue
		}
		fragments = append(fragments, len(r.Events))
		if last := len(fragments) == 3; r.Fragment == last {
			t.Errorf("fragment %d: %v", len(fragments), r.Fragment)
		}
		if proto.Size(r) >= 522<<10 {
			t.Errorf("fragment of %d bytes", proto.Size(r))
		}
	}
	if fmt.Sprint(fragments) != "[2 2 1]" || whole != 5 {
		t.Errorf("fragments %v, whole %d", fragments, whole)
	}
}

func TestWatchIDs(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	key := []byte("a")
	for _, c := range []struct {
		ask, get int64
		reason   string
	}{
		{0, 0, ""}, {2, 2, ""}, {0, 1, ""}, {0, 3, ""}, {9, 9, ""},
		{2, noWatcher, reasonDuplicateID},
	} {
		created := w.create(&pb.WatchCreateRequest{Key: key, WatchId: c.ask})
		if created.WatchId != c.get || created.CancelReason != c.reason || created.Canceled != (c.reason != "") {
			t.Errorf("asked for %d: %v", c.ask, created)
		}
	}
}

func TestRefusedWatchesLeaveTheStreamAlive(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	refused := func(reason string) *pb.WatchResponse {
		return &pb.WatchResponse{
			Header: n.server.header(1), Created: true, Canceled: true, WatchId: noWatcher, CancelReason: reason,
		}
	}
	wantEqual(t, "empty range", w.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}),
		refused("mvcc: watcher range is empty"))
	wantEqual(t, "empty range, equal ends", w.create(&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("b")}),
		refused("mvcc: watcher range is empty"))
	wantEqual(t, "negative revision", w.create(&pb.WatchCreateRequest{Key: []byte("b"), StartRevision: -1}),
		refused("etcdserver: mvcc: required revision has been compacted"))
	w.send(&pb.WatchRequest{}) // asks for nothing
	w.cancel(5)                // nobody
	w.askProgress()            // with no watcher: no answer
	if created := w.create(&pb.WatchCreateRequest{Key: []byte("b")}); created.WatchId != 0 || created.Canceled {
		t.Errorf("after refusals: %v", created)
	}
}

func TestCanceledWatchesGetNothingMore(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.cancel(0)
	wantEqual(t, "cancel", w.next(), &pb.WatchResponse{Header: n.server.header(1), Canceled: true})
	w.cancel(0) // again: no answer
	n.put("a", "1")
	if r := w.next(); r.WatchId != 1 || events(r) != "PUT a=1@2" {
		t.Errorf("the other: %v", r)
	}
}

func TestWatchOfCompactedHistory(t *testing.T) {
	n := startNode(t, Options{})
	for i := range 5 {
		n.put("a", fmt.Sprint(i))
	}
	must(n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: 4}))(t)
	w := n.watch()
	if created := w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3}); created.Canceled || created.WatchId != 0 {
		t.Errorf("created: %v", created)
	}
	header := n.server.header(0)
	wantEqual(t, "canceled", w.next(), &pb.WatchResponse{Header: header, Canceled: true, CompactRevision: 4})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 4})
	w.want("from the compacted revision on", w.take(3), "PUT a=2@4, PUT a=3@5, PUT a=4@6")
	w.cancel(0) // as clientv3 does
	if r := w.next(); !r.Canceled || r.WatchId != 0 || r.CompactRevision != 0 {
		t.Errorf("cancel: %v", r)
	}
}

func TestProgressOnRequest(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	n.put("b", "1")
	w.askProgress()
	wantEqual(t, "progress", w.next(), &pb.WatchResponse{Header: n.server.header(2), WatchId: noWatcher})
	// Whatever happened before the progress is told before it.
	for range 20 {
		revision := n.put("a", "2").Header.Revision
		w.askProgress()
		if r := w.next(); r.WatchId != 0 || r.Events[0].Kv.ModRevision != revision {
			t.Fatalf("event: %v", r)
		}
		if r := w.next(); r.WatchId != noWatcher || r.Header.Revision != revision {
			t.Fatalf("progress: %v", r)
		}
	}
}

func TestProgressWhenQuiet(t *testing.T) {
	n := startNode(t, Options{ProgressInterval: 50 * time.Millisecond})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	w.create(&pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true})
	n.put("b", "1")
	for revision := int64(0); revision != 2; {
		r := w.next()
		if r.WatchId != 1 || len(r.Events) != 0 || r.Canceled {
			t.Fatalf("progress: %v", r)
		}
		revision = r.Header.Revision
	}
}

func TestCollectionsDoNotReachWatchers(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, PrevKv: true})
	n.push("list")
	n.push("list")
	n.put("a", "1")
	n.run(&corepb.Op{Op: &corepb.Op_Expire{Expire: &corepb.Expire{Key: []byte("a"), TtlMillis: 1e6, Relative: true}}})
	n.run(&corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("list"), AnyKind: true}}})
	last := n.put("b", "2").Header.Revision
	r := w.next()
	w.want("first", events(r)[:len("PUT a=1")], "PUT a=1")
	for r.Events[len(r.Events)-1].Kv.ModRevision != last {
		r = w.next()
		if len(r.Events) != 1 {
			t.Fatalf("a collection, or a lifetime, was told: %v", r)
		}
	}
}

func TestManyStreamsSeeTheSame(t *testing.T) {
	n := startNode(t, Options{})
	streams := make([]*watching, 20)
	for i := range streams {
		streams[i] = n.watch()
		streams[i].create(&pb.WatchCreateRequest{Key: []byte("a"), RangeEnd: []byte("b")})
	}
	for i := range 50 {
		n.put(fmt.Sprintf("a%d", i%3), fmt.Sprint(i))
	}
	want := streams[0].take(50)
	for _, w := range streams[1:] {
		w.want("events", w.take(50), want)
	}
}

func TestSlowReceiverHoldsUpOnlyItself(t *testing.T) {
	n := startNode(t, Options{})
	slow, fast := n.watch(), n.watch()
	slow.create(&pb.WatchCreateRequest{Key: []byte("a")})
	fast.create(&pb.WatchCreateRequest{Key: []byte("a")})
	value := strings.Repeat("v", 64<<10)
	const puts = 100 // more than flow control lets through to a client that does not read
	for i := range puts {
		n.put("a", value)
		if r := fast.next(); r.Events[0].Kv.Version != int64(i+1) {
			t.Fatalf("fast: version %d, want %d", r.Events[0].Kv.Version, i+1)
		}
	}
	for version := int64(0); version < puts; {
		for _, e := range slow.next().Events {
			if version++; e.Kv.Version != version {
				t.Fatalf("slow: version %d, want %d", e.Kv.Version, version)
			}
		}
	}
}

func TestClientThatSendsNoMoreStillListens(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	if err := w.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	n.put("a", "1")
	w.want("events", w.take(1), "PUT a=1@2")
}

func TestShutdownEndsStreams(t *testing.T) {
	n := startNode(t, Options{})
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("a")})
	keep := must(n.lease.LeaseKeepAlive(n.ctx))(t)
	if err := keep.Send(&pb.LeaseKeepAliveRequest{ID: 1}); err != nil {
		t.Fatal(err)
	}
	must(keep.Recv())(t)
	if err := n.server.Shutdown(n.ctx); err != nil {
		t.Fatal(err)
	}
	_, err := w.stream.Recv()
	wantStatus(t, "watch", err, rpctypes.ErrGRPCStopped)
	_, err = keep.Recv()
	wantStatus(t, "keep-alive", err, rpctypes.ErrGRPCStopped)
	_, err = n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("a")})
	wantCode(t, "request after shutdown", err, codes.Unavailable)
}

func TestAWatcherThatCatchesUpIsSentMoreAndMoreAtATime(t *testing.T) {
	n := startNode(t, Options{})
	const puts = 400
	first := n.put("k", "0").Header.Revision
	for i := 1; i < puts; i++ {
		n.put("k", fmt.Sprint(i))
	}
	w := n.watch()
	w.create(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: first})
	var sizes []int
	for sent := 0; sent < puts; {
		r := w.next()
		if want := first + int64(sent); r.Events[0].Kv.ModRevision != want {
			t.Fatalf("revision %d where %d is next", r.Events[0].Kv.ModRevision, want)
		}
		sizes = append(sizes, len(r.Events))
		sent += len(r.Events)
	}
	// A client that stops reading at the first message makes the server hold no more than that.
	if want := []int{eventsFirst, 2 * eventsFirst, puts - 3*eventsFirst}; !slices.Equal(sizes, want) {
		t.Errorf("messages of %v events; want %v", sizes, want)
	}
}

// A value whose revisions are compacted comes with no event any more, though the events that replaced it are still told.
func TestAPreviousValueGoesWithItsRevisions(t *testing.T) {
	n := startNode(t, Options{})
	n.put("k", "1")
	n.put("k", "2") // at revision 3
	n.put("k", "3")
	if _, err := n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	stream := must(pb.NewWatchClient(n.conn).Watch(n.ctx))(t)
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 3, PrevKv: true}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	previous := map[int64]*mvccpb.KeyValue{}
	for len(previous) < 2 {
		for _, e := range must(stream.Recv())(t).Events {
			previous[e.Kv.ModRevision] = e.PrevKv
		}
	}
	if previous[3] != nil || string(previous[4].GetValue()) != "2" {
		t.Errorf("previous values: %v", previous)
	}
}
