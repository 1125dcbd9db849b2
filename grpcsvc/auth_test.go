package grpcsvc

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/triglot/triglot/core"
)

// What users may do, call by call, is compared with the real etcd in e2e. Here is what takes several members.

// A token that one member has given holds at each of them, at once, and ends everywhere.
func TestATokenHoldsOnEveryMember(t *testing.T) {
	c := startCluster(t, 3, Options{BcryptCost: 4})
	auth := c.nodes[0].withRoot()
	login, err := auth.Authenticate(c.nodes[0].ctx, &pb.AuthenticateRequest{Name: "root", Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range c.nodes {
		n.catchUp() // it knows that authentication is on
		if _, err := n.kv.Put(n.as(login.Token), &pb.PutRequest{Key: []byte("k")}); err != nil {
			t.Errorf("member %d: %v", i, err)
		}
		_, err := n.kv.Range(n.ctx, &pb.RangeRequest{Key: []byte("k")})
		wantStatus(t, "nobody", err, rpctypes.ErrGRPCUserEmpty)
	}
	if _, err := auth.UserChangePassword(c.nodes[0].as(login.Token), &pb.AuthUserChangePasswordRequest{Name: "root", Password: "new"}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.nodes {
		n.catchUp()
		_, err := n.kv.Put(n.as(login.Token), &pb.PutRequest{Key: []byte("k")})
		wantStatus(t, "a token from before the new password", err, rpctypes.ErrGRPCInvalidAuthToken)
	}
}

// catchUp waits until the member has applied everything that was acknowledged.
func (n *node) catchUp() {
	n.t.Helper()
	view, err := n.store.View(n.ctx, core.Linearizable)
	if err != nil {
		n.t.Fatal(err)
	}
	view.Close()
}
