package core

import (
	"bytes"

	"github.com/triglot/triglot/storage"
)

// NodeChildrenChanged continues storage's node changes with the one that is about a parent. The numbers of all four are
// those of ZooKeeper's event types.
const NodeChildrenChanged = storage.NodeDataChanged + 1

// NodeEvent is a change as a ZooKeeper watch is told of it.
type NodeEvent struct {
	Path     []byte // shared: not to be modified
	Change   storage.NodeChange
	Revision int64
	Sub      int32 // with Revision the order over all watches; events of one change carry the same
}

// One event can change several nodes: its own, and the implicit ones above, which come and go with it. Nodes are named
// by their level over the event's key: 0 is the key itself, 1 its parent. With A = Event.Ancestors,
//
//	               own changes      children changed
//	NodeCreated    levels 0 to A    levels 1 to A+1
//	NodeDeleted    levels 0 to A    level A+1 (those below it are gone with their children)
//	NodeDataChanged       level 0   none
//
// The functions below are this table; the index and the readers both go by them.

// levelOf gives the level over key of the node whose path is the first n bytes of key, -1 when that is no node's path.
func levelOf(key []byte, n int) int {
	switch {
	case n == len(key):
		return 0
	case n == 1:
		return bytes.Count(key[1:], pathSlash) + 1
	case key[n] == '/':
		return bytes.Count(key[n:], pathSlash)
	default:
		return -1
	}
}

var pathSlash = []byte{'/'}

// atLevel gives the path that is so many levels over key. There must be one.
func atLevel(key []byte, level int) []byte {
	end := len(key)
	for ; level > 0; level-- {
		end = bytes.LastIndexByte(key[:end], '/')
	}
	if end == 0 {
		end = 1 // the root is its slash
	}
	return key[:end:end]
}

// ownChange is what an event did to the node at a level over its key: NodeNone, NodeCreated, NodeDeleted or
// NodeDataChanged.
func ownChange(e *storage.Event, level int) storage.NodeChange {
	if level == 0 || level <= int(e.Ancestors) && e.Node != storage.NodeDataChanged {
		return e.Node
	}
	return storage.NodeNone
}

// childChange is what a watch on the children of that node is told: NodeNone, NodeChildrenChanged or NodeDeleted. A node
// that goes together with its last child is deleted and no more.
func childChange(e *storage.Event, level int) storage.NodeChange {
	ancestors := int(e.Ancestors)
	switch {
	case e.Node == storage.NodeDeleted && level <= ancestors:
		return storage.NodeDeleted
	case e.Node == storage.NodeDeleted && level == ancestors+1,
		e.Node == storage.NodeCreated && level >= 1 && level <= ancestors+1:
		return NodeChildrenChanged
	}
	return storage.NodeNone
}

// appendNodes appends what an event is to a watch for nodes.
func (w *activeWatch) appendNodes(nodes []NodeEvent, e *storage.Event) []NodeEvent {
	if e.Node == storage.NodeNone || eventDomain(e) != 0 || !bytes.HasPrefix(e.Key, w.Key) {
		return nodes
	}
	level := levelOf(e.Key, len(w.Key))
	if level < 0 {
		return nodes
	}
	event := NodeEvent{Path: w.Key, Revision: e.Revision, Sub: e.Sub}
	switch w.Match {
	case MatchNode:
		event.Change = ownChange(e, level)
	case MatchChildren:
		event.Change = childChange(e, level)
	case MatchSubtree:
		return appendSubtree(nodes, e, level)
	}
	if event.Change == storage.NodeNone {
		return nodes
	}
	return append(nodes, event)
}

// appendSubtree appends an event's own changes up to a level: parents appear before their children, and go after them.
func appendSubtree(nodes []NodeEvent, e *storage.Event, level int) []NodeEvent {
	top := min(level, int(e.Ancestors))
	if e.Node == storage.NodeDataChanged {
		top = 0
	}
	for i := 0; i <= top; i++ {
		level := i
		if e.Node == storage.NodeCreated {
			level = top - i
		}
		nodes = append(nodes, NodeEvent{Path: atLevel(e.Key, level), Change: e.Node, Revision: e.Revision, Sub: e.Sub})
	}
	return nodes
}
