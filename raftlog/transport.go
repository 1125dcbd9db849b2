package raftlog

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Peer is another member, and where it is found.
type Peer struct {
	ID   uint64
	URLs []string // http://host:port or https://host:port, the preferred one first
}

// ErrUnreachable says that a member cannot be reached now. It wraps the reason.
var ErrUnreachable = errors.New("member cannot be reached")

// Transport carries messages between members. raftlog uses it and does not care how: over sockets in a server (package
// transport), through memory in a simulation. Its methods may be called from any goroutine, and none but Call, Describe
// and Stop waits for anything.
type Transport interface {
	// Start begins to serve and to connect; the node calls it once, before everything else but Describe. An error says
	// that it cannot serve at all.
	Start(h Handler) error
	// SetPeers says who else is in the cluster. Connections to others are ended, unless they call this member and were not
	// removed: one that is not known here yet is answered where it says that it is found, for as long as it calls.
	SetPeers(peers []Peer)
	// Send hands over messages. Those to one member arrive in order or not at all, heartbeats, votes and what belongs to
	// reads apart from the rest, so that bulk does not delay them. What cannot be sent is dropped and told to
	// Handler.Unreachable. The messages must not be changed any more.
	Send(messages []*raftpb.Message)
	// SendSnapshot streams the files of a snapshot to m's receiver, and then m itself. done is called once, when the
	// receiver has all of it or it is given up. What the receiver already has of it is not sent again.
	SendSnapshot(m *raftpb.Message, s Snapshot, done func(error))
	// Call asks a member a question and waits for its answer. An error of the transport is ErrUnreachable or the
	// context's; the answer to the question is all in the bytes.
	Call(ctx context.Context, to uint64, request []byte) (answer []byte, err error)
	// Describe asks whoever is at an address for Handler.Description. It works before Start too.
	Describe(ctx context.Context, url string) ([]byte, error)
	// Contact says how a member was reached lately.
	Contact(id uint64) Contact
	// Stop ends all streams. Neither Handler nor done functions are called after it has returned.
	Stop()
}

// Contact is what a transport knows of its way to a member.
type Contact struct {
	Connected bool
	Since     time.Time     // of the present state
	RoundTrip time.Duration // of the last probe; 0 before the first
}

// Handler is a node as its transport sees it. Its methods may be called from any goroutine.
type Handler interface {
	// Identity is what this member presents, and asks of others: a different cluster is refused by both sides.
	Identity() (cluster, member uint64)
	// IsRemoved says whether a member was removed from the cluster for good. Its requests are refused with words that
	// its own transport understands, and turns into Removed there.
	IsRemoved(member uint64) bool
	// Removed is told when another member says that this one was removed.
	Removed()
	// Receive takes messages. It may wait while too much is on its way to the log, which holds back the stream.
	Receive(messages []*raftpb.Message)
	// ReceiveSnapshot makes room for a snapshot that a peer wants to send, or finds what is there of it already.
	ReceiveSnapshot(m *raftpb.Message, files []SnapshotFile) (Incoming, error)
	// ServeCall answers a Call of a member.
	ServeCall(ctx context.Context, from uint64, request []byte) []byte
	// Description is for those who want to join.
	Description() []byte
	// Unreachable is told that messages to a member were dropped.
	Unreachable(member uint64)
}
