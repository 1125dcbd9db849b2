// Package coretest runs a cluster of stores in one process, for the tests of those who build on core.
package coretest

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/raftlog/memnet"
)

// Cluster is some stores that replicate through memory. A test changes Stores only through its methods.
type Cluster struct {
	Stores []*core.Store // nil for one that is stopped

	t    testing.TB
	net  *memnet.Network
	cfgs []core.Config
}

// Start starts a cluster of so many members, which ends with the test. change may alter what each is configured with.
func Start(t testing.TB, members int, change ...func(i int, cfg *core.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t, net: memnet.New(), Stores: make([]*core.Store, members)}
	dir := t.TempDir()
	var initial []core.Member
	for i := range members {
		initial = append(initial, core.Member{Name: name(i), PeerURLs: []string{URL(i)}})
	}
	for i := range members {
		cfg := core.Config{
			Dir: filepath.Join(dir, name(i)), Name: name(i), InitialCluster: initial, PeerURLs: []string{URL(i)},
			Published: core.Member{ClientURLs: []string{fmt.Sprintf("http://127.0.0.1:%d", 2379+i)}, Version: "test"},
			// Elections quicker than on a network.
			TickInterval: 10 * time.Millisecond, RequestTimeout: 2 * time.Second,
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		}
		for _, f := range change {
			f(i, &cfg)
		}
		c.cfgs = append(c.cfgs, cfg)
	}
	t.Cleanup(c.stopAll)
	c.start(all(members)...)
	return c
}

func name(i int) string { return fmt.Sprintf("n%d", i+1) }

// URL is where a member is found by the others.
func URL(i int) string { return fmt.Sprintf("http://n%d:2380", i+1) }

func all(n int) (out []int) {
	for i := range n {
		out = append(out, i)
	}
	return out
}

// start opens members together, since each waits for a quorum.
func (c *Cluster) start(which ...int) {
	c.t.Helper()
	errs := make([]error, len(c.cfgs))
	var opening sync.WaitGroup
	for _, i := range which {
		opening.Go(func() {
			cfg := c.cfgs[i]
			if cfg.Transport == nil {
				cfg.Transport = c.net.Transport(URL(i))
			}
			c.Stores[i], errs[i] = core.Open(cfg)
		})
	}
	opening.Wait()
	for i, err := range errs {
		if err != nil {
			c.t.Fatalf("member %d: %v", i, err)
		}
	}
}

// Stop closes members.
func (c *Cluster) Stop(which ...int) {
	c.t.Helper()
	for _, i := range which {
		if c.Stores[i] == nil {
			continue
		}
		if err := c.Stores[i].Close(); err != nil {
			c.t.Errorf("member %d: %v", i, err)
		}
		c.Stores[i] = nil
	}
}

func (c *Cluster) stopAll() { c.Stop(all(len(c.Stores))...) }

// Restart opens members that were stopped, in their old directories.
func (c *Cluster) Restart(which ...int) {
	c.t.Helper()
	c.start(which...)
}

// Cut cuts members off from the others, but not from each other.
func (c *Cluster) Cut(which ...int) {
	for _, i := range which {
		for _, other := range all(len(c.cfgs)) {
			if !slices.Contains(which, other) {
				c.net.Isolate(URL(i), URL(other))
			}
		}
	}
}

// Heal takes all cuts back.
func (c *Cluster) Heal() { c.net.Heal() }

// Leader waits until all running members, or those given, follow one of them, and gives its place.
func (c *Cluster) Leader(among ...int) int {
	c.t.Helper()
	if len(among) == 0 {
		among = all(len(c.Stores))
	}
	late := time.After(time.Minute)
	for {
		leader, changed := c.agreed(among)
		if changed == nil {
			return leader
		}
		select {
		case <-changed[0]:
		case <-changed[1]:
		case <-late:
			c.t.Fatal("no leader within a minute")
		}
	}
}

// agreed gives the leader whom all follow, or two members' changes of leader, one of which has to come first.
func (c *Cluster) agreed(among []int) (leader int, changed []<-chan struct{}) {
	var first uint64
	var firstChanged <-chan struct{}
	leader = -1
	for _, i := range among {
		s := c.Stores[i]
		if s == nil {
			continue
		}
		id, next := s.LeaderWatch()
		if firstChanged == nil {
			first, firstChanged = id, next
		}
		if id == 0 || id != first {
			return -1, []<-chan struct{}{firstChanged, next}
		}
		if s.MemberID() == id {
			leader = i
		}
	}
	if leader < 0 { // it follows one that is not running
		return -1, []<-chan struct{}{firstChanged, nil}
	}
	return leader, nil
}
