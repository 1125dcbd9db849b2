package core

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// reaper proposes the removal of keys whose deadline has come, and of containers and TTL nodes that are due. It sleeps
// until the soonest deadline; a step that sets a sooner one wakes it.
type reaper struct {
	store   *Store
	removed atomic.Uint64 // keys, since the start

	mu   sync.Mutex // guards next
	next int64      // deadline it sleeps for, Unix milliseconds; 0 when it is awake or sleeps for none
	wake chan struct{}
}

// reapKeys bounds how many keys one command removes.
const reapKeys = 256

// reapRetry is how long the reaper waits before it proposes again what could not be proposed.
const reapRetry = time.Second

// reapSleep is the longest sleep: the system clock may be set.
const reapSleep = time.Minute

func newReaper(s *Store) *reaper { return &reaper{store: s, wake: make(chan struct{}, 1)} }

// expect tells the reaper of a deadline.
func (r *reaper) expect(millis int64) {
	r.mu.Lock()
	sooner := r.next == 0 || millis < r.next
	if sooner {
		r.next = millis
	}
	r.mu.Unlock()
	if sooner {
		notify(r.wake)
	}
}

// run is a duty of the leader. It begins with a look at what became due while others led.
func (r *reaper) run(ctx context.Context, _ uint64) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.reap(ctx))
	}
}

// reap removes all that is due and says how long to sleep.
func (r *reaper) reap(ctx context.Context) time.Duration {
	r.mu.Lock()
	r.next = 1 << 62 // what is set from here on wakes it
	r.mu.Unlock()
	for {
		now := r.store.cfg.NowMillis()
		due, next, ok := r.due(now)
		if !ok {
			return reapSleep // the store is closed
		}
		if len(due) == 0 {
			if next == 0 {
				return reapSleep
			}
			r.mu.Lock()
			r.next = min(r.next, next)
			r.mu.Unlock()
			return min(reapSleep, time.Duration(next-now)*time.Millisecond)
		}
		txn := oneOp(&corepb.Op{Op: &corepb.Op_Reap{Reap: &corepb.Reap{Due: due}}})
		results, err := r.store.Submit(ctx, txn).Wait(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.store.logger.Warn("keys are past their deadline but could not be removed; trying again", "keys", len(due), "err", err)
			}
			return reapRetry
		}
		if len(results[0].Results) == 1 {
			r.removed.Add(uint64(results[0].Results[0].Int))
		}
	}
}

// due lists deadlines that have come, and gives the first that has not, 0 for none.
func (r *reaper) due(now int64) (due []*corepb.Reap_Due, next int64, ok bool) {
	view := r.store.views.get()
	if view == nil {
		return nil, 0, false
	}
	defer view.Release()
	iter := view.Scan(storage.DeadlineBounds(1 << 62))
	defer iter.Close()
	for iter.Next() {
		millis, space, key, _ := storage.SplitDeadline(iter.Key())
		if millis > now {
			return due, millis, true
		}
		if len(due) == reapKeys {
			break
		}
		due = append(due, &corepb.Reap_Due{Space: uint32(space), Key: bytes.Clone(key), DeadlineMillis: millis})
	}
	return due, 0, true
}
