package core

import (
	"fmt"
	"sort"
	"sync"
	"testing"

	"github.com/triglot/triglot/storage"
)

// memoryLog is a log table in memory.
type memoryLog struct {
	mu     sync.Mutex // guards the fields below
	stored []*storage.Event
	floor  int64
	pinned int
	fail   error
	during func() // called once, by the next reader
}

type memoryView struct {
	log    *memoryLog
	stored []*storage.Event
	floor  int64
	fail   error
}

func (l *memoryLog) append(events []*storage.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if isStored(e) {
			l.stored = append(l.stored, e)
		}
	}
}

func (l *memoryLog) compact(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.floor = revision
	from := sort.Search(len(l.stored), func(i int) bool { return l.stored[i].Revision >= revision })
	l.stored = append([]*storage.Event(nil), l.stored[from:]...)
}

func (l *memoryLog) pin() eventView {
	l.mu.Lock()
	during := l.during
	l.during = nil
	l.mu.Unlock()
	if during != nil {
		during()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pinned++
	return &memoryView{log: l, stored: l.stored, floor: l.floor, fail: l.fail}
}

func (l *memoryLog) pins() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned
}

func (v *memoryView) compacted() int64 { return v.floor }
func (v *memoryView) release()         {}

func (v *memoryView) events(from int64, visit func(e *storage.Event) bool) error {
	if v.fail != nil {
		return v.fail
	}
	first := sort.Search(len(v.stored), func(i int) bool { return v.stored[i].Revision >= from })
	for _, e := range v.stored[first:] {
		c := *e
		c.Prev, c.Verb = nil, ""
		if !visit(&c) {
			return nil
		}
	}
	return nil
}

func (v *memoryView) before(e *storage.Event) (*storage.Record, error) {
	for _, s := range v.stored {
		if s.Revision == e.Revision && s.Sub == e.Sub {
			return s.Prev, nil
		}
	}
	return nil, fmt.Errorf("no event %d.%d", e.Revision, e.Sub)
}

// hubStore is just enough of a store: it numbers events, keeps the log and publishes.
type hubStore struct {
	log      *memoryLog
	hub      *Hub
	revision int64
}

// tinyRing makes feeds fall out of the ring soon.
var tinyRing = HubOptions{EventsMax: 4}

func newHubStore(t testing.TB, options HubOptions) *hubStore {
	t.Helper()
	s := &hubStore{log: &memoryLog{}, revision: 1}
	s.hub = newHub(s.log, s.revision, options)
	t.Cleanup(s.hub.Close)
	return s
}

// commit gives the events the next revision and publishes them. Messages keep the present one.
func (s *hubStore) commit(events ...*storage.Event) int64 {
	took := false
	for i, e := range events {
		if e.Type != storage.EventPublish && !took {
			s.revision++
			took = true
		}
		e.Revision, e.Sub = s.revision, int32(i)
	}
	s.log.append(events)
	s.hub.Publish(events, s.revision)
	return s.revision
}

func putEvent(key string) *storage.Event {
	return &storage.Event{
		Type: storage.EventPut, Key: []byte(key), Record: storage.Record{Kind: storage.KindBytes, Value: []byte("v")},
	}
}

func deleteEvent(key string) *storage.Event {
	return &storage.Event{
		Type: storage.EventDelete, Key: []byte(key), Prev: &storage.Record{Kind: storage.KindBytes, Value: []byte("v")},
	}
}

func pushEvent(key string) *storage.Event {
	return &storage.Event{
		Type: storage.EventTouch, Key: []byte(key), Record: storage.Record{Kind: storage.KindList, Count: 1}, Verb: "lpush",
	}
}

func messageEvent(channel, text string) *storage.Event {
	return &storage.Event{
		Type: storage.EventPublish, Key: []byte(channel),
		Record: storage.Record{Kind: storage.KindBytes, Value: []byte(text)},
	}
}

func eventInSpace(space byte, e *storage.Event) *storage.Event {
	e.Space = space
	return e
}

func asNode(change storage.NodeChange, ancestors int32, e *storage.Event) *storage.Event {
	e.Node, e.Ancestors = change, ancestors
	return e
}

func mustWatch(t testing.TB, f *Feed, id int64, w Watch) {
	t.Helper()
	if err := f.Add(id, w); err != nil {
		t.Fatalf("Add(%d): %v", id, err)
	}
}

// drainFeed reads a feed to its end.
func drainFeed(f *Feed) []Notice {
	var all []Notice
	for {
		notices := f.Next(1 << 30)
		if notices == nil {
			return all
		}
		all = append(all, notices...)
	}
}

// noticeTexts writes notices down as text: "id:key@revision" for events.
func noticeTexts(notices []Notice) []string {
	var out []string
	for _, n := range notices {
		if n.Lost {
			out = append(out, fmt.Sprintf("%d:lost", n.ID))
		}
		if n.Compacted != 0 {
			out = append(out, fmt.Sprintf("%d:compacted@%d", n.ID, n.Compacted))
		}
		if n.Err != nil {
			out = append(out, fmt.Sprintf("%d:%v", n.ID, n.Err))
		}
		for _, e := range n.Events {
			out = append(out, fmt.Sprintf("%d:%s@%d", n.ID, e.Key, e.Revision))
		}
		for _, e := range n.Nodes {
			out = append(out, fmt.Sprintf("%d:%s %s@%d", n.ID, nodeChangeNames[e.Change], e.Path, e.Revision))
		}
	}
	return out
}

var nodeChangeNames = map[storage.NodeChange]string{
	storage.NodeCreated: "created", storage.NodeDeleted: "deleted", storage.NodeDataChanged: "data",
	NodeChildrenChanged: "children",
}

func expectNotices(t testing.TB, got []Notice, want ...string) {
	t.Helper()
	if text := noticeTexts(got); fmt.Sprint(text) != fmt.Sprint(want) {
		t.Fatalf("got  %q\nwant %q", text, want)
	}
}

func isFeedReady(f *Feed) bool {
	select {
	case <-f.Ready():
		return true
	default:
		return false
	}
}
