package core

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/triglot/triglot/storage"
)

// discardLog is for benchmarks that never fall out of the ring.
type discardLog struct{ eventLog }

func benchEvent(key string, revision int64) []*storage.Event {
	e := putEvent(key)
	e.Revision = revision
	return []*storage.Event{e}
}

// One change, 1,000 feeds on its prefix, each with an owner of its own that waits for Ready: until all have it.
func BenchmarkWatchFanout1000(b *testing.B) {
	h := newHub(discardLog{}, 1, HubOptions{})
	defer h.Close()
	var delivered, owners sync.WaitGroup
	for range 1000 {
		f := h.NewFeed()
		mustWatch(b, f, 1, Watch{Key: []byte("/registry/pods/"), End: []byte("/registry/pods0")})
		owners.Go(func() {
			for {
				select {
				case <-f.Ready():
					for _, n := range f.Next(100) {
						delivered.Add(-len(n.Events))
					}
				case <-f.Done():
					return
				}
			}
		})
	}
	b.ReportAllocs()
	revision := int64(1)
	for b.Loop() {
		revision++
		delivered.Add(1000)
		h.Publish(benchEvent("/registry/pods/default/web-1", revision), revision)
		delivered.Wait()
	}
	h.Close()
	owners.Wait()
}

// The same without the scheduler: what marking 1,000 feeds and reading them costs by itself.
func BenchmarkWatchFanout1000Polled(b *testing.B) {
	h := newHub(discardLog{}, 1, HubOptions{})
	defer h.Close()
	var feeds []*Feed
	for range 1000 {
		f := h.NewFeed()
		mustWatch(b, f, 1, Watch{Key: []byte("/registry/pods/"), End: []byte("/registry/pods0")})
		feeds = append(feeds, f)
	}
	b.ReportAllocs()
	revision := int64(1)
	for b.Loop() {
		revision++
		h.Publish(benchEvent("/registry/pods/default/web-1", revision), revision)
		for _, f := range feeds {
			if n := f.Next(100); len(n) != 1 || len(n[0].Events) != 1 {
				b.Fatal(n)
			}
		}
	}
}

// 1,000 feeds that nobody reads: marking alone, as a publisher sees stalled clients.
func BenchmarkPublishToStalled1000(b *testing.B) {
	h := newHub(discardLog{}, 1, HubOptions{})
	defer h.Close()
	for range 1000 {
		mustWatch(b, h.NewFeed(), 1, Watch{Key: []byte("/registry/pods/"), End: []byte("/registry/pods0")})
	}
	b.ReportAllocs()
	revision := int64(1)
	for b.Loop() {
		revision++
		h.Publish(benchEvent("/registry/pods/default/web-1", revision), revision)
	}
}

func benchWatches(b *testing.B, shape func(i int) Watch) *Hub {
	h := newHub(discardLog{}, 1, HubOptions{})
	b.Cleanup(h.Close)
	var f *Feed
	for i := range 100_000 {
		if i%100 == 0 {
			f = h.NewFeed()
		}
		mustWatch(b, f, int64(i), shape(i))
	}
	return h
}

func exactWatch(i int) Watch { return Watch{Key: fmt.Appendf(nil, "/registry/pods/default/web-%d", i)} }

func benchPublish(b *testing.B, h *Hub, key func(revision int64) string) {
	b.ReportAllocs()
	revision := int64(1)
	for b.Loop() {
		revision++
		h.Publish(benchEvent(key(revision), revision), revision)
	}
}

func BenchmarkPublishNoWatches(b *testing.B) {
	h := newHub(discardLog{}, 1, HubOptions{})
	defer h.Close()
	benchPublish(b, h, func(int64) string { return "/registry/pods/default/db-1" })
}

// 100,000 watches of keys beside the one that changes.
func BenchmarkPublishNoMatch(b *testing.B) {
	benchPublish(b, benchWatches(b, exactWatch), func(int64) string { return "/registry/pods/default/web-x" })
}

// 100,000 watches, each change is for one of them.
func BenchmarkPublish1of100k(b *testing.B) {
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = string(exactWatch(rand.IntN(100_000)).Key)
	}
	benchPublish(b, benchWatches(b, exactWatch), func(revision int64) string { return keys[revision%4096] })
}

// 100,000 disjoint intervals, each change is in one of them.
func BenchmarkPublish1of100kIntervals(b *testing.B) {
	h := benchWatches(b, func(i int) Watch {
		return Watch{Key: fmt.Appendf(nil, "k%06d", i), End: fmt.Appendf(nil, "k%06dz", i)}
	})
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%06d-", rand.IntN(100_000))
	}
	benchPublish(b, h, func(revision int64) string { return keys[revision%4096] })
}

// A one-shot watch from registration to its notice, beside 100,000 others.
func BenchmarkOneShotWatch(b *testing.B) {
	h := benchWatches(b, exactWatch)
	f := h.NewFeed()
	b.ReportAllocs()
	revision := int64(1)
	for b.Loop() {
		mustWatch(b, f, 1, Watch{Match: MatchNode, Key: []byte("/registry/locks/one"), From: revision + 1, Once: true})
		revision++
		events := benchEvent("/registry/locks/one", revision)
		events[0].Node = storage.NodeCreated
		h.Publish(events, revision)
		if n := f.Next(1); len(n) != 1 {
			b.Fatal(n)
		}
	}
}
