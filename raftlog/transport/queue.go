package transport

import (
	"sync"

	"go.etcd.io/raft/v3/raftpb"
)

// queue holds the messages of one class on their way to one member. Whoever adds to it never waits: what is too much is
// refused. While the member is known to be out of reach it is shut, because raft has more use for knowing that a message
// is lost than for one that arrives late.
type queue struct {
	messagesMax, bytesMax int

	mu       sync.Mutex // guards what follows
	messages []*raftpb.Message
	head     int // of messages: what is before it is gone
	bytes    int // of what is from head on
	shut     bool

	filled chan struct{} // holds one token while there may be messages and nobody was told yet
}

func newQueue(messagesMax, bytesMax int) *queue {
	return &queue{messagesMax: messagesMax, bytesMax: bytesMax, filled: make(chan struct{}, 1)}
}

// put reports false if the message is not taken. One that is larger than the queue may be is taken by an empty one.
func (q *queue) put(m *raftpb.Message) bool {
	size := weight(m)
	q.mu.Lock()
	waiting := len(q.messages) - q.head
	if q.shut || waiting >= q.messagesMax || waiting > 0 && q.bytes+size > q.bytesMax {
		q.mu.Unlock()
		return false
	}
	q.messages = append(q.messages, m)
	q.bytes += size
	q.mu.Unlock()
	if waiting == 0 {
		select {
		case q.filled <- struct{}{}:
		default:
		}
	}
	return true
}

// take moves what goes into one frame to the end of batch: as many messages as fit into bytesMax, one at least if there
// is one.
func (q *queue) take(batch []*raftpb.Message, bytesMax int) []*raftpb.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	for taken := 0; q.head < len(q.messages); q.head++ {
		m := q.messages[q.head]
		size := weight(m)
		if taken > 0 && taken+size > bytesMax {
			break
		}
		taken += size
		q.bytes -= size
		q.messages[q.head] = nil
		batch = append(batch, m)
	}
	if q.head == len(q.messages) {
		q.messages, q.head = q.messages[:0], 0
	} else if q.head > q.messagesMax {
		n := copy(q.messages, q.messages[q.head:])
		clear(q.messages[n:])
		q.messages, q.head = q.messages[:n], 0
	}
	return batch
}

// open lets messages in.
func (q *queue) open() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.shut = false
}

// close lets none in, throws away what is there, and says how many that were.
func (q *queue) close() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	dropped := len(q.messages) - q.head
	clear(q.messages)
	q.messages, q.head, q.bytes, q.shut = q.messages[:0], 0, 0, true
	return dropped
}

// What a message and an entry take beside their payloads, at most, on the wire.
const (
	messageOverheadBytes = 160
	entryOverheadBytes   = 40
)

// weight is an upper bound of a message's size on the wire, cheap to know.
func weight(m *raftpb.Message) int {
	n := messageOverheadBytes + len(m.GetContext())
	for _, e := range m.GetEntries() {
		n += entryOverheadBytes + len(e.GetData())
	}
	if s := m.GetSnapshot(); s != nil {
		conf := s.GetMetadata().GetConfState()
		members := len(conf.GetVoters()) + len(conf.GetLearners()) + len(conf.GetVotersOutgoing()) + len(conf.GetLearnersNext())
		n += messageOverheadBytes + len(s.GetData()) + 11*members
	}
	return n
}

// urgent says which messages may not wait behind entries: those that keep a leader a leader, elect one, or let a read go
// on.
func urgent(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgVote, raftpb.MsgVoteResp,
		raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgReadIndex, raftpb.MsgReadIndexResp,
		raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow:
		return true
	}
	return false
}
