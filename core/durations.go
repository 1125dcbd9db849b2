package core

import (
	"math"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
)

// Histogram counts durations by their size, as they were at one moment.
type Histogram = raftlog.Histogram

// Durations counts how long something took, in buckets of which each is twice as long as the one before. It may be used by
// any goroutine.
type Durations struct {
	first  float64         // seconds
	counts []atomic.Uint64 // one more than bounds
	sum    atomic.Uint64   // seconds, the bits of a float64: a single lease may have centuries
}

// NewDurations makes one whose first bucket ends at a bound, and whose last but one at bound · 2^(bounds-1).
func NewDurations(first time.Duration, bounds int) *Durations {
	return &Durations{first: first.Seconds(), counts: make([]atomic.Uint64, bounds+1)}
}

// Add counts one.
func (d *Durations) Add(took time.Duration) { d.AddSeconds(took.Seconds()) }

// Since counts the time since a moment; for a defer.
func (d *Durations) Since(begun time.Time) { d.Add(time.Since(begun)) }

// AddSeconds counts one that may be longer than a time.Duration.
func (d *Durations) AddSeconds(took float64) { d.add(took, 1) }

// AddAll counts n that took a time together, each as long as the others.
func (d *Durations) AddAll(took time.Duration, n int) {
	if n > 0 {
		d.add(took.Seconds()/float64(n), n)
	}
}

func (d *Durations) add(each float64, n int) {
	bucket := 0
	for bound := d.first; bucket < len(d.counts)-1 && each > bound; bound *= 2 {
		bucket++
	}
	d.counts[bucket].Add(uint64(n))
	for {
		before := d.sum.Load()
		if d.sum.CompareAndSwap(before, math.Float64bits(math.Float64frombits(before)+each*float64(n))) {
			return
		}
	}
}

// Histogram is what was counted.
func (d *Durations) Histogram() Histogram {
	h := Histogram{Sum: math.Float64frombits(d.sum.Load())}
	for i := range d.counts {
		h.Counts = append(h.Counts, d.counts[i].Load())
	}
	for bound := d.first; len(h.Bounds) < len(d.counts)-1; bound *= 2 {
		h.Bounds = append(h.Bounds, bound)
	}
	return h
}

// CommandTimes is how long the commands of one sort took.
type CommandTimes struct {
	Op   string // what they ask for; Txn for several operations, or guards
	OK   bool   // whether they took effect
	Took Histogram
}

// ByCommand counts how long commands took, by what they ask for and what came of it. It may be used by any goroutine.
type ByCommand struct {
	first  time.Duration
	bounds int

	mu     sync.Mutex // guards bySort
	bySort map[commandSort]*Durations
}

type commandSort struct {
	op reflect.Type // nil: several
	ok bool
}

// NewByCommand makes one with buckets as those of NewDurations.
func NewByCommand(first time.Duration, bounds int) *ByCommand {
	return &ByCommand{first: first, bounds: bounds, bySort: map[commandSort]*Durations{}}
}

// Add counts a command.
func (b *ByCommand) Add(txn *corepb.Txn, ok bool, took time.Duration) {
	sort := commandSort{ok: ok}
	if len(txn.Then) == 1 && len(txn.Guards) == 0 && len(txn.Otherwise) == 0 {
		sort.op = reflect.TypeOf(txn.Then[0].Op)
	}
	b.mu.Lock()
	d := b.bySort[sort]
	if d == nil {
		d = NewDurations(b.first, b.bounds)
		b.bySort[sort] = d
	}
	b.mu.Unlock()
	d.Add(took)
}

// List is what was counted, in no order.
func (b *ByCommand) List() []CommandTimes {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []CommandTimes
	for sort, d := range b.bySort {
		name := "Txn"
		if sort.op != nil {
			name = strings.TrimPrefix(sort.op.Elem().Name(), "Op_")
		}
		all = append(all, CommandTimes{Op: name, OK: sort.ok, Took: d.Histogram()})
	}
	return all
}
