package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	electionpb "go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	lockpb "go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// The Lock and Election services, which etcd's server makes of its own client: what nobody waits for as scripts, and what
// is waited for step by step.

var etcdLockCases = []etcdCase{
	{"a lock is taken, taken again, and given back", `
		LeaseGrant ID:171 TTL:600
		Lock name:"l" lease:171
		Range key:"l/" range_end:"l0"
		Lock name:"l" lease:171
		Unlock key:"l/ab"
		Unlock key:"l/ab"
		Lock name:"l" lease:171
		LeaseRevoke ID:171
		Range key:"l/" range_end:"l0"
	`},
	{"locks of all names", `
		LeaseGrant ID:171 TTL:600
		LeaseGrant ID:-5 TTL:600
		Lock lease:171
		Lock name:"a/b/" lease:171
		Lock name:"\x00\xff" lease:171
		Lock name:"negative" lease:-5
		Range key:"\x00" range_end:"\x00"
	`},
	{"a lock is any key under its name", `
		LeaseGrant ID:171 TTL:600
		Put key:"l0" value:"beside it"
		Put key:"l" value:"before it"
		Lock name:"l" lease:171
		Range key:"l" range_end:"m"
	`},
	{"what locks refuse", `
		Lock name:"l" lease:99
		Unlock
		Range key:"l" range_end:"m"
	`},
	{"an election is won, proclaimed and resigned", `
		LeaseGrant ID:171 TTL:600
		Leader name:"e"
		Campaign name:"e" lease:171 value:"one"
		Leader name:"e"
		Campaign name:"e" lease:171 value:"one"
		Campaign name:"e" lease:171 value:"two"
		Leader name:"e"
		Proclaim leader:{name:"e" key:"e/ab" rev:@1 lease:171} value:"three"
		Leader name:"e"
		Proclaim leader:{name:"e" key:"e/ab" rev:@2 lease:171} value:"of another"
		Resign leader:{name:"e" key:"e/ab" rev:@2 lease:171}
		Leader name:"e"
		Resign leader:{name:"e" key:"e/ab" rev:@1 lease:171}
		Resign leader:{name:"e" key:"e/ab" rev:@1 lease:171}
		Leader name:"e"
		Proclaim leader:{name:"e" key:"e/ab" rev:@1 lease:171} value:"late"
	`},
	{"what elections refuse", `
		LeaseGrant ID:171 TTL:600
		Campaign name:"e" lease:99
		Proclaim
		Resign
		Proclaim leader:{lease:171} value:"x"
		Resign leader:{lease:171}
		Proclaim leader:{key:"a" lease:99} value:"x"
		Proclaim leader:{key:"a" lease:171} value:"nobody was there"
		Proclaim leader:{key:"b" rev:1 lease:171} value:"x"
		Range key:"\x00" range_end:"\x00"
	`},
}

func TestEtcdLocksAndElectionsAreAnsweredAsEtcdDoes(t *testing.T) {
	p := startEtcdPair(t)
	for _, c := range etcdLockCases {
		t.Run(c.name, func(t *testing.T) { p.run(t, c.script) })
	}
	t.Run("who waits", func(t *testing.T) {
		p.t, p.ctx = t, testContext(t)
		p.clear()
		var seen [2][]string
		for i, conn := range p.conns {
			seen[i] = waitersStory(t, p.ctx, conn)
		}
		for n := range max(len(seen[0]), len(seen[1])) {
			if n >= len(seen[0]) || n >= len(seen[1]) || seen[0][n] != seen[1][n] {
				t.Fatalf("step %d\n    etcd: %v\n triglot: %v", n, seen[1][min(n, len(seen[1])):], seen[0][min(n, len(seen[0])):])
			}
		}
	})
}

// waitersStory has clients wait for locks and elections at one server, and gives what each was told, in order. Revisions
// count from the beginning.
func waitersStory(t *testing.T, ctx context.Context, conn *grpc.ClientConn) []string {
	kv, leases := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
	locks, elections := lockpb.NewLockClient(conn), electionpb.NewElectionClient(conn)
	base := must[*pb.RangeResponse](t)(kv.Range(ctx, &pb.RangeRequest{Key: []byte("x")})).Header.Revision
	var story []string
	tell := func(what string, m proto.Message, err error) {
		if err == nil {
			m = proto.Clone(m)
			if h := m.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader(); h != nil {
				h.Revision -= base
			}
			if c, ok := m.(*electionpb.CampaignResponse); ok {
				c.Leader.Rev -= base
			}
			if l, ok := m.(*electionpb.LeaderResponse); ok {
				l.Kv.CreateRevision, l.Kv.ModRevision = l.Kv.CreateRevision-base, l.Kv.ModRevision-base
			}
		}
		story = append(story, what+": "+showAnswer(m, err))
	}
	grant := func(id int64) {
		must[*pb.LeaseGrantResponse](t)(leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: id, TTL: 600}))
	}
	// queue waits until so many keys are under a prefix: whoever asked before is then waiting, or about to.
	queue := func(prefix string, count int64) {
		eventually(t, fmt.Sprint(count, " keys under ", prefix), func() error {
			r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(prefix), RangeEnd: []byte(prefix + "\xff"), CountOnly: true})
			if err == nil && r.Count != count {
				err = fmt.Errorf("there are %d", r.Count)
			}
			return err
		})
	}
	type end struct {
		m   proto.Message
		err error
	}
	lock := func(ctx context.Context, lease int64) <-chan end {
		ended := make(chan end, 1)
		go func() {
			m, err := locks.Lock(ctx, &lockpb.LockRequest{Name: []byte("l"), Lease: lease})
			ended <- end{m, err}
		}()
		return ended
	}
	for id := int64(1); id <= 6; id++ {
		grant(id)
	}

	held := <-lock(ctx, 1)
	tell("the first", held.m, held.err)
	second := lock(ctx, 2)
	queue("l/", 2)
	third := lock(ctx, 3)
	queue("l/", 3)
	short, cancel := context.WithCancel(ctx)
	fourth := lock(short, 4)
	queue("l/", 4)
	cancel()
	e := <-fourth
	tell("who gives up", e.m, e.err)
	queue("l/", 3)
	must[*pb.LeaseRevokeResponse](t)(leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 3}))
	queue("l/", 2)
	unlocked, err := locks.Unlock(ctx, &lockpb.UnlockRequest{Key: []byte("l/1")})
	tell("unlocking", unlocked, err)
	e = <-second
	tell("the second", e.m, e.err)
	must[*pb.LeaseRevokeResponse](t)(leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 2}))
	e = <-third
	tell("whose lease ended", e.m, e.err)

	observed := must[grpc.ServerStreamingClient[electionpb.LeaderResponse]](t)(
		elections.Observe(ctx, &electionpb.LeaderRequest{Name: []byte("e")}))
	observe := func(what string) {
		m, err := observed.Recv()
		tell(what, m, err)
	}
	campaign := func(lease int64, value string) <-chan end {
		ended := make(chan end, 1)
		go func() {
			m, err := elections.Campaign(ctx, &electionpb.CampaignRequest{Name: []byte("e"), Lease: lease, Value: []byte(value)})
			ended <- end{m, err}
		}()
		return ended
	}
	first := <-campaign(4, "one")
	tell("the first to campaign", first.m, first.err)
	observe("seen first")
	leader := first.m.(*electionpb.CampaignResponse).Leader
	after := campaign(5, "two")
	queue("e/", 2)
	proclaimed, err := elections.Proclaim(ctx, &electionpb.ProclaimRequest{Leader: leader, Value: []byte("uno")})
	tell("proclaiming", proclaimed, err)
	observe("the proclamation")
	resigned, err := elections.Resign(ctx, &electionpb.ResignRequest{Leader: leader})
	tell("resigning", resigned, err)
	e = <-after
	tell("the second to campaign", e.m, e.err)
	observe("the second leader")
	must[*pb.LeaseRevokeResponse](t)(leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 5}))
	return story
}

// The services and the recipes of etcd's client library are one queue.
func TestTheLockServiceAndClientsRecipesExcludeEachOther(t *testing.T) {
	ctx, address := testContext(t), startServer(t).etcd
	client := etcdClient(t, address)
	locks := lockpb.NewLockClient(client.ActiveConnection())
	mutex := concurrency.NewMutex(etcdSession(t, client), "l")
	held := must[*lockpb.LockResponse](t)(locks.Lock(ctx, &lockpb.LockRequest{Name: []byte("l")}))
	if err := mutex.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("a lock that is held: %v", err)
	}
	must[*lockpb.UnlockResponse](t)(locks.Unlock(ctx, &lockpb.UnlockRequest{Key: held.Key}))
	if err := mutex.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := locks.Lock(ctx, &lockpb.LockRequest{Name: []byte("l")})
		got <- err
	}()
	eventually(t, "a waiter", func() error {
		r, err := client.Get(ctx, "l/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && r.Count != 2 {
			err = io.ErrNoProgress
		}
		return err
	})
	if err := mutex.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
