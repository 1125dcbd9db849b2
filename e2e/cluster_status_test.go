package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// Who leads, who follows, and waiting for it.

// dialEtcd connects without any of the retries of etcd's own client.
func dialEtcd(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 300 * time.Millisecond},
			MinConnectTimeout: 2 * time.Second,
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// askPatience bounds a question to a member that may be dead, paused or cut off.
const askPatience = 500 * time.Millisecond

// status asks a member for itself.
func (m *member) status() (*pb.StatusResponse, error) {
	ctx, cancel := contextFor(askPatience)
	defer cancel()
	return pb.NewMaintenanceClient(m.admin).Status(ctx, &pb.StatusRequest{})
}

// leader is the member that says that it leads, in the highest term if several do; nil for none.
func (c *cluster) leader() *member {
	var leader *member
	term := uint64(0)
	for _, m := range c.all() {
		if !m.up.Load() || m.paused.Load() {
			continue
		}
		s, err := m.status()
		if err == nil && s.Leader == s.Header.MemberId && s.Leader != 0 && s.RaftTerm > term {
			leader, term = m, s.RaftTerm
		}
	}
	return leader
}

// eventually tries until it works. It is for what no event tells of.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err = try(); err == nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%s: %v", what, err)
}

// awaitLeader returns when a member leads that the others follow.
func (c *cluster) awaitLeader() (leader *member) {
	c.t.Helper()
	eventually(c.t, "a leader that all follow", func() error {
		if leader = c.leader(); leader == nil {
			return fmt.Errorf("none")
		}
		id, err := leader.status()
		if err != nil {
			return err
		}
		for _, m := range c.all() {
			if !m.up.Load() || m.paused.Load() {
				continue
			}
			if s, err := m.status(); err != nil || s.Leader != id.Leader {
				return fmt.Errorf("%s: %v, %v", m.name, s, err)
			}
		}
		return nil
	})
	return leader
}

// followers are the members that run and are not this one.
func (c *cluster) followers(leader *member) (followers []*member) {
	for _, m := range c.all() {
		if m != leader && m.up.Load() {
			followers = append(followers, m)
		}
	}
	return followers
}

// id is a member's own.
func (m *member) id(t testing.TB) uint64 {
	t.Helper()
	var id uint64
	eventually(t, "the id of "+m.name, func() error {
		s, err := m.status()
		if err == nil {
			id = s.Header.MemberId
		}
		return err
	})
	return id
}
