package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// counter is the cheapest Machine that can tell a proposer that its proposal is applied.
type counter struct{ waiters sync.Map }

func (c *counter) Apply(entries []Entry) error {
	for _, e := range entries {
		for _, p := range e.Proposals {
			if w, ok := c.waiters.Load(p.Seq >> 32); ok {
				w.(chan struct{}) <- struct{}{}
			}
		}
	}
	return nil
}

func (c *counter) ApplyChange(Entry, []byte) (bool, error) { return true, nil }
func (c *counter) Install(SnapshotMeta) error              { return errors.New("no snapshot was expected") }

// countedLog counts writes that sync.
type countedLog struct {
	Log
	syncs *atomic.Int64
}

func (l countedLog) Append(state *raftpb.HardState, entries []*raftpb.Entry) error {
	if len(entries) > 0 {
		l.syncs.Add(1)
	}
	return l.Log.Append(state, entries)
}

// nullLog keeps nothing: what remains is the cost of raft and of the hand-offs.
type nullLog struct{}

func (nullLog) Append(*raftpb.HardState, []*raftpb.Entry) error { return nil }
func (nullLog) Mark(Marker) error                               { return nil }
func (nullLog) Purge(uint64) error                              { return nil }
func (nullLog) Close() error                                    { return nil }

// BenchmarkPropose measures closed loops: each proposer waits for its proposal to be applied before the next.
func BenchmarkPropose(b *testing.B) {
	for _, log := range []string{"disk", "none"} {
		for _, writes := range []int{1, 2, 4} {
			for _, proposers := range []int{1, 64, 1024} {
				for _, size := range []int{200, 65536} {
					b.Run(fmt.Sprintf("log=%s/writes=%d/proposers=%d/bytes=%d", log, writes, proposers, size), func(b *testing.B) {
						benchmarkPropose(b, log, writes, proposers, size)
					})
				}
			}
		}
	}
}

func benchmarkPropose(b *testing.B, log string, writes, proposers, size int) {
	var syncs atomic.Int64
	m := &counter{}
	n, err := Start(Config{
		Dir: b.TempDir(), NodeID: 7, ClusterID: 9, Bootstrap: bootstrap7(), Machine: m, WritesMax: writes, Logger: slog.New(slog.DiscardHandler),
		OpenLog: func(o LogOptions) (Log, *Recovered, error) {
			if log == "none" {
				return countedLog{nullLog{}, &syncs}, &Recovered{}, nil
			}
			l, r, err := OpenDisk(o)
			return countedLog{l, &syncs}, r, err
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Stop()
	<-n.Ready()
	syncs.Store(0)
	data := make([]byte, size)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for p := range proposers {
		done := make(chan struct{}, 1)
		m.waiters.Store(uint64(p), done)
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := n.Propose(context.Background(), uint64(p)<<32, data); err != nil {
					b.Error(err)
					return
				}
				<-done
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(syncs.Load())/float64(b.N), "syncs/op")
}
