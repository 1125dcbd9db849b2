package coretest

import (
	"context"
	"path/filepath"
	"time"

	"github.com/triglot/triglot/core"
)

// Join adds a member to the cluster, as a learner or as a voter, starts it in a new directory, and gives its place.
func (c *Cluster) Join(learner bool) int {
	c.t.Helper()
	i := len(c.cfgs)
	cfg := c.cfgs[0]
	cfg.Dir, cfg.Name, cfg.PeerURLs, cfg.Transport = filepath.Join(filepath.Dir(cfg.Dir), name(i)), name(i), []string{URL(i)}, nil
	cfg.Join, cfg.InitialCluster = true, nil
	at := c.Stores[c.Leader()]
	if _, err := at.MemberAdd(context.Background(), core.Member{PeerURLs: cfg.PeerURLs, Learner: learner}); err != nil {
		c.t.Fatal(err)
	}
	for _, m := range at.Members() {
		if m.PeerURLs[0] == URL(i) {
			m.Name = cfg.Name
		}
		cfg.InitialCluster = append(cfg.InitialCluster, core.Member{Name: m.Name, PeerURLs: m.PeerURLs})
	}
	late := make(chan struct{})
	defer time.AfterFunc(time.Minute, func() { close(late) }).Stop()
	cfg.Interrupt = late
	c.cfgs, c.Stores = append(c.cfgs, cfg), append(c.Stores, nil)
	c.start(i)
	return i
}
