package raftlog

import (
	"runtime"
	"testing"
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
