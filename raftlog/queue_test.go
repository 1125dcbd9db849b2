package raftlog

import (
	"runtime"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Proposers that never rest must not keep the log from writing; one that is about to propose is waited for.
func TestGatherTakesWhatComesAndEndsAllTheSame(t *testing.T) {
	const proposals = 10 * gatherTurnsMax
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // the two take turns
	gathered := false
	for range 100 {
		q := &queue{entryBytesMax: 1 << 16, entryProposalsMax: 64, proposalsMax: proposals, bytesMax: 1 << 20}
		add := func(seq uint64) {
			if _, err := q.add(1, []Proposal{{Seq: seq}}); err != nil {
				t.Error(err)
			}
		}
		add(1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for seq := uint64(2); seq <= proposals; seq++ {
				add(seq)
				runtime.Gosched()
			}
		}()
		q.gather()
		waiting := q.waiting()
		<-done
		if waiting == proposals {
			t.Fatalf("it waited for all %d proposals", proposals)
		}
		gathered = gathered || waiting > 1
	}
	if !gathered {
		t.Error("nothing was ever gathered")
	}
}

// Memory of a chunk is used again once its entry is applied, which is only right while raft keeps a copy of what it is given.
func TestRaftCopiesWhatIsProposed(t *testing.T) {
	storage := raft.NewMemoryStorage()
	if err := storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		ConfState: &raftpb.ConfState{Voters: []uint64{1}}, Index: new(uint64(1)), Term: new(uint64(1)),
	}}); err != nil {
		t.Fatal(err)
	}
	rn, err := raft.NewRawNode(&raft.Config{
		ID: 1, ElectionTick: 10, HeartbeatTick: 1, Storage: storage, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	save := func() (last []byte) {
		for rn.HasReady() {
			ready := rn.Ready()
			if err := storage.Append(ready.Entries); err != nil {
				t.Fatal(err)
			}
			for _, e := range ready.Entries {
				last = e.Data
			}
			rn.Advance(ready)
		}
		return last
	}
	if err := rn.Campaign(); err != nil {
		t.Fatal(err)
	}
	save()
	data := []byte("proposed")
	if err := rn.Propose(data); err != nil {
		t.Fatal(err)
	}
	copy(data, "replaced")
	if kept := save(); string(kept) != "proposed" {
		t.Errorf("the entry is %q", kept)
	}
}

// A queue gives the memory of chunks to the next ones, but never that of one which the transport may still read.
func TestChunksGrowInMemoryThatIsUsedAgain(t *testing.T) {
	q := &queue{entryBytesMax: 1 << 16, entryProposalsMax: 64, proposalsMax: 64, bytesMax: 1 << 20}
	next := func(payload string) chunk {
		if _, err := q.add(1, []Proposal{{Seq: 1, Payload: []byte(payload)}}); err != nil {
			t.Fatal(err)
		}
		c, ok := q.take(true, maxInt, maxInt)
		if !ok {
			t.Fatal("nothing to take")
		}
		return c
	}
	payloadOf := func(c *chunk) string {
		putHeader(c.data, 0, c.count)
		_, proposals, err := decodeEntry(nil, c.data)
		if err != nil {
			t.Fatal(err)
		}
		return string(proposals[0].Payload)
	}
	first := next("first")
	q.reuse(&first)
	second := next("other")
	if &first.data[0] != &second.data[0] {
		t.Error("the memory of the first chunk was not used again")
	}
	if got := payloadOf(&second); got != "other" {
		t.Errorf("the second chunk has %q", got)
	}
	q.share(&second)
	third := next("third")
	if &third.data[0] == &second.data[0] {
		t.Error("the memory of a shared chunk was used again")
	}
	q.reuse(&second)
	fourth := next("forth")
	if &fourth.data[0] == &second.data[0] {
		t.Error("the memory of a shared chunk was given back")
	}
	for c, want := range map[*chunk]string{&second: "other", &third: "third", &fourth: "forth"} {
		if got := payloadOf(c); got != want {
			t.Errorf("a chunk has %q, want %q", got, want)
		}
	}
}
