package grpcsvc

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core/coretest"
)

// cluster is a server before each store of a cluster in one process.
type cluster struct {
	*coretest.Cluster
	nodes []*node
}

func startCluster(t *testing.T, members int, opts Options) *cluster {
	t.Helper()
	c := &cluster{Cluster: coretest.Start(t, members)}
	for _, store := range c.Stores {
		c.nodes = append(c.nodes, serveNode(t, store, opts))
	}
	for _, n := range c.nodes {
		n.awaitMembers(members)
	}
	return c
}

func (c *cluster) follower() int { return (c.Leader() + 1) % len(c.nodes) }

func (n *node) cluster() pb.ClusterClient { return pb.NewClusterClient(n.conn) }

func (n *node) maintenance() pb.MaintenanceClient { return pb.NewMaintenanceClient(n.conn) }

// awaitNoLeader waits until a node knows that it has no leader.
func (n *node) awaitNoLeader() {
	for leader, changed := n.store.LeaderWatch(); leader != 0; leader, changed = n.store.LeaderWatch() {
		<-changed
	}
}

func TestEveryMemberServesWritesReadsAndLeases(t *testing.T) {
	c := startCluster(t, 3, Options{})
	for i, n := range c.nodes {
		next := c.nodes[(i+1)%3]
		n.put("a", n.store.Self().Name)
		if r := next.get(&pb.RangeRequest{Key: []byte("a")}); string(r.Kvs[0].Value) != n.store.Self().Name {
			t.Errorf("read %v", r)
		}
		id := must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 60}))(t).ID
		stream := must(next.lease.LeaseKeepAlive(next.ctx))(t)
		for _, asked := range []int64{id, 999, id} {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: asked}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []int64{60, 0, 60} {
			if r := must(stream.Recv())(t); r.TTL != want || r.Header.MemberId != next.store.MemberID() {
				t.Errorf("kept alive: %v, want a TTL of %d", r, want)
			}
		}
		left := must(next.lease.LeaseTimeToLive(next.ctx, &pb.LeaseTimeToLiveRequest{ID: id}))(t)
		if left.GrantedTTL != 60 || left.TTL < 50 || left.TTL > 60 {
			t.Errorf("time to live: %v", left)
		}
		if list := must(next.lease.LeaseLeases(next.ctx, &pb.LeaseLeasesRequest{}))(t); len(list.Leases) != i+1 {
			t.Errorf("leases: %v", list)
		}
	}
}

func TestMembersAreListedByEveryMember(t *testing.T) {
	c := startCluster(t, 3, Options{})
	for _, n := range c.nodes {
		for _, linearizable := range []bool{false, true} {
			list := must(n.cluster().MemberList(n.ctx, &pb.MemberListRequest{Linearizable: linearizable}))(t)
			if list.Header.MemberId != n.store.MemberID() || list.Header.Revision != 0 || list.Header.RaftTerm == 0 {
				t.Errorf("header %v", list.Header)
			}
			var names []string
			for _, m := range list.Members {
				names = append(names, m.Name)
				if len(m.PeerURLs) != 1 || len(m.ClientURLs) != 1 || m.IsLearner {
					t.Errorf("member %v", m)
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, []string{"n1", "n2", "n3"}) {
				t.Errorf("members %v", list.Members)
			}
		}
	}
}

func TestMembersAreAddedUpdatedAndRemovedByAnyMember(t *testing.T) {
	c := startCluster(t, 3, Options{})
	n := c.nodes[c.follower()]
	url := []string{"http://n9:2380"}
	added := must(n.cluster().MemberAdd(n.ctx, &pb.MemberAddRequest{PeerURLs: url, IsLearner: true}))(t)
	wantEqual(t, "added", added.Member, &pb.Member{ID: added.Member.ID, PeerURLs: url, IsLearner: true})
	if added.Member.ID == 0 || len(added.Members) != 4 || added.Header.MemberId != n.store.MemberID() {
		t.Errorf("added: %v", added)
	}
	updated := must(n.cluster().MemberUpdate(n.ctx, &pb.MemberUpdateRequest{ID: added.Member.ID, PeerURLs: []string{"http://n9:9"}}))(t)
	if len(updated.Members) != 4 {
		t.Errorf("updated: %v", updated)
	}
	for _, change := range []struct {
		what string
		want error
		do   func() error
	}{
		{"no URL", rpctypes.ErrGRPCMemberBadURLs, func() error { return n.add(nil, false) }},
		{"a URL that is none", rpctypes.ErrGRPCMemberBadURLs, func() error { return n.add([]string{"n9:2380"}, false) }},
		{"a URL that is taken", rpctypes.ErrGRPCPeerURLExist, func() error { return n.add([]string{"http://n9:9"}, false) }},
		{"one more learner", rpctypes.ErrGRPCTooManyLearners, func() error { return n.add([]string{"http://n10:2380"}, true) }},
		{"removal of a stranger", rpctypes.ErrGRPCMemberNotFound, func() error { return n.remove(12345) }},
		{"update of a stranger", rpctypes.ErrGRPCMemberNotFound, func() error {
			_, err := n.cluster().MemberUpdate(n.ctx, &pb.MemberUpdateRequest{ID: 12345, PeerURLs: url})
			return err
		}},
		{"promotion of a stranger", rpctypes.ErrGRPCMemberNotFound, func() error { return n.promote(12345) }},
		{"promotion of a voter", rpctypes.ErrGRPCMemberNotLearner, func() error { return n.promote(n.store.MemberID()) }},
		{"promotion of one that has not started", rpctypes.ErrGRPCLearnerNotReady, func() error { return n.promote(added.Member.ID) }},
		{"removal", nil, func() error { return n.remove(added.Member.ID) }},
		{"removal again", rpctypes.ErrGRPCMemberNotFound, func() error { return n.remove(added.Member.ID) }},
	} {
		wantStatus(t, change.what, change.do(), change.want)
	}
	if list := must(n.cluster().MemberList(n.ctx, &pb.MemberListRequest{Linearizable: true}))(t); len(list.Members) != 3 {
		t.Errorf("left: %v", list.Members)
	}
}

func (n *node) add(urls []string, learner bool) error {
	_, err := n.cluster().MemberAdd(n.ctx, &pb.MemberAddRequest{PeerURLs: urls, IsLearner: learner})
	return err
}

func (n *node) remove(id uint64) error {
	_, err := n.cluster().MemberRemove(n.ctx, &pb.MemberRemoveRequest{ID: id})
	return err
}

func (n *node) promote(id uint64) error {
	_, err := n.cluster().MemberPromote(n.ctx, &pb.MemberPromoteRequest{ID: id})
	return err
}

func TestTheLastVoterStays(t *testing.T) {
	n := startNode(t, Options{})
	wantStatus(t, "removal of the last voter", n.remove(n.store.MemberID()), rpctypes.ErrGRPCMemberNotEnoughStarted)
}

func TestTheLeaderIsMovedByItselfOnly(t *testing.T) {
	c := startCluster(t, 3, Options{})
	leader, to := c.Leader(), c.follower()
	target := c.Stores[to].MemberID()
	move := func(n *node, to uint64) error {
		_, err := n.maintenance().MoveLeader(n.ctx, &pb.MoveLeaderRequest{TargetID: to})
		return err
	}
	wantStatus(t, "asked of a follower", move(c.nodes[to], target), rpctypes.ErrGRPCNotLeader)
	wantStatus(t, "to a stranger", move(c.nodes[leader], 12345), rpctypes.ErrGRPCBadLeaderTransferee)
	wantStatus(t, "to nobody", move(c.nodes[leader], 0), rpctypes.ErrGRPCBadLeaderTransferee)
	wantStatus(t, "to itself", move(c.nodes[leader], c.Stores[leader].MemberID()), nil)
	wantStatus(t, "to a follower", move(c.nodes[leader], target), nil)
	if now := c.Leader(); now != to {
		t.Errorf("member %d leads, not %d", now, to)
	}
	answer := must(c.nodes[to].maintenance().Status(c.nodes[to].ctx, &pb.StatusRequest{}))(t)
	if answer.Leader != target || answer.IsLearner || answer.Header.MemberId != target {
		t.Errorf("status: %v", answer)
	}
}

func TestWithoutAQuorumEachCallHasEtcdsAnswer(t *testing.T) {
	c := startCluster(t, 3, Options{LeaderPatience: 500 * time.Millisecond})
	n := c.nodes[c.follower()]
	n.put("a", "1")
	id := must(n.lease.LeaseGrant(n.ctx, &pb.LeaseGrantRequest{TTL: 600}))(t).ID
	withLeader := metadata.AppendToOutgoingContext(n.ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)

	open := func(ctx context.Context) pb.Watch_WatchClient {
		stream := must(pb.NewWatchClient(n.conn).Watch(ctx))(t)
		request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		must(stream.Recv())(t)
		return stream
	}
	dependent, other := open(withLeader), open(n.ctx)
	keep := must(n.lease.LeaseKeepAlive(withLeader))(t)
	health := must(grpc_health_v1.NewHealthClient(n.conn).Watch(n.ctx, &grpc_health_v1.HealthCheckRequest{}))(t)
	if r := must(health.Recv())(t); r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health with a leader: %v", r)
	}
	for i := range c.nodes {
		c.Cut(i)
	}
	n.awaitNoLeader()

	for what, call := range map[string]func(ctx context.Context) error{
		"put": func(ctx context.Context) error { _, err := n.kv.Put(ctx, &pb.PutRequest{Key: []byte("b")}); return err },
		"range": func(ctx context.Context) error {
			_, err := n.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a")})
			return err
		},
		"local read": func(ctx context.Context) error { return localRead(ctx, n) },
		"list": func(ctx context.Context) error {
			_, err := n.cluster().MemberList(ctx, &pb.MemberListRequest{})
			return err
		},
		"stream": func(ctx context.Context) error {
			stream, err := pb.NewWatchClient(n.conn).Watch(ctx)
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		},
	} {
		wantStatus(t, what+" that wants a leader", call(withLeader), rpctypes.ErrGRPCNoLeader)
	}
	wantStatus(t, "local read", localRead(n.ctx, n), nil)
	members := must(n.cluster().MemberList(n.ctx, &pb.MemberListRequest{}))(t)
	if len(members.Members) != 3 {
		t.Errorf("members: %v", members)
	}
	lonely := must(n.lease.LeaseKeepAlive(n.ctx))(t)
	if err := lonely.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("b")})
		wantStatus(t, "put", err, rpctypes.ErrGRPCNoLeader)
	})
	waiting.Go(func() {
		_, err := n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("a")})
		wantStatus(t, "range", err, rpctypes.ErrGRPCTimeout)
	})
	waiting.Go(func() {
		_, err := n.cluster().MemberList(n.ctx, &pb.MemberListRequest{Linearizable: true})
		wantStatus(t, "linearizable list", err, rpctypes.ErrGRPCTimeout)
	})
	waiting.Go(func() {
		wantCode(t, "change of members", n.add([]string{"http://n9:2380"}, true), codes.Unavailable)
	})
	waiting.Go(func() {
		_, err := lonely.Recv()
		wantStatus(t, "keep-alive", err, rpctypes.ErrGRPCNoLeader)
	})
	waiting.Wait()
	own := must(n.maintenance().Status(n.ctx, &pb.StatusRequest{}))(t)
	if own.Leader != 0 || !slices.Contains(own.Errors, "etcdserver: no leader") {
		t.Errorf("status: %v", own)
	}

	_, err := dependent.Recv()
	wantStatus(t, "a watch that wants a leader", err, rpctypes.ErrGRPCNoLeader)
	_, err = keep.Recv()
	wantStatus(t, "a keep-alive that wants a leader", err, rpctypes.ErrGRPCNoLeader)
	if r := must(health.Recv())(t); r.Status != grpc_health_v1.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health without a leader: %v", r)
	}
	c.Heal()
	if r := must(health.Recv())(t); r.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health when it has healed: %v", r)
	}
	for { // the cluster heals by itself
		_, err := n.kv.Put(n.ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("2")})
		if err == nil {
			break
		}
		if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
	}
	if r := must(other.Recv())(t); len(r.Events) != 1 || string(r.Events[0].Kv.Value) != "2" {
		t.Errorf("the watch that did not ask for a leader: %v", r)
	}
}

func localRead(ctx context.Context, n *node) error {
	_, err := n.kv.Range(ctx, &pb.RangeRequest{Key: []byte("a"), Serializable: true})
	return err
}

func TestALearnerServesReadsAndHandsWritesOn(t *testing.T) {
	c := startCluster(t, 1, Options{})
	first := c.nodes[0]
	first.put("a", "1")
	learner := serveNode(t, c.Stores[c.Join(true)], Options{})
	if r := learner.get(&pb.RangeRequest{Key: []byte("a")}); string(r.Kvs[0].Value) != "1" {
		t.Errorf("read: %v", r)
	}
	learner.put("a", "2")
	if r := first.get(&pb.RangeRequest{Key: []byte("a")}); string(r.Kvs[0].Value) != "2" {
		t.Errorf("read: %v", r)
	}
	own := must(learner.maintenance().Status(learner.ctx, &pb.StatusRequest{}))(t)
	if !own.IsLearner || own.Leader != first.store.MemberID() {
		t.Errorf("status: %v", own)
	}
	if err := first.promote(own.Header.MemberId); err != nil && !strings.Contains(err.Error(), "in sync") {
		t.Errorf("promotion: %v", err)
	}
}

func TestAProbeTellsWhetherTheLeaderWentWhileItWaited(t *testing.T) {
	c := startCluster(t, 3, Options{})
	i := c.follower()
	n := c.nodes[i]
	c.Cut(i) // which it does not know yet
	const failed = "[-]linearizable_read failed: "
	if got := n.ask("GET", "/readyz/linearizable_read", ""); got.status != 503 || got.body != failed+"etcdserver: leader changed\n\n" {
		t.Errorf("while the leader goes: %d %q", got.status, got.body)
	}
	if got := n.ask("GET", "/readyz/linearizable_read", ""); got.status != 503 || got.body != failed+"etcdserver: no leader\n\n" {
		t.Errorf("without a leader: %d %q", got.status, got.body)
	}
	if got := n.ask("GET", "/livez", ""); got.status != 200 {
		t.Errorf("it is not alive: %d %q", got.status, got.body)
	}
}
