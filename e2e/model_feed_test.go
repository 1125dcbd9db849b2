package e2e

import (
	"fmt"
	"sync"
	"time"
)

// The rules for watches. Every key of a feed is created once and deleted at most once, so an event is known by its key
// and kind wherever it is seen.
//
// Watches of etcd are without a gap from the revision at which they began, however often they are taken up again: all of
// them see one and the same sequence, whichever member they ask. What ZooKeeper and Redis tell a client on one connection
// is a stretch of that sequence: nothing left out, nothing twice, nothing out of order.

type feedEvent struct {
	key     string
	deleted bool
}

func (e feedEvent) String() string {
	if e.deleted {
		return "-" + e.key
	}
	return "+" + e.key
}

// logged is an event where it stands in the sequence.
type logged struct {
	feedEvent
	revision int64
	seen     int64 // when the first watcher was told
}

// feedLog is the sequence, as the watchers that are ahead have seen it.
type feedLog struct {
	mu     sync.Mutex // guards all below
	events []logged
	at     map[feedEvent]int // position
}

func newFeedLog() *feedLog { return &feedLog{at: map[feedEvent]int{}} }

// feedWatcher is one etcd watch on the feed.
type feedWatcher struct {
	log      *feedLog
	name     string
	position int   // in the log
	revision int64 // of the last event
	promised int64 // the server has said that it told of everything up to here
}

// tell checks the next event of a watch.
func (w *feedWatcher) tell(e feedEvent, revision, version int64) error {
	if revision < w.revision || revision <= w.promised {
		return fmt.Errorf("%s: %v at revision %d comes after revision %d, and after the word that all is told up to %d",
			w.name, e, revision, w.revision, w.promised)
	}
	if want := map[bool]int64{false: 1, true: 0}[e.deleted]; version != want {
		return fmt.Errorf("%s: %v at revision %d has version %d, want %d", w.name, e, revision, version, want)
	}
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.position == len(l.events) {
		if at, twice := l.at[e]; twice {
			return fmt.Errorf("%s: %v comes a second time, at revision %d and before at %d", w.name, e, revision, l.events[at].revision)
		}
		if _, there := l.at[feedEvent{key: e.key}]; e.deleted && !there {
			return fmt.Errorf("%s: %v at revision %d, and its creation was left out", w.name, e, revision)
		}
		l.at[e] = len(l.events)
		l.events = append(l.events, logged{e, revision, now()})
	}
	if known := l.events[w.position]; known.feedEvent != e || known.revision != revision {
		return fmt.Errorf("%s: event %d is %v at revision %d; another watch was told %v at %d", w.name, w.position, e, revision,
			known.feedEvent, known.revision)
	}
	w.position++
	w.revision = revision
	return nil
}

// position gives where an event stands, and when it was seen first.
func (l *feedLog) find(e feedEvent) (logged, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.at[e]
	if !ok {
		return logged{}, false
	}
	return l.events[at], true
}

// checkStretch looks for what one connection was told in the sequence. What stands at its place when the watch begins may
// come or not; from the first event on nothing is left out.
func (l *feedLog) checkStretch(name string, stretch []feedEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, e := range stretch {
		at, ok := l.at[e]
		if !ok {
			return fmt.Errorf("%s was told %v, which never happened", name, e)
		}
		if i == 0 {
			continue
		}
		if before := l.at[stretch[i-1]]; at != before+1 {
			return fmt.Errorf("%s was told %v and then %v: positions %d and %d", name, stretch[i-1], e, before, at)
		}
	}
	return nil
}

// messages are what one connection was told on Redis channels: numbers of publishers.
type message struct {
	publisher string
	number    int64
}

// checkMessages looks at one connection: the numbers of a publisher grow, and none is left out that was published for
// sure between two that came.
func checkMessages(name string, stretch []message, published func(message) bool) error {
	last := map[string]int64{}
	for _, m := range stretch {
		before, heard := last[m.publisher]
		if heard && m.number <= before {
			return fmt.Errorf("%s was told %s's message %d after %d", name, m.publisher, m.number, before)
		}
		for n := before + 1; heard && n < m.number; n++ {
			if published(message{m.publisher, n}) {
				return fmt.Errorf("%s was told %s's messages %d and %d, not %d, which was published", name, m.publisher, before, m.number, n)
			}
		}
		last[m.publisher] = m.number
	}
	return nil
}

// checkOneOrder compares two connections: the messages that both were told came in one order.
func checkOneOrder(a, b []message) error {
	at := map[message]int{}
	for i, m := range a {
		at[m] = i
	}
	last, lastMessage := -1, message{}
	for _, m := range b {
		i, both := at[m]
		if !both {
			continue
		}
		if i < last {
			return fmt.Errorf("%v came before %v to one subscriber, and after it to another", m, lastMessage)
		}
		last, lastMessage = i, m
	}
	return nil
}

// --- lives ---

// life is a key that lives as long as its client. The times are those of histories.
type life struct {
	key   string
	until int64 // the client may rely on it so long, by its own clock
	ended bool  // by the client itself: then any time after that is right
}

// checkLife compares a life with the time at which its end was seen.
func checkLife(l life, end logged, gone bool) (outlived time.Duration, err error) {
	if !gone {
		return 0, fmt.Errorf("%s is still there", l.key)
	}
	if end.seen < l.until && !l.ended {
		return 0, fmt.Errorf("%s ended at revision %d, seen at %.3f ms, and its client could rely on it until %.3f ms", l.key,
			end.revision, float64(end.seen)/1e6, float64(l.until)/1e6)
	}
	return time.Duration(end.seen - l.until), nil
}
