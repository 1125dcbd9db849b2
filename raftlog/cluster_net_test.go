package raftlog

import (
	"context"
	"errors"
	"io"
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// testNet carries messages through memory, in order and at once, except on links that are cut.
type testNet struct {
	mu       sync.Mutex
	handlers map[uint64]Handler
	cut      map[[2]uint64]bool
	pass     func(*raftpb.Message) bool // nil: all
	sent     map[raftpb.MessageType]int
}

func newTestNet() *testNet {
	return &testNet{handlers: map[uint64]Handler{}, cut: map[[2]uint64]bool{}, sent: map[raftpb.MessageType]int{}}
}

func (w *testNet) to(from, to uint64) Handler {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut[[2]uint64{from, to}] {
		return nil
	}
	return w.handlers[to]
}

// filter lets only some messages pass.
func (w *testNet) filter(pass func(*raftpb.Message) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pass = pass
}

// isolate cuts a member off, or brings it back.
func (w *testNet) isolate(id uint64, cut bool, others ...uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range others {
		w.cut[[2]uint64{id, o}], w.cut[[2]uint64{o, id}] = cut, cut
	}
}

type testTransport struct {
	net  *testNet
	self uint64
	busy sync.WaitGroup
}

func (t *testTransport) Start(h Handler) error {
	t.net.mu.Lock()
	defer t.net.mu.Unlock()
	t.net.handlers[t.self] = h
	return nil
}

func (t *testTransport) Stop() {
	t.net.mu.Lock()
	delete(t.net.handlers, t.self)
	t.net.mu.Unlock()
	t.busy.Wait()
}

func (t *testTransport) SetPeers([]Peer) {}

func (t *testTransport) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		t.net.mu.Lock()
		t.net.sent[m.GetType()]++
		pass := t.net.pass == nil || t.net.pass(m)
		t.net.mu.Unlock()
		if h := t.net.to(t.self, m.GetTo()); h == nil {
			t.net.mu.Lock()
			self := t.net.handlers[t.self]
			t.net.mu.Unlock()
			if self != nil {
				self.Unreachable(m.GetTo())
			}
		} else if pass {
			h.Receive([]*raftpb.Message{m})
		}
	}
}

func (t *testTransport) SendSnapshot(m *raftpb.Message, s Snapshot, done func(error)) {
	t.busy.Go(func() { done(t.stream(m, s)) })
}

func (t *testTransport) stream(m *raftpb.Message, s Snapshot) error {
	h := t.net.to(t.self, m.GetTo())
	if h == nil {
		return ErrUnreachable
	}
	in, err := h.ReceiveSnapshot(m, s.Files())
	if err != nil {
		return err
	}
	for _, f := range s.Files() {
		r, err := s.Open(f.Name)
		if err != nil {
			return err
		}
		data := make([]byte, f.Bytes-in.Have(f.Name))
		if _, err := r.ReadAt(data, in.Have(f.Name)); err != nil && err != io.EOF {
			return err
		}
		if err := errors.Join(in.Write(f.Name, in.Have(f.Name), data), r.Close()); err != nil {
			return err
		}
	}
	if err := errors.Join(in.Finish(), in.Close()); err != nil {
		return err
	}
	if h = t.net.to(t.self, m.GetTo()); h == nil {
		return ErrUnreachable
	}
	h.Receive([]*raftpb.Message{m})
	return nil
}

func (t *testTransport) Call(ctx context.Context, to uint64, request []byte) ([]byte, error) {
	h := t.net.to(t.self, to)
	if h == nil {
		return nil, ErrUnreachable
	}
	return h.ServeCall(ctx, t.self, request), nil
}

func (t *testTransport) Describe(context.Context, string) ([]byte, error) { return nil, ErrUnreachable }
func (t *testTransport) Contact(uint64) Contact                           { return Contact{} }
