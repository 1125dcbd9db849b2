package transport

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

// A member that was cut off while another one was added does not know that one, which may be the leader by now.
func TestAMemberThatIsNotKnownIsAnsweredWhileItCalls(t *testing.T) {
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	a.SetPeers([]raftlog.Peer{b.peer()})
	b.log.await(t, "connected to member", 1)
	b.Send([]*raftpb.Message{message(raftpb.MsgHeartbeatResp, 2, 1, 5)})
	if m := await(t, "the answer", a.node.received); m.GetIndex() != 5 {
		t.Errorf("received %v", m)
	}
	// A list that still does not name it changes nothing.
	b.SetPeers(nil)
	b.Send([]*raftpb.Message{message(raftpb.MsgHeartbeatResp, 2, 1, 6)})
	await(t, "the answer", a.node.received)
	// One that names it makes it stay.
	b.SetPeers([]raftlog.Peer{a.peer()})
	b.Send([]*raftpb.Message{message(raftpb.MsgHeartbeatResp, 2, 1, 7)})
	await(t, "the answer", a.node.received)
	if n := b.log.count("connected to member"); n != 1 {
		t.Errorf("it was connected to %d times", n)
	}
}

func TestAGuestGoesWithItsLastStream(t *testing.T) {
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	a.SetPeers([]raftlog.Peer{b.peer()})
	b.log.await(t, "connected to member", 1)
	guest := b.Transport.peer(1)
	a.Stop()
	await(t, "the end of the guest", guest.lifetime.Done())
	if b.Transport.peer(1) != nil {
		t.Error("it is still there")
	}
}

func TestARemovedMemberIsNoGuest(t *testing.T) {
	a, b := pair(t, Options{})
	b.log.await(t, "connected to member", 1)
	b.node.gone.Store(uint64(1), true)
	b.SetPeers(nil)
	b.Send([]*raftpb.Message{app(2, 1, 1)})
	await(t, "word of the drop", b.node.unreachable)
	if c := b.Contact(1); c.Connected || len(b.Stats()) != 0 {
		t.Errorf("contact %+v, stats %+v", c, b.Stats())
	}
	if _, err := b.Call(t.Context(), 1, nil); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("a question: %v", err)
	}
	await(t, "word of the removal", a.node.removed)
}

// A member that moved while this one was cut off is found by what it says itself.
func TestAMemberThatMovedIsFoundWhenItCalls(t *testing.T) {
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	old := "http://" + nobody.Addr().String()
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	b.SetPeers([]raftlog.Peer{{ID: 1, URLs: []string{old}}})
	b.log.await(t, "member cannot be reached yet", 1)
	a.SetPeers([]raftlog.Peer{b.peer()})
	b.log.await(t, "connected to member", 1)
	if got := b.Transport.peer(1).addresses(); !slices.Equal(got, []string{old, a.url}) {
		t.Errorf("addresses %v", got)
	}
}

func TestGuestsAreBounded(t *testing.T) {
	b := start(t, newNode(1), Options{})
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	url := "http://" + nobody.Addr().String()
	var leave []func()
	for id := range uint64(2 * guestsMax) {
		leave = append(leave, b.visit(100+id, []string{url}))
	}
	if n := len(*b.peers.Load()); n != guestsMax {
		t.Errorf("%d guests", n)
	}
	for _, f := range leave {
		f()
	}
	if n := len(*b.peers.Load()); n != 0 || len(b.visits) != 0 {
		t.Errorf("%d guests and %d visits are left", n, len(b.visits))
	}
}

func TestAddressesInAHelloAreChecked(t *testing.T) {
	b := start(t, newNode(1), Options{})
	urls := []string{"", "https://a:1", "nonsense", "http://a:1", "http://a:1", "http://b:1"}
	if got := b.usable(urls); !slices.Equal(got, []string{"http://a:1", "http://b:1"}) {
		t.Errorf("taken: %v", got)
	}
	urls = nil
	for i := range 100 {
		urls = append(urls, fmt.Sprintf("http://a:%d", i+1))
	}
	if got := b.usable(urls); len(got) != urlsMax {
		t.Errorf("%d taken", len(got))
	}
}
