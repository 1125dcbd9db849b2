package transport

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

func TestAQueueIsBoundedAndKeepsOrder(t *testing.T) {
	q := newQueue(10, 100_000)
	next, taken := uint64(0), uint64(0)
	for range 1000 {
		for q.put(app(1, 2, next, make([]byte, next%7*4000))) {
			next++
		}
		if waiting := len(q.messages) - q.head; waiting > 10 || q.bytes > 100_000 {
			t.Fatalf("%d messages, %d bytes", waiting, q.bytes)
		}
		for _, m := range q.take(nil, 30_000) {
			if m.GetIndex() != taken {
				t.Fatalf("message %d instead of %d", m.GetIndex(), taken)
			}
			taken++
		}
	}
	if dropped := q.close(); uint64(dropped) != next-taken {
		t.Errorf("%d dropped of %d", dropped, next-taken)
	}
	if q.put(app(1, 2, 0)) {
		t.Error("a shut queue took a message")
	}
	q.open()
	if !q.put(app(1, 2, 0, make([]byte, 200_000))) {
		t.Error("an empty queue did not take a message that is larger than it")
	}
	if len(q.take(nil, 1)) != 1 || q.bytes != 0 {
		t.Error("a message larger than a frame did not go alone")
	}
}

func TestTheWeightOfAMessageIsNotBelowItsSize(t *testing.T) {
	all := ^uint64(0)
	m := message(raftpb.MsgApp, all, all, all, make([]byte, 100), make([]byte, 100_000))
	m.Term, m.LogTerm, m.Commit, m.Vote, m.RejectHint, m.Reject = &all, &all, &all, &all, &all, new(true)
	m.Context = make([]byte, 1000)
	m.Entries = append(m.Entries, &raftpb.Entry{Term: &all, Index: &all, Type: new(raftpb.EntryConfChangeV2), Data: []byte{1}})
	m.Snapshot = &raftpb.Snapshot{Data: make([]byte, 50), Metadata: &raftpb.SnapshotMetadata{Index: &all, Term: &all, ConfState: &raftpb.ConfState{
		Voters: []uint64{all, all}, Learners: []uint64{all}, VotersOutgoing: []uint64{all}, LearnersNext: []uint64{all}, AutoLeave: new(true),
	}}}
	if w, size := weight(m), proto.Size(m); w < size || w > size+1000 {
		t.Errorf("weight %d, size %d", w, size)
	}
	if w, size := weight(&raftpb.Message{}), 0; w < size {
		t.Errorf("weight %d", w)
	}
}
