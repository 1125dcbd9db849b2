package core

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/triglot/triglot/storage"
)

// Hub brings the changes of the store to everything that watches: etcd watches, ZooKeeper's one-shot, persistent and
// recursive watches, Redis keyspace notifications, tracking, pub/sub, and blocked list readers.
//
// How a change travels:
//
//   - The apply goroutine publishes the events of each step, once, into the ring (hub_ring.go), which all readers share.
//   - The index (hub_index.go) gives the watches that match; each is marked as owed a stretch of the ring, and its Feed
//     is told through a channel of capacity 1. That is all that publishing does: its cost is that of the matching
//     watches, and it waits for nobody.
//   - The feed's owner reads what is owed when it likes (hub_feed.go): from the ring, and where the ring has moved on,
//     from the log table (hub_read.go).
//
// A watch is therefore a cursor and not a queue: a feed that is never read holds a few words for each watch and nothing
// else, and its watches soon leave the index. The hub starts no goroutines.
//
// Locks, in the order in which they may be taken together: Feed.changing, watchIndex.mu, watchStop.mu; and
// Feed.changing or Feed.reading, then Feed.mu, then watchStop.mu. The publisher takes Feed.mu and watchStop.mu only, and
// both are held for moments, never for reading events.
type Hub struct {
	log   eventLog
	ring  eventRing
	index watchIndex

	sleepAfter uint64 // groups that a watch may be behind before it sleeps; see Feed.mark

	// marked is the revision up to which every watch that matches has been marked.
	marked atomic.Int64

	mu     sync.Mutex // guards feeds and closed
	feeds  map[*Feed]struct{}
	closed bool

	// The publisher's own, reused from step to step.
	groups []*eventGroup
	hits   []*activeWatch
	woken  []*Feed
	label  []byte
}

// HubOptions bounds the ring. Zero means the default.
type HubOptions struct {
	EventsMax int   // 65,536
	BytesMax  int64 // 8 MiB, keys, values and headers of the events together
}

const (
	hubEventsMaxDefault = 65_536
	hubBytesMaxDefault  = 8 << 20
)

// newHub makes a hub for a store that stands at a revision. Everything up to it is looked for in the log.
func newHub(log eventLog, revision int64, options HubOptions) *Hub {
	if options.EventsMax <= 0 {
		options.EventsMax = hubEventsMaxDefault
	}
	if options.BytesMax <= 0 {
		options.BytesMax = hubBytesMaxDefault
	}
	h := &Hub{log: log, feeds: map[*Feed]struct{}{}, sleepAfter: sleepAfterDefault}
	h.ring.init(revision, options.EventsMax, options.BytesMax)
	h.index.init()
	h.marked.Store(revision)
	return h
}

// Publish hands over the events of one apply step, in order, and the store's revision after it. When it returns, Next of
// every feed gives what the step owes it. The events are shared from here on and must not change; the slice is the
// caller's again. All stored events of a revision come in one call, and revisions never go down.
//
// There is one publisher at a time. It calls after the step is committed, so that the log holds what the ring drops, and
// before the step is visible to readers.
func (h *Hub) Publish(events []*storage.Event, revision int64) {
	h.groups = appendGroups(h.groups[:0], events)
	h.ring.append(h.groups, revision)

	// The index is read after the ring moved: a watch that is not in it yet will find the new events in the ring.
	seen := h.index.snapshot()
	hitsMost := 0
	for _, g := range h.groups {
		for _, e := range g.events {
			h.hits, h.label = seen.match(h.hits[:0], h.label, e)
			hitsMost = max(hitsMost, len(h.hits))
			for _, w := range h.hits {
				if w.lastMarked != g.position {
					w.lastMarked = g.position
					if w.feed.mark(w, g) {
						h.woken = append(h.woken, w.feed)
					}
				}
			}
		}
	}
	h.marked.Store(revision)

	// Only now: whoever wakes finds all of the step, in every watch that it concerns.
	for _, feed := range h.woken {
		feed.signal()
	}
	clear(h.woken)
	h.woken = h.woken[:0]

	// Nothing is kept alive by what is only reused.
	clear(h.groups)
	clear(h.hits[:hitsMost])
}

// told is the highest revision that any feed can have been told of: one that is just being published counts.
func (h *Hub) told() int64 { return h.ring.span.Load().revision }

// NewFeed makes a feed: one for each connection or stream. On a closed hub the feed is closed.
func (h *Hub) NewFeed() *Feed {
	f := &Feed{
		hub:     h,
		ready:   make(chan struct{}, 1),
		done:    make(chan struct{}),
		watches: map[int64]*activeWatch{},
	}
	h.mu.Lock()
	closed := h.closed
	if !closed {
		h.feeds[f] = struct{}{}
	}
	h.mu.Unlock()
	if closed {
		f.Close()
	}
	return f
}

// Close closes every feed. When it returns the hub does not touch the log any more.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	feeds := make([]*Feed, 0, len(h.feeds))
	for f := range h.feeds {
		feeds = append(feeds, f)
	}
	h.mu.Unlock()
	for _, f := range feeds {
		f.Close()
	}
}

// HubStats says how much the hub holds.
type HubStats struct {
	Feeds, Watches int
	Due            int   // watches that are owed something
	Events         int   // in the ring
	Bytes          int64 // of them
	Revision       int64 // of the last publication
}

// Stats gives the numbers for metrics.
func (h *Hub) Stats() HubStats {
	span := h.ring.span.Load()
	stats := HubStats{Events: span.events, Bytes: span.bytes, Revision: span.revision, Watches: h.index.len()}
	h.mu.Lock()
	stats.Feeds = len(h.feeds)
	feeds := slices.Collect(maps.Keys(h.feeds))
	h.mu.Unlock()
	for _, f := range feeds {
		stats.Due += f.due()
	}
	return stats
}
