package core

import (
	"bytes"

	"github.com/triglot/triglot/storage"
)

// Match says which events a watch is for.
type Match uint8

// The matches. A range of keys is written as etcd does: End empty is the one key, "\0" is every key from Key on,
// otherwise it is [Key, End).
const (
	MatchKey      Match = iota // puts and deletes of bytes keys in the range: etcd
	MatchNode                  // node Key, a path, is created, deleted or its data changes; also when it is implicit
	MatchChildren              // a child of node Key is created or deleted, or the node itself is deleted
	MatchSubtree               // node Key or one below is created, deleted or its data changes
	MatchAny                   // whatever happens to keys of the range in Space, of any kind, life and elements included
	MatchPublish               // messages on the channels of the range; channels belong to no space
	matchEnd
)

// Watch says what to watch, and from when.
type Watch struct {
	Match    Match
	Space    byte
	Key, End []byte
	// From is the first revision wanted, 0 for what comes after now. The revision after the store's present one is now
	// as well; before a later one nothing is given. An earlier one brings back what the log holds, and Lost
	// where the match is also for events that it does not hold. Whoever read a view takes its revision + 1.
	From int64
	Prev bool // replayed events carry the record before the change; those of the ring always do, a large value only on request
	Once bool // the watch is over after its first notice: the events of one revision, or one node event
}

// Notice is what happened to one watch. What it refers to is shared: it must not be modified.
type Notice struct {
	ID     int64
	Events []*storage.Event // in order; never a part of a revision
	Nodes  []NodeEvent      // MatchNode, MatchChildren and MatchSubtree have these instead
	// Lost says that events which only the ring holds may have been missed: the watcher looks for itself. They were
	// published before Next gave this notice; events found in the log can still follow from before them.
	Lost bool
	// Compacted is not 0 when the watch fell behind compaction to this revision; the watch is over.
	Compacted int64
	// Err says that the log could not be read; the watch is over.
	Err error
}

// channelDomain is where channels stand in the index; spaces are their own domains.
const channelDomain = 0xff

// rangeShape says how the index finds a range.
type rangeShape uint8

const (
	shapeKey rangeShape = iota
	shapePrefix
	shapeInterval
)

// activeWatch is a watch as its feed and the index hold it.
type activeWatch struct {
	Watch // Key and End are copies of its own
	feed  *Feed
	id    int64

	domain   byte
	shape    rangeShape
	ringOnly bool // matches events that only the ring holds
	fromLog  bool // matches events that the log holds

	place indexPlace

	// lastMarked is the position of the last group the watch was marked with: the publisher's own, which so touches a
	// feed once for a group however many events match.
	lastMarked uint64

	// All below is guarded by feed.mu.

	active   bool   // in between Add and its end
	start    uint64 // positions before it are not wanted
	from     int64  // nor are revisions before it
	next     int64  // stored events below this revision are dealt with
	due      bool
	asleep   bool // due, and owed whatever comes until it is read
	owed     owedStretch
	previous *activeWatch // neighbours in the feed's queue while due
	nextDue  *activeWatch
}

// owedStretch is the part of the ring that a watch has not been given yet, from the first group that matched to the last.
type owedStretch struct {
	first, last                 uint64 // positions
	firstRevision, lastRevision int64
	ringOnly                    uint64 // position of the first group with events that only the ring holds
}

// nothingLost is a position that never leaves the ring.
const nothingLost = ^uint64(0)

func newActiveWatch(f *Feed, id int64, spec Watch) (*activeWatch, error) {
	w := &activeWatch{Watch: spec, feed: f, id: id, domain: spec.Space, fromLog: spec.Space == 0}
	w.Key = append([]byte(nil), spec.Key...)
	w.End = append([]byte(nil), spec.End...)
	switch {
	case spec.Match >= matchEnd:
		return nil, &Error{Code: CodeBadArguments, Detail: "no such match"}
	case spec.Space >= storage.Spaces:
		return nil, &Error{Code: CodeBadArguments, Detail: "no such space"}
	case spec.From < 0:
		return nil, &Error{Code: CodeBadArguments, Detail: "negative revision"}
	case w.isNode():
		if !IsNodePath(spec.Key) {
			return nil, &Error{Code: CodeBadArguments, Detail: "not a path"}
		}
		w.domain, w.fromLog = 0, true
		return w, nil
	case spec.Match == MatchPublish:
		w.domain, w.ringOnly, w.fromLog = channelDomain, true, false
	default:
		w.ringOnly = spec.Match == MatchAny || spec.Space != 0
	}
	w.shape = shapeOf(w.Key, w.End)
	return w, nil
}

func (w *activeWatch) isNode() bool {
	return w.Match == MatchNode || w.Match == MatchChildren || w.Match == MatchSubtree
}

// shapeOf tells the ranges that the radix tree finds from those that it does not.
func shapeOf(key, end []byte) rangeShape {
	switch {
	case len(end) == 0:
		return shapeKey
	case isInfinite(end):
		if len(bytes.TrimLeft(key, "\xff")) == 0 {
			return shapePrefix // everything, or all that begins with 0xff
		}
		return shapeInterval
	}
	// [key, end) is a prefix's range when end is key with its last byte one higher, those of 0xff cut off.
	stem := bytes.TrimRight(key, "\xff")
	last := len(stem) - 1
	if last >= 0 && len(end) == len(stem) && bytes.Equal(end[:last], stem[:last]) && end[last] == stem[last]+1 {
		return shapePrefix
	}
	return shapeInterval
}

func isInfinite(end []byte) bool { return len(end) == 1 && end[0] == 0 }

// wants reports whether the watch, which is not for nodes, is for an event.
func (w *activeWatch) wants(e *storage.Event) bool {
	if eventDomain(e) != w.domain || !w.wantsType(e) {
		return false
	}
	switch w.shape {
	case shapeKey:
		return bytes.Equal(e.Key, w.Key)
	case shapePrefix:
		return bytes.HasPrefix(e.Key, w.Key)
	default:
		return bytes.Compare(e.Key, w.Key) >= 0 && (isInfinite(w.End) || bytes.Compare(e.Key, w.End) < 0)
	}
}

// wantsType is what is left to ask when the index found the range.
func (w *activeWatch) wantsType(e *storage.Event) bool {
	return w.Match != MatchKey || isBytesChange(e)
}

func eventDomain(e *storage.Event) byte {
	if e.Type == storage.EventPublish {
		return channelDomain
	}
	return e.Space
}
