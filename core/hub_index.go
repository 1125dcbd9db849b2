package core

import (
	"sync"
	"sync/atomic"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/triglot/triglot/storage"
)

// watchIndex finds the watches that an event may concern, at a cost that depends on the event's key and on those watches
// alone.
//
// It is HashiCorp's immutable radix tree, the one that go-memdb keeps its indexes in. Its keys are a domain (a space, or
// the channels) and a name; at a name stand the watches of that very key, of all keys with that prefix, and of the node
// with that path in each of its ZooKeeper roles. Everything that concerns an event except general intervals is thus on
// the one path from the root to the event's key, and walking it is the lookup. go-memdb itself would add its table,
// schema and reflection on every lookup for what is here a walk of some hundred nanoseconds on the apply goroutine.
// Ranges that are not a prefix are in an interval tree (hub_interval.go).
//
// Both trees are immutable, so that the publisher reads a snapshot and waits for nobody who adds or removes. Only the
// lists at the names change in place, each under a lock of its own held for moments: a name with 100,000 watches would
// otherwise be copied for each that comes or goes.
type watchIndex struct {
	mu    sync.Mutex // guards changes of the trees
	count atomic.Int64
	trees atomic.Pointer[indexTrees]
}

type indexTrees struct {
	names     *iradix.Tree[*watchStop]
	intervals *intervalNode
}

// watchStop is a name or interval at which watches stand.
type watchStop struct {
	mu    sync.Mutex // guards lists and the slots of the watches in them
	lists [indexRoles][]*activeWatch
	count int // of all lists, and of those that are parked; guarded by watchIndex.mu
}

// role says what a watch at a name is for.
type indexRole uint8

const (
	indexKey   indexRole = iota // the key of that name
	indexRange                  // every key below: the prefix, or the interval
	indexNode
	indexChildren
	indexSubtree
	indexRoles
)

// indexPlace is where a watch stands. stop and role are set before the watch enters and stay.
type indexPlace struct {
	stop *watchStop
	role indexRole

	// Guarded by stop.mu:
	slot   int  // in the list of its role
	parked bool // it is in no list
}

func (x *watchIndex) init() { x.trees.Store(&indexTrees{names: iradix.New[*watchStop]()}) }

func (x *watchIndex) len() int { return int(x.count.Load()) }

func (x *watchIndex) snapshot() *indexTrees { return x.trees.Load() }

func (x *watchIndex) add(w *activeWatch) {
	w.place.role = indexRoleOf(w)
	x.mu.Lock()
	defer x.mu.Unlock()
	trees := *x.trees.Load()
	stop, found := trees.find(w)
	if !found {
		stop = &watchStop{}
	}
	w.place.stop = stop
	stop.add(w)
	if !found {
		if lower := indexLabel(w.domain, w.Key); w.shape == shapeInterval {
			trees.intervals = trees.intervals.insert(lower, upperLabel(w), stop)
		} else {
			trees.names, _, _ = trees.names.Insert(lower, stop)
		}
		x.trees.Store(&trees)
	}
	x.count.Add(1)
}

func (x *watchIndex) remove(w *activeWatch) {
	x.mu.Lock()
	defer x.mu.Unlock()
	stop := w.place.stop
	stop.remove(w)
	x.count.Add(-1)
	if stop.count > 0 {
		return
	}
	trees := *x.trees.Load()
	if lower := indexLabel(w.domain, w.Key); w.shape == shapeInterval {
		trees.intervals = trees.intervals.remove(lower, upperLabel(w))
	} else {
		trees.names, _, _ = trees.names.Delete(lower)
	}
	x.trees.Store(&trees)
}

func (t *indexTrees) find(w *activeWatch) (*watchStop, bool) {
	lower := indexLabel(w.domain, w.Key)
	if w.shape == shapeInterval {
		n := t.intervals.find(lower, upperLabel(w))
		if n == nil {
			return nil, false
		}
		return n.stop, true
	}
	return t.names.Get(lower)
}

// match appends the watches that want an event to hits. label is scratch space, returned for the next time.
func (t *indexTrees) match(hits []*activeWatch, label []byte, e *storage.Event) (_ []*activeWatch, _ []byte) {
	label = append(append(label[:0], eventDomain(e)), e.Key...)
	path := t.names.Root().PathIterator(label)
	for name, stop, ok := path.Next(); ok; name, stop, ok = path.Next() {
		hits = stop.match(hits, e, len(name)-1)
	}
	return t.intervals.match(hits, label, e), label
}

// match appends the watches at a name that want an event, given the length of the name.
func (s *watchStop) match(hits []*activeWatch, e *storage.Event, length int) []*activeWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if length == len(e.Key) {
		hits = appendWanting(hits, s.lists[indexKey], e)
	}
	hits = appendWanting(hits, s.lists[indexRange], e)
	if e.Node == storage.NodeNone || len(s.lists[indexNode])+len(s.lists[indexChildren])+len(s.lists[indexSubtree]) == 0 {
		return hits
	}
	level := levelOf(e.Key, length)
	if level < 0 {
		return hits
	}
	if ownChange(e, level) != storage.NodeNone {
		hits = append(hits, s.lists[indexNode]...)
	}
	if childChange(e, level) != storage.NodeNone {
		hits = append(hits, s.lists[indexChildren]...)
	}
	return append(hits, s.lists[indexSubtree]...)
}

func (s *watchStop) matchAll(hits []*activeWatch, e *storage.Event) []*activeWatch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return appendWanting(hits, s.lists[indexRange], e)
}

func appendWanting(hits, list []*activeWatch, e *storage.Event) []*activeWatch {
	for _, w := range list {
		if w.wantsType(e) {
			hits = append(hits, w)
		}
	}
	return hits
}

func (s *watchStop) add(w *activeWatch) {
	s.count++
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(w)
}

// park takes a watch out of what match finds, for a while.
func (s *watchStop) park(w *activeWatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(w)
	w.place.parked = true
}

// unpark takes park back.
func (s *watchStop) unpark(w *activeWatch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.place.parked = false
	s.enter(w)
}

func (s *watchStop) remove(w *activeWatch) {
	s.count--
	s.mu.Lock()
	defer s.mu.Unlock()
	if !w.place.parked {
		s.leave(w)
	}
}

// enter appends a watch to its list. mu is held.
func (s *watchStop) enter(w *activeWatch) {
	list := &s.lists[w.place.role]
	w.place.slot = len(*list)
	*list = append(*list, w)
}

// leave puts the last of its list in a watch's slot. mu is held.
func (s *watchStop) leave(w *activeWatch) {
	list := &s.lists[w.place.role]
	last := len(*list) - 1
	moved := (*list)[last]
	(*list)[w.place.slot] = moved
	moved.place.slot = w.place.slot
	(*list)[last] = nil
	*list = (*list)[:last]
	if last == 0 {
		*list = nil
	}
}

func indexRoleOf(w *activeWatch) indexRole {
	switch w.Match {
	case MatchNode:
		return indexNode
	case MatchChildren:
		return indexChildren
	case MatchSubtree:
		return indexSubtree
	}
	if w.shape == shapeKey {
		return indexKey
	}
	return indexRange
}

func indexLabel(domain byte, name []byte) []byte {
	return append(append(make([]byte, 0, 1+len(name)), domain), name...)
}

// upperLabel is where an interval ends; without an end that is where its domain does.
func upperLabel(w *activeWatch) []byte {
	if !isInfinite(w.End) {
		return indexLabel(w.domain, w.End)
	}
	if w.domain == channelDomain {
		return nil // nothing is after the channels
	}
	return []byte{w.domain + 1}
}
