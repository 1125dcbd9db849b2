package core

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core/corepb"
)

const (
	historyAgeDefault   = time.Hour
	historyBytesDefault = 1 << 30
	// historySamples is how finely age and bytes are told apart: the bounds hold to about one part in so many.
	historySamples = 64
	// countEvery is how often revisions are counted, as by etcd: a bound by number alone would else mean a compaction for every write.
	countEvery = 5 * time.Minute
)

// historian bounds the history: it proposes compactions when old versions are past their age or too many in bytes, and
// has storage remove what a compaction made dead. It runs on one goroutine.
type historian struct {
	store    *Store
	age      time.Duration // negative: no bound
	bytes    int64         // negative: no bound
	samples  []historySample
	purgeNow chan struct{} // capacity 1: the compacted revision moved
	grown    chan struct{} // capacity 1: superseded bytes passed next sample's
	sampleAt atomic.Int64  // superseded bytes at which the next sample is due

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
	h := &historian{
		store: s, age: s.cfg.HistoryAge, bytes: s.cfg.HistoryBytes,
		purgeNow: make(chan struct{}, 1), grown: make(chan struct{}, 1),
	}
	if h.age == 0 {
		h.age = historyAgeDefault
	}
	if h.bytes == 0 {
		h.bytes = historyBytesDefault
	}
	return h
}

// supersede tells the historian how many bytes of versions have been superseded since the beginning.
func (h *historian) supersede(bytes int64) {
	if h.bytes > 0 && bytes >= h.sampleAt.Load() {
		notify(h.grown)
	}
}

// purge wakes the historian after a compaction.
func (h *historian) purge() { notify(h.purgeNow) }

func (h *historian) run(ctx context.Context) {
	var tick <-chan time.Time // none without a bound of age
	if h.age > 0 {
		ticker := time.NewTicker(max(10*time.Millisecond, h.age/historySamples))
		defer ticker.Stop()
		tick = ticker.C
	}
	var counts <-chan time.Time // none without a bound of number
	if h.store.cfg.HistoryRevisions > 0 {
		ticker := time.NewTicker(countEvery)
		defer ticker.Stop()
		counts = ticker.C
	}
	h.sample(time.Now())
	h.purge() // what an earlier run of the node left
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick:
			h.sample(now)
			h.compact(ctx, h.target(now))
		case <-counts:
			h.compact(ctx, h.counted())
		case <-h.grown:
			now := time.Now()
			h.sample(now)
			h.compact(ctx, h.target(now))
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
	defer view.Release()
	compacted := view.State().Compacted
	begun := time.Now()
	if err := h.store.db.PurgeHistory(ctx, compacted); err != nil {
		if ctx.Err() == nil {
			h.store.logger.Error("old history could not be removed", "err", err)
		}
		return
	}
	h.supersede(view.State().SupersededBytes) // a bound may be passed still
	h.mu.Lock()
	if compacted > h.purged {
		h.store.measures.purge.Since(begun)
		h.store.measures.purgedAt.Store(time.Now().UnixNano())
	}
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
		grown := h.bytes > 0 && state.SupersededBytes-last.superseded >= h.bytes/historySamples
		if last.revision == state.Revision || !aged && !grown {
			return
		}
	}
	h.sampleAt.Store(state.SupersededBytes + h.bytes/historySamples)
	h.samples = append(h.samples, historySample{at: now, revision: state.Revision, superseded: state.SupersededBytes})
}

// compact proposes a compaction at a revision, if that is not 0. That is for the leader to do; the others keep samples so that they
// know the ages of things when they lead.
func (h *historian) compact(ctx context.Context, target int64) {
	if target == 0 || h.store.leadership.leadsIn() == 0 {
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

// counted is the revision to compact at so that no more are kept than are to be, 0 for none.
func (h *historian) counted() int64 {
	view := h.store.views.get()
	if view == nil {
		return 0
	}
	defer view.Release()
	if target := view.State().Revision - h.store.cfg.HistoryRevisions; target > view.State().Compacted {
		return target
	}
	return 0
}

// target chooses the revision to compact at, 0 for none, and drops the samples that are of no more use. What happened
// up to a sample's revision goes with a compaction at it.
func (h *historian) target(now time.Time) int64 {
	view := h.store.views.get()
	if view == nil {
		return 0
	}
	state := *view.State()
	view.Release()
	behind := 0 // samples that lie behind a bound: all before this one
	heavy := h.bytes > 0 && h.store.db.SupersededBytes() > h.bytes
	for i, s := range h.samples {
		if h.age > 0 && now.Sub(s.at) >= h.age {
			behind = i + 1
		}
		// A compaction that frees a little more than it must need not be followed by another at once. What is from
		// before the first sample, of an earlier run, goes first.
		if heavy && (i == 0 || state.SupersededBytes-h.samples[i-1].superseded > h.bytes*9/10) {
			behind = i + 1
		}
	}
	if behind == 0 {
		return 0
	}
	target := h.samples[behind-1].revision
	h.samples = h.samples[behind:]
	if target <= state.Compacted {
		return 0
	}
	return target
}

// Defragment rewrites what this member has on disk, so that what is gone takes no room any more. It is of this member alone,
// which goes on serving, and ends early when ctx does.
func (s *Store) Defragment(ctx context.Context) error {
	s.measures.defragmenting.Add(1)
	defer s.measures.defragmenting.Add(-1)
	defer s.measures.defragment.Since(time.Now())
	return s.db.Defragment(ctx)
}
