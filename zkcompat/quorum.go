package zkcompat

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/triglot/triglot/core"
)

// The cluster in the words of ZooKeeper's: what the four-letter words say of it.

// mode names the part that this node plays. Without a leader there is none, and the words that would name it say so.
func mode(status core.Status) string {
	switch {
	case status.Role == core.RoleLearner:
		return "observer"
	case status.Role == core.RoleFollower:
		return "follower"
	case status.Voters+status.Learners == 1:
		return "standalone"
	default:
		return "leader"
	}
}

// syncedEntriesMax is how far behind the leader a member may be and still count as in step with it. A member that is being
// written to is always a little behind.
const syncedEntriesMax = 5000

// quorumLines are the lines of mntr that a member of an ensemble has more than a standalone server.
func (s *Server) quorumLines(status core.Status) []monitorLine {
	state := mode(status)
	verb := map[string]string{"leader": "leading", "follower": "following", "observer": "observing"}[state]
	if verb == "" {
		return nil
	}
	lines := []monitorLine{{"quorum_size", status.Voters}, {"peer_state", verb + " - broadcast"}}
	if state != "leader" {
		return lines
	}
	var followers, synced, observers int
	progress := s.store.Replications(context.Background())
	for _, peer := range s.store.Peers() {
		at := progress[peer.ID].Match
		inStep := at > 0 && at+syncedEntriesMax >= status.RaftIndex
		switch {
		case !peer.Connected:
		case !peer.Learner:
			followers++
			if inStep {
				synced++
			}
		case inStep:
			observers++
		}
	}
	return append(lines,
		monitorLine{"followers", followers}, // its name before 3.6
		monitorLine{"learners", followers + observers},
		monitorLine{"synced_followers", synced},
		monitorLine{"synced_non_voting_followers", 0},
		monitorLine{"synced_observers", observers},
		monitorLine{"pending_syncs", 0},
	)
}

// writeMembership writes the lines of conf about the ensemble. Members are told apart by their ids, in hexadecimal.
func (s *Server) writeMembership(w io.Writer) {
	members := s.store.Members()
	if len(members) < 2 {
		return
	}
	part := 0
	if s.store.Self().Learner {
		part = 1
	}
	fmt.Fprintf(w, "peerType=%d\nmembership: \n", part)
	for _, m := range members {
		role, address := "participant", ""
		if m.Learner {
			role = "observer"
		}
		if len(m.PeerURLs) > 0 {
			if u, err := url.Parse(m.PeerURLs[0]); err == nil {
				address = u.Host
			}
		}
		fmt.Fprintf(w, "server.%x=%s:%s", m.ID, address, role)
		for _, listener := range []string{"zk", "all"} {
			if client := m.Listeners[listener]; client != "" {
				fmt.Fprintf(w, ";%s", client)
				break
			}
		}
		io.WriteString(w, "\n")
	}
}
