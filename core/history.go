package core

import (
	"context"
	"sync"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

const (
	historyAgeDefault   = time.Hour
	historyBytesDefault = 1 << 30
	// historySamples is how finely age and bytes are told apart: the bounds hold to about one part in so many.
	historySamples = 64
)

// historian bounds the history: it proposes compactions when old versions are past their age or too many in bytes, and
// has storage remove what a compaction made dead. It runs on one goroutine.
type historian struct {
	store    *Store
	age      time.Duration // negative: no bound
	bytes    int64         // negative: no bound
	samples  []historySample
	purgeNow chan struct{} // capacity 1: the compacted revision moved

	mu     sync.Mutex    // guards the fields below
	purged int64         // compacted revision up to which everything dead is gone
	next   chan struct{} // closed when purged moves; made when somebody waits
}

// historySample remembers where the store stood.
type historySample struct {
	at         time.Time
	revision   int64
	superseded int64 // bytes of versions that were replaced or deleted, since the beginning
}

func newHistorian(s *Store) *historian {
	h := &historian{store: s, age: s.cfg.HistoryAge, bytes: s.cfg.HistoryBytes, purgeNow: make(chan struct{}, 1)}
	if h.age == 0 {
		h.age = historyAgeDefault
	}
	if h.bytes == 0 {
		h.bytes = historyBytesDefault
	}
	return h
}

// purge wakes the historian after a compaction.
func (h *historian) purge() { notify(h.purgeNow) }

func (h *historian) run(ctx context.Context) {
	tick := time.NewTicker(h.interval())
	defer tick.Stop()
	h.sample(time.Now())
	h.purge() // what an earlier run of the node left
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.sample(now)
			h.compact(ctx, now)
		case <-h.purgeNow:
			h.purgeDead(ctx)
		}
	}
}

// purgeDead removes what no read at or after the compacted revision needs, and tells those who wait for it.
func (h *historian) purgeDead(ctx context.Context) {
	view := h.store.views.get()
	if view == nil {
		return
	}
	compacted := view.State().Compacted
	view.Release()
	if err := h.store.db.PurgeHistory(ctx, compacted); err != nil {
		if ctx.Err() == nil {
			h.store.logger.Error("old history could not be removed", "err", err)
		}
		return
	}
	h.mu.Lock()
	h.purged = compacted
	next := h.next
	h.next = nil
	h.mu.Unlock()
	if next != nil {
		close(next)
	}
}

// WaitPurged returns when the history below a compacted revision is gone from storage (etcd's physical compaction).
func (s *Store) WaitPurged(ctx context.Context, revision int64) error {
	h := s.history
	for {
		h.mu.Lock()
		if h.purged >= revision {
			h.mu.Unlock()
			return nil
		}
		if h.next == nil {
			h.next = make(chan struct{})
		}
		next := h.next
		h.mu.Unlock()
		select {
		case <-next:
		case <-s.done:
			return ErrStopped
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// interval is how often the bounds are looked at: often enough for the age, and at least every few seconds for the
// bytes, which grow with the writes.
func (h *historian) interval() time.Duration {
	interval := 5 * time.Second
	if h.age > 0 {
		interval = min(interval, max(10*time.Millisecond, h.age/historySamples))
	}
	return interval
}

// sample remembers the present, unless the last sample will do for it.
func (h *historian) sample(now time.Time) {
	view := h.store.views.get()
	if view == nil {
		return
	}
	state := *view.State()
	view.Release()
	if n := len(h.samples); n > 0 {
		last := h.samples[n-1]
		aged := h.age > 0 && now.Sub(last.at) >= h.age/historySamples
		grown := h.bytes > 0 && state.HistoryBytes-last.superseded >= h.bytes/historySamples
		if last.revision == state.Revision || !aged && !grown {
			return
		}
	}
	h.samples = append(h.samples, historySample{at: now, revision: state.Revision, superseded: state.HistoryBytes})
}

// compact proposes a compaction when a bound is passed.
func (h *historian) compact(ctx context.Context, now time.Time) {
	target := h.target(now)
	if target == 0 {
		return
	}
	txn := oneOp(&corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: target}}})
	results, err := h.store.Submit(ctx, txn).Wait(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		h.store.logger.Warn("history is past its bounds but could not be compacted; trying again", "revision", target, "err", err)
	case results[0].Err == nil:
		h.store.logger.Info("history compacted", "revision", target)
	}
}

// target chooses the revision to compact at, 0 for none, and drops the samples that are of no more use.
func (h *historian) target(now time.Time) int64 {
	view := h.store.views.get()
	if view == nil {
		return 0
	}
	state := *view.State()
	view.Release()
	keep := 0 // samples before it are behind a bound
	for i, s := range h.samples {
		aged := h.age > 0 && now.Sub(s.at) > h.age
		heavy := h.bytes > 0 && h.store.db.HistoryBytes() > h.bytes && state.HistoryBytes-s.superseded > h.bytes*9/10
		if aged || heavy {
			keep = i + 1
		}
	}
	heavy := h.bytes > 0 && h.store.db.HistoryBytes() > h.bytes
	var target int64
	switch {
	case keep > 0 && heavy && keep < len(h.samples) && h.samples[keep].revision <= state.Revision:
		target = h.samples[keep].revision
	case keep > 0:
		target = h.samples[keep-1].revision
	case heavy && len(h.samples) > 0:
		target = h.samples[0].revision // all that the bound is passed by is from before the first sample
	}
	h.samples = h.samples[keep:]
	if target <= state.Compacted {
		return 0
	}
	return target
}
