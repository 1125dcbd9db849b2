package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The frame of the load: hands that work until they are told to stop, keys that are checked as they retire, and a count
// of what became of it all.

// faults is a load on a cluster, and what was found.
type faults struct {
	t         testing.TB
	addresses []*server // by place; only the clients' addresses are used
	places    []int
	seed      uint64

	ctx     context.Context // ends with the load
	end     context.CancelFunc
	working sync.WaitGroup

	checking  sync.WaitGroup
	queue     chan retired
	ops, keys atomic.Int64 // checked
	unchecked atomic.Int64 // keys whose search took too long
	broken    atomic.Int64
	first     chan struct{} // closed when the first is found
	expected  bool          // that something is found: then it is counted and not told

	telling sync.Mutex // guards told
	told    []string

	mu     sync.Mutex // guards all below
	counts map[string]*[3]int64
	errors map[string]int64
	after  []func() // checks for when all is healed and the hands rest
}

// retired is a key that is to be checked.
type retired struct {
	*history
	model porcupine.Model
}

// hand is one client of the load.
type hand struct {
	f       *faults
	name    string
	refused bool // the last operation was
}

// brokenMost ends the reports of a run that has gone wrong all over.
const brokenMost = 5

func newFaults(t testing.TB, addresses []*server, seed uint64) *faults {
	f := &faults{
		t: t, addresses: addresses, seed: seed, queue: make(chan retired, 256), first: make(chan struct{}),
		counts: map[string]*[3]int64{}, errors: map[string]int64{},
	}
	for place := range addresses {
		f.places = append(f.places, place)
	}
	f.ctx, f.end = context.WithCancel(context.Background())
	f.checking.Go(f.checkKeys)
	t.Cleanup(func() { // of a test that ended early
		f.end()
		f.working.Wait()
	})
	return f
}

// violated tells what must not be.
func (f *faults) violated(format string, args ...any) {
	f.t.Helper()
	n := f.broken.Add(1)
	if n == 1 {
		close(f.first)
	}
	if n <= brokenMost && !f.expected {
		text := fmt.Sprintf("at %.3f ms: %s", float64(now())/1e6, fmt.Sprintf(format, args...))
		f.telling.Lock()
		f.told = append(f.told, text)
		f.telling.Unlock()
		f.t.Errorf("%s", text)
	}
}

// violations are those that were told, again.
func (f *faults) violations() string {
	f.telling.Lock()
	defer f.telling.Unlock()
	return fmt.Sprintf("%d violations:\n%s", f.broken.Load(), strings.Join(f.told, "\n"))
}

// random gives a source that is the same in each run with one seed.
func (f *faults) random(name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(f.seed, h.Sum64()))
}

// work runs a hand.
func (f *faults) work(name string, do func(ctx context.Context, rng *rand.Rand, w *hand)) {
	f.working.Go(func() { do(f.ctx, f.random(name), &hand{f: f, name: name}) })
}

// refusedPace is how long a hand waits that was refused: its member may be down for a while.
const refusedPace = 100 * time.Millisecond

// next waits for the time of the next operation, and says whether there is one.
func (w *hand) next(ctx context.Context, pace time.Duration) bool {
	if w.refused {
		pace = max(pace, refusedPace)
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pace):
		return ctx.Err() == nil
	}
}

// count notes what became of an operation. An error that no fault explains is a violation of its own.
func (w *hand) count(f fate, err error) {
	w.refused = f == refused && err != nil
	w.f.mu.Lock()
	defer w.f.mu.Unlock()
	protocol := w.protocol()
	if w.f.counts[protocol] == nil {
		w.f.counts[protocol] = &[3]int64{}
	}
	w.f.counts[protocol][f]++
	if err == nil {
		return
	}
	expected := map[string]func(error) bool{"etcd": etcdExpected, "redis": redisExpected, "zk": zkExpected}[protocol]
	if errors.Is(err, context.Canceled) || expected(err) {
		text := err.Error()
		text = addressIn.ReplaceAllString(text, "…")
		w.f.errors[protocol+": "+text[:min(len(text), 80)]]++
		return
	}
	w.f.violated("%s: an error that no fault explains: %v", w.name, err)
}

var addressIn = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+`)

// protocol is the first part of a hand's name, such as etcd@1.
func (w *hand) protocol() string {
	protocol, _, _ := strings.Cut(w.name, "@")
	return protocol
}

// pace is how long a hand waits between two operations: the load is there to interleave, not to weigh.
func (f *faults) pace() time.Duration { return time.Duration(len(f.addresses)) * 7 * time.Millisecond }

// slots makes keys to work on that are checked by a model.
func (f *faults) slots(n int, prefix string, most int, model porcupine.Model) (slots []*slot) {
	for i := range n {
		slots = append(slots, &slot{prefix: fmt.Sprintf("%s-%d", prefix, i), most: most, retired: func(h *history) {
			f.queue <- retired{h, model}
		}})
	}
	f.finally(func() {
		for _, s := range slots {
			s.finish()
		}
	})
	return slots
}

// finally has something done when the hands rest, in the order of the calls.
func (f *faults) finally(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after = append(f.after, do)
}

const searchBound = 30 * time.Second

func (f *faults) checkKeys() {
	for r := range f.queue {
		f.ops.Add(int64(len(r.ops)))
		f.keys.Add(1)
		switch r.check(r.model, searchBound) {
		case porcupine.Illegal:
			f.violated("no order explains the %s", r.history)
		case porcupine.Unknown:
			f.unchecked.Add(1)
		}
	}
}

// rest ends the load, and returns when all is checked.
func (f *faults) rest() {
	f.t.Helper()
	f.end()
	f.working.Wait()
	for _, do := range f.after {
		do()
	}
	close(f.queue)
	f.checking.Wait()
	f.t.Logf("%d operations on %d keys checked (%d keys took too long to search)", f.ops.Load(), f.keys.Load(), f.unchecked.Load())
	for _, protocol := range slices.Sorted(maps.Keys(f.counts)) {
		n := f.counts[protocol]
		f.t.Logf("%s: %d answered, %d refused, %d unknown", protocol, n[done], n[refused], n[unknown])
		if n[done] == 0 {
			f.t.Errorf("%s: nothing was answered", protocol)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(f.errors)) {
		f.t.Logf("%6d times %s", f.errors[text], text)
	}
	if n := f.broken.Load(); n > brokenMost && !f.expected {
		f.t.Errorf("%d violations in all", n)
	}
}
