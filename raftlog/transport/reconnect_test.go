package transport

import (
	"net"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

func TestItReconnectsWhenTheMemberComesBack(t *testing.T) {
	a, b := pair(t, Options{})
	if c := a.Contact(2); !c.Connected || c.Since.IsZero() {
		t.Errorf("contact %+v", c)
	}
	address := b.opts.Listeners[0].Addr().String()
	b.Stop()
	if id := await(t, "word of the loss", a.node.unreachable); id != 2 {
		t.Errorf("member %d is unreachable", id)
	}
	a.log.await(t, "connection to member lost", 1)
	if c := a.Contact(2); c.Connected {
		t.Errorf("contact %+v", c)
	}
	again := start(t, newNode(2), Options{Listeners: []net.Listener{listen(t, address)}})
	a.log.await(t, "connected to member", 2)
	a.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, 1)})
	await(t, "a heartbeat", again.node.received)
	if n := a.log.count("level=WARN"); n != 1 {
		t.Errorf("%d warnings for one loss", n)
	}
}

func TestWhileAMemberIsAwayMessagesAreDroppedAtOnce(t *testing.T) {
	a := start(t, newNode(1), Options{})
	l := listen(t, "127.0.0.1:0")
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{"http://" + l.Addr().String()}}})
	l.Close()
	a.log.await(t, "member cannot be reached yet", 1)
	for _, q := range []*queue{a.Transport.peer(2).links[0].queue, a.Transport.peer(2).links[1].queue} {
		awaitShut(t, a, q)
	}
	a.Send([]*raftpb.Message{app(1, 2, 1), message(raftpb.MsgHeartbeat, 1, 2, 1)})
	if id := await(t, "word of the drop", a.node.unreachable); id != 2 {
		t.Errorf("member %d is unreachable", id)
	}
	if dropped := a.Stats()[0].DroppedMessages; dropped != 2 {
		t.Errorf("%d messages dropped", dropped)
	}
}

// awaitShut waits until a queue is shut, which is behind an attempt that failed; there are log lines for each attempt.
func awaitShut(t *testing.T, m *member, q *queue) {
	t.Helper()
	for n := 1; ; n++ {
		q.mu.Lock()
		shut := q.shut
		q.mu.Unlock()
		if shut {
			return
		}
		m.log.await(t, "no connection to member", n)
	}
}

func TestItTurnsToANewAddressAtOnce(t *testing.T) {
	never := func(tr *Transport) { tr.timing.pause, tr.timing.pauseMax = time.Hour, time.Hour }
	a := start(t, newNode(1), Options{}, never)
	b := start(t, newNode(2), Options{})
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{"http://" + nobody.Addr().String()}}})
	a.log.await(t, "member cannot be reached yet", 1)
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "connected to member", 1)

	// A connection that stands is left as well.
	p := newProxy(t, b.opts.Listeners[0].Addr().String())
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{p.url()}}})
	a.log.await(t, "connected to member", 2)
	a.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, 1)})
	await(t, "a heartbeat", b.node.received)
	if p.toTarget.Load() == 0 {
		t.Error("the heartbeat took the old way")
	}
}

func TestTheNextAddressIsTriedWhenOneDoesNotAnswer(t *testing.T) {
	a, b := start(t, newNode(1), Options{}), start(t, newNode(2), Options{})
	other := start(t, newNode(3), Options{})
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{"http://" + nobody.Addr().String(), other.url, b.url}}})
	a.log.await(t, "connected to member", 1)
	a.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, 1)})
	await(t, "a message", b.node.received)
}

func TestAFrozenMemberIsNoticedAndFoundAgain(t *testing.T) {
	impatient := func(tr *Transport) {
		tr.timing.pingTimeout, tr.timing.connect = 300*time.Millisecond, 300*time.Millisecond
	}
	a, b := start(t, newNode(1), Options{}, impatient), start(t, newNode(2), Options{})
	p := newProxy(t, b.opts.Listeners[0].Addr().String())
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{p.url()}}})
	a.log.await(t, "connected to member", 1)
	a.Send([]*raftpb.Message{app(1, 2, 1)})
	await(t, "a message", b.node.received) // both ways stand
	p.freeze()
	a.log.await(t, `connection to member lost" peer=2 err="no answer`, 1)
	p.thaw()
	a.log.await(t, "connected to member", 2)
	for a.Contact(2).RoundTrip == 0 { // the ping comes right behind the connection
		a.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, 1)})
		await(t, "a heartbeat", b.node.received)
	}
	trips := a.Stats()[0].RoundTrips
	if n := trips.Counts; len(n) != len(trips.BoundsSeconds)+1 || sum(n) == 0 || trips.SumSeconds <= 0 {
		t.Errorf("round trips %+v", trips)
	}
}

func sum(counts []uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}
