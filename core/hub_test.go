package core

import (
	"errors"
	"fmt"
	"testing"

	"github.com/triglot/triglot/storage"
)

func TestWatchSeesExactlyItsRange(t *testing.T) {
	all := []string{"1:a@2", "1:ab@3", "1:b@4", "1:ba@5", "1:\xff\xff@6"}
	cases := []struct {
		name  string
		watch Watch
		want  []string
	}{
		{"one key", Watch{Key: []byte("b")}, []string{"1:b@4"}},
		{"a prefix", Watch{Key: []byte("b"), End: []byte("c")}, []string{"1:b@4", "1:ba@5"}},
		{"an interval", Watch{Key: []byte("ab"), End: []byte("ba")}, []string{"1:ab@3", "1:b@4"}},
		{"from a key on", Watch{Key: []byte("ba"), End: []byte{0}}, []string{"1:ba@5", "1:\xff\xff@6"}},
		{"everything", Watch{Key: []byte{0}, End: []byte{0}}, all},
		{"everything, with the empty key", Watch{End: []byte{0}}, all},
		{"the last prefix", Watch{Key: []byte("\xff"), End: []byte{0}}, []string{"1:\xff\xff@6"}},
		{"an empty interval", Watch{Key: []byte("c"), End: []byte("b")}, nil},
		{"any change", Watch{Match: MatchAny, Key: []byte("l")}, []string{"1:l@7"}},
		{"a private space", Watch{Match: MatchAny, Space: 3, Key: []byte("b")}, []string{"1:b@8"}},
		{"a channel", Watch{Match: MatchPublish, Key: []byte("b")}, []string{"1:b@8"}},
	}
	for _, c := range cases {
		for _, when := range []string{"live", "from the ring", "from the log"} {
			t.Run(c.name+" "+when, func(t *testing.T) {
				options := HubOptions{}
				if when == "from the log" {
					options.EventsMax = 1
				}
				s := newHubStore(t, options)
				f := s.hub.NewFeed()
				if when == "live" {
					mustWatch(t, f, 1, c.watch)
				}
				for _, key := range []string{"a", "ab", "b", "ba", "\xff\xff"} {
					s.commit(putEvent(key))
				}
				s.commit(pushEvent("l"))
				s.commit(eventInSpace(3, putEvent("b")))
				s.commit(messageEvent("b", "hello"))
				want := c.want
				if when != "live" {
					c.watch.From = 2
					mustWatch(t, f, 1, c.watch)
				}
				if when == "from the log" && c.watch.Match != MatchKey {
					want = []string{"1:lost"}
					if c.watch.Match == MatchPublish {
						want = append(want, c.want...) // the ring's one event
					}
				}
				expectNotices(t, drainFeed(f), want...)
				if isFeedReady(f) && drainFeed(f) != nil {
					t.Fatal("something twice")
				}
			})
		}
	}
}

func TestOneRevisionIsNeverSplit(t *testing.T) {
	for _, eventsMax := range []int{100, 4} {
		s := newHubStore(t, HubOptions{EventsMax: eventsMax})
		f := s.hub.NewFeed()
		mustWatch(t, f, 1, Watch{Key: []byte("k"), End: []byte("l")})
		for range 5 {
			s.commit(putEvent("k1"), putEvent("x"), putEvent("k2"), putEvent("k3"))
		}
		for revision := int64(2); revision <= 6; revision++ {
			if !isFeedReady(f) {
				t.Fatal("not ready though more is due")
			}
			expectNotices(t, f.Next(1), fmt.Sprintf("1:k1@%d", revision), fmt.Sprintf("1:k2@%d", revision),
				fmt.Sprintf("1:k3@%d", revision))
		}
		expectNotices(t, f.Next(1))
	}
}

func TestNextSharesItsTurnsAmongWatches(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Key: []byte("b")})
	s.commit(putEvent("a"))
	s.commit(putEvent("b"))
	s.commit(putEvent("a"))
	expectNotices(t, f.Next(1), "1:a@2")
	expectNotices(t, f.Next(1), "2:b@3")
	expectNotices(t, f.Next(1), "1:a@4")
}

func TestFutureWatchKeepsStillUntilItsRevision(t *testing.T) {
	for _, options := range []HubOptions{{}, tinyRing} {
		s := newHubStore(t, options)
		f := s.hub.NewFeed()
		mustWatch(t, f, 1, Watch{Match: MatchAny, Key: []byte("a"), From: 5})
		for range 3 {
			s.commit(putEvent("a"))
		}
		s.commit(messageEvent("a", "not a change"))
		expectNotices(t, drainFeed(f))
		for range 8 {
			s.commit(putEvent("a"))
		}
		expectNotices(t, drainFeed(f), "1:a@5", "1:a@6", "1:a@7", "1:a@8", "1:a@9", "1:a@10", "1:a@11", "1:a@12")
	}
}

func TestWatchFromTheNextRevisionSeesEventsThatTakeNone(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchPublish, Key: []byte("c"), From: s.revision + 1})
	s.commit(messageEvent("c", "hello"))
	expectNotices(t, drainFeed(f), "1:c@1")
}

func TestStartBeforeCompactionIsRefused(t *testing.T) {
	s := newHubStore(t, tinyRing)
	for range 10 {
		s.commit(putEvent("a"))
	}
	s.log.compact(7)
	f := s.hub.NewFeed()
	err := f.Add(1, Watch{Key: []byte("a"), From: 6})
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeCompacted || e.Number != 7 {
		t.Fatalf("got %v", err)
	}
	mustWatch(t, f, 1, Watch{Key: []byte("a"), From: 7})
	expectNotices(t, drainFeed(f), "1:a@7", "1:a@8", "1:a@9", "1:a@10", "1:a@11")
	if n := s.hub.Stats().Watches; n != 1 {
		t.Fatalf("%d watches in the index", n)
	}
}

func TestWatchThatFallsBehindCompactionEnds(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Key: []byte("quiet")})
	for range 10 {
		s.commit(putEvent("a"))
	}
	s.log.compact(9)
	expectNotices(t, drainFeed(f), "1:compacted@9")
	if f.Remove(1) {
		t.Fatal("the watch is still there")
	}
	// One that nothing happened to has missed nothing.
	s.commit(putEvent("quiet"))
	expectNotices(t, drainFeed(f), "2:quiet@12")
}

func TestSlowWatchInTheRingOutlivesCompaction(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	s.commit(putEvent("a"))
	s.commit(putEvent("a"))
	s.log.compact(3)
	expectNotices(t, drainFeed(f), "1:a@2", "1:a@3")
}

func TestLostTellsOfEventsThatOnlyTheRingHeld(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchAny, Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Match: MatchAny, Space: 1, Key: []byte("a")})
	mustWatch(t, f, 3, Watch{Match: MatchPublish, Key: []byte("a")})
	mustWatch(t, f, 4, Watch{Match: MatchAny, Key: []byte("b")})
	mustWatch(t, f, 5, Watch{Match: MatchAny, Key: []byte("quiet")})
	s.commit(pushEvent("a"))
	s.commit(eventInSpace(1, putEvent("a")))
	s.commit(messageEvent("a", "one"))
	s.commit(putEvent("b"))
	for range 4 {
		s.commit(putEvent("x"))
	}
	s.commit(eventInSpace(1, putEvent("a")))
	// The stored event is found in the log and so not lost; the private one after it is in the ring still.
	expectNotices(t, drainFeed(f), "1:lost", "2:lost", "2:a@9", "3:lost", "4:b@4")

	// In time nothing is lost.
	s.commit(pushEvent("a"))
	expectNotices(t, drainFeed(f), "1:a@10")
}

func TestLostIsSaidOnceOnALongWayBack(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchAny, Key: []byte("a")})
	s.commit(pushEvent("a"))
	for range 9 {
		s.commit(putEvent("a"))
	}
	lost := 0
	for n := f.Next(2); n != nil; n = f.Next(2) {
		if n[0].Lost {
			lost++
		}
	}
	if lost != 1 {
		t.Fatalf("lost was said %d times", lost)
	}
}

func TestReplayedEventsCarryPrevOnRequest(t *testing.T) {
	s := newHubStore(t, tinyRing)
	s.commit(putEvent("a"))
	s.commit(deleteEvent("a"))
	for range 5 {
		s.commit(putEvent("x"))
	}
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a"), From: 3, Prev: true})
	mustWatch(t, f, 2, Watch{Key: []byte("a"), From: 3})
	notices := drainFeed(f)
	expectNotices(t, notices, "1:a@3", "2:a@3")
	if p := notices[0].Events[0].Prev; p == nil || string(p.Value) != "v" {
		t.Fatalf("prev is %v", p)
	}
	if notices[1].Events[0].Prev != nil {
		t.Fatal("prev was looked up without need")
	}
}

func TestUnreadableLogEndsTheWatch(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	for range 9 {
		s.commit(putEvent("a"))
	}
	s.log.fail = errors.New("disk on fire")
	expectNotices(t, drainFeed(f), "1:disk on fire")
	if n := s.hub.Stats().Watches; n != 0 {
		t.Fatalf("%d watches left", n)
	}
}

func TestProgressWaitsForEverythingToBeRead(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Key: []byte("b")})
	if got := f.Progress(); got != 1 {
		t.Fatalf("progress %d at the start", got)
	}
	s.commit(putEvent("a"))
	s.commit(putEvent("a"))
	s.commit(putEvent("x"))
	if got := f.Progress(); got != 0 {
		t.Fatalf("progress %d with events unread", got)
	}
	if f.Synced(1) || !f.Synced(2) || f.Synced(3) {
		t.Fatal("synced")
	}
	f.Next(1)
	if got := f.Progress(); got != 0 {
		t.Fatalf("progress %d with one event unread", got)
	}
	drainFeed(f)
	if got := f.Progress(); got != 4 {
		t.Fatalf("progress %d when all is read", got)
	}
	if !f.Synced(1) {
		t.Fatal("not synced")
	}
	mustWatch(t, f, 3, Watch{Key: []byte("a"), From: 2})
	if f.Synced(3) || f.Progress() != 0 {
		t.Fatal("a watch of the past is synced at once")
	}
}

func TestStepWithoutEventsMakesProgress(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	s.hub.Publish(nil, 9)
	if got := f.Progress(); got != 9 {
		t.Fatalf("progress %d", got)
	}
}

func TestOnceIsOverAfterItsNotice(t *testing.T) {
	for _, options := range []HubOptions{{}, tinyRing} {
		s := newHubStore(t, options)
		f := s.hub.NewFeed()
		mustWatch(t, f, 1, Watch{Key: []byte("k"), End: []byte("l"), Once: true})
		for range 6 {
			s.commit(putEvent("k1"), putEvent("k2"))
		}
		expectNotices(t, drainFeed(f), "1:k1@2", "1:k2@2")
		if f.Remove(1) || s.hub.Stats().Watches != 0 {
			t.Fatal("the watch is still there")
		}
		mustWatch(t, f, 1, Watch{Key: []byte("k1"), Once: true})
	}
}

func TestRemovedWatchIsSilent(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	if err := f.Add(1, Watch{Key: []byte("b")}); !errors.Is(err, ErrBadArguments) {
		t.Fatalf("an id twice: %v", err)
	}
	s.commit(putEvent("a"))
	if !f.Remove(1) || f.Remove(1) {
		t.Fatal("Remove")
	}
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(f))
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(f), "1:a@4")
}

func TestBadWatchesAreRefused(t *testing.T) {
	f := newHubStore(t, HubOptions{}).hub.NewFeed()
	for _, w := range []Watch{
		{Match: matchEnd}, {Space: storage.Spaces}, {From: -1}, {Match: MatchNode, Key: []byte("a")},
		{Match: MatchChildren, Key: []byte("/a/")}, {Match: MatchSubtree},
	} {
		if err := f.Add(1, w); !errors.Is(err, ErrBadArguments) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestCloseWakesOwnersAndEmptiesTheIndex(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	closed, open := s.hub.NewFeed(), s.hub.NewFeed()
	for i, f := range []*Feed{closed, open} {
		mustWatch(t, f, int64(i), Watch{Key: []byte("a")})
		mustWatch(t, f, 9, Watch{Key: []byte("a"), End: []byte("z")})
		s.commit(putEvent("a"))
		drainFeed(f)
	}
	closed.Close()
	closed.Close()
	if n := s.hub.Stats(); n.Watches != 2 || n.Feeds != 1 {
		t.Fatalf("%+v", n)
	}
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(closed))
	if err := closed.Add(5, Watch{}); !errors.Is(err, ErrStopped) {
		t.Fatalf("Add on a closed feed: %v", err)
	}
	s.hub.Close()
	for _, f := range []*Feed{closed, open, s.hub.NewFeed()} {
		<-f.Ready()
		<-f.Done()
		expectNotices(t, drainFeed(f))
		if f.Progress() != 0 {
			t.Fatal("progress of a closed feed")
		}
	}
	s.commit(putEvent("a"))
	if n := s.hub.Stats(); n.Watches != 0 || n.Feeds != 0 {
		t.Fatalf("%+v", n)
	}
}

func TestFeedThatNeverReadsHoldsNothing(t *testing.T) {
	s := newHubStore(t, HubOptions{EventsMax: 64, BytesMax: 32 << 10})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{End: []byte{0}})
	for i := range 10_000 {
		s.commit(putEvent(fmt.Sprint("k", i)))
		s.log.compact(s.revision)
		mustWatch(t, f, 2, Watch{End: []byte{0}, From: s.revision})
		f.Remove(2)
	}
	stats := s.hub.Stats()
	if stats.Events > 64 || stats.Bytes > 32<<10 || stats.Watches != 1 {
		t.Fatalf("%+v", stats)
	}
	held := 0
	for i := range s.hub.ring.slots {
		if s.hub.ring.slots[i].Load() != nil {
			held++
		}
	}
	queued := 0
	for w := f.queue.first; w != nil; w = w.nextDue {
		queued++
	}
	if held != stats.Events || queued != 1 {
		t.Fatalf("%d groups in slots, %d counted, %d watches queued", held, stats.Events, queued)
	}
}

func TestAWatchThatIsNotReadCostsThePublisherNothing(t *testing.T) {
	s := newHubStore(t, HubOptions{EventsMax: 16})
	s.hub.sleepAfter = 10
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{End: []byte{0}})
	mustWatch(t, f, 2, Watch{Key: []byte("other")})
	matching := func(key string) int {
		hits, _ := s.hub.index.snapshot().match(nil, nil, putEvent(key))
		return len(hits)
	}
	for range 50 {
		s.commit(putEvent("k"))
	}
	if n := matching("k"); n != 0 {
		t.Errorf("%d watches are looked at that nobody reads", n)
	}
	if n := matching("other"); n != 1 {
		t.Errorf("of the watches of a key %d are found, not the one to which nothing is owed", n)
	}
	next := int64(2)
	read := func() {
		t.Helper()
		for notices := f.Next(7); notices != nil; notices = f.Next(7) {
			for _, n := range notices {
				for _, e := range n.Events {
					if e.Revision != next {
						t.Fatalf("revision %d, not %d", e.Revision, next)
					}
					next++
				}
			}
		}
		if next != s.revision+1 || matching("k") != 1 {
			t.Fatalf("read up to %d of %d, and %d watches are found", next-1, s.revision, matching("k"))
		}
	}
	read()
	s.commit(putEvent("k"))
	read()
	for range 50 {
		s.commit(putEvent("k"))
	}
	if !f.Remove(1) || !f.Remove(2) || s.hub.Stats().Watches != 0 {
		t.Errorf("a sleeping watch does not go: %+v", s.hub.Stats())
	}
}

func TestStepBiggerThanTheRingIsReadFromTheLog(t *testing.T) {
	s := newHubStore(t, HubOptions{EventsMax: 2})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("k"), End: []byte("l")})
	s.commit(putEvent("a"))
	s.commit(putEvent("k1"), putEvent("k2"), putEvent("k3"))
	if n := s.hub.Stats().Events; n != 0 {
		t.Fatalf("%d events in the ring", n)
	}
	s.commit(putEvent("k4"))
	expectNotices(t, drainFeed(f), "1:k1@3", "1:k2@3", "1:k3@3", "1:k4@4")
}

func TestWatchInTheRingDoesNotTouchTheLog(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	for range 100 {
		s.commit(putEvent("a"))
	}
	drainFeed(f)
	if n := s.log.pins(); n != 0 {
		t.Fatalf("the log was pinned %d times", n)
	}
}
