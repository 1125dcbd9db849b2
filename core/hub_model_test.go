package core

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"testing"

	"github.com/triglot/triglot/storage"
)

// The model test: random changes, compactions, watches and readers of every speed over rings of a few events, so that
// most of what is read comes partly from the log. Each watch is compared with what a naive reading of the whole history
// says it must get.

// modelEvent is an event of the history and what it was to ZooKeeper, found by comparing the sets of nodes before and
// after.
type modelEvent struct {
	*storage.Event
	step    int // Publish call
	created []string
	deleted []string
	changed string
}

type modelWatch struct {
	feed    int
	id      int64
	spec    Watch
	step    int   // steps before it are unwanted, unless behind
	behind  bool  // began in the past
	from    int64 // revisions before it are unwanted
	got     []string
	expect  int   // events of want that got accounts for
	lost    int   // steps before it may have lost events that only the ring held
	last    int64 // revision given last
	jumped  bool  // the store has jumped: it may have been owed anything
	over    bool
	removed bool
}

type hubModel struct {
	t       *testing.T
	random  *rand.Rand
	store   *hubStore
	feeds   []*Feed
	history []modelEvent
	steps   int
	watches map[string]*modelWatch
	nextID  int64
	subOf   int64 // the revision that sub counts in
	sub     int32
	keys    []map[string]storage.Kind // of each space
}

var hubModelNames = []string{"/", "/a", "/a/b", "/a/b/c", "/a/bb", "/d", "/d/e/f", "x", "xa", "xab", "y", "\xff", ""}

func (m *hubModel) nodes() map[string]bool {
	nodes := map[string]bool{}
	for key, kind := range m.keys[0] {
		if kind != storage.KindBytes || !IsNodePath([]byte(key)) {
			continue
		}
		for key != "" && key != "/" {
			nodes[key] = true
			key = key[:strings.LastIndexByte(key, '/')]
		}
	}
	nodes["/"] = true
	return nodes
}

func modelParent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// change makes one random event and enters it into the model's keys.
func (m *hubModel) change() (modelEvent, bool) {
	name := hubModelNames[m.random.IntN(len(hubModelNames))]
	space := byte(0)
	if m.random.IntN(4) == 0 {
		space = 1
	}
	keys := m.keys[space]
	kind := keys[name]
	before := m.nodes()
	var prev *storage.Record
	if kind == storage.KindBytes {
		prev = &storage.Record{Kind: kind, Value: []byte("old")}
	}
	var e *storage.Event
	switch m.random.IntN(10) {
	case 0:
		e = messageEvent(name, "hello")
		return modelEvent{Event: e}, true
	case 1, 2:
		if kind == storage.KindNone {
			return modelEvent{}, false
		}
		delete(keys, name)
		e = &storage.Event{Type: storage.EventDelete, Key: []byte(name), Prev: prev}
		if kind != storage.KindBytes {
			e.Type = storage.EventTouch
		}
	case 3, 4:
		// A list over a string: the bytes' end.
		keys[name] = storage.KindList
		e = pushEvent(name)
		if prev != nil {
			e.Type, e.Prev, e.Record = storage.EventDelete, prev, storage.Record{}
		}
	default:
		keys[name] = storage.KindBytes
		e = putEvent(name)
		e.Prev = prev
	}
	e.Space = space
	me := modelEvent{Event: e}
	if space != 0 || !IsNodePath([]byte(name)) || !isStored(e) {
		return me, true
	}
	after := m.nodes()
	for path := range after {
		if !before[path] {
			me.created = append(me.created, path)
		}
	}
	for path := range before {
		if !after[path] {
			me.deleted = append(me.deleted, path)
		}
	}
	sort.Strings(me.created)
	sort.Sort(sort.Reverse(sort.StringSlice(me.deleted)))
	switch {
	case len(me.created) > 0:
		e.Node, e.Ancestors = storage.NodeCreated, int32(len(me.created)-1)
	case len(me.deleted) > 0:
		e.Node, e.Ancestors = storage.NodeDeleted, int32(len(me.deleted)-1)
	default:
		e.Node, me.changed = storage.NodeDataChanged, name
	}
	return me, true
}

// nextSub numbers the events of a revision, over the steps that it shows in.
func (m *hubModel) nextSub(revision int64) int32 {
	if revision != m.subOf {
		m.subOf, m.sub = revision, 0
	}
	m.sub++
	return m.sub
}

func (m *hubModel) commit() {
	var events []*storage.Event
	var made []modelEvent
	for range 1 + m.random.IntN(3) {
		revisionTaken := false
		for range 1 + m.random.IntN(3) {
			me, ok := m.change()
			if !ok {
				continue
			}
			if me.Type != storage.EventPublish && !revisionTaken {
				m.store.revision++
				revisionTaken = true
			}
			me.Revision, me.Sub, me.step = m.store.revision, m.nextSub(m.store.revision), m.steps
			events = append(events, me.Event)
			made = append(made, me)
		}
	}
	m.history = append(m.history, made...)
	m.steps++
	m.store.log.append(events)
	if m.random.IntN(12) > 0 {
		m.store.hub.Publish(events, m.store.revision)
		return
	}
	// They happened elsewhere, and came with a snapshot.
	for _, w := range m.watches {
		w.jumped = true
	}
	m.store.hub.Jump(m.store.revision)
}

func isBelow(path, root string) bool {
	return path == root || root == "/" || strings.HasPrefix(path, root+"/")
}

// wants gives what an event is to a watch: nothing, or lines of text.
func (w *modelWatch) wants(e *modelEvent) []string {
	key, path := string(e.Key), string(w.spec.Key)
	inRange := false
	switch end := string(w.spec.End); end {
	case "":
		inRange = key == path
	case "\x00":
		inRange = key >= path
	default:
		inRange = key >= path && key < end
	}
	bytesChange := e.Type == storage.EventPut || e.Type == storage.EventDelete
	text := fmt.Sprintf("%d.%d %d %q", e.Revision, e.Sub, e.Type, key)
	say := func(change, path string) string { return fmt.Sprintf("%d.%d %s %s", e.Revision, e.Sub, change, path) }
	var out []string
	switch w.spec.Match {
	case MatchKey:
		if inRange && bytesChange && e.Space == w.spec.Space {
			out = append(out, text)
		}
	case MatchAny:
		if inRange && e.Type != storage.EventPublish && e.Space == w.spec.Space {
			out = append(out, text)
		}
	case MatchPublish:
		if inRange && e.Type == storage.EventPublish {
			out = append(out, text)
		}
	case MatchNode, MatchSubtree:
		for _, p := range e.created {
			if p == path || w.spec.Match == MatchSubtree && isBelow(p, path) {
				out = append(out, say("created", p))
			}
		}
		for _, p := range e.deleted {
			if p == path || w.spec.Match == MatchSubtree && isBelow(p, path) {
				out = append(out, say("deleted", p))
			}
		}
		if p := e.changed; p != "" && (p == path || w.spec.Match == MatchSubtree && isBelow(p, path)) {
			out = append(out, say("data", p))
		}
	case MatchChildren:
		for _, p := range e.deleted {
			if p == path {
				return []string{say("deleted", path)}
			}
		}
		for _, p := range append(append([]string(nil), e.created...), e.deleted...) {
			if modelParent(p) == path {
				return []string{say("children", path)}
			}
		}
	}
	return out
}

type modelLine struct {
	text   string
	stored bool
	rev    int64
	step   int
}

// wanted is all that a watch must get up to now.
func (m *hubModel) wanted(w *modelWatch) []modelLine {
	var lines []modelLine
	for i := range m.history {
		e := &m.history[i]
		if e.Revision < w.from || !w.behind && e.step < w.step {
			continue
		}
		for _, text := range w.wants(e) {
			lines = append(lines, modelLine{text, isStored(e.Event), e.Revision, e.step})
		}
	}
	return lines
}

func (m *hubModel) eventOf(text string) *modelEvent {
	var revision int64
	var sub int32
	fmt.Sscanf(text, "%d.%d", &revision, &sub)
	i := sort.Search(len(m.history), func(i int) bool { return m.history[i].Revision >= revision })
	for ; i < len(m.history); i++ {
		if m.history[i].Revision == revision && m.history[i].Sub == sub {
			return &m.history[i]
		}
	}
	panic("no event " + text)
}

func (m *hubModel) add() {
	feed := m.random.IntN(len(m.feeds))
	m.nextID++
	spec := Watch{
		Match: Match(m.random.IntN(int(matchEnd))), Once: m.random.IntN(5) == 0, Prev: m.random.IntN(3) == 0,
	}
	name := hubModelNames[m.random.IntN(len(hubModelNames))]
	switch spec.Match {
	case MatchNode, MatchChildren, MatchSubtree:
		name = hubModelNames[m.random.IntN(7)]
	default:
		if m.random.IntN(5) == 0 {
			spec.Space = 1
		}
		switch m.random.IntN(4) {
		case 0:
			spec.End = []byte{0}
		case 1:
			if name != "" {
				spec.End = append([]byte(name[:len(name)-1]), name[len(name)-1]+1) // overflows for 0xff: an empty range
			}
		case 2:
			spec.End = []byte(hubModelNames[m.random.IntN(len(hubModelNames))])
		}
	}
	spec.Key = []byte(name)
	w := &modelWatch{feed: feed, id: m.nextID, step: m.steps}
	switch m.random.IntN(4) {
	case 0:
		spec.From = m.store.revision + 1
	case 1:
		spec.From = 1 + m.random.Int64N(m.store.revision)
		w.behind, w.from = true, spec.From
	case 2:
		spec.From = m.store.revision + 2 + m.random.Int64N(5)
		w.from = spec.From
	}
	w.spec = spec
	err := m.feeds[feed].Add(w.id, spec)
	fromLog := spec.Match != MatchPublish && (spec.Space == 0 || spec.Match == MatchNode)
	if w.behind && fromLog && spec.From < m.store.log.floor {
		if e, ok := err.(*Error); !ok || e.Code != CodeCompacted || e.Number != m.store.log.floor {
			m.t.Fatalf("from %d, compacted %d: %v", spec.From, m.store.log.floor, err)
		}
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.watches[fmt.Sprint(feed, " ", w.id)] = w
}

func (m *hubModel) read(feed, max int) {
	f := m.feeds[feed]
	for _, n := range f.Next(max) {
		w := m.watches[fmt.Sprint(feed, " ", n.ID)]
		if w == nil || w.removed || w.over {
			m.t.Fatalf("notice for watch %d of feed %d, which is no more", n.ID, feed)
		}
		m.take(w, n)
	}
}

func (m *hubModel) take(w *modelWatch, n Notice) {
	fail := func(format string, args ...any) {
		m.t.Helper()
		m.t.Fatalf("watch %+v key %q end %q: %s\ngot before: %q\nnotice: %q", w.spec, w.spec.Key, w.spec.End,
			fmt.Sprintf(format, args...), w.got, noticeTexts([]Notice{n}))
	}
	want := m.wanted(w)
	if n.Err != nil {
		fail("error")
	}
	if n.Lost && w.spec.Match != MatchAny && w.spec.Match != MatchPublish && w.spec.Space == 0 {
		fail("lost, though all it matches is stored")
	}
	if n.Lost && !w.behind && !w.jumped {
		// Nothing can be lost that was not owed.
		if w.expect == len(want) {
			fail("lost, though it was owed nothing")
		}
	}
	if n.Compacted != 0 {
		w.over = true
		if n.Compacted != m.store.log.floor {
			fail("compacted is %d", m.store.log.floor)
		}
		if !w.behind && !w.jumped && (w.expect == len(want) || w.last >= n.Compacted) {
			fail("it was not behind")
		}
		return
	}
	var lines []string
	for _, e := range n.Events {
		lines = append(lines, fmt.Sprintf("%d.%d %d %q", e.Revision, e.Sub, e.Type, e.Key))
		original := m.eventOf(lines[len(lines)-1])
		if w.spec.Prev && (original.Prev == nil) != (e.Prev == nil) {
			fail("prev is %v, not %v", e.Prev, original.Prev)
		}
	}
	for _, e := range n.Nodes {
		lines = append(lines, fmt.Sprintf("%d.%d %s %s", e.Revision, e.Sub, nodeChangeNames[e.Change], e.Path))
	}
	if n.Lost {
		w.lost = m.steps
	}
	for _, line := range lines {
		for w.expect < len(want) && want[w.expect].text != line {
			if want[w.expect].stored || want[w.expect].step >= w.lost {
				fail("%q comes before %q was given", line, want[w.expect].text)
			}
			w.expect++
		}
		if w.expect == len(want) {
			fail("%q is unwanted, or comes twice", line)
		}
		w.last = want[w.expect].rev
		w.expect++
		w.got = append(w.got, line)
	}
	if len(lines) > 0 && len(n.Events) > 0 {
		// A notice ends at the end of a revision.
		last := m.eventOf(lines[len(lines)-1])
		if w.expect < len(want) && want[w.expect].stored && want[w.expect].rev == last.Revision &&
			want[w.expect].step == last.step {
			fail("revision %d is split", last.Revision)
		}
		if first := m.eventOf(lines[0]); w.spec.Once && first.Revision != last.Revision {
			fail("a one-shot watch got more than one revision")
		}
	}
	if w.spec.Once && len(n.Nodes) > 1 {
		fail("a one-shot watch got more than one node event")
	}
	if w.spec.Once {
		w.over = true
	}
}

func (m *hubModel) settle() {
	for i, f := range m.feeds {
		for range 1 << 20 {
			if f.Progress() != 0 {
				break
			}
			m.read(i, 1+m.random.IntN(20))
		}
		if got := f.Progress(); got != m.store.revision {
			m.t.Fatalf("progress %d of %d", got, m.store.revision)
		}
	}
	for _, w := range m.watches {
		if w.removed || w.over {
			continue
		}
		if !m.feeds[w.feed].Synced(w.id) {
			m.t.Fatalf("watch %+v is not synced", w.spec)
		}
		for _, line := range m.wanted(w)[w.expect:] {
			if line.stored || line.step >= w.lost {
				m.t.Fatalf("watch %+v key %q end %q never got %q", w.spec, w.spec.Key, w.spec.End, line.text)
			}
		}
	}
}

func TestWatchesAgainstModel(t *testing.T) {
	runs := uint64(150)
	if testing.Short() {
		runs = 20
	}
	for seed := range runs {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			options := HubOptions{EventsMax: 1 + random.IntN(30)}
			if random.IntN(3) == 0 {
				options.BytesMax = 300 + random.Int64N(5000)
			}
			m := &hubModel{
				t: t, random: random, store: newHubStore(t, options), watches: map[string]*modelWatch{},
				keys: []map[string]storage.Kind{{}, {}},
			}
			m.store.hub.sleepAfter = 1 + random.Uint64N(20)
			for range 4 {
				m.feeds = append(m.feeds, m.store.hub.NewFeed())
			}
			for range 250 {
				switch p := random.IntN(100); {
				case p < 50:
					m.commit()
				case p < 65:
					m.add()
				case p < 90:
					// The last feed reads once in a long while, the first often.
					if feed := random.IntN(4); random.IntN(1+feed*feed*4) == 0 {
						m.read(feed, 1+random.IntN(8))
					}
				case p < 94:
					for _, w := range m.watches {
						if had := m.feeds[w.feed].Remove(w.id); had != (!w.removed && !w.over) {
							t.Fatalf("Remove of %+v: %t", w, had)
						}
						w.removed = true
						break
					}
				case p < 96:
					if span := m.store.revision - m.store.log.floor; span > 10 {
						m.store.log.compact(m.store.log.floor + random.Int64N(span))
					}
				case p < 97:
					m.settle()
				}
			}
			m.settle()
			live := 0
			for _, w := range m.watches {
				if !w.removed && !w.over {
					live++
				}
			}
			if n := m.store.hub.Stats().Watches; n != live {
				t.Fatalf("%d watches in the index, %d live", n, live)
			}
			if random.IntN(2) == 0 {
				for _, f := range m.feeds {
					f.Close()
				}
				if n := m.store.hub.Stats(); n.Watches != 0 || m.store.hub.index.snapshot().names.Len() != 0 ||
					m.store.hub.index.snapshot().intervals != nil {
					t.Fatalf("left over: %+v", n)
				}
			}
		})
	}
}
