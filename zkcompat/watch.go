package zkcompat

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// watchKind says what a watch looks at and how long it lasts. Watches of different kinds on one path live beside each
// other, as in ZooKeeper since 3.9.
type watchKind uint8

const (
	watchData       watchKind = iota // the node itself, present or not; once
	watchChildren                    // the names of its children, and its end; once
	watchPersistent                  // both, until removed
	watchRecursive                   // the node and everything below it, until removed
	watchKinds
)

// Numbers of the protocol.
const (
	addPersistent = 0 // addWatch modes
	addRecursive  = 1

	watchTypeChildren   = 1 // kinds of watch to look for or remove
	watchTypeData       = 2
	watchTypeAny        = 3
	watchTypePersistent = 4
	watchTypeRecursive  = 5

	eventCreated         = int32(storage.NodeCreated)
	eventDeleted         = int32(storage.NodeDeleted)
	eventDataChanged     = int32(storage.NodeDataChanged)
	eventChildrenChanged = int32(core.NodeChildrenChanged)
)

func (k watchKind) once() bool { return k == watchData || k == watchChildren }

// named reports whether a kind is meant by a number of checkWatches and removeWatches.
func (k watchKind) named(number int32) bool {
	switch number {
	case watchTypeChildren:
		return k == watchChildren
	case watchTypeData:
		return k == watchData
	case watchTypePersistent:
		return k == watchPersistent
	case watchTypeRecursive:
		return k == watchRecursive
	default:
		return true
	}
}

// matches lists what a kind asks of the hub.
func (k watchKind) matches() []core.Match {
	switch k {
	case watchData:
		return []core.Match{core.MatchNode}
	case watchChildren:
		return []core.Match{core.MatchChildren}
	case watchPersistent:
		return []core.Match{core.MatchNode, core.MatchChildren}
	default:
		return []core.Match{core.MatchSubtree}
	}
}

type watchKey struct {
	kind watchKind
	path string
}

// watch is one registration of the client. It stays in the table until its event has been sent, or it was removed.
type watch struct {
	watchKey
	ids     []int64 // in the feed
	fired   bool    // a one-shot watch whose event waits to be sent
	removed bool
}

// dueEvent is an event on its way to the client.
type dueEvent struct {
	revision int64
	sub      int32
	rank     int
	number   int32 // core counts node changes as ZooKeeper does
	path     string
	watch    *watch
}

// watchTable holds a connection's watches. It belongs to the connection's processor, except for what mu guards.
type watchTable struct {
	hub  *core.Hub
	max  int
	feed *core.Feed // nil until the first watch

	byID   map[int64]*watch // by id in the feed
	lastID int64
	due    []dueEvent // fetched and not sent, in order

	mu    sync.Mutex // guards byKey against the words that count watches
	byKey map[watchKey]*watch
}

// ready is the channel that tells of events, nil while there are no watches.
func (t *watchTable) ready() <-chan struct{} {
	if t.feed == nil {
		return nil
	}
	return t.feed.Ready()
}

// len counts the watches. It may be called from any goroutine.
func (t *watchTable) len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}

// paths lists what is watched, once for each kind of watch. It may be called from any goroutine.
func (t *watchTable) paths() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]string, 0, len(t.byKey))
	for key := range t.byKey {
		list = append(list, key.path)
	}
	slices.Sort(list)
	return list
}

func (t *watchTable) close() {
	if t.feed != nil {
		t.feed.Close()
	}
}

// add registers a watch for changes from a revision on. One that is there already stays as it is: even if it has fired,
// its event is later than the view on which it is registered now, and still to be sent.
func (t *watchTable) add(kind watchKind, path string, from int64) code {
	key := watchKey{kind, path}
	if t.byKey[key] != nil {
		return codeOK
	}
	if len(t.byKey) >= t.max {
		return codeSystemError
	}
	if t.feed == nil {
		t.feed = t.hub.NewFeed()
		t.byID = map[int64]*watch{}
	}
	w := &watch{watchKey: key}
	matches := kind.matches()
	if !isNode(path) {
		matches = nil // ZooKeeper takes such watches; nothing ever happens there
	}
	for _, match := range matches {
		t.lastID++
		err := t.feed.Add(t.lastID, core.Watch{Match: match, Key: []byte(path), From: from, Once: kind.once()})
		if err != nil {
			t.drop(w)
			return codeSystemError
		}
		w.ids = append(w.ids, t.lastID)
		t.byID[t.lastID] = w
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byKey == nil {
		t.byKey = map[watchKey]*watch{}
	}
	t.byKey[key] = w
	return codeOK
}

// has reports whether there is a watch of a kind on a path.
func (t *watchTable) has(number int32, path string) bool {
	return len(t.named(number, path)) > 0
}

// remove ends the watches of a kind on a path and reports whether there were any.
func (t *watchTable) remove(number int32, path string) bool {
	found := t.named(number, path)
	for _, w := range found {
		t.drop(w)
	}
	return len(found) > 0
}

func (t *watchTable) named(number int32, path string) []*watch {
	var found []*watch
	for kind := range watchKinds {
		if w := t.byKey[watchKey{kind, path}]; w != nil && kind.named(number) {
			found = append(found, w)
		}
	}
	return found
}

func (t *watchTable) drop(w *watch) {
	w.removed = true
	for _, id := range w.ids {
		t.feed.Remove(id)
		delete(t.byID, id)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byKey, w.watchKey)
}

// errFellBehind ends a connection whose watches have missed events. Its client sets them again on a new one, and then
// learns what changed.
var errFellBehind = errors.New("watches fell behind the compacted history")

// noticesMax is how many notices are fetched from the feed at a time.
const noticesMax = 256

// deliver hands over the events of changes up to a revision, which must be published as a whole, in the order of the
// changes. Later ones wait, so that the client sees changes and answers in one order.
func (t *watchTable) deliver(upTo int64, send func(number int32, path string)) error {
	if last, _, err := t.fetch(); err != nil || last == 0 {
		return err
	}
	done := 0
	var last *dueEvent // sent; several watches that saw the same make one event, of which the client tells all its watchers
	for i := range t.due {
		event := &t.due[i]
		if event.revision > upTo {
			break
		}
		done++
		if event.watch.removed {
			continue
		}
		if event.watch.kind.once() {
			t.drop(event.watch)
		}
		if last == nil || event.order(*last) != 0 {
			send(event.number, event.path)
			last = event
		}
	}
	t.due = slices.Delete(t.due, 0, done)
	return nil
}

// order compares two events by the place of what they tell in the course of changes.
func (e dueEvent) order(other dueEvent) int {
	return cmp.Or(cmp.Compare(e.revision, other.revision), cmp.Compare(e.sub, other.sub), cmp.Compare(e.rank, other.rank))
}

// fetch reads the feed until it is caught up. It returns the revision of the last event that waits to be sent, 0 when none
// does, and one up to which the events are known to be complete.
func (t *watchTable) fetch() (last, complete int64, err error) {
	if t.feed == nil {
		return 0, 0, nil
	}
	before := len(t.due)
	for {
		notices := t.feed.Next(noticesMax)
		if len(notices) == 0 {
			break
		}
		for i := range notices {
			n := &notices[i]
			w := t.byID[n.ID]
			switch {
			case n.Err != nil:
				return 0, 0, n.Err
			case n.Compacted != 0:
				return 0, 0, errFellBehind
			case w == nil || w.fired: // the feed may have one more notice of a watch that was just removed
				continue
			}
			for j := range n.Nodes {
				t.due = append(t.due, newDueEvent(w, &n.Nodes[j]))
			}
			w.fired = w.kind.once()
		}
	}
	if len(t.due) > before {
		slices.SortStableFunc(t.due, dueEvent.order)
	}
	if len(t.due) == 0 {
		return 0, 0, nil
	}
	return t.due[len(t.due)-1].revision, t.feed.Progress(), nil
}

// newDueEvent ranks an event among those of the same change of a key, which may be a change of the nodes above it too:
// parents appear before their children and go after them, and then comes what happened to somebody's children.
func newDueEvent(w *watch, event *core.NodeEvent) dueEvent {
	rank := 0
	switch event.Change {
	case storage.NodeCreated:
		rank = len(event.Path)
	case storage.NodeDeleted:
		rank = -len(event.Path)
	case core.NodeChildrenChanged:
		rank = math.MaxInt32 + len(event.Path)
	}
	return dueEvent{event.Revision, event.Sub, rank, int32(event.Change), string(event.Path), w}
}
