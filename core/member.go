package core

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Member is a node of the cluster. What a Store gives out is shared and not to be modified.
type Member struct {
	ID         uint64
	Name       string   // empty until the member has started, unless it was named when it was added
	PeerURLs   []string // http://host:port or unix://path, or https and unixs
	ClientURLs []string // of etcd clients
	Learner    bool     // receives the log and has no vote
	Version    string   // of the program it runs
	Listeners  map[string]string
}

// Started says whether the member has been up and said who it is.
func (m *Member) Started() bool {
	return m.Version != "" || len(m.ClientURLs) > 0 || len(m.Listeners) > 0
}

func memberFrom(m *corepb.Member) Member {
	return Member{
		ID: m.Id, Name: m.Name, PeerURLs: m.PeerUrls, ClientURLs: m.ClientUrls,
		Learner: m.Learner, Version: m.Version, Listeners: m.Listeners,
	}
}

func (m *Member) message() *corepb.Member {
	return &corepb.Member{
		Id: m.ID, Name: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs,
		Learner: m.Learner, Version: m.Version, Listeners: m.Listeners,
	}
}

// membership is who is in the cluster and who was, at one state.
type membership struct {
	members []Member // by id
	removed map[uint64]struct{}
}

// readMembership reads the tables of members.
func readMembership(r storage.Reader) *membership {
	m := &membership{removed: map[uint64]struct{}{}}
	eachMember(r, func(member *corepb.Member) { m.members = append(m.members, memberFrom(member)) })
	removed := r.Scan(storage.RemovedBounds())
	defer removed.Close()
	for removed.Next() {
		if id, ok := storage.SplitRemoved(removed.Key()); ok {
			m.removed[id] = struct{}{}
		}
	}
	return m
}

func (m *membership) find(id uint64) (Member, bool) {
	for _, member := range m.members {
		if member.ID == id {
			return member, true
		}
	}
	return Member{}, false
}

// voters counts them.
func (m *membership) voters() (n int) {
	for i := range m.members {
		if !m.members[i].Learner {
			n++
		}
	}
	return n
}

// peersOf is the address book: everybody but one.
func peersOf(members []Member, self uint64) []raftlog.Peer {
	var peers []raftlog.Peer
	for _, m := range members {
		if m.ID != self {
			peers = append(peers, raftlog.Peer{ID: m.ID, URLs: m.PeerURLs})
		}
	}
	return peers
}

// roster holds the membership that readers share, and tells of changes.
type roster struct {
	current atomic.Pointer[membership]
	changed chan struct{} // capacity 1: for the announcer
	telling sync.Mutex    // held while the transport is told, so that it is told the latest last
}

func newRoster() *roster {
	r := &roster{changed: make(chan struct{}, 1)}
	r.current.Store(&membership{})
	return r
}

func (r *roster) set(to *membership) {
	r.current.Store(to)
	notify(r.changed)
}

// Members lists the members of the cluster as this node has applied them, by id.
func (s *Store) Members() []Member { return s.roster.current.Load().members }

// Member looks a member up.
func (s *Store) Member(id uint64) (Member, bool) { return s.roster.current.Load().find(id) }

// Self is this node as the cluster knows it; a node that has not caught up so far knows only its id and name.
func (s *Store) Self() Member {
	if m, ok := s.Member(s.identity.Member); ok {
		return m
	}
	return Member{ID: s.identity.Member, Name: s.identity.Name, PeerURLs: s.cfg.PeerURLs}
}

func (s *Store) isRemoved(id uint64) bool {
	_, removed := s.roster.current.Load().removed[id]
	return removed
}

// loadMembers brings up what follows the tables of members. It runs on the apply goroutine, or before that starts.
func (s *Store) loadMembers() {
	view := s.db.View()
	m := readMembership(view)
	view.Release()
	s.roster.set(m)
	s.addressPeers()
}

// addressPeers gives the log the address book, once it has started. A node that does not know the cluster's state yet has
// it from its start: the first members of a new cluster, or those that it was told of when it joined.
func (s *Store) addressPeers() {
	select {
	case <-s.logStarted:
	default:
		return
	}
	s.roster.telling.Lock()
	defer s.roster.telling.Unlock()
	members := s.Members()
	if len(members) == 0 {
		members = s.identity.members()
	}
	s.log.SetPeers(peersOf(members, s.identity.Member))
}

// CheckPeerURLs says what is wrong with addresses that members are to be found at.
func CheckPeerURLs(urls []string) error {
	if len(urls) == 0 {
		return &Error{Code: CodeBadPeerURLs, Detail: "none is given"}
	}
	seen := map[string]bool{}
	for _, text := range urls {
		if problem := peerURLProblem(text); problem != "" {
			return &Error{Code: CodeBadPeerURLs, Detail: fmt.Sprintf("%q %s", text, problem)}
		}
		if seen[text] {
			return &Error{Code: CodeBadPeerURLs, Detail: fmt.Sprintf("%q is given twice", text)}
		}
		seen[text] = true
	}
	return nil
}

// peerURLProblem says what is wrong with an address; empty if nothing is. What is behind unix:// is a path, host and all.
func peerURLProblem(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		return badPeerURL
	}
	switch u.Scheme {
	case "unix", "unixs":
		if u.Host+u.Path == "" {
			return "has no path"
		}
	case "http", "https":
		if u.Path != "" {
			return badPeerURL
		}
		if _, port, err := net.SplitHostPort(u.Host); err != nil || port == "" || u.Hostname() == "" {
			return "has no host or no port"
		}
	default:
		return badPeerURL
	}
	return ""
}

const badPeerURL = "is not http://host:port, https://host:port, unix://path or unixs://path"

// sameURLs compares two lists in any order.
func sameURLs(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func sameMember(a, b *Member) bool {
	return a.Name == b.Name && a.Version == b.Version && a.Learner == b.Learner && slices.Equal(a.PeerURLs, b.PeerURLs) &&
		slices.Equal(a.ClientURLs, b.ClientURLs) && maps.Equal(a.Listeners, b.Listeners)
}

// describeMembers is for people.
func describeMembers(members []Member) string {
	var out []string
	for _, m := range members {
		out = append(out, fmt.Sprintf("%s=%s", m.Name, strings.Join(m.PeerURLs, "+")))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
