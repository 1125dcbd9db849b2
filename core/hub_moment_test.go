package core

import (
	"fmt"
	"testing"
)

// What happens between two steps of a call that holds no lock, each case brought about on purpose.

func TestWatchRemovedWhileItIsReadGivesNothing(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	for range 9 {
		s.commit(putEvent("a"))
	}
	s.log.during = func() {
		if !f.Remove(1) {
			t.Error("no watch")
		}
		mustWatch(t, f, 1, Watch{Key: []byte("a")})
	}
	expectNotices(t, drainFeed(f))
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(f), "1:a@11")
}

func TestRingThatMovesOnWhileItIsReadLosesNothing(t *testing.T) {
	s := newHubStore(t, tinyRing)
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	for range 6 {
		s.commit(putEvent("a"))
	}
	s.log.during = func() {
		for range 6 {
			s.commit(putEvent("a"))
		}
	}
	var want []string
	for revision := 2; revision <= 13; revision++ {
		want = append(want, fmt.Sprintf("1:a@%d", revision))
	}
	expectNotices(t, drainFeed(f), want...)
}

func TestAWatchThatFallsAsleepWhileItIsReadLosesNothing(t *testing.T) {
	for more := range 12 {
		s := newHubStore(t, tinyRing)
		s.hub.sleepAfter = 6
		f := s.hub.NewFeed()
		mustWatch(t, f, 1, Watch{Key: []byte("a")})
		for range 6 {
			s.commit(putEvent("a"))
		}
		s.log.during = func() {
			for range more {
				s.commit(putEvent("a"))
			}
		}
		var want []string
		for i := range 6 + more {
			want = append(want, fmt.Sprintf("1:a@%d", 2+i))
		}
		expectNotices(t, drainFeed(f), want...)
	}
}

func TestWatchOfThePastBeginsRightThoughTheRingMovesOn(t *testing.T) {
	for _, more := range []int{0, 5, 9} {
		s := newHubStore(t, HubOptions{EventsMax: 8})
		for range 8 {
			s.commit(putEvent("a"))
		}
		f := s.hub.NewFeed()
		w, err := newActiveWatch(f, 1, Watch{Key: []byte("a"), From: 8})
		if err != nil {
			t.Fatal(err)
		}
		s.hub.index.add(w)
		span := s.hub.ring.span.Load()
		for range more {
			s.commit(putEvent("x"))
		}
		f.mu.Lock()
		f.watches[1] = w
		f.begin(w, span)
		f.mu.Unlock()
		expectNotices(t, drainFeed(f), "1:a@8", "1:a@9")
	}
}

func TestLateMarkFromBeforeTheWatchIsNothing(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	s.commit(putEvent("a"))
	mustWatch(t, f, 1, Watch{Key: []byte("a")})
	// The publisher found the watch in the index, and is slow to say so.
	f.mark(f.watches[1], s.hub.ring.at(1))
	if isFeedReady(f) || f.Progress() != 2 {
		t.Fatal("the watch is owed what came before it")
	}
	expectNotices(t, drainFeed(f))
}

func TestWhatWasGivenIsNotLost(t *testing.T) {
	s := newHubStore(t, HubOptions{EventsMax: 3})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchAny, Key: []byte("a")})
	s.commit(pushEvent("a"))
	s.commit(putEvent("a"))
	expectNotices(t, f.Next(1), "1:a@2")
	for range 5 {
		s.commit(putEvent("x"))
	}
	expectNotices(t, drainFeed(f), "1:a@3")
}

func TestLevelsOfAPath(t *testing.T) {
	for level, path := range []string{"/a/b/c", "/a/b", "/a", "/"} {
		key := []byte("/a/b/c")
		if got := levelOf(key, len(path)); got != level {
			t.Errorf("%s is at level %d", path, got)
		}
		if got := string(atLevel(key, level)); got != path {
			t.Errorf("level %d is %s", level, got)
		}
	}
	if got := levelOf([]byte("/ab"), 2); got != -1 {
		t.Errorf("/a is at level %d over /ab", got)
	}
	if got := levelOf([]byte("/"), 1); got != 0 {
		t.Errorf("the root is at level %d over itself", got)
	}
}
