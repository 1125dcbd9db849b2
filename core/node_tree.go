package core

import (
	"bytes"

	"github.com/triglot/triglot/storage"
)

// ContainerGraceMillis is how long a container stays after its last child went, as ZooKeeper's cleaner has it by default
// (znode.container.checkIntervalMs). It is part of the state machine: all replicas compute the same times.
const ContainerGraceMillis = 60_000

// idleSpace marks rows of the deadline table that are about a childless node and not about a key's own deadline.
const idleSpace = 0xff

// The node tree: what ZooKeeper's Stat needs beyond the record, and the names of each node's children. It is kept for
// changes made through any protocol. A node is there when its key holds bytes, or when it has children: the ancestors of
// a key are nodes even where no key is stored (implicit nodes).

func (t *tx) tree(path []byte) storage.Tree {
	t.scratch = storage.TreeKey(t.scratch[:0], path)
	value, ok := t.r.Get(t.scratch)
	if !ok {
		return storage.Tree{}
	}
	tree, err := storage.DecodeTree(value)
	if err != nil {
		storage.Fail(t.r, err)
	}
	return tree
}

func (t *tx) setTree(path []byte, tree storage.Tree) {
	t.scratch = storage.TreeKey(t.scratch[:0], path)
	if tree == (storage.Tree{}) {
		t.b.Delete(t.scratch)
		return
	}
	t.encoded = tree.Append(t.encoded[:0])
	t.b.Set(t.scratch, bytes.Clone(t.encoded))
}

// holdsNode reports whether a path's own key makes it a node.
func (t *tx) holdsNode(path []byte) bool {
	rec := t.storedHead(0, path)
	return rec != nil && rec.Kind == storage.KindBytes
}

// updateNodes brings the node tree up to date with a change of a key, and tells the event what it was to ZooKeeper.
func (t *tx) updateNodes(event *storage.Event, was, is bool) {
	path := event.Key
	if !IsNodePath(path) {
		return
	}
	switch {
	case was && is:
		event.Node = storage.NodeDataChanged
		if event.Record.NodeTTLMillis != 0 {
			tree := t.tree(path)
			t.scheduleIdle(path, &event.Record, &tree)
			t.setTree(path, tree)
		}
	case is:
		tree := t.tree(path)
		event.Node = storage.NodeCreated
		if isRoot(path) || tree.Children > 0 {
			event.Node = storage.NodeDataChanged // it was there, implicit
		} else {
			event.Ancestors = t.childAdded(path)
		}
		if event.Record.NodeTTLMillis != 0 {
			t.scheduleIdle(path, &event.Record, &tree)
			t.setTree(path, tree)
		}
	default:
		tree := t.tree(path)
		t.clearIdle(path, &tree)
		event.Node = storage.NodeDeleted
		if isRoot(path) || tree.Children > 0 {
			event.Node = storage.NodeDataChanged // it stays, implicit
			tree.BirthRevision, tree.BirthMillis = t.revision, t.now
			t.setTree(path, tree)
		} else {
			t.setTree(path, storage.Tree{})
			event.Ancestors = t.childRemoved(path)
		}
	}
}

// childAdded enters a node with its parent and returns how many ancestors came to be nodes by it.
func (t *tx) childAdded(path []byte) (ancestors int32) {
	parent, name := parentPath(path)
	tree := t.tree(parent)
	there := isRoot(parent) || tree.Children > 0 || t.holdsNode(parent)
	if !there {
		tree.BirthRevision, tree.BirthMillis = t.revision, t.now
	}
	tree.Creates++
	tree.Children++
	tree.Pzxid = t.revision
	t.clearIdle(parent, &tree)
	t.setTree(parent, tree)
	t.scratch = storage.ChildKey(t.scratch[:0], parent, name)
	t.b.Add(t.scratch, nil)
	if there {
		return 0
	}
	return 1 + t.childAdded(parent)
}

// childRemoved takes a node from its parent and returns how many ancestors ceased to be nodes by it.
func (t *tx) childRemoved(path []byte) (ancestors int32) {
	parent, name := parentPath(path)
	t.scratch = storage.ChildKey(t.scratch[:0], parent, name)
	t.b.Delete(t.scratch)
	tree := t.tree(parent)
	tree.Deletes++
	tree.Children--
	tree.Pzxid = t.revision
	if tree.Children > 0 || isRoot(parent) {
		t.setTree(parent, tree)
		return 0
	}
	rec := t.storedHead(0, parent)
	if rec == nil || rec.Kind != storage.KindBytes {
		t.setTree(parent, storage.Tree{})
		return 1 + t.childRemoved(parent)
	}
	t.scheduleIdle(parent, rec, &tree)
	t.setTree(parent, tree)
	return 0
}

// scheduleIdle enters the time at which a container or TTL node without children is to be removed.
func (t *tx) scheduleIdle(path []byte, rec *storage.Record, tree *storage.Tree) {
	t.clearIdle(path, tree)
	switch {
	case tree.Children > 0:
		return
	case rec.NodeTTLMillis != 0:
		tree.IdleDeadlineMillis = max(t.now, rec.ModMillis+rec.NodeTTLMillis)
	case rec.Container:
		tree.IdleDeadlineMillis = t.now + ContainerGraceMillis
	default:
		return
	}
	t.setDeadline(tree.IdleDeadlineMillis, idleSpace, path)
}

// clearIdle takes back scheduleIdle.
func (t *tx) clearIdle(path []byte, tree *storage.Tree) {
	if tree.IdleDeadlineMillis != 0 {
		t.scratch = storage.DeadlineKey(t.scratch[:0], tree.IdleDeadlineMillis, idleSpace, path)
		t.b.Delete(t.scratch)
		tree.IdleDeadlineMillis = 0
	}
}

// nodeStat gives a node's metadata, of a record or, when it is nil, of an implicit node.
func nodeStat(path []byte, rec *storage.Record, tree storage.Tree) Stat {
	s := Stat{Cversion: int32(tree.Creates + tree.Deletes), NumChildren: int32(tree.Children), Pzxid: tree.Pzxid}
	if rec == nil {
		s.Czxid, s.Mzxid = tree.BirthRevision, tree.BirthRevision
		s.Ctime, s.Mtime = tree.BirthMillis, tree.BirthMillis
	} else {
		s.Czxid, s.Mzxid = rec.CreateRevision, rec.ModRevision
		s.Ctime, s.Mtime = rec.CreateMillis, rec.ModMillis
		s.Version = int32(rec.Version - 1)
		s.EphemeralOwner = rec.Lease
		s.DataLength = int32(rec.Size())
	}
	if s.Pzxid == 0 {
		s.Pzxid = s.Czxid
	}
	if isRoot(path) && rec == nil {
		s.Czxid, s.Mzxid = 0, 0
	}
	return s
}

// nodeAt reads a node: its record, nil when it is implicit, and its tree record. ok is false when there is no such node. What
// reads the record is record, or head.
func (t *tx) nodeAt(path []byte, read func(space byte, key []byte) *storage.Record) (rec *storage.Record, tree storage.Tree, ok bool) {
	tree = t.tree(path)
	rec = read(0, path)
	if rec != nil && rec.Kind != storage.KindBytes {
		rec = nil
	}
	return rec, tree, rec != nil || tree.Children > 0 || isRoot(path)
}
