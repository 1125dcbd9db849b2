package resp

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// Keyspace notifications: every change of a key, made through any protocol, told on this node's channels in Redis'
// words. They are made from the events of the store, on the goroutine that delivers published messages, and only while
// notify-keyspace-events asks for some.

// eventClasses says which notifications are sent: the letters of notify-keyspace-events.
type eventClasses uint16

const (
	classKeyspace eventClasses = 1 << iota // K: on __keyspace@DB__:key
	classKeyevent                          // E: on __keyevent@DB__:event
	classGeneric
	classString
	classList
	classSet
	classHash
	classSortedSet
	classExpired
	classEvicted
	classStream
	classModule
	classNew
	classMiss

	// classAll is A: everything but new and missed keys.
	classAll = classGeneric | classString | classList | classSet | classHash | classSortedSet | classExpired | classEvicted |
		classStream | classModule
)

// classLetters are in the order in which Redis prints them. It prints A for those of classAll together, and then no n.
var classLetters = []struct {
	letter byte
	class  eventClasses
}{
	{'A', classAll},
	{'g', classGeneric}, {'$', classString}, {'l', classList}, {'s', classSet}, {'h', classHash}, {'z', classSortedSet},
	{'x', classExpired}, {'e', classEvicted}, {'t', classStream}, {'d', classModule}, {'n', classNew},
	{'K', classKeyspace}, {'E', classKeyevent}, {'m', classMiss},
}

const notifySetting = "notify-keyspace-events"

// parseEventClasses reads a value of notify-keyspace-events.
func parseEventClasses(letters string) (classes eventClasses, ok bool) {
	for i := range len(letters) {
		found := false
		for _, l := range classLetters {
			if l.letter == letters[i] {
				classes |= l.class
				found = true
			}
		}
		if !found {
			return 0, false
		}
	}
	return classes, true
}

// CheckEventClasses says whether letters can be Options.NotifyKeyspaceEvents.
func CheckEventClasses(letters string) error {
	if _, ok := parseEventClasses(letters); !ok {
		return fmt.Errorf("its letters are those of Ag$lshzxeKEtmdn")
	}
	return nil
}

func (classes eventClasses) String() string {
	var b strings.Builder
	all := classes&classAll == classAll
	for _, l := range classLetters {
		partOfAll := l.class&(classAll|classNew) != 0 && l.letter != 'A'
		if classes&l.class == l.class && !(all && partOfAll) {
			b.WriteByte(l.letter)
		}
	}
	return b.String()
}

// wantChanges reports whether there is anything to tell when a key changes.
func (classes eventClasses) wantChanges() bool {
	return classes&(classKeyspace|classKeyevent) != 0 && classes&(classAll|classNew) != 0
}

// wantMisses reports whether reads of absent keys are told.
func (classes eventClasses) wantMisses() bool {
	return classes&(classKeyspace|classKeyevent) != 0 && classes&classMiss != 0
}

// verbClasses are the classes of core's verbs and of those that are made of them here.
var verbClasses = map[string]eventClasses{
	"del": classGeneric, "expire": classGeneric, "persist": classGeneric, "copy_to": classGeneric,
	"rename_from": classGeneric, "rename_to": classGeneric, "move_from": classGeneric, "move_to": classGeneric,
	"set": classString, "append": classString, "setrange": classString, "incrby": classString, "incrbyfloat": classString,
	"hset": classHash, "hdel": classHash, "hincrby": classHash, "hincrbyfloat": classHash,
	"lpush": classList, "rpush": classList, "lpop": classList, "rpop": classList, "lset": classList, "linsert": classList,
	"lrem": classList, "ltrim": classList,
	"expired": classExpired, "new": classNew, "keymiss": classMiss,
}

// verbFlush is core's verb for the emptying of a space, which Redis does not tell.
const verbFlush = "flushdb"

// change is what notifications need of an event.
type change struct {
	revision int64
	sub      int32
	space    byte
	key      []byte
	verb     string
	isNew    bool // there was no key before
	isGone   bool // there is none any more
	expires  bool // its value came with a deadline
}

func changeOf(e *storage.Event) change {
	c := change{revision: e.Revision, sub: e.Sub, space: e.Space, key: e.Key, verb: e.Verb}
	if c.verb == "" { // an event of the log table, where verbs are not kept
		c.key = bytes.Clone(e.Key) // and not the value that its bytes came with
		c.verb = "set"
		if e.Type == storage.EventDelete {
			c.verb = "del"
		}
	}
	r := &e.Record
	c.isGone = e.Type == storage.EventDelete || r.Kind == storage.KindNone
	// Within a transaction a key can be made and changed at one revision: the second change has the next version.
	c.isNew = !c.isGone && r.CreateRevision == e.Revision && r.Version == 1 && e.Prev == nil
	c.expires = c.verb == "set" && r.DeadlineMillis != 0 && (e.Prev == nil || e.Prev.DeadlineMillis != r.DeadlineMillis)
	return c
}

// notifier turns events into notifications, in the order in which the changes were made. It belongs to pubsub, whose
// lock guards it.
type notifier struct {
	classes eventClasses
	send    func(channel, payload []byte)
	pending []change // not told yet: earlier ones may be under way on another space's watch
}

// pendingMax is how many changes wait to be put in order. More are only ever there when the node is far behind.
const pendingMax = 1 << 16

func (n *notifier) add(e *storage.Event) { n.pending = append(n.pending, changeOf(e)) }

// tell sends what is known to be complete: everything up to a revision.
func (n *notifier) tell(revision int64) {
	if len(n.pending) == 0 {
		return
	}
	slices.SortStableFunc(n.pending, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.revision, b.revision), cmp.Compare(a.sub, b.sub))
	})
	ready := 0
	for ready < len(n.pending) && n.pending[ready].revision <= revision {
		ready++
	}
	for told := 0; told < ready; {
		told += n.tellNext(n.pending[told:ready])
	}
	rest := copy(n.pending, n.pending[ready:])
	clear(n.pending[rest:])
	n.pending = n.pending[:rest]
	if rest == 0 && cap(n.pending) > noticesMax {
		n.pending = nil
	}
}

// tellNext tells the first change, in the sequence of events that Redis has for it, and returns how many were dealt with.
func (n *notifier) tellNext(changes []change) int {
	c := &changes[0]
	switch c.verb {
	case verbFlush:
		return 1
	case "rename_from": // the other half follows at once; Redis makes the new key first
		if len(changes) == 1 || changes[1].verb != "rename_to" || changes[1].revision != c.revision {
			n.event(c.space, c.key, c.verb)
			return 1
		}
		to := &changes[1]
		fromVerb, toVerb := "rename_from", "rename_to"
		if c.space != to.space {
			fromVerb, toVerb = "move_from", "move_to"
		}
		n.event(to.space, to.key, "new")
		n.event(c.space, c.key, fromVerb)
		n.event(to.space, to.key, toVerb)
		return 2
	case "copy_to": // what it replaces is removed without a word, and the copy is new
		n.event(c.space, c.key, "new")
	case "expire", "persist", "del", "expired":
	default:
		if c.isNew {
			n.event(c.space, c.key, "new")
		}
		if c.isGone { // with its last element
			n.event(c.space, c.key, c.verb)
			n.event(c.space, c.key, "del")
			return 1
		}
	}
	n.event(c.space, c.key, c.verb)
	if c.expires {
		n.event(c.space, c.key, "expire")
	}
	return 1
}

// event sends one event on the channels that are asked for. A verb of a newer core counts as generic.
func (n *notifier) event(space byte, key []byte, verb string) {
	class, known := verbClasses[verb]
	if !known {
		class = classGeneric
	}
	if n.classes&class == 0 {
		return
	}
	db := strconv.Itoa(int(space))
	if n.classes&classKeyspace != 0 {
		n.send(append([]byte("__keyspace@"+db+"__:"), key...), []byte(verb))
	}
	if n.classes&classKeyevent != 0 {
		n.send([]byte("__keyevent@"+db+"__:"+verb), key)
	}
}

// The watches of pubsub's feed.
const (
	watchMessages = 1
	watchSpaces   = 2 // that of space 0, the others follow
)

// setEventClasses starts and stops notifications. What has happened before is told as it was asked for then.
func (p *pubsub) setEventClasses(classes eventClasses) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver()
	was := p.notify.classes.wantChanges()
	p.notify.classes = classes
	p.misses.Store(classes.wantMisses())
	switch is := classes.wantChanges(); {
	case is && !was:
		for space := range byte(databases) {
			p.watchSpace(space)
		}
	case was && !is:
		for space := range int64(databases) {
			p.feed.Remove(watchSpaces + space)
		}
		p.notify.pending = nil
	}
}

// watchSpace watches a whole space from now on.
func (p *pubsub) watchSpace(space byte) {
	watch := core.Watch{Match: core.MatchAny, Space: space, End: []byte{0}}
	if err := p.feed.Add(watchSpaces+int64(space), watch); err != nil {
		p.srv.opts.Logger.Error("changes of keys cannot be told", "db", space, "err", err)
	}
}

func (p *pubsub) eventClasses() eventClasses {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.notify.classes
}

// keyMissed tells that an absent key was read on this node.
func (p *pubsub) keyMissed(space uint32, key []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notify.event(byte(space), key, "keymiss")
}
