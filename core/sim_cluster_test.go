package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/raftlog"
)

// simCluster is whole stores, members of one cluster, in a bubble whose time is fake: on filesystems that forget what was
// not synced, logs that keep what they said they kept, and a network in which anything can break.
type simCluster struct {
	t            *testing.T
	dice         *rand.Rand // the director's alone
	net          *simNetwork
	ctx          context.Context // ends the clients
	stop         context.CancelFunc
	clients      sync.WaitGroup
	watch        context.Context // ends the watchers, which stay a little longer
	watching     sync.WaitGroup
	stopWatching context.CancelFunc
	leases       *simLeases
	owned        sync.WaitGroup // starts and ends of stores
	clock        atomic.Int64   // orders calls and returns
	trace        simTrace

	mu      sync.Mutex // guards the fields below
	members []*simMember
	founded []Member
	wrong   []string
	counts  simCounts
}

// simCounts are how much happened.
type simCounts struct{ crashes, changes, installs, acked, unknown, refused, leases, events int }

// simMember is a machine: its disk outlives its stores.
type simMember struct {
	c    *simCluster
	name string
	url  string
	join bool

	mu      sync.Mutex // guards the fields below
	fs      *vfs.MemFS
	disk    *logDisk
	life    *simLife // nil while it is down
	removed bool
}

// simLife is one run of a member.
type simLife struct {
	m         *simMember
	transport *simTransport
	interrupt chan struct{}
	opened    chan struct{} // closed when Open has returned
	store     *Store        // nil until then, and if it failed
	dead      atomic.Bool   // its power is off: what it says from now on nobody hears
	using     sync.RWMutex  // read-held while somebody looks into the store; Close waits
	over      context.Context
	end       context.CancelFunc
}

func newSimCluster(t *testing.T, seed uint64) *simCluster {
	c := &simCluster{t: t, dice: rand.New(rand.NewPCG(seed, 1))}
	c.net = newSimNetwork(rand.New(rand.NewPCG(seed, 2)))
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.watch, c.stopWatching = context.WithCancel(context.Background())
	c.leases = &simLeases{c: c, holders: map[int64]*simHolder{}}
	return c
}

// complain records something that must not happen.
func (c *simCluster) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < 10 {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: ", time.Since(simEpoch).Round(time.Millisecond))+fmt.Sprintf(format, args...))
	}
}

// simEpoch is when every bubble's time begins.
var simEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *simCluster) count(add func(*simCounts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.counts)
}

// newMember makes a machine, without starting it.
func (c *simCluster) newMember(join bool) *simMember {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprintf("n%d", len(c.members)+1)
	m := &simMember{c: c, name: name, url: "http://" + name + ":2380", join: join, fs: vfs.NewCrashableMem(), disk: &logDisk{}}
	c.members = append(c.members, m)
	return m
}

func (c *simCluster) all() []*simMember {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members)
}

// start opens a member's store, in the background: that takes until there is a leader.
func (m *simMember) start(initial []Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life != nil || m.removed {
		return
	}
	life := &simLife{m: m, transport: m.c.net.transport(m.url), interrupt: make(chan struct{}), opened: make(chan struct{})}
	life.over, life.end = context.WithCancel(m.c.net.ctx)
	m.life = life
	m.c.note("%s starts", m.name)
	cfg := Config{
		Dir: "data", Name: m.name, FS: m.fs, OpenLog: m.disk.open, Logger: m.c.logger(m.name),
		InitialCluster: initial, Join: m.join, PeerURLs: []string{m.url}, Published: Member{ClientURLs: []string{m.url + "9"}, Version: "sim"},
		Transport: life.transport, Interrupt: life.interrupt,
		HistoryAge: -1, HistoryBytes: -1, MemtableBytes: 256 << 10, CacheBytes: 1 << 20, LeaseCheckpointInterval: 100 * time.Millisecond,
		RingEvents: 64, CatchUpBytes: 8 << 10, HashCheckInterval: 2 * time.Second, RequestTimeout: 3 * time.Second,
	}
	m.c.owned.Add(1)
	go func() {
		defer m.c.owned.Done()
		store, err := Open(cfg)
		switch {
		case err == nil:
			life.store = store
			m.c.note("%s is ready", m.name)
			store.OnLeaseEnd(func(ids []int64) { m.c.leases.ended(life, ids) })
			close(life.opened)
			m.watch(life)
		case life.dead.Load() || errors.Is(err, ErrStopped):
			close(life.opened)
		default:
			close(life.opened)
			m.failed(life, err)
		}
	}()
}

// failed deals with a store that ended by itself, or could not open.
func (m *simMember) failed(life *simLife, err error) {
	var removed bool
	switch {
	case life.dead.Load():
		return
	case isRemoval(err):
		removed = true
	case m.join && life.store == nil:
		m.c.note("%s does not start: %v", m.name, err)
		// Whoever joins is refused while it, or those that it asks, lag behind the membership. The operator tries again.
		m.c.owned.Go(func() {
			if m.c.net.wait(m.c.net.ctx, 3*time.Second) {
				m.start(m.c.initial(m))
			}
		})
	default:
		m.c.complain("%s fails: %v", m.name, err)
	}
	m.powerOff(life)
	if removed {
		m.mu.Lock()
		m.removed = true
		m.mu.Unlock()
	}
}

func isRemoval(err error) bool {
	return errors.Is(err, ErrRemoved) || errors.Is(err, raftlog.ErrRemoved)
}

// watch waits for the end of a store that nobody asked to end.
func (m *simMember) watch(life *simLife) {
	m.c.owned.Add(1)
	go func() {
		defer m.c.owned.Done()
		select {
		case <-life.store.Done():
			if !life.dead.Load() {
				m.failed(life, life.store.Err())
			}
		case <-life.over.Done():
		}
	}()
}

// powerOff takes what a loss of power leaves at this moment, and lets the store end where nobody hears it.
func (m *simMember) powerOff(life *simLife) {
	m.mu.Lock()
	if m.life != life || life.dead.Swap(true) {
		m.mu.Unlock()
		return
	}
	m.c.net.kill(life.transport)
	m.c.note("%s loses its power", m.name)
	node := crashNode{m.fs, m.disk}.crash(m.c.newDice())
	m.fs, m.disk, m.life = node.fs, node.disk, nil
	m.mu.Unlock()
	life.end()
	close(life.interrupt)
	m.c.owned.Add(1)
	go func() {
		defer m.c.owned.Done()
		<-life.opened
		if life.store != nil {
			life.using.Lock()
			defer life.using.Unlock()
			_ = life.store.Close() // it may have failed, being alone in the dark
		}
	}()
}

// newDice gives dice of its own to somebody.
func (c *simCluster) newDice() *rand.Rand {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	return rand.New(rand.NewPCG(c.net.dice.Uint64(), 3))
}

// current is the member's store, nil while it is down or not ready.
func (m *simMember) current() *simLife {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.life == nil {
		return nil
	}
	select {
	case <-m.life.opened:
		if m.life.store == nil {
			return nil
		}
		return m.life
	default:
		return nil
	}
}

// ready are the lives whose stores can be asked.
func (c *simCluster) ready() (lives []*simLife) {
	for _, m := range c.all() {
		if life := m.current(); life != nil {
			lives = append(lives, life)
		}
	}
	return lives
}

func (c *simCluster) pick(dice *rand.Rand) *simLife {
	lives := c.ready()
	if len(lives) == 0 {
		return nil
	}
	return lives[dice.IntN(len(lives))]
}

// leader is the ready life that leads, nil if none does.
func (c *simCluster) leader() *simLife {
	for _, life := range c.ready() {
		if life.store.IsLeader() {
			return life
		}
	}
	return nil
}

// wait returns after a time of the bubble; false once the clients are to end.
func (c *simCluster) wait(d time.Duration) bool { return c.net.wait(c.ctx, d) }

// client runs something until the clients are to end.
func (c *simCluster) client(run func(dice *rand.Rand)) {
	dice := c.newDice()
	c.clients.Add(1)
	go func() {
		defer c.clients.Done()
		run(dice)
	}()
}

// simTrace is what happened, the stores' own log lines included: shown when something goes wrong.
type simTrace struct {
	mu    sync.Mutex // guards lines
	lines []string
}

func (t *simTrace) Write(p []byte) (int, error) {
	line := fmt.Sprintf("%11.6f %s", time.Since(simEpoch).Seconds(), p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	return len(p), nil
}

// note adds a line of the simulation's own.
func (c *simCluster) note(format string, args ...any) {
	fmt.Fprintf(&c.trace, "** "+format+"\n", args...)
}

func (c *simCluster) logger(name string) *slog.Logger {
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	level := slog.LevelInfo
	if simVerbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(&c.trace, &slog.HandlerOptions{Level: level, ReplaceAttr: noTime})).With("node", name)
}
