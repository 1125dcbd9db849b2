package core

import (
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// Metrics are counts since the start, and present amounts.
type Metrics struct {
	raftlog.Metrics
	Commit        raftlog.Histogram // of steps written to the state engine
	LeasesExpired uint64            // by this node, while it led
	KeysReaped    uint64            // past their deadline, likewise
	Puts, Deletes uint64            // of keys of the shared space, as this node applied them
}

// Metrics is cheap enough to be asked for every second.
func (s *Store) Metrics() Metrics {
	return Metrics{
		Metrics: s.log.Metrics(), Commit: s.commits.histogram(),
		LeasesExpired: s.leasesExpired.Load(), KeysReaped: s.reaper.removed.Load(),
		Puts: s.puts.Load(), Deletes: s.deletes.Load(),
	}
}

// count counts what a step did to the shared space.
func (s *Store) count(events []*storage.Event) {
	puts, deletes := uint64(0), uint64(0)
	for _, e := range events {
		switch {
		case e.Space != 0:
		case e.Type == storage.EventPut:
			puts++
		case e.Type == storage.EventDelete:
			deletes++
		}
	}
	s.puts.Add(puts)
	s.deletes.Add(deletes)
}

// commitBuckets are etcd's for the same: powers of two from a millisecond.
const commitBuckets = 14

// durations counts how long something took. The zero value is ready.
type durations struct {
	counts [commitBuckets + 1]atomic.Uint64
	nanos  atomic.Int64
}

func (d *durations) add(took time.Duration) {
	bucket := 0
	for bound := time.Millisecond; bucket < commitBuckets && took > bound; bound *= 2 {
		bucket++
	}
	d.counts[bucket].Add(1)
	d.nanos.Add(int64(took))
}

func (d *durations) histogram() raftlog.Histogram {
	h := raftlog.Histogram{Sum: time.Duration(d.nanos.Load()).Seconds()}
	for k := range commitBuckets {
		h.Bounds = append(h.Bounds, 0.001*float64(int64(1)<<k))
	}
	for i := range d.counts {
		h.Counts = append(h.Counts, d.counts[i].Load())
	}
	return h
}
