package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

// patience bounds waits for what must happen. It is reached by tests that fail only.
const patience = 30 * time.Second

const testCluster = 0xc1

// brisk is for tests: they need not wait as a real member does.
var brisk = timing{
	pause: time.Millisecond, pauseMax: 20 * time.Millisecond, connect: 5 * time.Second,
	ping: 20 * time.Millisecond, pingTimeout: 10 * time.Second,
	drain: 10 * time.Second, snapshotPatience: 10 * time.Second, call: 10 * time.Second,
}

// node is a Handler that does what its test says.
type node struct {
	cluster, id uint64

	receive         func(messages []*raftpb.Message) // nil: into received
	receiveSnapshot func(m *raftpb.Message, files []raftlog.SnapshotFile) (raftlog.Incoming, error)
	serve           func(ctx context.Context, from uint64, request []byte) []byte

	received    chan *raftpb.Message
	unreachable chan uint64
	removed     chan struct{}
	gone        sync.Map // ids that were removed
}

func newNode(id uint64) *node {
	return &node{
		cluster: testCluster, id: id,
		received: make(chan *raftpb.Message, 1<<17), unreachable: make(chan uint64, 1<<17), removed: make(chan struct{}, 64),
	}
}

func (n *node) Identity() (cluster, member uint64) { return n.cluster, n.id }
func (n *node) IsRemoved(member uint64) bool       { _, ok := n.gone.Load(member); return ok }
func (n *node) Removed()                           { n.removed <- struct{}{} }
func (n *node) Description() []byte {
	return fmt.Appendf(nil, "member %d of cluster %x", n.id, n.cluster)
}
func (n *node) Unreachable(member uint64) { n.unreachable <- member }

func (n *node) Receive(messages []*raftpb.Message) {
	if n.receive != nil {
		n.receive(messages)
		return
	}
	for _, m := range messages {
		n.received <- m
	}
}

func (n *node) ReceiveSnapshot(m *raftpb.Message, files []raftlog.SnapshotFile) (raftlog.Incoming, error) {
	if n.receiveSnapshot == nil {
		return nil, errors.New("no snapshots here")
	}
	return n.receiveSnapshot(m, files)
}

func (n *node) ServeCall(ctx context.Context, from uint64, request []byte) []byte {
	if n.serve == nil {
		return fmt.Appendf(nil, "%d to %d: %s", from, n.id, request)
	}
	return n.serve(ctx, from, request)
}

// member is a node with its transport, which has a port of loopback.
type member struct {
	*Transport
	node *node
	url  string
	log  *lines
}

// start starts a transport on any port, or on the addresses of options.Listeners. adjust changes it before.
func start(t testing.TB, n *node, options Options, adjust ...func(*Transport)) *member {
	t.Helper()
	if options.Listeners == nil {
		options.Listeners = []net.Listener{listen(t, "127.0.0.1:0")}
	}
	log := newLines()
	if options.Logger == nil {
		options.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	at := options.Listeners[0].Addr()
	scheme := map[string]string{"tcp": "http", "unix": "unix"}[at.Network()]
	if options.TLS != nil {
		scheme += "s"
	}
	url := scheme + "://" + at.String()
	if options.PeerURLs == nil {
		options.PeerURLs = []string{url}
	}
	tr, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	tr.timing = brisk
	for _, f := range adjust {
		f(tr)
	}
	if err := tr.Start(n); err != nil {
		t.Fatal(err)
	}
	m := &member{Transport: tr, node: n, url: url, log: log}
	t.Cleanup(func() {
		tr.Stop()
		if t.Failed() {
			t.Logf("log of member %d:\n%s", n.id, log.text())
		}
	})
	return m
}

func listen(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (m *member) peer() raftlog.Peer { return raftlog.Peer{ID: m.node.id, URLs: []string{m.url}} }

// pair starts members 1 and 2, which know each other, and waits until 1 is connected to 2.
func pair(t testing.TB, options Options, adjust ...func(*Transport)) (a, b *member) {
	t.Helper()
	a, b = start(t, newNode(1), options, adjust...), start(t, newNode(2), options, adjust...)
	a.SetPeers([]raftlog.Peer{b.peer()})
	b.SetPeers([]raftlog.Peer{a.peer()})
	a.log.await(t, "connected to member", 1)
	return a, b
}

func message(kind raftpb.MessageType, from, to, index uint64, data ...[]byte) *raftpb.Message {
	m := &raftpb.Message{Type: &kind, From: &from, To: &to, Index: &index, Term: new(uint64(7))}
	for i, d := range data {
		m.Entries = append(m.Entries, &raftpb.Entry{Index: new(index + uint64(i) + 1), Term: new(uint64(7)), Data: d})
	}
	return m
}

func app(from, to, index uint64, data ...[]byte) *raftpb.Message {
	return message(raftpb.MsgApp, from, to, index, data...)
}

func await[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case v := <-c:
		return v
	case <-limit.C:
		t.Fatalf("waited for %s in vain", what)
		panic("unreachable")
	}
}

// lines is a log that can be waited for.
type lines struct {
	mu      sync.Mutex // guards what follows
	written bytes.Buffer
	changed chan struct{} // closed and replaced at every line
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
	return l.written.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written.String()
}

func (l *lines) count(part string) int { return strings.Count(l.text(), part) }

// await waits until part has been written n times.
func (l *lines) await(t testing.TB, part string, n int) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		l.mu.Lock()
		changed := l.changed
		found := strings.Count(l.written.String(), part)
		l.mu.Unlock()
		if found >= n {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("waited in vain for %q in the log (%d of %d)", part, found, n)
		}
	}
}
