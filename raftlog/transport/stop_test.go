package transport

import (
	"context"
	"errors"
	"net"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

func TestStopSendsWhatIsQueued(t *testing.T) {
	a, b := pair(t, Options{})
	a.Send([]*raftpb.Message{app(1, 2, 0)})
	await(t, "the bulk stream", b.node.received)
	var batch []*raftpb.Message
	for i := range uint64(3000) {
		batch = append(batch, app(1, 2, i, make([]byte, 2000)))
	}
	a.Send(batch)
	a.Stop()
	for i := range uint64(3000) {
		if m := await(t, "a message", b.node.received); m.GetIndex() != i {
			t.Fatalf("message %d instead of %d", m.GetIndex(), i)
		}
	}
}

func TestAfterStopNothingIsCalledAndNothingRuns(t *testing.T) {
	a, b := pair(t, Options{})
	stuck, release := make(chan struct{}, 1), make(chan struct{})
	b.node.serve = func(ctx context.Context, _ uint64, _ []byte) []byte {
		stuck <- struct{}{}
		<-ctx.Done()
		<-release
		return nil
	}
	asked := make(chan error, 1)
	go func() {
		_, err := a.Call(t.Context(), 2, nil)
		asked <- err
	}()
	await(t, "the question", stuck)
	stopped := make(chan struct{})
	go func() { b.Stop(); close(stopped) }()
	if err := await(t, "the end of the question", asked); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("the question ended with %v", err)
	}
	select {
	case <-stopped:
		t.Error("Stop returned while the node was answering")
	default:
	}
	close(release)
	await(t, "the end", stopped)
	a.Stop()
	a.Stop() // again is no harm
	if !quiet() {
		t.Error("something still runs")
	}
	before := len(a.node.unreachable)
	a.Send([]*raftpb.Message{app(1, 2, 1)})
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.SendSnapshot(app(1, 2, 1), nil, func(error) { t.Error("done was called") })
	if _, err := a.Call(t.Context(), 2, nil); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("a question: %v", err)
	}
	if len(a.node.unreachable) != before {
		t.Error("the node was called")
	}
}

func TestATransportThatNeverStartedStops(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	tr, err := New(Options{Listeners: []net.Listener{l}})
	if err != nil {
		t.Fatal(err)
	}
	tr.Stop()
	listen(t, l.Addr().String()).Close() // the port is free
	if err := tr.Start(newNode(1)); err == nil {
		t.Error("it started after its end")
	}
}

func TestOptionsAreChecked(t *testing.T) {
	used := listen(t, "127.0.0.1:0")
	defer used.Close()
	for i, o := range []Options{{}, {Listeners: []net.Listener{used}, QueueMax: -1}, {Listeners: []net.Listener{used}, TLS: &TLSConfig{}}} {
		if _, err := New(o); err == nil {
			t.Errorf("options %d were taken", i)
		}
	}
}
