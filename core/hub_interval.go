package core

import (
	"bytes"
	"math/rand/v2"

	"github.com/triglot/triglot/storage"
)

// intervalNode is a node of an immutable interval tree: a treap, ordered by the intervals' lower ends and then their
// upper ones, in which each node knows how far the intervals under it reach. What holds a point is found in the depth
// of the tree for disjoint intervals, and in that for each one found otherwise. A change copies the nodes on its way
// and leaves the old tree whole. The nil pointer is the empty tree.
type intervalNode struct {
	lower, upper []byte // [lower, upper), upper nil for no end
	stop         *watchStop
	priority     uint64 // random: a parent's is not below its children's, which keeps the tree balanced
	reach        []byte // the greatest upper of this node and those under it
	left, right  *intervalNode
}

// endsAfter reports whether the end of an interval lies after a point.
func endsAfter(upper, point []byte) bool { return upper == nil || bytes.Compare(point, upper) < 0 }

func laterEnd(a, b []byte) []byte {
	if a == nil || b == nil {
		return nil
	}
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

func compareIntervals(lowerA, upperA, lowerB, upperB []byte) int {
	if c := bytes.Compare(lowerA, lowerB); c != 0 {
		return c
	}
	switch {
	case upperA == nil && upperB == nil:
		return 0
	case upperA == nil:
		return 1
	case upperB == nil:
		return -1
	}
	return bytes.Compare(upperA, upperB)
}

// with is a copy of the node with other children.
func (n *intervalNode) with(left, right *intervalNode) *intervalNode {
	c := *n
	c.left, c.right, c.reach = left, right, n.upper
	if left != nil {
		c.reach = laterEnd(c.reach, left.reach)
	}
	if right != nil {
		c.reach = laterEnd(c.reach, right.reach)
	}
	return &c
}

func (n *intervalNode) find(lower, upper []byte) *intervalNode {
	for n != nil {
		switch c := compareIntervals(lower, upper, n.lower, n.upper); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n
		}
	}
	return nil
}

// insert gives the tree with an interval that it does not hold.
func (n *intervalNode) insert(lower, upper []byte, stop *watchStop) *intervalNode {
	fresh := &intervalNode{lower: lower, upper: upper, stop: stop, priority: rand.Uint64(), reach: upper}
	return n.insertNode(fresh)
}

func (n *intervalNode) insertNode(fresh *intervalNode) *intervalNode {
	if n == nil {
		return fresh
	}
	if fresh.priority > n.priority {
		return fresh.with(n.split(fresh))
	}
	if compareIntervals(fresh.lower, fresh.upper, n.lower, n.upper) < 0 {
		return n.with(n.left.insertNode(fresh), n.right)
	}
	return n.with(n.left, n.right.insertNode(fresh))
}

// split gives what is before and what is after an interval.
func (n *intervalNode) split(at *intervalNode) (before, after *intervalNode) {
	if n == nil {
		return nil, nil
	}
	if compareIntervals(at.lower, at.upper, n.lower, n.upper) < 0 {
		before, after = n.left.split(at)
		return before, n.with(after, n.right)
	}
	before, after = n.right.split(at)
	return n.with(n.left, before), after
}

// remove gives the tree without an interval that it holds.
func (n *intervalNode) remove(lower, upper []byte) *intervalNode {
	switch c := compareIntervals(lower, upper, n.lower, n.upper); {
	case c < 0:
		return n.with(n.left.remove(lower, upper), n.right)
	case c > 0:
		return n.with(n.left, n.right.remove(lower, upper))
	default:
		return joinIntervals(n.left, n.right)
	}
}

// joinIntervals makes one tree of two, the first before the second.
func joinIntervals(a, b *intervalNode) *intervalNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		return a.with(a.left, joinIntervals(a.right, b))
	default:
		return b.with(joinIntervals(a, b.left), b.right)
	}
}

// match appends the watches that want an event, found under its label.
func (n *intervalNode) match(hits []*activeWatch, label []byte, e *storage.Event) []*activeWatch {
	if n == nil || !endsAfter(n.reach, label) {
		return hits
	}
	hits = n.left.match(hits, label, e)
	if bytes.Compare(n.lower, label) > 0 {
		return hits
	}
	if endsAfter(n.upper, label) {
		hits = n.stop.matchAll(hits, e)
	}
	return n.right.match(hits, label, e)
}
