package transport

import (
	"bytes"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

func TestMessagesArriveWholeAndInOrder(t *testing.T) {
	a, b := pair(t, Options{})
	const each = 5000
	want := app(1, 2, 0, []byte("one"), []byte{}, bytes.Repeat([]byte("x"), 3000))
	want.Context, want.Commit, want.LogTerm = []byte("context"), new(uint64(9)), new(uint64(3))
	var bulk, urgent uint64
	for sent := uint64(0); sent < each; {
		var batch []*raftpb.Message
		for range 50 {
			m := proto.CloneOf(want)
			m.Index = new(sent)
			batch = append(batch, m, message(raftpb.MsgHeartbeat, 1, 2, sent))
			sent++
		}
		a.Send(batch)
		for range batch {
			m := await(t, "a message", b.node.received)
			if m.GetType() == raftpb.MsgHeartbeat {
				if m.GetIndex() != urgent {
					t.Fatalf("heartbeat %d came as number %d", m.GetIndex(), urgent)
				}
				urgent++
				continue
			}
			want.Index = new(bulk)
			if !proto.Equal(m, want) {
				t.Fatalf("sent %v, received %v", want, m)
			}
			bulk++
		}
	}
	a.Stop() // a message may arrive before it is counted as sent
	sent, received := a.Stats()[0], b.Stats()[0]
	if sent.SentMessages != 2*each || received.ReceivedMessages != 2*each || sent.DroppedMessages != 0 {
		t.Errorf("sent %+v, received %+v", sent, received)
	}
	if sent.SentBytes == 0 || sent.SentBytes != received.ReceivedBytes {
		t.Errorf("%d bytes sent, %d received", sent.SentBytes, received.ReceivedBytes)
	}
}

// A leader sends the same entries to all followers, at the same time.
func TestOneMessageMayGoToSeveralMembersAtATime(t *testing.T) {
	leader := start(t, newNode(1), Options{})
	var followers []*member
	var peers []raftlog.Peer
	for id := uint64(2); id <= 4; id++ {
		f := start(t, newNode(id), Options{})
		followers, peers = append(followers, f), append(peers, f.peer())
	}
	leader.SetPeers(peers)
	leader.log.await(t, "connected to member", len(followers))
	entries := app(0, 0, 0, bytes.Repeat([]byte("a"), 5000), []byte("b")).Entries
	for i := range uint64(200) {
		var batch []*raftpb.Message
		for _, f := range followers {
			m := app(1, f.node.id, i)
			m.Entries = entries
			batch = append(batch, m)
		}
		leader.Send(batch)
	}
	for _, f := range followers {
		for i := range uint64(200) {
			m := await(t, "a message", f.node.received)
			if m.GetIndex() != i || len(m.Entries) != 2 || !proto.Equal(m.Entries[0], entries[0]) {
				t.Fatalf("message %d is %v", i, m)
			}
		}
	}
}

func TestBulkThatIsStuckDoesNotDelayUrgentMessages(t *testing.T) {
	a, b := pair(t, Options{})
	stuck, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.node.receive = func(messages []*raftpb.Message) {
		if messages[0].GetType() == raftpb.MsgApp {
			once.Do(func() { close(stuck) })
			<-release
		}
		for _, m := range messages {
			b.node.received <- m
		}
	}
	defer close(release)
	// More than all windows and buffers on the way hold.
	for i := range uint64(60) {
		a.Send([]*raftpb.Message{app(1, 2, i, make([]byte, 1<<20))})
	}
	await(t, "the bulk stream to be stuck", stuck)
	for i := range uint64(100) {
		a.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, 1, 2, i)})
		if m := await(t, "a heartbeat", b.node.received); m.GetType() != raftpb.MsgHeartbeat || m.GetIndex() != i {
			t.Fatalf("received %v", m)
		}
	}
	if answer, err := a.Call(t.Context(), 2, []byte("hello")); err != nil || string(answer) != "1 to 2: hello" {
		t.Errorf("a question was answered %q, %v", answer, err)
	}
}

func TestTooMuchIsDroppedAndTold(t *testing.T) {
	a, b := pair(t, Options{QueueMax: 100, QueueBytesMax: 4 << 20})
	release := make(chan struct{})
	b.node.receive = func(messages []*raftpb.Message) {
		<-release
		for _, m := range messages {
			b.node.received <- m
		}
	}
	sent := uint64(0)
	for len(a.node.unreachable) == 0 {
		sent++
		a.Send([]*raftpb.Message{app(1, 2, sent, make([]byte, 256<<10))})
	}
	if id := <-a.node.unreachable; id != 2 {
		t.Errorf("member %d is unreachable", id)
	}
	if dropped := a.Stats()[0].DroppedMessages; dropped != 1 {
		t.Errorf("%d messages dropped", dropped)
	}
	close(release)
	for i := uint64(1); i < sent; i++ {
		if m := await(t, "a message that was taken", b.node.received); m.GetIndex() != i {
			t.Fatalf("message %d instead of %d", m.GetIndex(), i)
		}
	}
}

func TestAMessageThatIsTooLargeIsDroppedAndTold(t *testing.T) {
	a, b := pair(t, Options{MessageBytesMax: 1 << 20})
	a.Send([]*raftpb.Message{app(1, 2, 1, make([]byte, 2<<20)), app(1, 2, 2, make([]byte, 1000<<10))})
	if id := await(t, "word of it", a.node.unreachable); id != 2 {
		t.Errorf("member %d is unreachable", id)
	}
	if m := await(t, "the other message", b.node.received); m.GetIndex() != 2 {
		t.Errorf("received %d", m.GetIndex())
	}
	if a.log.count("too large") != 1 {
		t.Error("the operator was not told")
	}
}

func TestMessagesToAnUnknownMemberAreTold(t *testing.T) {
	a := start(t, newNode(1), Options{})
	a.Send([]*raftpb.Message{app(1, 9, 1), app(1, 9, 2), app(1, 8, 1)})
	told := []uint64{<-a.node.unreachable, <-a.node.unreachable}
	if !slices.Equal(told, []uint64{9, 8}) || len(a.node.unreachable) != 0 {
		t.Errorf("told of %v and %d more", told, len(a.node.unreachable))
	}
}

// A stream that broke may still have messages when its successor brings newer ones.
func TestAnOldStreamGivesWayToANewOne(t *testing.T) {
	var i inbound
	old := i.lane(1, classBulk)
	first := old.enter()
	next := i.lane(1, classBulk)
	second := next.enter()
	if old.pass(first, func() { t.Error("the old stream delivered") }) {
		t.Error("the old stream passed")
	}
	passed := false
	if !next.pass(second, func() { passed = true }) || !passed {
		t.Error("the new stream did not pass")
	}
	if i.lane(1, classUrgent) == old || i.lane(2, classBulk) == old {
		t.Error("different lanes are one")
	}
}
