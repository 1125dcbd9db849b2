package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// How a node finds out who it is. A data directory that was used before knows; an empty one becomes a cluster of its own, a
// first member of a new cluster, or a member that joins one.

const (
	// describeWait bounds how long a first member waits for the others to say that they are long past their beginning. They
	// are most likely starting themselves and do not answer yet.
	describeWait = 500 * time.Millisecond
	// joinRetry is how long a joining member waits before it asks again: whom it asked may lag behind.
	joinRetry = 250 * time.Millisecond
	// joinWait bounds how long it goes on while somebody answers, and none of them knows it.
	joinWait = 2 * time.Second
)

// identify loads the identity of the data directory, or makes one.
func (s *Store) identify(ctx context.Context) error {
	cfg := &s.cfg
	applied := s.db.View()
	fresh := applied.State().AppliedIndex == 0
	applied.Release()
	id, err := readIdentity(cfg.FS, cfg.Dir)
	switch {
	case err == nil:
		s.identity = id
		if err := errors.Join(checkIdentity(cfg, &id), s.followLog()); err != nil {
			return err
		}
		if fresh && !cfg.Join && !id.Joins && len(cfg.InitialCluster) > 0 {
			return s.checkBeginning(&id)
		}
		return nil
	case !noIdentity(err):
		return err
	case !fresh:
		return fmt.Errorf("data directory %s holds data and no %s: it says whose they are", cfg.Dir, identityFile)
	}
	switch {
	case cfg.Join:
		s.identity, err = s.join(ctx)
	case len(cfg.InitialCluster) > 0:
		s.identity, err = s.begin(ctx)
	default:
		err = nil
		self := Member{ID: rand.Uint64() | 1, Name: cfg.Name, PeerURLs: cfg.PeerURLs}
		s.identity = identity{Member: self.ID, Cluster: rand.Uint64() | 1, Members: identityMembers([]Member{self})}
	}
	if err != nil {
		return err
	}
	s.identity.Name, s.identity.Token, s.identity.LogDir = cfg.Name, cfg.token(), cfg.LogDir
	return writeIdentity(cfg.FS, cfg.Dir, s.identity)
}

func (c *Config) token() string {
	if c.ClusterToken == "" {
		return clusterTokenDefault
	}
	return c.ClusterToken
}

// checkList says what is wrong with a list of members.
func checkList(members []Member) error {
	names, urls := map[string]bool{}, map[string]string{}
	for _, m := range members {
		if m.Name == "" {
			return errors.New("the initial cluster has a member without a name")
		}
		if names[m.Name] {
			return fmt.Errorf("the initial cluster names %q twice", m.Name)
		}
		names[m.Name] = true
		if err := CheckPeerURLs(m.PeerURLs); err != nil {
			return fmt.Errorf("the initial cluster's member %q: %w", m.Name, err)
		}
		for _, url := range m.PeerURLs {
			if other := urls[url]; other != "" {
				return fmt.Errorf("the initial cluster has %s for both %q and %q", url, other, m.Name)
			}
			urls[url] = m.Name
		}
	}
	return nil
}

// listed checks the list of members that the node was given, and finds this one in it.
func (c *Config) listed() (self Member, err error) {
	if err := checkList(c.InitialCluster); err != nil {
		return self, err
	}
	for _, m := range c.InitialCluster {
		if m.Name == c.Name {
			self = m
		}
	}
	switch {
	case self.Name == "":
		return self, fmt.Errorf("the initial cluster (%s) does not name this member, %q", describeMembers(c.InitialCluster), c.Name)
	case len(c.PeerURLs) > 0 && !sameURLs(c.PeerURLs, self.PeerURLs):
		return self, fmt.Errorf("the initial cluster has this member, %q, at %s, and it advertises %s to its peers",
			c.Name, strings.Join(self.PeerURLs, ","), strings.Join(c.PeerURLs, ","))
	case len(c.InitialCluster) > 1 && c.Transport == nil:
		return self, errors.New("a cluster of several members needs a transport")
	}
	return self, nil
}

// begin makes this node one of the first members of a cluster.
func (s *Store) begin(ctx context.Context) (identity, error) {
	self, err := s.cfg.listed()
	if err != nil {
		return identity{}, err
	}
	members, cluster := staticCluster(s.cfg.InitialCluster, s.cfg.token())
	id := identity{Member: memberID(self.PeerURLs, s.cfg.token(), 0), Cluster: cluster, Members: identityMembers(members)}
	if err := s.checkNotStarted(ctx, &id, self); err != nil {
		return identity{}, err
	}
	return id, nil
}

// staticCluster gives the first members of a cluster their ids, and the cluster its own. The members come back by id.
func staticCluster(initial []Member, token string) (members []Member, cluster uint64) {
	var ids []uint64
	for _, m := range initial {
		m.ID = memberID(m.PeerURLs, token, 0)
		members = append(members, Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs})
		ids = append(ids, m.ID)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members, clusterID(ids)
}

// checkBeginning refuses another list of first members than the one that the directory was made with, as long as there is
// nothing in it. Later the list has no meaning.
func (s *Store) checkBeginning(id *identity) error {
	if _, err := s.cfg.listed(); err != nil {
		return err
	}
	if _, cluster := staticCluster(s.cfg.InitialCluster, s.cfg.token()); cluster != id.Cluster {
		return fmt.Errorf("data directory %s was made for the cluster %s, and this start is for %s: remove the directory, in which nothing was stored yet, or start as before",
			s.cfg.Dir, describeMembers(id.members()), describeMembers(s.cfg.InitialCluster))
	}
	return nil
}

// checkNotStarted asks the other first members whether this is not their beginning any more: a member that lost its data
// must not take part as if it had never voted, nor one that was removed.
func (s *Store) checkNotStarted(ctx context.Context, id *identity, self Member) error {
	others := slices.DeleteFunc(id.members(), func(m Member) bool { return m.ID == id.Member })
	for _, told := range s.describe(ctx, others, describeWait) {
		if told.err != nil {
			continue
		}
		if told.ClusterId != id.Cluster && s.cfg.AwaitOthers {
			s.logger.Warn("a member of another cluster answers at an address of this one's list", "address", told.url,
				"its_cluster", fmt.Sprintf("%x", told.ClusterId), "this_cluster", fmt.Sprintf("%x", id.Cluster))
			continue
		}
		if told.ClusterId != id.Cluster {
			return fmt.Errorf("the member at %s belongs to another cluster (id %x, and this start makes %x): the list of members or the cluster token differs from its own, or it was started with data of another cluster",
				told.url, told.ClusterId, id.Cluster)
		}
		known := slices.IndexFunc(told.Members, func(m *corepb.Member) bool { return m.Id == id.Member })
		if known < 0 {
			return fmt.Errorf("member %q (%x) was removed from the cluster, says the member at %s; to take it in again, %s",
				self.Name, id.Member, told.url, addCommand(self))
		}
		if m := memberFrom(told.Members[known]); m.Started() {
			return fmt.Errorf("member %q (%x) has been started before, with another data directory, says the member at %s; if its data is lost, remove the member, and then %s",
				self.Name, id.Member, told.url, addCommand(self))
		}
	}
	return nil
}

// addCommand tells an operator how a member is added.
func addCommand(m Member) string {
	return fmt.Sprintf("run on a member of the cluster: triglot member add %s --peer-urls %s; and start this one with an empty data directory and --initial-cluster-state existing",
		m.Name, strings.Join(m.PeerURLs, ","))
}

// join finds the cluster that this node was added to, and the id that it got there.
func (s *Store) join(ctx context.Context) (identity, error) {
	if s.cfg.Transport == nil {
		return identity{}, errors.New("joining a cluster needs a transport")
	}
	if len(s.cfg.InitialCluster) == 0 {
		return identity{}, errors.New("joining a cluster needs the list of its members (the initial cluster)")
	}
	self, err := s.cfg.listed()
	if err != nil {
		return identity{}, err
	}
	others := slices.DeleteFunc(slices.Clone(s.cfg.InitialCluster), func(m Member) bool { return m.Name == self.Name })
	if len(others) == 0 {
		return identity{}, fmt.Errorf("joining a cluster needs the address of another member in the initial cluster (%s)",
			describeMembers(s.cfg.InitialCluster))
	}
	unknownSince, begun := time.Time{}, time.Now()
	for {
		told := s.describe(ctx, others, joinWait)
		id, err := s.accepted(told, self)
		var unknown *notAddedError
		var silent *nobodyAnsweredError
		switch {
		case err == nil:
			return id, nil
		case errors.As(err, &silent) && time.Since(begun) < s.cfg.RequestTimeout:
			unknownSince = time.Time{}
		case errors.As(err, &unknown) && (unknownSince.IsZero() || time.Since(unknownSince) < joinWait):
			if unknownSince.IsZero() {
				unknownSince = time.Now()
			}
		default:
			return identity{}, err
		}
		select {
		case <-ctx.Done():
			return identity{}, errors.Join(context.Cause(ctx), err)
		case <-time.After(joinRetry):
		}
	}
}

// notAddedError says that nobody who answered knows of this member.
type notAddedError struct{ self Member }

func (e *notAddedError) Error() string {
	return fmt.Sprintf("member %q at %s has not been added to the cluster; %s", e.self.Name, strings.Join(e.self.PeerURLs, ","), addCommand(e.self))
}

// nobodyAnsweredError says that no member of the list could be asked.
type nobodyAnsweredError struct{ causes error }

func (e *nobodyAnsweredError) Error() string {
	return fmt.Sprintf("no member of the initial cluster answers, so that this one cannot join it: %v", e.causes)
}

// accepted makes the identity of a joining member of what others told of the cluster.
func (s *Store) accepted(told []description, self Member) (identity, error) {
	var silent []error
	var first *description
	var best *description // knows this member
	for i := range told {
		d := &told[i]
		if d.err != nil {
			silent = append(silent, fmt.Errorf("%s: %w", d.url, d.err))
			continue
		}
		if first == nil {
			first = d
		}
		if d.ClusterId != first.ClusterId {
			return identity{}, fmt.Errorf("the members at %s and %s belong to different clusters (%x and %x)", first.url, d.url, first.ClusterId, d.ClusterId)
		}
		if d.find(self.PeerURLs) != nil && (best == nil || len(d.Members) > len(best.Members)) {
			best = d
		}
	}
	if first == nil {
		return identity{}, &nobodyAnsweredError{errors.Join(silent...)}
	}
	if best == nil {
		return identity{}, &notAddedError{self}
	}
	var members []Member
	for _, m := range best.Members {
		members = append(members, memberFrom(m))
	}
	me := memberFrom(best.find(self.PeerURLs))
	if me.Started() {
		return identity{}, fmt.Errorf("member %q (%x) has been started before, with another data directory, says the member at %s; if its data is lost, remove the member, and then %s",
			me.Name, me.ID, best.url, addCommand(self))
	}
	if !sameAddresses(members, s.cfg.InitialCluster) {
		return identity{}, fmt.Errorf("the initial cluster (%s) is not the cluster that the member at %s is in (%s)",
			describeMembers(s.cfg.InitialCluster), best.url, describeMembers(members))
	}
	return identity{Member: me.ID, Cluster: best.ClusterId, Joins: true, Members: identityMembers(members)}, nil
}

// sameAddresses says whether two lists have the same members, by their addresses.
func sameAddresses(a, b []Member) bool {
	if len(a) != len(b) {
		return false
	}
	for _, m := range a {
		if !slices.ContainsFunc(b, func(n Member) bool { return sameURLs(m.PeerURLs, n.PeerURLs) }) {
			return false
		}
	}
	return true
}

// description is what somebody at a peer address said of its cluster.
type description struct {
	*corepb.ClusterDescription
	url string
	err error
}

func (d *description) find(peerURLs []string) *corepb.Member {
	for _, m := range d.Members {
		if sameURLs(m.PeerUrls, peerURLs) {
			return m
		}
	}
	return nil
}

// describe asks members, at the first of their addresses that answers, for what they know of their cluster.
func (s *Store) describe(ctx context.Context, members []Member, wait time.Duration) []description {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	told := make([]description, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		asked.Go(func() {
			for _, url := range m.PeerURLs {
				told[i] = s.describeAt(ctx, url)
				if told[i].err == nil {
					return
				}
			}
		})
	}
	asked.Wait()
	return told
}

func (s *Store) describeAt(ctx context.Context, url string) description {
	answer, err := s.cfg.Transport.Describe(ctx, url)
	d := description{ClusterDescription: &corepb.ClusterDescription{}, url: url, err: err}
	if err == nil {
		d.err = d.UnmarshalVT(answer)
	}
	return d
}

// description answers those who ask at this node's address.
func (s *Store) description() []byte {
	d := &corepb.ClusterDescription{ClusterId: s.identity.Cluster, MemberId: s.identity.Member}
	members := s.Members()
	if len(members) == 0 {
		members = s.identity.members()
	}
	for i := range members {
		d.Members = append(d.Members, members[i].message())
	}
	out, _ := d.MarshalVT() // marshalling it cannot fail
	return out
}

// bootstrap is the first entry of a new cluster, which adds its first members; nil when there was a cluster before. It
// depends on nothing but the identity: every first member writes the same one, and writes it again after a crash.
func (s *Store) bootstrap() (*raftlog.Bootstrap, error) {
	if s.identity.Joins {
		return nil, nil
	}
	txn := &corepb.Txn{AbortOnError: true}
	b := &raftlog.Bootstrap{}
	for _, m := range s.identity.members() { // by id
		txn.Then = append(txn.Then, &corepb.Op{Op: &corepb.Op_MemberAdd{MemberAdd: &corepb.MemberAdd{Member: m.message()}}})
		b.Voters = append(b.Voters, m.ID)
	}
	var err error
	b.Payload, err = txn.MarshalVT()
	return b, err
}
