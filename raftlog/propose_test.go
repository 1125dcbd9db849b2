package raftlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"go.etcd.io/raft/v3/raftpb"
)

// gatedLog keeps nothing and holds back every write of entries until it is let through.
type gatedLog struct {
	nullLog
	gate chan struct{}
}

func (l gatedLog) Append(_ *raftpb.HardState, entries []*raftpb.Entry) error {
	if len(entries) > 0 {
		<-l.gate
	}
	return nil
}

func openGated(gate chan struct{}) OpenLog {
	return func(LogOptions) (Log, *Recovered, error) { return gatedLog{gate: gate}, &Recovered{}, nil }
}

// startGated starts a node whose log is gated, inside a synctest bubble, and lets the leader's first entry through.
func startGated(t *testing.T, cfg Config, gate chan struct{}) *Node {
	cfg.OpenLog = openGated(gate)
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	gate <- struct{}{}
	<-n.Ready()
	return n
}

func proposalCounts(entries []Entry) (counts []int) {
	for _, e := range entries {
		if len(e.Proposals) > 0 && e.Index > bootstrapIndex {
			counts = append(counts, len(e.Proposals))
		}
	}
	return counts
}

func TestWhatGathersDuringAWriteBecomesOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m := newRecorder(0)
		n := startGated(t, testConfig(t, "unused", m), gate)
		mustPropose(t, n, 1, 1)
		synctest.Wait() // the first is being written
		mustPropose(t, n, 2, 11)
		synctest.Wait()
		if len(m.applied()) != 0 {
			t.Fatal("applied before it was written")
		}
		gate <- struct{}{}
		gate <- struct{}{}
		synctest.Wait()
		if got := proposalCounts(m.all()); !slices.Equal(got, []int{1, 10}) {
			t.Fatalf("proposals per entry %v", got)
		}
		checkSeqs(t, m.applied(), 11)
		mustStop(t, n)
	})
}

func TestEntriesKeepTheirBounds(t *testing.T) {
	for name, c := range map[string]struct {
		bytesMax, proposalsMax int
		want                   []int
	}{
		"proposals": {1 << 20, 4, []int{1, 4, 4, 2}},
		"bytes":     {headerBytes + 3*26, 4096, []int{1, 3, 3, 3, 1}}, // payload(seq) is 16 bytes, 26 encoded
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				m := newRecorder(0)
				cfg := testConfig(t, "unused", m)
				cfg.EntryBytesMax, cfg.EntryProposalsMax = c.bytesMax, c.proposalsMax
				n := startGated(t, cfg, gate)
				mustPropose(t, n, 1, 1)
				synctest.Wait()
				mustPropose(t, n, 2, 11)
				close(gate)
				synctest.Wait()
				if got := proposalCounts(m.all()); !slices.Equal(got, c.want) {
					t.Fatalf("proposals per entry %v, want %v", got, c.want)
				}
				checkSeqs(t, m.applied(), 11)
				mustStop(t, n)
			})
		})
	}
}

func TestFullEntriesDoNotWaitForTheWriteBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		cfg := testConfig(t, "unused", newRecorder(0))
		cfg.EntryProposalsMax, cfg.WritesMax = 10, 3
		n := startGated(t, cfg, gate)
		before := n.Status().LastIndex
		mustPropose(t, n, 1, 100)
		synctest.Wait()
		if got := n.Status().LastIndex - before; got != 3 {
			t.Fatalf("%d entries are being written, want 3", got)
		}
		close(gate)
		mustStop(t, n)
	})
}

func TestALimitedQueueRefusesInsteadOfGrowing(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"proposals": func(c *Config) { c.QueueMax = 20 },
		"bytes":     func(c *Config) { c.QueueBytesMax = 20*26 + 5 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				m := newRecorder(0)
				cfg := testConfig(t, "unused", m)
				limit(&cfg)
				n := startGated(t, cfg, gate)
				mustPropose(t, n, 1, 1)
				synctest.Wait() // taken from the queue, being written
				mustPropose(t, n, 2, 21)
				if err := n.Propose(t.Context(), 22, payload(22)); !errors.Is(err, ErrOverloaded) {
					t.Fatalf("one too many: %v", err)
				}
				group := make([]Proposal, 21)
				for i := range group {
					group[i].Payload = payload(0)
				}
				if err := n.ProposeAll(t.Context(), group); !errors.Is(err, ErrTooLarge) {
					t.Fatalf("a group that never fits: %v", err)
				}
				close(gate)
				synctest.Wait()
				mustPropose(t, n, 22, 41) // there is room again, for as many
				synctest.Wait()
				checkSeqs(t, m.applied(), 41)
				mustStop(t, n)
			})
		})
	}
}

func TestAGroupThatDoesNotFitLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		m := newRecorder(0)
		cfg := testConfig(t, "unused", m)
		cfg.QueueMax, cfg.EntryBytesMax = 5, 100
		n := startGated(t, cfg, gate)
		mustPropose(t, n, 1, 1)
		synctest.Wait()
		mustPropose(t, n, 2, 4)
		if err := n.ProposeAll(t.Context(), []Proposal{{Seq: 90}, {Seq: 91}, {Seq: 92}}); !errors.Is(err, ErrOverloaded) {
			t.Fatal(err)
		}
		if err := n.ProposeAll(t.Context(), []Proposal{{Seq: 93}, {Seq: 94, Payload: make([]byte, 100)}}); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
		close(gate)
		synctest.Wait()
		if got := m.applied(); !slices.Equal(got, []uint64{1, 2, 3, 4}) {
			t.Fatal(got)
		}
		mustStop(t, n)
	})
}

func TestTheLargestProposalFitsAndOneByteMoreDoesNot(t *testing.T) {
	m := newRecorder(0)
	cfg := testConfig(t, t.TempDir(), m)
	cfg.EntryBytesMax = 1000
	n := mustStart(t, cfg)
	room := 1000 - headerBytes - 8 - 1 - 2 // origin, seq, length
	if err := n.Propose(t.Context(), 1, make([]byte, room+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if err := n.Propose(t.Context(), 1, make([]byte, room)); err != nil {
		t.Fatal(err)
	}
	m.waitSeqs(1)
}

func TestAProposersBufferIsItsOwnAgain(t *testing.T) {
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, t.TempDir(), m))
	buffer := []byte("as proposed")
	if err := n.Propose(t.Context(), 1, buffer); err != nil {
		t.Fatal(err)
	}
	copy(buffer, "overwritten")
	m.waitSeqs(1)
	for _, e := range m.all()[1:] {
		for _, p := range e.Proposals {
			if string(p.Payload) != "as proposed" {
				t.Fatalf("%q", p.Payload)
			}
		}
	}
}

// A proposal's number is proposer, group and place in the group.
func TestConcurrentGroupsStayWholeAndInOrder(t *testing.T) {
	const proposers, groups, groupMax = 16, 60, 9
	m := newRecorder(0)
	cfg := testConfig(t, t.TempDir(), m)
	cfg.EntryProposalsMax = 7 // so that many groups are split over entries
	n := mustStart(t, cfg)
	total := 0
	var all sync.WaitGroup
	for p := range uint64(proposers) {
		for g := range uint64(groups) {
			total += int(p+g)%groupMax + 1
		}
		all.Go(func() {
			for g := range uint64(groups) {
				group := make([]Proposal, (p+g)%groupMax+1)
				for i := range group {
					group[i] = Proposal{Seq: p<<32 | g<<16 | uint64(i), Payload: payload(p)}
				}
				if err := n.ProposeAll(context.Background(), group); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := checkGroups(m.waitSeqs(total), groupMax); err != nil {
		t.Fatal(err)
	}
	mustStop(t, n)
}

func checkGroups(seqs []uint64, groupMax uint64) error {
	next := map[uint64]uint64{} // proposer → group
	for len(seqs) > 0 {
		p, g := seqs[0]>>32, seqs[0]>>16&0xffff
		if g != next[p] {
			return fmt.Errorf("proposer %d: group %d where %d was due", p, g, next[p])
		}
		next[p]++
		for i := range (p+g)%groupMax + 1 {
			if seqs[i] != p<<32|g<<16|i {
				return fmt.Errorf("group %d of proposer %d is broken at %d by %x", g, p, i, seqs[i])
			}
		}
		seqs = seqs[(p+g)%groupMax+1:]
	}
	return nil
}
