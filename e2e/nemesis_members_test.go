package e2e

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// What operators do to the members of a cluster while it serves.

// transfer moves leadership around.
func (n *nemesis) transfer() (string, func()) {
	var path []*member
	for range 2 + n.rng.IntN(4) {
		leader := n.leader()
		if leader == nil {
			break
		}
		followers := n.followers(leader)
		to := followers[n.rng.IntN(len(followers))]
		ctx, cancel := contextFor(opPatience)
		_, err := pb.NewMaintenanceClient(leader.admin).MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: to.id(n.t)})
		cancel()
		if err == nil {
			path = append(path, to)
		}
	}
	return names(path), func() {}
}

// replace removes a member for good and puts another in its place, which learns all from a snapshot or the log.
func (n *nemesis) replace() (string, func()) {
	old := n.someone()
	how := "alive"
	id := old.id(n.t)
	if n.rng.IntN(2) == 0 {
		how = "dead"
		n.kill(old)
	}
	n.removeMember(id)
	if how == "alive" {
		n.awaitEnd(old)
	}
	next := n.join(old.place)
	return fmt.Sprintf("%s, %s, by %s", old.name, how, next.name), func() {}
}

// growAndShrink adds a member and removes another, the leader or the new one sometimes. The clients of the place that is
// empty then must find somebody there: the new member comes back on its ports.
func (n *nemesis) growAndShrink() (string, func()) {
	place := len(n.all())
	added := n.join(place)
	gone := n.someone()
	n.removeMember(gone.id(n.t))
	n.awaitEnd(gone)
	what := fmt.Sprintf("%s came, %s went", added.name, gone.name)
	if gone == added {
		n.setMembers(n.all()[:place])
		return what, func() {}
	}
	n.leave(added)
	added.moveTo(gone)
	members := n.all()[:place]
	members[gone.place] = added
	n.setMembers(members)
	n.start(added)
	return what, func() {}
}

func (c *cluster) setMembers(members []*member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = members
}

// moveTo gives a member that does not run the place and the client ports of another.
func (m *member) moveTo(other *member) {
	swap := map[string]string{
		m.resp: other.resp, m.etcd: other.etcd, m.zk: other.zk, m.shared: other.shared, m.metrics: other.metrics,
	}
	for i, arg := range m.args {
		if address, ok := swap[arg]; ok {
			m.args[i] = address
		}
	}
	m.place = other.place
	m.resp, m.etcd, m.zk, m.shared, m.metrics = other.resp, other.etcd, other.zk, other.shared, other.metrics
	m.admin = dialEtcd(m.t, m.etcd)
}

// removeMember asks whoever answers, until the member is not there any more.
func (c *cluster) removeMember(id uint64) {
	c.t.Helper()
	c.changeMembers("removing a member", func(ctx context.Context, client pb.ClusterClient) error {
		r, err := client.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		if err != nil {
			return err
		}
		for _, m := range r.Members {
			if m.ID == id {
				return fmt.Errorf("%x is still listed", id)
			}
		}
		return nil
	}, func(list []*pb.Member) bool {
		for _, m := range list {
			if m.ID == id {
				return false
			}
		}
		return true
	})
}

// changeMembers tries a change at one member after the other. A try whose fate is unknown may have done it: done looks.
func (c *cluster) changeMembers(what string, try func(context.Context, pb.ClusterClient) error, isDone func([]*pb.Member) bool) {
	c.t.Helper()
	eventually(c.t, what, func() (err error) {
		for _, m := range c.all() {
			if !m.up.Load() || m.paused.Load() {
				continue
			}
			client := pb.NewClusterClient(m.admin)
			ctx, cancel := contextFor(opPatience)
			err = try(ctx, client)
			if err != nil && isDone != nil {
				if r, listErr := client.MemberList(ctx, &pb.MemberListRequest{Linearizable: true}); listErr == nil && isDone(r.Members) {
					err = nil
				}
			}
			cancel()
			if err == nil {
				return nil
			}
		}
		return err
	})
}

// awaitEnd returns when a member that was removed has ended by itself.
func (c *cluster) awaitEnd(m *member) {
	c.t.Helper()
	select {
	case <-m.exited:
		m.up.Store(false)
	case <-time.After(patience):
		c.t.Fatalf("%s was removed and goes on\n%s", m.name, m.log())
	}
}

// join adds a member to the cluster as a learner, runs it, and has it promoted. The place may be one that is empty.
func (c *cluster) join(place int) *member {
	c.t.Helper()
	m := c.addLearner(place)
	c.promote(m)
	return m
}

// addLearner adds and runs a member without a vote.
func (c *cluster) addLearner(place int) *member {
	c.t.Helper()
	m := c.announceLearner(place)
	c.start(m)
	return m
}

// announceLearner adds a member without running it.
func (c *cluster) announceLearner(place int) *member {
	c.t.Helper()
	var ports []string
	all := c.all()
	if place < len(all) {
		old := all[place]
		ports = []string{old.resp, old.etcd, old.zk, old.shared, old.metrics}
	} else {
		ports = freePorts(c.t, 5)
	}
	m := c.newMember(place, ports)
	url := "http://" + m.front
	c.changeMembers("adding a member", func(ctx context.Context, client pb.ClusterClient) error {
		_, err := client.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{url}, IsLearner: true})
		return err
	}, func(list []*pb.Member) bool {
		for _, m := range list {
			if len(m.PeerURLs) > 0 && m.PeerURLs[0] == url {
				return true
			}
		}
		return false
	})
	if place < len(all) {
		all[place] = m
	} else {
		all = append(all, m)
	}
	c.setMembers(all)
	c.tellCluster(m, c.initialCluster(), "existing")
	return m
}

// promote gives a learner its vote, once it has caught up.
func (c *cluster) promote(m *member) {
	c.t.Helper()
	id := m.id(c.t)
	c.changeMembers("promoting "+m.name, func(ctx context.Context, client pb.ClusterClient) error {
		_, err := client.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	}, func(list []*pb.Member) bool {
		for _, m := range list {
			if m.ID == id {
				return !m.IsLearner
			}
		}
		return false
	})
}
