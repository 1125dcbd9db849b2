package grpcsvc

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core"
)

// Meters count what etcd clients and probes ask of a member, and how long it took. A member has one, which its server and
// its probes share; whoever shows metrics reads it.
type Meters struct {
	ranges, txns     atomic.Uint64
	ranged, failed   *core.Durations // ranges that were answered, and that were not
	requests         *core.ByCommand // writes, from being asked for until they are in effect here
	events           atomic.Uint64
	waiting          atomic.Int64
	sendEvents       *core.Durations // of what a watcher was owed
	sendEach         *core.Durations // the same, divided by the number of its events
	sendControl      *core.Durations
	sendProgress     *core.Durations
	healthy, failing atomic.Uint64

	mu     sync.Mutex // guards checks
	checks map[[2]string]*CheckReading
}

// NewMeters makes meters that stand at nothing. The bounds are etcd's.
func NewMeters() *Meters {
	return &Meters{
		ranged: core.NewDurations(100*time.Microsecond, 20), failed: core.NewDurations(100*time.Microsecond, 20),
		requests:   core.NewByCommand(time.Millisecond, 14),
		sendEvents: core.NewDurations(time.Millisecond, 14), sendEach: core.NewDurations(time.Millisecond, 14),
		sendControl: core.NewDurations(time.Millisecond, 14), sendProgress: core.NewDurations(time.Millisecond, 14),
		checks: map[[2]string]*CheckReading{},
	}
}

// Readings are what Meters show at a moment: counts since the start, and present amounts.
type Readings struct {
	Ranges, Txns             uint64
	RangesDone, RangesFailed core.Histogram
	Requests                 []core.CommandTimes
	EventsSent               uint64
	EventsWaiting            int64 // taken from the hub, and not sent yet
	SendEvents, SendEach     core.Histogram
	SendControl              core.Histogram
	SendProgress             core.Histogram
	Healthy, Failing         uint64         // answers of /health
	Checks                   []CheckReading // by probe and name
}

// CheckReading is what came of one check of a probe.
type CheckReading struct {
	Probe, Name      string
	Passes           bool // the last time
	Passed, Failures uint64
}

// Read gives the readings.
func (m *Meters) Read() Readings {
	r := Readings{
		Ranges: m.ranges.Load(), Txns: m.txns.Load(),
		RangesDone: m.ranged.Histogram(), RangesFailed: m.failed.Histogram(), Requests: m.requests.List(),
		EventsSent: m.events.Load(), EventsWaiting: m.waiting.Load(),
		SendEvents: m.sendEvents.Histogram(), SendEach: m.sendEach.Histogram(),
		SendControl: m.sendControl.Histogram(), SendProgress: m.sendProgress.Histogram(),
		Healthy: m.healthy.Load(), Failing: m.failing.Load(),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.checks {
		r.Checks = append(r.Checks, *c)
	}
	slices.SortFunc(r.Checks, func(a, b CheckReading) int { return cmp.Or(cmp.Compare(a.Probe, b.Probe), cmp.Compare(a.Name, b.Name)) })
	return r
}

// ranging counts a range that ends with the function's return.
func (m *Meters) ranging(begun time.Time, err *error) {
	m.ranges.Add(1)
	if *err == nil {
		m.ranged.Since(begun)
	} else {
		m.failed.Since(begun)
	}
}

// sent counts events that the watchers of a stream were sent in so many messages. They are counted together, since streams
// that write the same counters for every message wait for each other: that took an eighth of the events' rate.
func (m *Meters) sent(events, messages int, took time.Duration) {
	if messages == 0 {
		return
	}
	m.events.Add(uint64(events))
	m.sendEvents.AddAll(took, messages)
	m.sendEach.AddAll(took*time.Duration(messages)/time.Duration(events), messages)
}

// probed counts an answer of /health.
func (m *Meters) probed(healthy bool) {
	if healthy {
		m.healthy.Add(1)
	} else {
		m.failing.Add(1)
	}
}

// checked counts a check of a probe.
func (m *Meters) checked(probe, name string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.checks[[2]string{probe, name}]
	if c == nil {
		c = &CheckReading{Probe: probe, Name: name}
		m.checks[[2]string{probe, name}] = c
	}
	c.Passes = err == nil
	if c.Passes {
		c.Passed++
	} else {
		c.Failures++
	}
}
