package raftlog

import (
	"errors"
	"slices"
	"sync"
	"testing"
)

func testQueue() *queue {
	return &queue{entryBytesMax: 1 << 16, entryProposalsMax: 64, proposalsMax: 256, bytesMax: 1 << 20}
}

func (q *queue) mustAdd(t *testing.T, seqs ...uint64) {
	t.Helper()
	for _, seq := range seqs {
		if _, err := q.add(1, []Proposal{{Seq: seq, Payload: []byte{byte(seq)}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// drain takes everything and gives the numbers of the proposals in order.
func (q *queue) drain() (seqs []uint64) {
	for {
		c, ok := q.take(true, 1<<20, 1<<20)
		if !ok {
			return seqs
		}
		seqs = append(seqs, c.seqs()...)
	}
}

// Proposers that never rest must not keep the log from writing.
func TestGatherEndsAlthoughProposalsKeepComing(t *testing.T) {
	q := testQueue()
	q.mustAdd(t, 1)
	stop := make(chan struct{})
	var proposers sync.WaitGroup
	for range 4 {
		proposers.Go(func() {
			for seq := uint64(2); ; seq++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := q.add(1, []Proposal{{Seq: seq}}); errors.Is(err, ErrOverloaded) {
					q.drain()
				}
			}
		})
	}
	for range 100 {
		q.gather()
	}
	close(stop)
	proposers.Wait()
}

func TestGatherLeavesWhatWaitsAsItIs(t *testing.T) {
	q := testQueue()
	q.gather() // nothing waits: there is nothing to wait for
	q.mustAdd(t, 1, 2, 3)
	q.gather()
	if got := q.drain(); !slices.Equal(got, []uint64{1, 2, 3}) {
		t.Errorf("took %v; want 1, 2 and 3", got)
	}
}
