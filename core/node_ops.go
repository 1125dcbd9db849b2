package core

import (
	"fmt"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// nodeCreate follows ZooKeeper's order of checks: the parent, its being ephemeral, the name being taken.
func (t *tx) nodeCreate(op *corepb.NodeCreate, out *Result) {
	path := []byte(op.Path)
	if !IsNodePath(path) && !(op.Sequential && IsNodePath(append(path, '0'))) {
		out.Err = &Error{Code: CodeBadArguments, Detail: "invalid path " + op.Path}
		return
	}
	if isRoot(path) && !op.Sequential {
		out.Err = ErrNodeExists
		return
	}
	parent, _ := parentPath(path)
	parentRecord, parentTree, ok := t.nodeAt(parent, t.head)
	if !ok {
		out.Err = ErrNoNode
		return
	}
	if parentRecord != nil && parentRecord.Lease != 0 {
		out.Err = ErrNoChildrenForEphemerals
		return
	}
	if op.Owner != 0 && !t.leaseExists(op.Owner) {
		out.Err = ErrSessionExpired
		return
	}
	if op.Sequential {
		path = fmt.Appendf(path, "%010d", int32(parentTree.Creates))
	}
	before := t.loadHead(0, path)
	if before != nil {
		out.Err = ErrNodeExists
		return
	}
	after := succeed(nil, storage.KindBytes)
	after.Value = op.Data
	after.Lease = op.Owner
	after.Container = op.Container
	after.NodeTTLMillis = op.TtlMillis
	t.change(0, path, nil, after, "set")
	out.OK, out.Path = true, string(path)
	out.Stat = nodeStat(path, after, t.tree(path))
}

func (t *tx) nodeDelete(op *corepb.NodeDelete, out *Result) {
	path := []byte(op.Path)
	if isRoot(path) {
		out.Err = &Error{Code: CodeBadArguments, Detail: "the root cannot be deleted"}
		return
	}
	rec, tree, ok := t.nodeAt(path, t.head)
	if out.Err = checkNode(rec, ok, op.Version); out.Err != nil {
		return
	}
	if tree.Children > 0 {
		out.Err = ErrNotEmpty
		return
	}
	t.change(0, path, rec, nil, "del")
	out.OK = true
}

// nodeSetData replaces the data of a node; one that was implicit becomes real, with version 1.
func (t *tx) nodeSetData(op *corepb.NodeSetData, out *Result) {
	path := []byte(op.Path)
	before, tree, ok := t.nodeAt(path, t.head)
	if out.Err = checkNode(before, ok, op.Version); out.Err != nil {
		return
	}
	isImplicit := before == nil
	if isImplicit { // what its key holds, if anything, is over or no node's
		if before = t.loadHead(0, path); before != nil && before.Kind != storage.KindBytes {
			out.Err = ErrNoNode
			return
		}
	}
	after := succeed(before, storage.KindBytes)
	if before == nil {
		after.Version = 2 // the implicit node counts as the first version, whose number ZooKeeper shows as 0
	}
	keepLife(after, before)
	after.Value = op.Data
	t.change(0, path, before, after, "set")
	if isImplicit {
		tree = t.tree(path)
	}
	out.OK = true
	out.Stat = nodeStat(path, after, tree)
}

func (t *tx) nodeCheck(op *corepb.NodeCheck, out *Result) {
	rec, _, ok := t.nodeAt([]byte(op.Path), t.head)
	out.Err = checkNode(rec, ok, op.Version)
	out.OK = out.Err == nil
}

// checkNode compares a node's version as ZooKeeper counts it; an implicit node has version 0.
func checkNode(rec *storage.Record, there bool, version int32) error {
	if !there {
		return ErrNoNode
	}
	current := int32(0)
	if rec != nil {
		current = int32(rec.Version - 1)
	}
	if version != -1 && version != current {
		return ErrBadVersion
	}
	return nil
}
