// Package memnet carries raftlog's messages between nodes of one process, for tests: nothing is lost, repeated or delayed
// but what a test cuts off. For faults by chance there are the simulations.
//
// Each Transport has one goroutine for each peer that it sends to, and one for each snapshot; they end with Stop.
package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/raftlog"
)

// Network is where transports find each other, by their addresses.
type Network struct {
	mu    sync.Mutex // guards the fields below
	nodes map[string]*Transport
	cuts  map[[2]string]bool // from, to
}

// New makes a network without faults.
func New() *Network {
	return &Network{nodes: map[string]*Transport{}, cuts: map[[2]string]bool{}}
}

// Transport makes the transport of a node that is found at an address. A later one replaces it, as after a restart.
func (n *Network) Transport(url string) *Transport {
	t := &Transport{net: n, url: url, born: time.Now(), peers: map[uint64]*peer{}, stopping: make(chan struct{})}
	return t
}

// Cut ends what is sent from one address to another.
func (n *Network) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[[2]string{from, to}] = true
}

// Isolate cuts an address off from those given, in both directions.
func (n *Network) Isolate(url string, from ...string) {
	for _, other := range from {
		if other != url {
			n.Cut(url, other)
			n.Cut(other, url)
		}
	}
}

// Heal takes all cuts back.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

// enter finds the node at an address and begins a call of its handler, for which leave is to be called.
func (n *Network) enter(from, to string) (*Transport, error) {
	n.mu.Lock()
	t, cut := n.nodes[to], n.cuts[[2]string{from, to}]
	n.mu.Unlock()
	if t == nil || cut {
		return nil, fmt.Errorf("%w: nobody answers at %s", raftlog.ErrUnreachable, to)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return nil, fmt.Errorf("%w: %s is down", raftlog.ErrUnreachable, to)
	}
	t.serving.Add(1)
	return t, nil
}

func (n *Network) reaches(from, to string) bool {
	t, err := n.enter(from, to)
	if err != nil {
		return false
	}
	t.serving.Done()
	return true
}

// Transport is one node's end of a Network.
type Transport struct {
	net  *Network
	url  string
	born time.Time

	mu      sync.Mutex // guards the fields below
	handler raftlog.Handler
	peers   map[uint64]*peer
	stopped bool

	stopping chan struct{}
	serving  sync.WaitGroup // calls of handler by others
	sending  sync.WaitGroup // goroutines of this one
}

type peer struct {
	id    uint64
	url   string
	heard bool        // not one of those that the node named: it was heard from, and can be answered
	queue chan []byte // bounded, so that a node that does not read loses messages
	gone  chan struct{}
}

// queueMax bounds the messages on their way to one peer.
const queueMax = 4096

var errStopped = errors.New("memnet: the transport is stopped")

// Start implements raftlog.Transport.
func (t *Transport) Start(h raftlog.Handler) error {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		return errStopped
	}
	t.handler = h
	t.mu.Unlock()
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.net.nodes[t.url] = t
	return nil
}

// SetPeers implements raftlog.Transport.
func (t *Transport) SetPeers(peers []raftlog.Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	old := t.peers
	t.peers = map[uint64]*peer{}
	for _, p := range peers {
		if len(p.URLs) == 0 {
			continue
		}
		if same := old[p.ID]; same != nil && same.url == p.URLs[0] {
			t.peers[p.ID] = same
			same.heard = false
			delete(old, p.ID)
			continue
		}
		t.connect(&peer{id: p.ID, url: p.URLs[0]})
	}
	for _, p := range old {
		if p.heard && t.peers[p.id] == nil {
			t.peers[p.id] = p
			continue
		}
		close(p.gone)
	}
}

// connect begins to send to a peer. The caller holds t.mu.
func (t *Transport) connect(p *peer) {
	p.queue, p.gone = make(chan []byte, queueMax), make(chan struct{})
	t.peers[p.id] = p
	t.sending.Go(func() { t.deliver(p) })
}

// hear makes sure that a member which was heard from can be answered: a node that lags may not know it yet.
func (t *Transport) hear(id uint64, url string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peers[id] == nil && !t.stopped {
		t.connect(&peer{id: id, url: url, heard: true})
	}
}

func (t *Transport) peer(id uint64) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[id]
}

// Send implements raftlog.Transport.
func (t *Transport) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		p := t.peer(m.GetTo())
		if p == nil {
			continue
		}
		data, err := proto.Marshal(m)
		if err != nil {
			continue
		}
		select {
		case p.queue <- data:
		default:
		}
	}
}

// deliver hands over what is sent to one peer.
func (t *Transport) deliver(p *peer) {
	for {
		select {
		case data := <-p.queue:
			if err := t.hand(p, data); err != nil {
				t.handler.Unreachable(p.id)
			}
		case <-p.gone:
			return
		case <-t.stopping:
			return
		}
	}
}

func (t *Transport) hand(p *peer, data []byte) error {
	to, err := t.net.enter(t.url, p.url)
	if err != nil {
		return err
	}
	defer to.serving.Done()
	if err := t.admitted(to, p.id); err != nil {
		return err
	}
	m := &raftpb.Message{}
	if err := proto.Unmarshal(data, m); err != nil {
		return err
	}
	to.handler.Receive([]*raftpb.Message{m})
	return nil
}

// admitted is what a receiver looks at before it takes anything.
func (t *Transport) admitted(to *Transport, id uint64) error {
	cluster, member := t.handler.Identity()
	there, itself := to.handler.Identity()
	if cluster != there || itself != id {
		return fmt.Errorf("%w: %s is member %x of cluster %x", raftlog.ErrUnreachable, to.url, itself, there)
	}
	if to.handler.IsRemoved(member) {
		t.handler.Removed()
		return fmt.Errorf("%w: removed", raftlog.ErrUnreachable)
	}
	to.hear(member, t.url)
	return nil
}

// SendSnapshot implements raftlog.Transport.
func (t *Transport) SendSnapshot(m *raftpb.Message, s raftlog.Snapshot, done func(error)) {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		done(errStopped)
		return
	}
	t.sending.Add(1)
	t.mu.Unlock()
	go func() {
		defer t.sending.Done()
		done(t.sendSnapshot(m, s))
	}()
}

func (t *Transport) sendSnapshot(m *raftpb.Message, s raftlog.Snapshot) error {
	p := t.peer(m.GetTo())
	if p == nil {
		return raftlog.ErrUnreachable
	}
	to, err := t.net.enter(t.url, p.url)
	if err != nil {
		return err
	}
	defer to.serving.Done()
	if err := t.admitted(to, p.id); err != nil {
		return err
	}
	data, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	copied := &raftpb.Message{}
	if err := proto.Unmarshal(data, copied); err != nil {
		return err
	}
	incoming, err := to.handler.ReceiveSnapshot(copied, s.Files())
	if err != nil {
		return err
	}
	for _, file := range s.Files() {
		if err := t.sendFile(p, s, file, incoming); err != nil {
			return errors.Join(err, incoming.Close())
		}
	}
	if err := errors.Join(incoming.Finish(), incoming.Close()); err != nil {
		return err
	}
	to.handler.Receive([]*raftpb.Message{copied})
	return nil
}

func (t *Transport) sendFile(p *peer, s raftlog.Snapshot, file raftlog.SnapshotFile, to raftlog.Incoming) error {
	r, err := s.Open(file.Name)
	if err != nil {
		return err
	}
	defer r.Close()
	chunk := make([]byte, 64<<10)
	for at := to.Have(file.Name); at < file.Bytes; {
		select {
		case <-t.stopping:
			return errStopped
		default:
		}
		if !t.net.reaches(t.url, p.url) {
			return raftlog.ErrUnreachable
		}
		n, err := r.ReadAt(chunk[:min(int64(len(chunk)), file.Bytes-at)], at)
		if n == 0 && err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		if err := to.Write(file.Name, at, chunk[:n]); err != nil {
			return err
		}
		at += int64(n)
	}
	return nil
}

// Call implements raftlog.Transport.
func (t *Transport) Call(ctx context.Context, id uint64, request []byte) ([]byte, error) {
	p := t.peer(id)
	if p == nil {
		return nil, fmt.Errorf("%w: no address", raftlog.ErrUnreachable)
	}
	to, err := t.net.enter(t.url, p.url)
	if err != nil {
		return nil, err
	}
	cluster, self := t.handler.Identity()
	if there, itself := to.handler.Identity(); cluster != there || itself != id {
		to.serving.Done()
		return nil, raftlog.ErrUnreachable
	}
	answer := make(chan []byte, 1)
	go func() {
		defer to.serving.Done()
		answer <- to.handler.ServeCall(ctx, self, append([]byte(nil), request...))
	}()
	select {
	case a := <-answer:
		if !t.net.reaches(p.url, t.url) {
			return nil, fmt.Errorf("%w: the answer was lost", raftlog.ErrUnreachable)
		}
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Describe implements raftlog.Transport.
func (t *Transport) Describe(_ context.Context, url string) ([]byte, error) {
	to, err := t.net.enter(t.url, url)
	if err != nil {
		return nil, err
	}
	defer to.serving.Done()
	return to.handler.Description(), nil
}

// Contact implements raftlog.Transport. It is since the node itself began, whatever was cut meanwhile.
func (t *Transport) Contact(id uint64) raftlog.Contact {
	p := t.peer(id)
	return raftlog.Contact{
		Connected: p != nil && t.net.reaches(t.url, p.url) && t.net.reaches(p.url, t.url),
		Since:     t.born,
		RoundTrip: time.Microsecond,
	}
}

// Stop implements raftlog.Transport.
func (t *Transport) Stop() {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		return
	}
	t.stopped = true
	close(t.stopping)
	t.mu.Unlock()
	t.net.mu.Lock()
	if t.net.nodes[t.url] == t {
		delete(t.net.nodes, t.url)
	}
	t.net.mu.Unlock()
	t.sending.Wait()
	t.serving.Wait()
}
