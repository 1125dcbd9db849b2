package raftlog

import (
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Thousands of short lives of small clusters, each a schedule that its seed decides. See README.md.
//
//	TRIGLOT_SIM_RUNS=100000 go test -run Simulation ./raftlog     so many schedules
//	TRIGLOT_SIM_SEED=4711 go test -run Simulation ./raftlog       just this one, with its trace
func TestSimulation(t *testing.T) {
	simulateElections(t)
	if text := os.Getenv("TRIGLOT_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		w, err := simulate(seed, &strings.Builder{})
		fmt.Print(w.trace)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		return
	}
	runs := simRuns(t)
	var next atomic.Uint64
	var sum simSums
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed := next.Add(1); seed <= runs && !t.Failed(); seed = next.Add(1) {
				w, err := simulate(seed, nil)
				if err != nil {
					report(t, seed, err)
					return
				}
				sum.add(w)
			}
		})
	}
	workers.Wait()
	t.Log(sum.String())
}

func simRuns(t *testing.T) uint64 {
	if text := os.Getenv("TRIGLOT_SIM_RUNS"); text != "" {
		runs, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return runs
	}
	if testing.Short() {
		return 200
	}
	return 3000
}

// report runs a seed again to show how it came to its failure.
func report(t *testing.T, seed uint64, err error) {
	w, again := simulate(seed, &strings.Builder{})
	if again == nil || again.Error() != err.Error() {
		t.Errorf("seed %d is not deterministic: %v, then %v", seed, err, again)
	}
	lines := strings.Split(w.trace.String(), "\n")
	t.Errorf("seed %d: %v\nTRIGLOT_SIM_SEED=%d shows all; the end is\n%s",
		seed, err, seed, strings.Join(lines[max(0, len(lines)-60):], "\n"))
}

// A seed is a schedule: the same events with the same messages at the same moments.
func TestASeedOfTheSimulationIsOneSchedule(t *testing.T) {
	simulateElections(t)
	for seed := range uint64(20) {
		var traces [2]string
		for i := range traces {
			w, err := simulate(seed, &strings.Builder{})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			traces[i] = w.trace.String()
		}
		if traces[0] != traces[1] {
			a, b := strings.Split(traces[0], "\n"), strings.Split(traces[1], "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d differs in line %d:\n%s\n%s", seed, i+1, a[i], b[i])
				}
			}
		}
	}
}

// zeros is a source of no randomness.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// simulateElections makes raft's random election time-outs all alike until the test is over: they come from a source
// that all worlds share. The members' clocks, which run at random speeds, take their place.
func simulateElections(t *testing.T) {
	before := rand.Reader
	rand.Reader = zeros{}
	t.Cleanup(func() { rand.Reader = before })
}

const (
	healsWithin   = 60 * time.Second
	answersWithin = 20 * time.Second
)

// simulate runs a seed's world: a cluster is founded, is asked for all sorts of things while all sorts of things go
// wrong, heals, and has to come to rest with everything that it ever promised.
func simulate(seed uint64, trace *strings.Builder) (w *world, err error) {
	w = &world{seed: seed, dice: mathrand.New(mathrand.NewPCG(seed, 77)), trace: trace}
	defer func() {
		if r := recover(); r != nil {
			stack := make([]byte, 8<<10)
			w.say(0, "%s", stack[:runtime.Stack(stack, false)])
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	w.plan = w.drawPlan()
	w.net = &network{w: w, links: map[[2]uint64]*link{}, drop: w.plan.drop}
	w.truth = newTruth(w)
	w.clients, w.faults = &clients{w: w}, &faults{w: w}
	w.say(0, "%+v", w.plan)
	for range w.plan.voters {
		w.addMember(true)
	}
	for _, m := range w.members {
		w.after(w.between(0, 300*time.Millisecond), m.start)
	}
	w.clients.start(w.plan.length + time.Second)
	w.faults.start(w.plan.length)
	w.until(w.plan.length, nil)
	if w.failure == nil {
		w.calm()
	}
	w.verdict()
	return w, w.failure
}

// calm is the life after the faults.
func (w *world) calm() {
	w.heal()
	w.until(w.plan.length+time.Second, nil) // the clients go on for a while
	if !w.until(w.now+healsWithin, w.healed) {
		w.fail("the cluster does not come to rest within %v: %s", healsWithin, w.unrest())
		return
	}
	w.say(0, "AT REST")
	for _, r := range w.running() {
		if r.machine.conf != nil && !r.isRemoved(r.m.id) {
			w.clients.propose(r)
			w.clients.read(r)
		}
	}
	if !w.until(w.now+answersWithin, w.healed) {
		w.fail("the healthy cluster does not answer within %v: %s", answersWithin, w.unrest())
	}
}

// verdict looks at what is left when all is over.
func (w *world) verdict() {
	if w.failure != nil {
		return
	}
	t := w.truth
	if t.floor > t.last() {
		w.fail("entry %d was known to a client, the log ends at %d", t.floor, t.last())
	}
	last := &t.log[t.last()]
	for _, id := range last.members() {
		r := w.member(id).run
		switch {
		case r.machine.hash != last.hash:
			w.fail("node %d has another state than the log says", id)
		case r.open > 1:
			w.fail("node %d keeps %d snapshots", id, r.open)
		}
	}
}

// unrest says what keeps a world from resting.
func (w *world) unrest() string {
	var b strings.Builder
	last := &w.truth.log[w.truth.last()]
	fmt.Fprintf(&b, "the log ends at %d, %s", last.index, confText(last.conf))
	for _, r := range w.running() {
		s := r.status()
		fmt.Fprintf(&b, "\n  node %d: %v of term %d, leader %d, commit %d, applied %d, %d proposals open, %d readers",
			r.m.id, s.RaftState, s.HardState.GetTerm(), s.Lead, s.HardState.GetCommit(), r.machine.index, r.pending, r.readers)
	}
	return b.String()
}

// simSums are how much happened in all runs, to see that the schedules are worth something.
type simSums struct {
	mu                                                                                            sync.Mutex
	runs, steps, entries, acked, dropped, lost, reads, terms, crashes, installs, changes, members int
	simulated                                                                                     time.Duration
}

func (s *simSums) add(w *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs++
	s.steps += w.steps
	s.simulated += w.now
	s.entries += int(w.truth.last())
	s.acked += w.truth.acked
	s.reads += w.truth.reads
	s.terms += len(w.truth.leaders)
	s.members += len(w.members)
	s.installs += w.truth.installs
	for i := 1; i < len(w.truth.log); i++ {
		if string(w.truth.log[i].conf) != string(w.truth.log[i-1].conf) {
			s.changes++
		}
	}
	for _, m := range w.members {
		s.crashes += int(m.runs) - 1
	}
	for _, p := range w.truth.proposals {
		switch p.fate {
		case fateDropped:
			s.dropped++
		case fateLost:
			s.lost++
		}
	}
}

func (s *simSums) String() string {
	n := float64(max(1, s.runs))
	return fmt.Sprintf("%d schedules of %v and %d steps: %.1f terms with a leader, %.1f crashes, %.1f snapshots installed, "+
		"%.1f changes of the membership, %.0f entries, %.0f proposals acknowledged, %.1f dropped, %.1f lost, %.0f reads each",
		s.runs, (s.simulated / time.Duration(n)).Round(time.Millisecond), s.steps/max(1, s.runs), float64(s.terms)/n, float64(s.crashes)/n,
		float64(s.installs)/n, float64(s.changes)/n, float64(s.entries)/n, float64(s.acked)/n, float64(s.dropped)/n,
		float64(s.lost)/n, float64(s.reads)/n)
}
