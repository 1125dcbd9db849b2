package transport

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// serveMessages hands the messages of a connection to the node, in order. While the node lets it wait, TCP lets the sender
// wait, and this connection only.
func (t *Transport) serveMessages(w *wire, hello *peerpb.Hello, class class) error {
	from := hello.From
	defer t.visit(from, hello.Urls)()
	lane := t.inbound.lane(from, class)
	turn := lane.enter()
	counts := t.counts.of(from)
	for {
		kind, body, err := w.receive(nil)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if kind != peerpb.Kind_MESSAGES {
			return misfit(kind)
		}
		messages, err := decodeMessages(body)
		if err != nil {
			return &failure{"messages: " + err.Error()}
		}
		counts.receivedBytes.Add(uint64(len(body)))
		counts.receivedMessages.Add(uint64(len(messages)))
		if misplaced(messages, from, t.identity.member) {
			return &failure{"a message of or for another member"}
		}
		if !lane.pass(turn, func() { t.handler.Receive(messages) }) {
			return &failure{"the member has a newer connection"}
		}
	}
}

// misfit is for a frame that has no place on its connection.
func misfit(kind peerpb.Kind) error {
	return &failure{fmt.Sprintf("a frame of kind %s is not for this connection", kind)}
}

func misplaced(messages []*raftpb.Message, from, to uint64) bool {
	for _, m := range messages {
		if m.GetFrom() != from || m.GetTo() != to {
			return true
		}
	}
	return false
}

type laneOf struct {
	from  uint64
	class class
}

// lane keeps the order of one class of one member when a new connection takes the place of one that broke: what the old one
// still has is thrown away.
type lane struct {
	mu   sync.Mutex // held while messages are handed over; guards what follows
	turn uint64     // of the newest connection
}

func (i *inbound) lane(from uint64, class class) *lane {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := laneOf{from, class}
	if i.lanes[key] == nil {
		if i.lanes == nil || len(i.lanes) >= 2*countsMax {
			i.lanes = map[laneOf]*lane{} // of made-up members; what is running keeps its own
		}
		i.lanes[key] = &lane{}
	}
	return i.lanes[key]
}

func (l *lane) enter() (turn uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn++
	return l.turn
}

// pass reports false, and does nothing, if there is a newer connection.
func (l *lane) pass(turn uint64, deliver func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != turn {
		return false
	}
	deliver()
	return true
}
