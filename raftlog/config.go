package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// Config is what a Node needs to start. Zero values of what is marked optional get the default.
type Config struct {
	// Dir is the log's own directory.
	Dir string
	// Name is for log lines. Optional.
	Name string
	// NodeID and ClusterID are not zero and never change for a Dir.
	NodeID, ClusterID uint64

	// Bootstrap is for an empty log: the first entry of a new cluster, the same on all its first members. It must also be
	// given as long as the Machine may have to be handed that entry again, so best always. nil with an empty log: this
	// node joins. It then has no configuration and waits for a leader's snapshot.
	Bootstrap *Bootstrap

	Machine Machine
	// Applied is the last index that Machine holds; 0 if it is new.
	Applied uint64
	// StampMillis is the stamp of the last entry that Machine holds; 0 if it is new. Later stamps are not below it.
	StampMillis int64
	// Conf is the configuration as of Applied: what Machine.ApplyChange or Install was given last. Empty if Machine is
	// new.
	Conf []byte
	// Installed is set when Machine's state once came from a snapshot that the log may not know: because of a crash
	// between the two, or because it is a restored backup. A log that does not reach it, or differs from it, begins again
	// from there. It may stay set for good. Optional.
	Installed *SnapshotMeta

	// Alone makes this node the only member of its cluster, whatever the others hold: see alone.go. It has no meaning for an
	// empty log. Optional.
	Alone *Alone

	// Transport reaches the other members. The node starts and stops it. Optional: there is nobody to talk to.
	Transport Transport
	// Snapshots makes snapshots for members that are far behind, and takes them. Optional: neither is possible.
	Snapshots Snapshots

	// NoSync gives up what README.md promises of a loss of power, for tests that are in a hurry.
	NoSync bool
	// NowMillis is the clock that entries are stamped with. Optional: the system's.
	NowMillis func() int64
	// OpenLog optional: OpenDisk.
	OpenLog OpenLog
	// EntryBytesMax bounds the payload of one entry, and with it that of one proposal. Optional: 1 MiB.
	EntryBytesMax int
	// EntryProposalsMax bounds the proposals in one entry. Optional: 4096.
	EntryProposalsMax int
	// QueueMax and QueueBytesMax bound what waits to become an entry. Optional: 65536 and 64 MiB.
	QueueMax, QueueBytesMax int
	// WritesMax is how many entries may be on their way to the disk at a time. All but one of them are full.
	// Optional: 4, see README.md.
	WritesMax int
	// CatchUpBytes is how much of the log is kept in memory for members that lag, once there are any; who lags by more
	// gets a snapshot. Optional: 64 MiB.
	CatchUpBytes int64

	// TickInterval is raft's unit of time. Optional: 50 ms.
	TickInterval time.Duration
	// HeartbeatTicks is how many ticks lie between two heartbeats of a leader. Optional: 2.
	HeartbeatTicks int
	// ElectionTicks is how many ticks without a leader start an election, at least; twice that at most. Optional: 16.
	ElectionTicks int
	// ProposalTimeout is for how long proposals are kept that cannot be sent to a leader. Those queued behind one that is
	// given up are given up with it. Optional: 5 s.
	ProposalTimeout time.Duration

	// OnLeader is called on the raft goroutine at every change of leader, which is 0 if there is none, or term. It must
	// not block. Optional, as all that follows.
	OnLeader func(leader, term uint64)
	// Settle is told of proposals of this run that will never reach the Machine as entries. It may be called on any
	// goroutine and must not block.
	Settle func(seqs []uint64, fate Fate)
	// OnRemoved is called once when this member was removed from the cluster: it applied its own removal, or another
	// member told it so. The node then stops by itself; Err is ErrRemoved.
	OnRemoved func()
	// ServeCall answers a Call of another member, or of this one.
	ServeCall func(ctx context.Context, from uint64, request []byte) []byte
	// Description answers Transport.Describe.
	Description func() []byte
	// IsRemoved says whether a member was removed for good.
	IsRemoved func(member uint64) bool

	Logger *slog.Logger
	// OnFatal is called once if the node fails, after all of it has stopped.
	OnFatal func(error)
}

// Bootstrap is the first entry of a new cluster.
type Bootstrap struct {
	Voters  []uint64 // sorted
	Payload []byte   // of the one proposal in the entry, whose Origin is 0
}

// Fate is what became of proposals that do not reach the Machine as entries.
type Fate int

const (
	// Dropped proposals are not in the log and never will be.
	Dropped Fate = iota + 1
	// Lost proposals may be in the log or not; nobody here can tell, because a snapshot skipped the entries that they
	// would be in.
	Lost
)

func (f Fate) String() string {
	switch f {
	case Dropped:
		return "dropped"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("Fate(%d)", int(f))
}

func (c *Config) setDefaults() {
	setDefault(&c.EntryBytesMax, 1<<20)
	setDefault(&c.EntryProposalsMax, 4096)
	setDefault(&c.QueueMax, 1<<16)
	setDefault(&c.QueueBytesMax, 64<<20)
	setDefault(&c.WritesMax, 4)
	setDefault(&c.CatchUpBytes, 64<<20)
	setDefault(&c.TickInterval, 50*time.Millisecond)
	setDefault(&c.HeartbeatTicks, 2)
	setDefault(&c.ElectionTicks, 16)
	setDefault(&c.ProposalTimeout, 5*time.Second)
	if c.NowMillis == nil {
		c.NowMillis = func() int64 { return time.Now().UnixMilli() }
	}
	if c.OpenLog == nil {
		c.OpenLog = OpenDisk
	}
	if c.OnLeader == nil {
		c.OnLeader = func(uint64, uint64) {}
	}
	if c.Settle == nil {
		c.Settle = func([]uint64, Fate) {}
	}
	if c.OnRemoved == nil {
		c.OnRemoved = func() {}
	}
	if c.ServeCall == nil {
		c.ServeCall = func(context.Context, uint64, []byte) []byte { return nil }
	}
	if c.Description == nil {
		c.Description = func() []byte { return nil }
	}
	if c.IsRemoved == nil {
		c.IsRemoved = func(uint64) bool { return false }
	}
	if c.OnFatal == nil {
		c.OnFatal = func(error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Name != "" {
		c.Logger = c.Logger.With("node", c.Name)
	}
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (c *Config) validate() error {
	switch {
	case c.NodeID == 0 || c.ClusterID == 0:
		return errors.New("raftlog: NodeID and ClusterID must not be zero")
	case raft.IsLocalMsgTarget(c.NodeID):
		return fmt.Errorf("raftlog: NodeID %#x is reserved", c.NodeID)
	case c.Machine == nil:
		return errors.New("raftlog: no Machine")
	case c.Dir == "":
		return errors.New("raftlog: no Dir")
	case c.Bootstrap != nil && !slices.Contains(c.Bootstrap.Voters, c.NodeID):
		return errors.New("raftlog: this node is not among the first voters")
	case c.EntryBytesMax < headerBytes+proposalBytesMin || c.EntryProposalsMax < 1 || c.QueueMax < 1 ||
		c.QueueBytesMax < 1 || c.WritesMax < 1 || c.CatchUpBytes < 1 || c.TickInterval <= 0 || c.HeartbeatTicks < 1 ||
		c.ElectionTicks <= c.HeartbeatTicks || c.ProposalTimeout <= 0:
		return errors.New("raftlog: a limit or interval is negative or too small to work with")
	}
	return nil
}
