package transport

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

func snap(from, to, term uint64) *raftpb.Message {
	m := message(raftpb.MsgSnap, from, to, 0)
	m.Term = &term
	m.Snapshot = &raftpb.Snapshot{Data: []byte("data"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(10)), Term: new(uint64(7))}}
	return m
}

func sendState(m *member, message *raftpb.Message, s raftlog.Snapshot) <-chan error {
	done := make(chan error, 2)
	m.SendSnapshot(message, s, func(err error) { done <- err })
	return done
}

func TestASnapshotArrives(t *testing.T) {
	a, b := pair(t, Options{})
	place := &staging{}
	b.node.receiveSnapshot = place.receive
	s := newState(5, 1<<20)
	done := sendState(a, snap(1, 2, 7), s)
	if err := await(t, "the end", done); err != nil {
		t.Fatal(err)
	}
	m := await(t, "the message", b.node.received)
	if m.GetType() != raftpb.MsgSnap || string(m.GetSnapshot().GetData()) != "data" {
		t.Errorf("received %v", m)
	}
	place.check(t, s)
	total := uint64(totalBytes(s.Files()))
	if sent := a.Stats()[0]; sent.SnapshotsSent != 1 || sent.SnapshotSentBytes != total {
		t.Errorf("sent %+v", sent)
	}
	if received := b.Stats()[0]; received.SnapshotsReceived != 1 || received.SnapshotReceivedBytes != total || received.SnapshotsReceiveFailed != 0 {
		t.Errorf("received %+v", received)
	}
	// One that is all there already.
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), s)); err != nil {
		t.Fatal(err)
	}
	await(t, "the message", b.node.received)
	if sent := a.Stats()[0]; sent.SnapshotsSent != 2 || sent.SnapshotSentBytes != total {
		t.Errorf("sent %+v", sent)
	}
}

func TestASnapshotThatIsCutOffGoesOnWhereItWas(t *testing.T) {
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	place := &staging{}
	b.node.receiveSnapshot = place.receive
	p := newProxy(t, b.opts.Listeners[0].Addr().String())
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{p.url()}}})
	a.log.await(t, "connected to member", 1)
	const cuts = 4
	s := newState(5, 12<<20)
	total := int64(totalBytes(s.Files()))
	next := 0
	place.onWrite = func(written int) error {
		// At each fifth of it the link breaks.
		if next < cuts && int64(written) > int64(next+1)*total/(cuts+1) {
			next++
			p.cut()
		}
		return nil
	}
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), s)); err != nil {
		t.Fatal(err)
	}
	await(t, "the message", b.node.received)
	place.check(t, s)
	if n := place.bytesWritten(); int64(n) != total {
		t.Errorf("%d bytes were written for %d", n, total)
	}
	place.mu.Lock()
	opened := place.opened
	place.mu.Unlock()
	if opened < 2 {
		t.Error("it was never cut")
	}
	// What was on its way when the link broke is sent again: what buffers hold. To begin anew each time takes three times the total.
	if sent := s.reads.Load(); sent > 2*total {
		t.Errorf("%d bytes were sent for %d", sent, total)
	}
}

func TestWhatArrivesDamagedIsSentAgain(t *testing.T) {
	a, b := pair(t, Options{})
	place := &staging{damage: 2}
	b.node.receiveSnapshot = place.receive
	s := newState(5, 100_000)
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), s)); err != nil {
		t.Fatal(err)
	}
	await(t, "the message", b.node.received)
	place.check(t, s)
	if n, total := int64(place.bytesWritten()), totalBytes(s.Files()); n != total+100_000+100_001 {
		t.Errorf("%d bytes were written for %d", n, total)
	}
}

func TestASnapshotThatIsDamagedHereIsGivenUp(t *testing.T) {
	a, b := pair(t, Options{})
	place := &staging{}
	b.node.receiveSnapshot = place.receive
	s := newState(2, 1000)
	s.wrong["000001.sst"] = true
	err := await(t, "the end", sendState(a, snap(1, 2, 7), s))
	if !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "000001.sst is damaged") {
		t.Errorf("it ended with %v", err)
	}
	if len(b.node.received) != 0 {
		t.Error("the message was handed over")
	}
	if n := a.Stats()[0].SnapshotsSendFailed; n != 1 {
		t.Errorf("%d failures", n)
	}
}

func TestWhatTheReceiverDoesNotTakeIsGivenUp(t *testing.T) {
	a, b := pair(t, Options{})
	b.node.receiveSnapshot = func(*raftpb.Message, []raftlog.SnapshotFile) (raftlog.Incoming, error) {
		return nil, errors.New("not wanted")
	}
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), newState(1, 10))); !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "not wanted") {
		t.Errorf("it ended with %v", err)
	}
	full := &staging{onWrite: func(int) error { return errors.New("disk full") }}
	b.node.receiveSnapshot = full.receive
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), newState(3, 1<<20))); !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("it ended with %v", err)
	}
	b.node.receiveSnapshot = (&staging{}).receive
	unreadable := newState(1, 10)
	unreadable.fail = errors.New("no such file")
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), unreadable)); !errors.Is(err, errGivenUp) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("it ended with %v", err)
	}
	if err := await(t, "the end", sendState(a, snap(1, 9, 7), newState(1, 10))); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("to an unknown member it ended with %v", err)
	}
}

func TestASnapshotToAMemberThatStaysAwayIsGivenUp(t *testing.T) {
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	a := start(t, newNode(1), Options{}, func(tr *Transport) { tr.timing.snapshotPatience = 50 * time.Millisecond })
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{"http://" + nobody.Addr().String()}}})
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), newState(1, 10))); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAReceiverThatNeverGetsOnIsGivenUp(t *testing.T) {
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	p := newProxy(t, b.opts.Listeners[0].Addr().String())
	b.node.receiveSnapshot = func(*raftpb.Message, []raftlog.SnapshotFile) (raftlog.Incoming, error) {
		return &hopeless{p}, nil
	}
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{p.url()}}})
	if err := await(t, "the end", sendState(a, snap(1, 2, 7), newState(1, 1<<20))); !errors.Is(err, errGivenUp) {
		t.Errorf("it ended with %v", err)
	}
}

// hopeless cuts the link at every write and keeps nothing.
type hopeless struct{ p *proxy }

func (h *hopeless) Have(string) int64                 { return 0 }
func (h *hopeless) Write(string, int64, []byte) error { h.p.cut(); return nil }
func (h *hopeless) Finish() error                     { return errors.New("nothing is there") }
func (h *hopeless) Close() error                      { return nil }

func TestASnapshotEndsWithItsMemberOrTheTransport(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(a *member)
	}{
		{"the member is removed", func(a *member) { a.node.gone.Store(uint64(2), true); a.SetPeers(nil) }},
		{"the transport stops", func(a *member) { a.Stop() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := pair(t, Options{})
			writing, release := make(chan struct{}, 1), make(chan struct{})
			place := &staging{onWrite: func(int) error {
				select {
				case writing <- struct{}{}:
				default:
				}
				<-release
				return nil
			}}
			defer close(release)
			b.node.receiveSnapshot = place.receive
			done := sendState(a, snap(1, 2, 7), newState(3, 8<<20))
			await(t, "the first write", writing)
			c.end(a)
			if err := await(t, "the end", done); !errors.Is(err, raftlog.ErrUnreachable) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

func TestANewerSnapshotTakesThePlaceOfAnOlderOne(t *testing.T) {
	a, b := pair(t, Options{})
	var first atomic.Bool
	writing, release := make(chan struct{}), make(chan struct{})
	place := &staging{onWrite: func(int) error {
		if first.CompareAndSwap(false, true) {
			close(writing)
			<-release
		}
		return nil
	}}
	b.node.receiveSnapshot = place.receive
	s := newState(3, 8<<20)
	older := sendState(a, snap(1, 2, 7), s)
	await(t, "the first write", writing)
	newer := sendState(a, snap(1, 2, 7), s)
	if err := await(t, "the end of the older", older); err == nil {
		t.Error("the older did not fail")
	}
	close(release)
	if err := await(t, "the end of the newer", newer); err != nil {
		t.Error(err)
	}
	place.check(t, s)
}
