package zkcompat

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/triglot/triglot/core"
)

// fakeKeeper is a cluster whose leader the test says, and that counts what it is asked.
type fakeKeeper struct {
	mu      sync.Mutex
	leader  uint64
	changed chan struct{}
	calls   [][]int64
	delay   time.Duration // of a call
	err     error
	over    map[int64]bool
}

func newFakeKeeper() *fakeKeeper { return &fakeKeeper{leader: 1, changed: make(chan struct{})} }

func (f *fakeKeeper) LeaderWatch() (uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader, f.changed
}

func (f *fakeKeeper) elect(leader uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = leader
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeKeeper) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeKeeper) KeepAliveAll(_ context.Context, ids []int64) ([]int64, error) {
	f.mu.Lock()
	f.calls = append(f.calls, ids)
	delay := f.delay
	f.mu.Unlock()
	<-time.After(delay)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	ttls := make([]int64, len(ids))
	for i, id := range ids {
		if !f.over[id] {
			ttls[i] = 4000
		}
	}
	return ttls, nil
}

// taken gives the calls since it was asked last.
func (f *fakeKeeper) taken() [][]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// renewed is a connection as the renewer sees it.
type renewed struct {
	renewal
	ended chan error
}

func newRenewed(r *renewer, session int64, timeout time.Duration) *renewed {
	c := &renewed{ended: make(chan error, 1)}
	r.begin(&c.renewal, session, timeout, time.Now(), func(cause error) {
		select {
		case c.ended <- cause:
		default:
		}
	})
	return c
}

func (c *renewed) wantOpen(t *testing.T, when string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-c.ended:
		t.Errorf("%s: the connection of session %d ended: %v", when, c.session, err)
	default:
	}
}

// inRenewer runs a test with a renewer that gathers for a quarter of a second, in time of its own.
func inRenewer(t *testing.T, test func(t *testing.T, f *fakeKeeper, r *renewer)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeKeeper()
		r := newRenewer(f, 250*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { r.run(ctx) })
		test(t, f, r)
		cancel()
		running.Wait()
	})
}

func TestRenewalsOfManySessionsShareACall(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.delay = time.Second
		conns := make([]*renewed, 10_000)
		for i := range conns {
			conns[i] = newRenewed(r, int64(i+1), 30*time.Second)
		}
		for range 100 { // ten seconds with a packet of every client each tenth
			for _, c := range conns {
				r.touch(&c.renewal, time.Now())
			}
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(3 * time.Second)
		calls := f.taken()
		if len(calls) > 9 {
			t.Errorf("%d calls in 11 seconds, one a second", len(calls))
		}
		for _, ids := range calls {
			slices.Sort(ids)
			if len(ids) != len(conns) || len(slices.Compact(ids)) != len(conns) {
				t.Errorf("a call with %d sessions", len(ids))
			}
		}
		for _, c := range conns {
			c.wantOpen(t, "renewed")
			if !c.since.IsZero() {
				t.Fatalf("session %d is not confirmed", c.session)
			}
		}
	})
}

// What a client sends while a call is under way is not covered by it: its session is asked for again.
func TestAPacketDuringACallIsRenewedByTheNext(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.delay = time.Second
		c := newRenewed(r, 7, 30*time.Second)
		r.touch(&c.renewal, time.Now())
		<-time.After(700 * time.Millisecond) // the call is on its way
		r.touch(&c.renewal, time.Now())
		<-time.After(5 * time.Second)
		if calls := f.taken(); len(calls) != 2 {
			t.Errorf("calls %v", calls)
		}
		r.touch(&c.renewal, time.Now())
		<-time.After(5 * time.Second)
		if calls := f.taken(); len(calls) != 1 {
			t.Errorf("calls %v", calls)
		}
	})
}

func TestAConnectionIsCutWhenItsRenewalsAreUnconfirmedForAThirdOfItsTimeout(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		short, long, silent := newRenewed(r, 1, 6*time.Second), newRenewed(r, 2, 30*time.Second), newRenewed(r, 3, 6*time.Second)
		r.touch(&silent.renewal, time.Now())
		<-time.After(time.Second)
		f.elect(0)
		began := time.Now()
		r.touch(&short.renewal, time.Now())
		r.touch(&long.renewal, time.Now())
		if err := <-short.ended; !errors.Is(err, errUnconfirmed) || time.Since(began) != 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if calls := f.taken(); len(calls) != 1 {
			t.Errorf("asked without a leader: %v", calls)
		}
		<-time.After(5 * time.Second)
		long.wantOpen(t, "within its limit")
		f.elect(2)
		<-time.After(time.Minute)
		long.wantOpen(t, "renewed by the new leader")
		silent.wantOpen(t, "all that it sent is confirmed")
	})
}

// A packet that comes while an earlier one is unconfirmed does not put the end off.
func TestPacketsDoNotProlongAConnectionThatIsNotRenewed(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.fail(core.ErrNoLeader)
		c := newRenewed(r, 1, 6*time.Second)
		began := time.Now()
		for {
			r.touch(&c.renewal, time.Now())
			select {
			case err := <-c.ended:
				if !errors.Is(err, errUnconfirmed) || time.Since(began) != 2*time.Second {
					t.Errorf("after %v: %v", time.Since(began), err)
				}
				r.forget(&c.renewal)
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

func TestACallThatFailsIsMadeAgain(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.fail(core.ErrNoLeader)
		c := newRenewed(r, 1, 30*time.Second)
		r.touch(&c.renewal, time.Now())
		<-time.After(5 * time.Second)
		f.fail(nil)
		<-time.After(time.Minute)
		c.wantOpen(t, "renewed at last")
		if !c.since.IsZero() {
			t.Error("not confirmed")
		}
	})
}

// An answer tells a client that its session lives. After a silence, of the client or of this process, that has to be asked for first.
func TestAPacketAfterASilenceWaitsUntilItsSessionIsConfirmed(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		const callTakes = 100 * time.Millisecond
		f.delay = callTakes
		c := newRenewed(r, 1, 30*time.Second)
		heard := func(after, want time.Duration) {
			t.Helper()
			<-time.After(after)
			began := time.Now()
			if !r.hear(t.Context(), &c.renewal, began) || time.Since(began) != want {
				t.Errorf("a packet %v after the last waited %v, not %v", after, time.Since(began), want)
			}
		}
		urgently := r.pause/urgentPart + callTakes
		heard(12*time.Second, 0)
		heard(11*time.Second, 0)
		heard(13*time.Second, urgently)
		heard(time.Second, 0)
		heard(29*time.Second, urgently)

		<-time.After(13 * time.Second)
		f.over = map[int64]bool{1: true}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			if err := <-c.ended; !errors.Is(err, errSessionOver) {
				t.Error(err)
			}
			cancel()
		}()
		if r.hear(ctx, &c.renewal, time.Now()) {
			t.Error("a packet of a session that is over was taken")
		}
		r.forget(&c.renewal)
	})
}

func TestAConnectionWhoseSessionIsOverIsToldByTheRenewal(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.over = map[int64]bool{1: true}
		c, other := newRenewed(r, 1, 30*time.Second), newRenewed(r, 2, 30*time.Second)
		r.touch(&c.renewal, time.Now())
		r.touch(&other.renewal, time.Now())
		if err := <-c.ended; !errors.Is(err, errSessionOver) {
			t.Error(err)
		}
		r.forget(&c.renewal)
		other.wantOpen(t, "its neighbour is over")
	})
}

func TestAConnectionThatHasEndedIsForgotten(t *testing.T) {
	inRenewer(t, func(t *testing.T, f *fakeKeeper, r *renewer) {
		f.elect(0)
		c := newRenewed(r, 1, 6*time.Second)
		r.touch(&c.renewal, time.Now())
		r.forget(&c.renewal)
		<-time.After(time.Minute)
		c.wantOpen(t, "forgotten")
		f.elect(1)
		<-time.After(time.Minute)
		c.wantOpen(t, "forgotten")
	})
}

// BenchmarkTouch is what every packet of a client costs while its renewal is gathered.
func BenchmarkTouch(b *testing.B) {
	r := newRenewer(newFakeKeeper(), time.Hour)
	c := newRenewed(r, 1, time.Hour)
	now := time.Now()
	for b.Loop() {
		r.touch(&c.renewal, now)
	}
	r.forget(&c.renewal)
}
