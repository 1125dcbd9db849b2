package core

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/raftlog"
)

// simNetwork joins the stores of one bubble. Every direction between two members has a line for bulk and one for what
// bulk must not delay; each is a goroutine that holds a message until it is due.
type simNetwork struct {
	ctx    context.Context // ends all lines
	stop   context.CancelFunc
	owned  sync.WaitGroup
	breaks float64 // chance that a snapshot's transfer ends with a chunk

	mu    sync.Mutex // guards the fields below
	dice  *rand.Rand
	drop  float64
	up    map[uint64]*simTransport // by member
	cuts  map[[2]uint64]bool
	slow  map[[2]uint64]time.Duration
	lines map[simLine]chan simPacket
	sent  int // snapshots that arrived whole
}

type simLine struct {
	from, to uint64
	urgent   bool
}

type simPacket struct {
	due     time.Time
	message *raftpb.Message
}

func newSimNetwork(dice *rand.Rand) *simNetwork {
	n := &simNetwork{
		dice: dice, up: map[uint64]*simTransport{}, cuts: map[[2]uint64]bool{},
		slow: map[[2]uint64]time.Duration{}, lines: map[simLine]chan simPacket{},
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	return n
}

func (n *simNetwork) close() {
	n.stop()
	n.owned.Wait()
}

// cut cuts or mends one direction.
func (n *simNetwork) cut(from, to uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]uint64{from, to}] = cut
}

func (n *simNetwork) slowDown(from, to uint64, by time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow[[2]uint64{from, to}] = by
}

func (n *simNetwork) setDrop(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drop = p
}

// heal makes every line good.
func (n *simNetwork) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
	clear(n.slow)
	n.drop, n.breaks = 0, 0
}

// way says whether something gets from one member to another now, to whom, and how long it takes.
func (n *simNetwork) way(from *simTransport, to uint64) (*simTransport, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	pair := [2]uint64{from.id, to}
	other := n.up[to]
	if n.up[from.id] != from || other == nil || n.cuts[pair] || n.dice.Float64() < n.drop {
		return nil, 0
	}
	return other, n.slow[pair] + time.Duration(n.dice.IntN(8000)+50)*time.Microsecond
}

// chance says yes with a probability.
func (n *simNetwork) chance(p float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dice.Float64() < p
}

// wait returns after a time of the bubble; false when the network or ctx is over.
func (n *simNetwork) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return false
}

// kill cuts a member off at once and for good: nothing that it does from now on is seen by anybody.
func (n *simNetwork) kill(t *simTransport) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up[t.id] == t {
		delete(n.up, t.id)
	}
}

// line is the goroutine of a line, begun with its first message. Its channel holds what a stream's buffers would.
func (n *simNetwork) line(key simLine) chan simPacket {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.lines[key]
	if c == nil {
		c = make(chan simPacket, 4096)
		n.lines[key] = c
		n.owned.Add(1)
		go n.carry(key, c)
	}
	return c
}

func (n *simNetwork) carry(key simLine, c chan simPacket) {
	defer n.owned.Done()
	for {
		select {
		case p := <-c:
			if !n.wait(n.ctx, time.Until(p.due)) {
				return
			}
			n.deliver(key, p.message)
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *simNetwork) deliver(key simLine, m *raftpb.Message) {
	n.mu.Lock()
	to, from := n.up[key.to], n.up[key.from]
	cut := n.cuts[[2]uint64{key.from, key.to}]
	n.mu.Unlock()
	if to == nil || cut {
		return
	}
	if to.handler.IsRemoved(key.from) {
		if from != nil {
			from.handler.Removed()
		}
		return
	}
	to.meet(key.from)
	to.handler.Receive([]*raftpb.Message{m})
}

// simTransport is one run of a member on the network.
type simTransport struct {
	n       *simNetwork
	url     string
	id      uint64
	handler raftlog.Handler

	mu      sync.Mutex // guards the fields below
	peers   []uint64
	met     []uint64 // who was heard from: a member that lags may not know its leader yet, and has to answer
	stopped bool
	ending  sync.WaitGroup // transfers
	ctx     context.Context
	stop    context.CancelFunc
}

func (n *simNetwork) transport(url string) *simTransport {
	t := &simTransport{n: n, url: url}
	t.ctx, t.stop = context.WithCancel(n.ctx)
	return t
}

func (t *simTransport) Start(h raftlog.Handler) error {
	_, t.id = h.Identity()
	t.handler = h
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	t.n.up[t.id] = t
	return nil
}

func (t *simTransport) SetPeers(peers []raftlog.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = nil
	for _, p := range peers {
		t.peers = append(t.peers, p.ID)
	}
}

func (t *simTransport) isPeer(id uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.peers, id) || slices.Contains(t.met, id)
}

func (t *simTransport) meet(id uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.met, id) {
		t.met = append(t.met, id)
	}
}

func (t *simTransport) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		if !t.isPeer(m.GetTo()) {
			continue
		}
		other, delay := t.n.way(t, m.GetTo())
		if other == nil {
			continue
		}
		key := simLine{from: t.id, to: m.GetTo()}
		switch m.GetType() {
		case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote,
			raftpb.MsgPreVoteResp, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgTimeoutNow:
			key.urgent = true
		}
		select {
		case t.n.line(key) <- simPacket{time.Now().Add(delay), proto.Clone(m).(*raftpb.Message)}:
		default:
		}
	}
}

var errSimBroken = errors.New("the connection broke")

func (t *simTransport) SendSnapshot(m *raftpb.Message, s raftlog.Snapshot, done func(error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	t.ending.Add(1)
	go func() {
		defer t.ending.Done()
		err := t.carrySnapshot(proto.Clone(m).(*raftpb.Message), s)
		if t.ctx.Err() == nil {
			done(err)
		}
	}()
}

// carrySnapshot sends the files in pieces. One that breaks is continued by the next attempt.
func (t *simTransport) carrySnapshot(m *raftpb.Message, s raftlog.Snapshot) error {
	receiver, delay := t.n.way(t, m.GetTo())
	if receiver == nil || !t.n.wait(t.ctx, delay) {
		return errSimBroken
	}
	files := s.Files()
	receiver.meet(t.id)
	in, err := receiver.handler.ReceiveSnapshot(proto.Clone(m).(*raftpb.Message), files)
	if err != nil {
		return err
	}
	err = t.carryFiles(receiver, s, in, files)
	if err == nil {
		err = in.Finish()
	}
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	t.n.mu.Lock()
	t.n.sent++
	t.n.mu.Unlock()
	receiver.handler.Receive([]*raftpb.Message{m})
	return nil
}

func (t *simTransport) carryFiles(receiver *simTransport, s raftlog.Snapshot, in raftlog.Incoming, files []raftlog.SnapshotFile) error {
	const piece = 16 << 10
	for _, f := range files {
		r, err := s.Open(f.Name)
		if err != nil {
			return err
		}
		for have := in.Have(f.Name); have < f.Bytes; have = in.Have(f.Name) {
			other, delay := t.n.way(t, receiver.id)
			if other != receiver || t.n.chance(t.n.breaks) || !t.n.wait(t.ctx, delay) {
				return errors.Join(errSimBroken, r.Close())
			}
			data := make([]byte, min(piece, f.Bytes-have))
			if _, err := r.ReadAt(data, have); err != nil {
				return errors.Join(err, r.Close())
			}
			if err := in.Write(f.Name, have, data); err != nil {
				return errors.Join(err, r.Close())
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// Call goes over both ways between two members.
func (t *simTransport) Call(ctx context.Context, to uint64, request []byte) ([]byte, error) {
	other, delay := t.n.way(t, to)
	if other == nil || !t.isPeer(to) {
		return nil, raftlog.ErrUnreachable
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan []byte, 1)
	other.mu.Lock()
	if other.stopped {
		other.mu.Unlock()
		return nil, raftlog.ErrUnreachable
	}
	other.ending.Add(1)
	other.mu.Unlock()
	go func() {
		defer other.ending.Done()
		if !t.n.wait(other.ctx, delay) {
			return
		}
		answer := other.handler.ServeCall(ctx, t.id, slices.Clone(request))
		if back, delay := t.n.way(other, t.id); back == t && t.n.wait(other.ctx, delay) {
			answers <- answer
		}
	}()
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.ctx.Done():
		return nil, raftlog.ErrUnreachable
	}
}

func (t *simTransport) Describe(ctx context.Context, url string) ([]byte, error) {
	t.n.mu.Lock()
	var found *simTransport
	for _, other := range t.n.up {
		if other.url == url && (t.id == 0 || !t.n.cuts[[2]uint64{t.id, other.id}]) {
			found = other
		}
	}
	t.n.mu.Unlock()
	if found == nil || !t.n.wait(ctx, time.Millisecond) {
		return nil, raftlog.ErrUnreachable
	}
	return found.handler.Description(), nil
}

func (t *simTransport) Contact(id uint64) raftlog.Contact {
	t.n.mu.Lock()
	defer t.n.mu.Unlock()
	return raftlog.Contact{Connected: t.n.up[id] != nil && !t.n.cuts[[2]uint64{t.id, id}], RoundTrip: time.Millisecond}
}

func (t *simTransport) Stop() {
	t.n.kill(t)
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.stop()
	t.ending.Wait()
}
