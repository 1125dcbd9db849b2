package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/triglot/triglot/storage"
)

// simWatcher follows every change of the shared space, through one member after another.
type simWatcher struct {
	c    *simCluster
	name string
	seen []string // the events
	next int64    // the first revision that it has not seen
}

// run watches on a member, mostly its own, until that ends, and goes on where it was.
func (w *simWatcher) run(own *simMember, dice *rand.Rand) {
	w.next = 1
	for w.c.watch.Err() == nil {
		life := own.current()
		if dice.IntN(4) == 0 {
			life = w.c.pick(dice)
		}
		if life == nil {
			w.c.net.wait(w.c.watch, time.Duration(20+dice.IntN(200))*time.Millisecond)
			continue
		}
		w.follow(life, dice)
	}
}

// follow reads a feed until its store ends or the watcher feels like another.
func (w *simWatcher) follow(life *simLife, dice *rand.Rand) {
	feed := life.store.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(1, Watch{Match: MatchKey, End: []byte{0}, From: w.next}); err != nil {
		if err != ErrStopped {
			w.c.complain("%s cannot watch %s from %d: %v", w.name, life.m.name, w.next, err)
		}
		return
	}
	leave := time.NewTimer(time.Duration(500+dice.IntN(5000)) * time.Millisecond)
	defer leave.Stop()
	for {
		select {
		case <-feed.Ready():
		case <-feed.Done():
			return
		case <-life.over.Done():
			return
		case <-leave.C:
			return
		case <-w.c.watch.Done():
			return
		}
		if dice.IntN(5) == 0 { // a slow one, which falls out of the ring
			w.c.net.wait(w.c.watch, time.Duration(dice.IntN(800))*time.Millisecond)
		}
		for _, notice := range feed.Next(1 + dice.IntN(50)) {
			if life.dead.Load() {
				return
			}
			w.take(life, &notice)
		}
	}
}

func (w *simWatcher) take(life *simLife, n *Notice) {
	if n.Lost || n.Compacted != 0 || n.Err != nil {
		w.c.complain("%s on %s: %+v", w.name, life.m.name, n)
		return
	}
	for _, e := range n.Events {
		if e.Revision < w.next {
			w.c.complain("%s on %s is told of revision %d after %d", w.name, life.m.name, e.Revision, w.next-1)
		}
		w.seen = append(w.seen, simEvent(e))
	}
	if len(n.Events) > 0 {
		w.next = n.Events[len(n.Events)-1].Revision + 1
	}
}

func simEvent(e *storage.Event) string {
	return fmt.Sprintf("%d.%d %d %q=%q", e.Revision, e.Sub, e.Type, e.Key, e.Record.Value)
}

// storedHistory is what the watchers have to have seen: every stored event of a key of bytes.
func storedHistory(s *Store) (history []string) {
	feed := s.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(1, Watch{Match: MatchKey, End: []byte{0}, From: 1}); err != nil {
		return []string{err.Error()}
	}
	for _, notice := range feed.Next(1 << 30) {
		for _, e := range notice.Events {
			history = append(history, simEvent(e))
		}
	}
	return history
}

// compareStreams names the first place where two streams differ; "" if they do not.
func compareStreams(want, got []string) string {
	for i := range want {
		if i >= len(got) {
			return fmt.Sprintf("ends before %s", want[i])
		}
		if got[i] != want[i] {
			return fmt.Sprintf("has %s where %s belongs, after %s", got[i], want[i], strings.Join(want[max(0, i-2):i], ", "))
		}
	}
	if len(got) > len(want) {
		return fmt.Sprintf("goes on with %s", got[len(want)])
	}
	return ""
}

// holds says whether a write is among the events.
func (w simWrite) in(history []string) bool {
	prefix, suffix := fmt.Sprintf("%d.", w.revision), fmt.Sprintf(" %q=%q", w.key, w.value)
	return slices.ContainsFunc(history, func(e string) bool { return strings.HasPrefix(e, prefix) && strings.HasSuffix(e, suffix) })
}
