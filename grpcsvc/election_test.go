package grpcsvc

import (
	"context"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/electionpb"
	"github.com/triglot/triglot/storage"
)

func (n *node) elections() electionpb.ElectionClient { return electionpb.NewElectionClient(n.conn) }

// campaignLater begins a campaign; what it gives waits for the end.
func (n *node) campaignLater(ctx context.Context, name, value string, lease int64) (won func() (*electionpb.CampaignResponse, error)) {
	type end struct {
		answer *electionpb.CampaignResponse
		err    error
	}
	ends := make(chan end, 1)
	go func() {
		r := &electionpb.CampaignRequest{Name: []byte(name), Value: []byte(value), Lease: lease}
		answer, err := n.elections().Campaign(ctx, r)
		ends <- end{answer, err}
	}()
	return func() (*electionpb.CampaignResponse, error) {
		e := <-ends
		return e.answer, e.err
	}
}

func (n *node) campaign(name, value string, lease int64) *electionpb.LeaderKey {
	n.t.Helper()
	return must(n.campaignLater(n.ctx, name, value, lease)())(n.t).Leader
}

func TestAnElectionHasOneLeaderAtATimeAndObserversHearOfEach(t *testing.T) {
	n := startNode(t, Options{})
	observed := must(n.elections().Observe(n.ctx, &electionpb.LeaderRequest{Name: []byte("e")}))(t)
	expect := func(value string) {
		t.Helper()
		r := must(observed.Recv())(t)
		if string(r.Kv.Value) != value || r.Header.Revision < r.Kv.ModRevision {
			t.Errorf("observed %v, want %s", r, value)
		}
	}
	first := n.campaign("e", "one", n.grant())
	expect("one")
	won := n.campaignLater(n.ctx, "e", "two", n.grant())
	n.awaitQueue("e/", 2)
	must(n.elections().Proclaim(n.ctx, &electionpb.ProclaimRequest{Leader: first, Value: []byte("uno")}))(t)
	expect("uno")
	if r := must(n.elections().Leader(n.ctx, &electionpb.LeaderRequest{Name: []byte("e")}))(t); string(r.Kv.Value) != "uno" {
		t.Errorf("the leader is %v", r)
	}
	must(n.elections().Resign(n.ctx, &electionpb.ResignRequest{Leader: first}))(t)
	second := must(won())(t)
	expect("two")
	if second.Header.Revision != second.Leader.Rev {
		t.Errorf("the answer to a campaign is of revision %d, its key of %d", second.Header.Revision, second.Leader.Rev)
	}
}

func TestWhoCampaignsAgainProclaims(t *testing.T) {
	n := startNode(t, Options{})
	lease := n.grant()
	first := n.campaign("e", "one", lease)
	if again := n.campaign("e", "two", lease); again.Rev != first.Rev {
		t.Errorf("campaigning again made a new key: %v after %v", again, first)
	}
	if kv := n.get(&pb.RangeRequest{Key: first.Key}).Kvs[0]; string(kv.Value) != "two" {
		t.Errorf("what is proclaimed is %q", kv.Value)
	}
}

func TestACampaignWhoseClientGoesLeavesTheQueue(t *testing.T) {
	n := startNode(t, Options{})
	n.campaign("e", "one", n.grant())
	ctx, cancel := context.WithCancel(n.ctx)
	won := n.campaignLater(ctx, "e", "two", n.grant())
	n.awaitQueue("e/", 2)
	cancel()
	_, err := won()
	wantCode(t, "a campaign that was given up", err, codes.Canceled)
	n.awaitQueue("e/", 1)
}

// A client may go at any moment, also between the write of its key and the answer to that write.
func TestNoCampaignOrLockWhoseClientGoesEarlyLeavesItsKey(t *testing.T) {
	n := startNode(t, Options{})
	n.campaign("q", "one", n.grant())
	written := n.store.Hub().NewFeed() // tells of a key before whoever wrote it hears of that
	defer written.Close()
	if err := written.Add(0, core.Watch{Match: core.MatchKey, Key: []byte("q/"), End: []byte("q0")}); err != nil {
		t.Fatal(err)
	}
	appears := func() {
		for isPut := false; !isPut; {
			<-written.Ready()
			for _, notice := range written.Next(1000) {
				isPut = isPut || notice.Events[len(notice.Events)-1].Type == storage.EventPut
			}
		}
	}
	for range 50 {
		ctx, cancel := context.WithCancel(n.ctx)
		won := n.campaignLater(ctx, "q", "later", n.grant())
		appears()
		cancel()
		_, err := won()
		wantCode(t, "a campaign that was given up", err, codes.Canceled)
		n.awaitQueue("q/", 1)
		waiter := n.lockLater("q", n.grant())
		appears()
		waiter.cancel()
		wantCode(t, "a wait that was given up", <-waiter.end, codes.Canceled)
		n.awaitQueue("q/", 1)
	}
}

func TestALeadershipThatIsLostProclaimsNothingAndResignsInPeace(t *testing.T) {
	n := startNode(t, Options{})
	lease := n.grant()
	leader := n.campaign("e", "one", lease)
	n.delete(string(leader.Key), "")
	_, err := n.elections().Proclaim(n.ctx, &electionpb.ProclaimRequest{Leader: leader, Value: []byte("x")})
	wantStatus(t, "a proclamation", err, status.Error(codes.Unknown, "election: not leader"))
	if _, err := n.elections().Resign(n.ctx, &electionpb.ResignRequest{Leader: leader}); err != nil {
		t.Errorf("resigning: %v", err)
	}
}

func TestWhatElectionsRefuse(t *testing.T) {
	n := startNode(t, Options{})
	e := n.elections()
	for _, c := range []struct {
		what, want string
		call       func() error
	}{
		{"no leader yet", "election: no leader", func() error {
			_, err := e.Leader(n.ctx, &electionpb.LeaderRequest{Name: []byte("e")})
			return err
		}},
		{"a proclamation of nobody", `"leader" field must be provided`, func() error {
			_, err := e.Proclaim(n.ctx, &electionpb.ProclaimRequest{})
			return err
		}},
		{"a resignation of nobody", `"leader" field must be provided`, func() error {
			_, err := e.Resign(n.ctx, &electionpb.ResignRequest{})
			return err
		}},
		{"an unknown lease", "etcdserver: requested lease not found", func() error {
			_, err := e.Campaign(n.ctx, &electionpb.CampaignRequest{Name: []byte("e"), Lease: 5})
			return err
		}},
	} {
		wantStatus(t, c.what, c.call(), status.Error(codes.Unknown, c.want))
	}
}

func TestAWaitFromBeforeACompactionFailsAsAWatchDoes(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	last := n.put("a", "2").Header.Revision
	must(n.kv.Compact(n.ctx, &pb.CompactionRequest{Revision: last}))(t)
	queue := newRecipes(n.server)
	err := queue.follow(n.ctx, core.Watch{Match: core.MatchKey, Key: []byte("a"), From: last - 1}, nil)
	wantStatus(t, "the wait", err, rpctypes.ErrGRPCCompacted)
}

func TestShutdownEndsObservers(t *testing.T) {
	n := startNode(t, Options{})
	observed := must(n.elections().Observe(n.ctx, &electionpb.LeaderRequest{Name: []byte("e")}))(t)
	n.campaign("e", "one", n.grant())
	must(observed.Recv())(t)
	if err := n.server.Shutdown(n.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := observed.Recv(); err == nil || err == io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
}
