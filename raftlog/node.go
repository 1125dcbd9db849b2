package raftlog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Machine is what committed entries are handed to.
type Machine interface {
	// Apply is called from one goroutine with runs of entries in log order, without gaps, each exactly once after a
	// start. entries and the Proposals in them are reused after it returns; payloads may be kept. An error stops the
	// node.
	Apply(entries []Entry) error
}

// Config is what a Node needs to start. Zero values of what is marked optional get the default.
type Config struct {
	// Dir is the log's own directory.
	Dir string
	// Name is for log lines. Optional.
	Name string
	// NodeID and ClusterID are not zero and never change for a Dir.
	NodeID, ClusterID uint64

	Machine Machine
	// Applied is the last index that Machine holds; 0 if it is new.
	Applied uint64
	// StampMillis is the stamp of the last entry that Machine holds; 0 if it is new. Later stamps are not below it.
	StampMillis int64

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
	// TickInterval is raft's unit of time. Optional: 100 ms.
	TickInterval time.Duration
	// ElectionTicks is how many ticks without a leader start an election. Optional: 10.
	ElectionTicks int

	Logger *slog.Logger
	// OnFatal is called once if the node fails, after all of it has stopped. Optional.
	OnFatal func(error)
}

func (c *Config) setDefaults() {
	setDefault(&c.EntryBytesMax, 1<<20)
	setDefault(&c.EntryProposalsMax, 4096)
	setDefault(&c.QueueMax, 1<<16)
	setDefault(&c.QueueBytesMax, 64<<20)
	setDefault(&c.WritesMax, 4)
	setDefault(&c.TickInterval, 100*time.Millisecond)
	setDefault(&c.ElectionTicks, 10)
	if c.NowMillis == nil {
		c.NowMillis = func() int64 { return time.Now().UnixMilli() }
	}
	if c.OpenLog == nil {
		c.OpenLog = OpenDisk
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
	case c.EntryBytesMax < headerBytes+proposalBytesMin || c.EntryProposalsMax < 1 || c.QueueMax < 1 ||
		c.QueueBytesMax < 1 || c.WritesMax < 1 || c.TickInterval <= 0 || c.ElectionTicks < 2:
		return errors.New("raftlog: a limit or interval is negative or too small to work with")
	}
	return nil
}

// Node is one member of the replicated log.
type Node struct {
	cfg    Config
	origin uint64
	queue  queue

	// wake tells the raft goroutine that the queue or a result mailbox is not empty. One pending wake-up is enough.
	wake    chan struct{}
	writes  *mailbox[write]           // raft → append
	applies *mailbox[*raftpb.Message] // raft → apply
	written *mailbox[*raftpb.Message] // append → raft
	applied *mailbox[*raftpb.Message] // apply → raft

	status   published
	ready    chan struct{}
	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	failure  atomic.Pointer[error]
	fatal    sync.Once

	purging sync.Mutex // held while Log.Purge runs and while the Log is closed; guards what follows
	log     Log        // nil once closed
}

// bootstrapIndex is the index that a new cluster begins at, as if a first entry had made its first member. Because no
// log holds that entry, a member that joins later cannot be fed the log from the start and so always receives a
// snapshot, which carries the membership. The Machine is handed an empty entry in its place.
const (
	bootstrapIndex = 1
	bootstrapTerm  = 1
)

// applyBytesMax bounds the entries that are being applied at a time, and so the size of a run.
const applyBytesMax = 8 << 20

// Start opens the log and starts the node. When it returns, the log has been read; Ready tells when it is applied.
func Start(cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	log, recovered, err := cfg.OpenLog(LogOptions{
		Dir: cfg.Dir, NodeID: cfg.NodeID, ClusterID: cfg.ClusterID, MustExist: cfg.Applied > 0, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n, err := start(cfg, log, recovered)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return n, nil
}

func start(cfg Config, log Log, recovered *Recovered) (*Node, error) {
	if err := bootstrap(&cfg, log, recovered); err != nil {
		return nil, err
	}
	if err := connect(&cfg, recovered); err != nil {
		return nil, err
	}
	memory, err := newMemory(recovered)
	if err != nil {
		return nil, err
	}
	origin, err := newOrigin(cfg.NodeID)
	if err != nil {
		return nil, err
	}
	applied := max(cfg.Applied, recovered.Marker.Index)
	rn, err := raft.NewRawNode(&raft.Config{
		ID:                        cfg.NodeID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             1,
		Storage:                   memory,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             uint64(cfg.EntryBytesMax),
		MaxCommittedSizePerReady:  applyBytesMax,
		MaxInflightMsgs:           256,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true, // a follower would stamp with its own clock
		Logger:                    raftLogger{cfg.Logger},
	})
	if err != nil {
		return nil, fmt.Errorf("raftlog: %w", err)
	}
	n := &Node{
		cfg:    cfg,
		origin: origin,
		queue: queue{
			entryBytesMax: cfg.EntryBytesMax, entryProposalsMax: cfg.EntryProposalsMax,
			proposalsMax: cfg.QueueMax, bytesMax: cfg.QueueBytesMax,
		},
		wake:    make(chan struct{}, 1),
		writes:  newMailbox[write](),
		applies: newMailbox[*raftpb.Message](),
		written: newMailbox[*raftpb.Message](),
		applied: newMailbox[*raftpb.Message](),
		ready:   make(chan struct{}), stopping: make(chan struct{}), done: make(chan struct{}),
		log: log,
	}
	n.status.start(recovered, applied)

	driver := &driver{n: n, rn: rn, memory: memory, stampMillis: lastStamp(recovered.Entries, cfg.StampMillis)}
	appender := &appender{n: n, log: log, marker: recovered.Marker, terms: termsOf(recovered)}
	applier := &applier{n: n, stampMillis: cfg.StampMillis}
	var members sync.WaitGroup
	members.Go(func() { driver.run(isLone(recovered.Marker.Conf, cfg.NodeID)) })
	members.Go(appender.run)
	members.Go(func() { applier.run(cfg.Applied < bootstrapIndex) })
	go n.lifetime(&members)
	return n, nil
}

// bootstrap makes a new log that of a cluster with this node as its only voter. Doing it again after a crash in the
// middle gives the same.
func bootstrap(cfg *Config, log Log, r *Recovered) error {
	if r.Marker.Index != 0 {
		return nil
	}
	if len(r.Entries) != 0 {
		return fmt.Errorf("%w: entries but no marker", ErrCorrupt)
	}
	r.State = &raftpb.HardState{Term: new(uint64(bootstrapTerm)), Vote: new(uint64(0)), Commit: new(uint64(bootstrapIndex))}
	r.Marker = Marker{
		Index: bootstrapIndex, Term: bootstrapTerm,
		Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{cfg.NodeID}}),
	}
	if err := log.Append(r.State, nil); err != nil {
		return fmt.Errorf("raftlog: write first state: %w", err)
	}
	if err := log.Mark(r.Marker); err != nil {
		return fmt.Errorf("raftlog: write first marker: %w", err)
	}
	return nil
}

// connect checks that the log continues what the Machine holds, and raises the commit index to what is known to be
// committed: the log's own record of it trails the Machine's, because it is not worth a sync.
func connect(cfg *Config, r *Recovered) error {
	last := r.Marker.Index + uint64(len(r.Entries))
	if cfg.Applied > last {
		return fmt.Errorf("%w: applied up to %d, but the log ends at %d", ErrMissing, cfg.Applied, last)
	}
	if cfg.Applied < r.Marker.Index && r.Marker.Index != bootstrapIndex {
		return fmt.Errorf("%w: applied up to %d, but the log begins after %d", ErrMissing, cfg.Applied, r.Marker.Index)
	}
	if r.State == nil {
		r.State = &raftpb.HardState{}
	}
	if commit := r.State.GetCommit(); commit > last {
		return fmt.Errorf("%w: committed up to %d, but the log ends at %d", ErrCorrupt, commit, last)
	}
	r.State.Commit = new(max(r.State.GetCommit(), cfg.Applied, r.Marker.Index))
	return nil
}

func isLone(conf *raftpb.ConfState, id uint64) bool {
	return len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == id && len(conf.GetVotersOutgoing()) == 0
}

// lastStamp is the stamp of the last entry that has one, and not below floor.
func lastStamp(entries []*raftpb.Entry, floor int64) int64 {
	for i := len(entries) - 1; i >= 0; i-- {
		if data := entries[i].GetData(); len(data) >= headerBytes && data[0] == entryFormat {
			return max(floor, int64(binary.LittleEndian.Uint64(data[1:])))
		}
	}
	return floor
}

// newOrigin mixes the node's id with a number drawn for this run.
func newOrigin(nodeID uint64) (uint64, error) {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return 0, fmt.Errorf("raftlog: draw origin: %w", err)
	}
	// The finalizer of splitmix64: ids that differ in a bit give origins that differ in half of theirs.
	z := nodeID + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	return max(z^binary.LittleEndian.Uint64(nonce[:]), 1), nil
}

// Origin marks this node's proposals of this run. It differs from that of every other node and every earlier run, so
// that a replayed entry never looks like the answer to a new proposal.
func (n *Node) Origin() uint64 { return n.origin }

// Ready is closed when the node has a leader and has applied everything that its log held at the start.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when the node has stopped, for whatever reason: no call to Machine.Apply is running or will follow.
// A proposal that was queued and not applied by then may or may not be in the log.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is the failure that stopped the node, nil if there was none.
func (n *Node) Err() error {
	if err := n.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Stop ends the node and returns its failure, if any. What was handed to the disk is written and synced, what was
// committed and handed over is applied; what still waits in the queue is dropped. It may be called more than once,
// and from Config.OnFatal, but not from Machine.Apply.
func (n *Node) Stop() error {
	n.halt()
	<-n.done
	return n.Err()
}

func (n *Node) halt() {
	n.stopOnce.Do(func() {
		n.queue.close()
		close(n.stopping)
	})
}

// fail stops the node because of err. The first failure is the one that is reported.
func (n *Node) fail(err error) {
	n.fatal.Do(func() {
		n.failure.Store(&err)
		n.cfg.Logger.Error("raft log failed, node stops", "error", err)
	})
	n.halt()
}

func (n *Node) failed() bool { return n.failure.Load() != nil }

// stopped is the error for callers of a node that takes no more calls.
func (n *Node) stopped() error {
	if err := n.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return ErrStopped
}

// lifetime ends the node once its goroutines have ended.
func (n *Node) lifetime(members *sync.WaitGroup) {
	members.Wait()
	failed := n.failed()
	n.purging.Lock()
	err := n.log.Close()
	n.log = nil
	n.purging.Unlock()
	if err != nil {
		n.fail(fmt.Errorf("raftlog: close log: %w", err))
	}
	close(n.done)
	if failed && n.cfg.OnFatal != nil {
		n.cfg.OnFatal(n.Err())
	}
}

// signal wakes the raft goroutine.
func (n *Node) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
