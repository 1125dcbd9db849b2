package raftlog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Clusters in one process, inside a synctest bubble: an hour of theirs takes no time.

// cluster is a number of nodes and what outlives them.
type cluster struct {
	t       *testing.T
	net     *testNet
	voters  []uint64
	members map[uint64]*member
	adjust  func(*Config)
}

type member struct {
	c       *cluster
	id      uint64
	disk    *testDisk
	machine *replica
	n       *Node
	seq     uint64

	mu      sync.Mutex
	settled map[uint64]Fate
	removed int
	leaders []uint64
}

// clusterTest runs a test with a cluster of the voters 1 to n.
func clusterTest(t *testing.T, n int, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, net: newTestNet(), members: map[uint64]*member{}}
		for id := uint64(1); id <= uint64(n); id++ {
			c.voters = append(c.voters, id)
		}
		for _, id := range c.voters {
			c.start(id)
		}
		defer c.stop()
		test(c)
	})
}

// start starts a member, a new one or where it was left.
func (c *cluster) start(id uint64) *member {
	c.t.Helper()
	m := c.members[id]
	if m == nil {
		m = &member{c: c, id: id, disk: newTestDisk(), machine: newReplica()}
		c.members[id] = m
	}
	if err := m.start(); err != nil {
		c.t.Fatalf("member %d: %v", id, err)
	}
	return m
}

func (m *member) config() Config {
	s := &m.machine.state
	cfg := Config{
		Dir: "unused", NodeID: m.id, ClusterID: 9, Name: fmt.Sprint(m.id), Machine: m.machine, Snapshots: m.machine,
		Applied: s.Index, StampMillis: s.Stamp, Conf: s.Conf, Installed: s.Installed,
		Transport: &testTransport{net: m.c.net, self: m.id}, OpenLog: m.disk.open,
		Logger:    testConfig(m.c.t, "", nil).Logger,
		Settle:    m.settle,
		OnLeader:  func(leader, _ uint64) { m.mu.Lock(); m.leaders = append(m.leaders, leader); m.mu.Unlock() },
		OnRemoved: func() { m.mu.Lock(); m.removed++; m.mu.Unlock() },
		ServeCall: func(_ context.Context, from uint64, request []byte) []byte {
			return fmt.Appendf(nil, "%d answers %s of %d", m.id, request, from)
		},
	}
	if slices.Contains(m.c.voters, m.id) {
		cfg.Bootstrap = &Bootstrap{Voters: m.c.voters, Payload: []byte("first")}
	}
	if m.c.adjust != nil {
		m.c.adjust(&cfg)
	}
	return cfg
}

func (m *member) start() (err error) {
	m.settled = map[uint64]Fate{}
	n, err := Start(m.config())
	if err == nil {
		m.n = n
	}
	return err
}

func (m *member) settle(seqs []uint64, fate Fate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, seq := range seqs {
		if m.settled[seq] != 0 {
			m.c.t.Errorf("member %d: proposal %d was settled twice", m.id, seq)
		}
		m.settled[seq] = fate
	}
}

func (m *member) fates() map[uint64]Fate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.settled)
}

// crash stops a member; its Machine falls back to its last flush.
func (m *member) crash() {
	m.n.Stop()
	m.machine.crash()
}

func (m *member) propose(count int) {
	m.c.t.Helper()
	for range count {
		m.seq++
		if err := m.n.Propose(context.Background(), m.seq, payload(m.seq)); err != nil {
			m.c.t.Fatalf("member %d: %v", m.id, err)
		}
	}
}

func (c *cluster) stop() {
	c.t.Helper()
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		m := c.members[id]
		if err := m.n.Stop(); err != nil && !errors.Is(err, ErrRemoved) {
			c.t.Errorf("member %d: %v", id, err)
		}
		if m.disk.broken != nil || m.machine.violated != nil {
			c.t.Errorf("member %d: %v, %v", id, m.disk.broken, m.machine.violated)
		}
	}
}

// within waits until something holds, for so long of the bubble's time.
func (c *cluster) within(limit time.Duration, what string, holds func() bool) {
	c.t.Helper()
	for end := time.Now().Add(limit); ; {
		synctest.Wait()
		if holds() {
			return
		}
		if !time.Now().Before(end) {
			for id, m := range c.members {
				c.t.Logf("member %d: %+v, %d applied, %v", id, m.n.Status(), len(m.machine.seqs()), m.n.Err())
			}
			c.t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// pass lets time go by.
func (c *cluster) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// leader waits for a leader that all running members of the list know.
func (c *cluster) leader(among ...uint64) *member {
	c.t.Helper()
	if len(among) == 0 {
		among = slices.Sorted(maps.Keys(c.members))
	}
	var leader uint64
	c.within(10*time.Second, "a leader", func() bool {
		leader = c.members[among[0]].n.Status().Leader
		for _, id := range among {
			if s := c.members[id].n.Status(); s.Leader != leader || leader == 0 {
				return false
			}
		}
		return slices.Contains(among, leader)
	})
	return c.members[leader]
}

// follower gives a member that does not lead.
func (c *cluster) follower() *member {
	c.t.Helper()
	leader := c.leader()
	for _, id := range slices.Sorted(maps.Keys(c.members)) {
		if id != leader.id {
			return c.members[id]
		}
	}
	return nil
}

// settled waits until members have applied the same, and checks it: each proposal once, those of each origin in order,
// without the dropped ones, and nothing missing but those.
func (c *cluster) converge(among ...uint64) []replicaSeq {
	c.t.Helper()
	if len(among) == 0 {
		among = slices.Sorted(maps.Keys(c.members))
	}
	first := c.members[among[0]]
	c.within(30*time.Second, "the same everywhere", func() bool {
		for _, id := range among {
			m := c.members[id]
			if p := m.n.Metrics().ProposalsPending; p != 0 || m.n.Status().Applied != first.n.Status().Applied ||
				m.n.Status().Applied != m.n.Status().LastIndex {
				return false
			}
		}
		return true
	})
	seqs := first.machine.seqs()
	for _, id := range among {
		if got := c.members[id].machine.seqs(); !slices.Equal(got, seqs) {
			c.t.Fatalf("member %d applied %v, member %d %v", id, got, first.id, seqs)
		}
	}
	last := map[uint64]uint64{}
	for _, s := range seqs {
		if s.Seq <= last[s.Origin] {
			c.t.Fatalf("proposal %d of origin %x after %d", s.Seq, s.Origin, last[s.Origin])
		}
		last[s.Origin] = s.Seq
	}
	for _, id := range among {
		m := c.members[id]
		here := map[uint64]bool{}
		for _, s := range seqs {
			if s.Origin == m.n.Origin() {
				here[s.Seq] = true
			}
		}
		for seq, fate := range m.fates() {
			if fate == Dropped && here[seq] {
				c.t.Fatalf("proposal %d of member %d was dropped and is in the log", seq, id)
			}
		}
	}
	return seqs
}

// missing counts a member's proposals of its present run that are neither applied nor settled.
func (m *member) missing(from uint64) (missing []uint64) {
	here, fates := map[uint64]bool{}, m.fates()
	for _, s := range m.machine.seqs() {
		if s.Origin == m.n.Origin() {
			here[s.Seq] = true
		}
	}
	for seq := from; seq <= m.seq; seq++ {
		if !here[seq] && fates[seq] == 0 {
			missing = append(missing, seq)
		}
	}
	return missing
}
