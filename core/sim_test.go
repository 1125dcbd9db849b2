package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
)

// Whole clusters in bubbles of fake time: see README.md.
//
//	TRIGLOT_SIM_RUNS=5000 go test -run Simulation ./core     so many
//	TRIGLOT_SIM_SEED=4711 go test -run Simulation ./core     the faults and requests of this one, with the stores' logs
//
// Unlike the simulation of raftlog a seed decides what is asked and what goes wrong, not the order in which goroutines run.
func TestSimulation(t *testing.T) {
	runs, first := 250, uint64(1)
	if testing.Short() {
		runs = 10
	}
	if text := os.Getenv("TRIGLOT_SIM_RUNS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		runs = n
	}
	if text := os.Getenv("TRIGLOT_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		runs, first, simVerbose = 1, seed, true
	}
	var total simTotal
	t.Run("seeds", func(t *testing.T) {
		for i := range uint64(runs) {
			t.Run(fmt.Sprint(first+i), func(t *testing.T) {
				t.Parallel()
				simulateCluster(t, first+i, &total)
			})
		}
	})
	t.Logf("%d clusters: %+v", runs, total.counts)
}

type simTotal struct {
	mu     sync.Mutex
	counts simCounts
}

func (s *simTotal) add(c simCounts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.crashes += c.crashes
	s.counts.changes += c.changes
	s.counts.installs += c.installs
	s.counts.acked += c.acked
	s.counts.unknown += c.unknown
	s.counts.refused += c.refused
	s.counts.leases += c.leases
	s.counts.events += c.events
}

var simVerbose bool

// simTraceLines is how much of a failed run is shown.
const simTraceLines = 150

func simulateCluster(t *testing.T, seed uint64, total *simTotal) {
	var history *simHistory
	synctest.Test(t, func(t *testing.T) {
		c := newSimCluster(t, seed)
		history = &simHistory{c: c, keys: 3, never: map[string]error{}}
		c.live(history)
		for _, wrong := range c.wrong {
			t.Error(wrong)
		}
		if len(c.wrong) > 0 || simVerbose {
			t.Log(strings.Join(c.trace.lines[max(0, len(c.trace.lines)-simTraceLines):], ""))
		}
		total.add(c.counts)
	})
	// Outside, because porcupine has a clock and goroutines of its own.
	switch porcupine.CheckOperationsTimeout(registers, history.operations, 20*time.Second) {
	case porcupine.Illegal:
		t.Errorf("%d operations on registers are not linearizable", len(history.operations))
	case porcupine.Unknown:
		t.Logf("it takes too long to find out whether %d operations are linearizable", len(history.operations))
	}
}

// live is the life of a cluster: it is founded, used while all sorts of things go wrong, heals, and is looked at.
func (c *simCluster) live(history *simHistory) {
	c.net.breaks = float64(c.dice.IntN(3)) * 0.1
	founders := 3 + 2*c.dice.IntN(2)
	for range founders {
		m := c.newMember(false)
		c.founded = append(c.founded, Member{Name: m.name, PeerURLs: []string{m.url}})
	}
	for _, m := range c.all() {
		m.start(c.initial(m))
	}
	faults, healed := context.WithTimeout(c.ctx, time.Duration(4000+c.dice.IntN(8000))*time.Millisecond)
	watchers := c.begin(faults, history)
	c.faults(faults)
	healed()
	c.net.heal()
	c.note("all heals")
	for _, m := range c.all() {
		m.start(c.initial(m))
	}
	c.wait(2 * time.Second) // the clients go on for a while
	c.rest()
	c.check(history, c.leases, watchers)
	c.close()
}

// begin starts the clients. The operator rests when the faults are over.
func (c *simCluster) begin(faults context.Context, history *simHistory) (watchers []*simWatcher) {
	for i := range 4 {
		c.client(func(dice *rand.Rand) { history.run(i, dice) })
	}
	for i := range 2 {
		c.client(func(dice *rand.Rand) { c.leases.run(i, dice) })
		c.client(c.randomCommands)
	}
	c.client(c.sampleStates)
	if c.dice.IntN(3) > 0 {
		c.client(func(dice *rand.Rand) { c.operator(faults, dice) })
	}
	for _, m := range c.all() {
		w := &simWatcher{c: c, name: "the watcher of " + m.name}
		watchers = append(watchers, w)
		dice := c.newDice()
		c.watching.Go(func() { w.run(m, dice) })
	}
	return watchers
}
