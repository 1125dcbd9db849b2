package core

import (
	"slices"
	"testing"
)

// jump is a snapshot with events that the hub is not given.
func (s *hubStore) jump(keys ...string) {
	for _, key := range keys {
		s.revision++
		e := putEvent(key)
		e.Revision = s.revision
		s.log.stored = append(s.log.stored, e)
	}
	s.hub.Jump(s.revision)
}

func TestAWatchReplaysWhatASnapshotSkipped(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchKey, Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Match: MatchKey, Key: []byte("b"), From: 100})
	mustWatch(t, f, 3, Watch{Match: MatchAny, Key: []byte("c")})
	mustWatch(t, f, 4, Watch{Match: MatchPublish, Key: []byte("c")})
	mustWatch(t, f, 5, Watch{Match: MatchKey, Key: []byte("b"), From: 6})
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(f), "1:a@2")
	s.commit(putEvent("a")) // owed when the snapshot comes
	s.jump("b", "a", "b", "x")
	if f.Progress() != 0 {
		t.Error("there is progress before the gap is read")
	}
	s.commit(putEvent("a"))
	expectInAnyOrder(t, drainFeed(f), "1:a@3", "1:a@5", "1:a@8", "3:lost", "4:lost", "5:b@6")
	if got := f.Progress(); got != s.revision {
		t.Errorf("progress is %d of %d", got, s.revision)
	}
}

func TestAWatchEndsWhenASnapshotHasForgottenWhatItSkipped(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	mustWatch(t, f, 1, Watch{Match: MatchKey, Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Match: MatchKey, Key: []byte("a"), From: 5})
	s.jump("b", "b", "b", "b")
	s.log.compact(4)
	expectNotices(t, drainFeed(f), "1:compacted@4")
	s.commit(putEvent("a"))
	expectNotices(t, drainFeed(f), "2:a@6")
}

func TestASnapshotWithoutChangesSkipsMessagesOnly(t *testing.T) {
	s := newHubStore(t, HubOptions{})
	f := s.hub.NewFeed()
	s.commit(putEvent("a"))
	mustWatch(t, f, 1, Watch{Match: MatchKey, Key: []byte("a")})
	mustWatch(t, f, 2, Watch{Match: MatchAny, Key: []byte("a")})
	mustWatch(t, f, 3, Watch{Match: MatchPublish, Key: []byte("a")})
	s.jump()
	s.commit(messageEvent("a", "hello"))
	expectInAnyOrder(t, drainFeed(f), "2:lost", "3:a@2", "3:lost")
	s.commit(putEvent("a"))
	expectInAnyOrder(t, drainFeed(f), "1:a@3", "2:a@3")
}

// expectInAnyOrder is for notices of several watches that fell due at one moment.
func expectInAnyOrder(t testing.TB, got []Notice, want ...string) {
	t.Helper()
	if text := slices.Sorted(slices.Values(noticeTexts(got))); !slices.Equal(text, want) {
		t.Fatalf("got  %q\nwant %q", text, want)
	}
}
