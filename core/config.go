package core

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/raftlog"
)

// Config says where a store lives and how much it may use. Zero values mean the defaults given with each field.
type Config struct {
	Dir    string // holds state/, log/ and member.json
	LogDir string // holds the log in the place of log/; "" = it does not
	Name   string // of this member

	// InitialCluster lists the members with their names and peer URLs, this one among them: the first ones of a new
	// cluster or, with Join, those of the cluster that this one was added to. Empty = a cluster of its own. It has no
	// meaning any more once the member has started.
	InitialCluster []Member
	Join           bool
	// ForceNewCluster makes this member, whose cluster lost its quorum for good, the only one, with all that it has: the others
	// are removed. For an operator to say who knows that they are gone: what they have and this one has not is lost. It has no
	// meaning for a member that starts for the first time.
	ForceNewCluster bool
	// AwaitOthers lets a first member wait when a member of another cluster answers at an address of its own cluster's list,
	// until that is gone: etcd's rule. Otherwise such a start is refused.
	AwaitOthers  bool
	ClusterToken string            // keeps clusters with the same addresses apart; "" = "triglot" for a new one
	PeerURLs     []string          // where the others find this one
	Published    Member            // its ClientURLs, Version and Listeners are told to the cluster
	Transport    raftlog.Transport // to the other members; nil = there are none

	RequestTimeout time.Duration // bounds every wait for a quorum; 0 = 7 s
	TickInterval   time.Duration // 0 = raftlog's default, as with the next three
	HeartbeatTicks int
	ElectionTicks  int
	CatchUpBytes   int64
	MaxLearners    int // members without a vote that there may be at a time; 0 = 1
	// MembersSettle is for how long voters have to have been connected before members are added or removed, so that a cluster
	// that is coming up, or apart, is left alone: etcd's rule, with 5 s there; 0 = no time.
	MembersSettle time.Duration
	// HashCheckInterval is how often the replicas are compared; 0 = one hour, negative = never.
	HashCheckInterval time.Duration
	Interrupt         <-chan struct{}     // once closed, Open gives up with ErrInterrupted
	OnWaiting         func(reason string) // told now and then what Open waits for

	FS        vfs.FS          // of the state engine; nil = the operating system's
	OpenLog   raftlog.OpenLog // nil = segmented files under Dir
	NowMillis func() int64    // Unix milliseconds; nil = the system clock

	// TokenTTL is how long a login lasts after it was used last; 0 = 5 min.
	TokenTTL time.Duration

	// LeaseCheckpointInterval is how often the leader notes what is left of long leases, for the next one; 0 = never, so that a
	// change of the leader gives all leases their full time again.
	LeaseCheckpointInterval time.Duration

	HistoryAge   time.Duration // history older than this is compacted; 0 = one hour, negative = kept
	HistoryBytes int64         // history beyond this is compacted; 0 = 1 GiB, negative = no bound
	// HistoryRevisions is how many revisions are kept when their number is looked at, which is every five minutes; 0 = no bound.
	HistoryRevisions int64

	// QuotaBytes is the size of the state beyond which this member raises the NOSPACE alarm: storage.DB.Size. 0 = no bound.
	QuotaBytes int64

	CommandBytesMax int // size of one command in the log; 0 = 2 MiB and some slack

	CacheBytes    int64 // block cache; 0 = storage's default
	RowCacheBytes int64 // keys read or written lately; 0 = storage's default
	MemtableBytes int64 // 0 = storage's default
	NoSync        bool  // do not sync the log: a loss of power then loses what was acknowledged, and may leave nothing to start with
	EngineWAL     bool  // state engine with a write-ahead log of its own

	RingEvents int   // events kept in memory for watches; 0 = the hub's default
	RingBytes  int64 // their size; 0 = the hub's default

	Logger *slog.Logger // nil = slog.Default
}

func (c *Config) setDefaults() {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.NowMillis == nil {
		c.NowMillis = func() int64 { return time.Now().UnixMilli() }
	}
	if c.CommandBytesMax == 0 {
		c.CommandBytesMax = commandBytesMaxDefault
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = requestTimeoutDefault
	}
	if c.MaxLearners == 0 {
		c.MaxLearners = 1
	}
	if c.TokenTTL == 0 {
		c.TokenTTL = tokenTTLDefault
	}
	if c.OnWaiting == nil {
		c.OnWaiting = func(string) {}
	}
}

// commandBytesMaxDefault holds what gRPC accepts for an etcd request of the default size, 1.5 MiB and 512 KiB, as a command.
const commandBytesMaxDefault = 2<<20 + 64<<10
