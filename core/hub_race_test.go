package core

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/triglot/triglot/storage"
)

// sharedStore is a hubStore whose publisher runs beside readers.
type sharedStore struct {
	*hubStore
	mu      sync.Mutex       // guards changed
	changed map[string]int64 // revision of each key's last change, visible once published
	visible atomic.Int64     // revision that views show
}

func newSharedStore(t testing.TB, options HubOptions) *sharedStore {
	return &sharedStore{hubStore: newHubStore(t, options), changed: map[string]int64{}}
}

func (s *sharedStore) change(key string) {
	revision := s.commit(putEvent(key))
	s.mu.Lock()
	s.changed[key] = revision
	s.visible.Store(revision)
	s.mu.Unlock()
}

// read is a view: its revision, and that of a key's last change.
func (s *sharedStore) read(key string) (revision, changed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.visible.Load(), 1), s.changed[key]
}

func TestOneShotWatchMissesNothingBetweenReadAndWatch(t *testing.T) {
	for _, options := range []HubOptions{{}, {EventsMax: 2}} {
		s := newSharedStore(t, options)
		const readers, rounds = 4, 3000
		stop := make(chan struct{})
		var running sync.WaitGroup
		for i := range readers {
			running.Go(func() {
				key := fmt.Sprint("k", i)
				f := s.hub.NewFeed()
				defer f.Close()
				for round := range int64(rounds) {
					revision, changed := s.read(key)
					if err := f.Add(round, Watch{Match: MatchAny, Key: []byte(key), From: revision + 1, Once: true}); err != nil {
						t.Error(err)
						return
					}
					var notices []Notice
					for notices == nil {
						<-f.Ready()
						notices = drainFeed(f)
					}
					n := notices[0]
					if len(notices) != 1 || n.ID != round || len(n.Events) == 0 && !n.Lost {
						t.Errorf("round %d: %q", round, noticeTexts(notices))
						return
					}
					// What is given is the first change after the one that was read: none lies between.
					for _, e := range n.Events {
						if e.Revision <= revision {
							t.Errorf("round %d: read %d, given %d", round, revision, e.Revision)
						}
						if before := e.Record.Version; before != changed {
							t.Errorf("round %d: change of %d was missed, %d was seen", round, before, changed)
						}
					}
				}
			})
		}
		publisher := make(chan struct{})
		go func() {
			defer close(publisher)
			last := map[string]int64{}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprint("k", i%readers)
				// The event tells the revision of the key's change before it.
				e := putEvent(key)
				e.Record.Version = last[key]
				revision := s.commit(e)
				last[key] = revision
				s.mu.Lock()
				s.changed[key] = revision
				s.visible.Store(revision)
				s.mu.Unlock()
			}
		}()
		running.Wait()
		close(stop)
		<-publisher
	}
}

// A watch is marked after its feed has looked at what it is owed, and by the time that is read the ring has moved on.
func TestAnEventThatLeavesTheRingBetweenLookingAndReadingIsGiven(t *testing.T) {
	s := newHubStore(t, HubOptions{EventsMax: 2})
	f := s.hub.NewFeed()
	defer f.Close()
	if err := f.Add(1, Watch{Match: MatchAny, Key: []byte("k"), From: 2}); err != nil {
		t.Fatal(err)
	}
	first := s.commit(putEvent("k"))
	w, owed, next := f.front()
	second := s.commit(putEvent("k"))
	for _, other := range []string{"x", "y", "z"} {
		s.commit(putEvent(other))
	}
	read := s.hub.read(w, owed, next, 1000)
	if !f.settle(w, &read) || len(read.notice.Events) != 1 || read.notice.Events[0].Revision != first {
		t.Errorf("first given: %q", noticeTexts([]Notice{read.notice}))
	}
	notices := f.Next(1000)
	if len(notices) != 1 || len(notices[0].Events) != 1 || notices[0].Events[0].Revision != second {
		t.Errorf("then given: %q, want revision %d", noticeTexts(notices), second)
	}
}

func TestFeedsComeAndGoWhilePublishing(t *testing.T) {
	s := newSharedStore(t, HubOptions{EventsMax: 64})
	s.hub.sleepAfter = 3
	const owners, rounds = 6, 150
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i := range owners {
		running.Go(func() {
			for round := range int64(rounds) {
				f := s.hub.NewFeed()
				specs := []Watch{
					{Key: []byte("/k")}, {Key: []byte("/"), End: []byte("0")}, {Key: []byte("/k"), End: []byte("/kz")},
					{Match: MatchNode, Key: []byte("/k")}, {Match: MatchChildren, Key: []byte("/")},
					{Match: MatchSubtree, Key: []byte("/"), Once: true}, {Match: MatchAny, End: []byte{0}, From: 1 + round},
				}
				for id, spec := range specs {
					if err := f.Add(int64(id), spec); err != nil {
						t.Error(err)
					}
				}
				// One goroutine reads, another takes watches away and closes, as a stream's two halves do.
				read := make(chan struct{})
				go func() {
					defer close(read)
					last := map[int64]int64{}
					for {
						select {
						case <-f.Ready():
						case <-f.Done():
							return
						}
						for notices := f.Next(10); notices != nil; notices = f.Next(10) {
							for _, n := range notices {
								for _, e := range n.Events {
									if e.Revision <= last[n.ID] {
										t.Errorf("watch %d: %d after %d", n.ID, e.Revision, last[n.ID])
									}
									last[n.ID] = e.Revision
								}
							}
						}
						f.Progress()
					}
				}()
				f.Remove(int64(i % len(specs)))
				f.Remove(5)
				f.Close()
				<-read
			}
		})
	}
	publisher := make(chan struct{})
	go func() {
		defer close(publisher)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				e := putEvent(fmt.Sprint("/k", i%3))
				e.Node = storage.NodeCreated
				s.commit(e)
			}
		}
	}()
	running.Wait()
	close(stop)
	<-publisher
	if n := s.hub.Stats(); n.Watches != 0 || n.Feeds != 0 {
		t.Fatalf("left over: %+v", n)
	}
}

func TestHubClosesUnderPublisherAndReaders(t *testing.T) {
	s := newSharedStore(t, HubOptions{EventsMax: 8})
	var running sync.WaitGroup
	started := make(chan struct{}, 4)
	for range 4 {
		running.Go(func() {
			f := s.hub.NewFeed()
			f.Add(1, Watch{End: []byte{0}, From: 1})
			started <- struct{}{}
			for {
				select {
				case <-f.Ready():
					drainFeed(f)
				case <-f.Done():
					return
				}
			}
		})
	}
	stop := make(chan struct{})
	publisher := make(chan struct{})
	go func() {
		defer close(publisher)
		for {
			select {
			case <-stop:
				return
			default:
				s.change("k")
			}
		}
	}()
	for range 4 {
		<-started
	}
	s.hub.Close()
	pins := s.log.pins()
	running.Wait()
	close(stop)
	<-publisher
	if got := s.log.pins(); got != pins {
		t.Fatalf("the log was read %d times after Close", got-pins)
	}
}

// Every reader, fast or slow, gets the whole sequence while the publisher runs on over a ring that is too small for it.
func TestConcurrentReadersGetEverySequenceWhole(t *testing.T) {
	s := newSharedStore(t, HubOptions{EventsMax: 16})
	s.hub.sleepAfter = 5
	const changes = 3000
	var running sync.WaitGroup
	for i := range 5 {
		f := s.hub.NewFeed()
		mustWatch(t, f, 1, Watch{Key: []byte("k"), End: []byte("l")})
		running.Go(func() {
			defer f.Close()
			next := int64(2)
			for next < changes+2 {
				<-f.Ready()
				for _, n := range f.Next(1 + i*50) {
					for _, e := range n.Events {
						if e.Revision != next || !bytes.Equal(e.Key, []byte("k")) {
							t.Errorf("reader %d: revision %d, not %d", i, e.Revision, next)
							return
						}
						next++
					}
				}
			}
		})
	}
	for range changes {
		s.change("k")
	}
	running.Wait()
}
