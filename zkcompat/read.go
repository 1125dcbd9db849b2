package zkcompat

import (
	"math"
	"strings"

	"github.com/triglot/triglot/core"
)

// Requests that are answered from a view. A watch is registered from the revision after the view's on, so that nothing
// is missed between the answer and the watch.

func readNothing(*conn, *request, *core.View, *encoder) code { return codeOK }

func readUnimplemented(*conn, *request, *core.View, *encoder) code { return codeUnimplemented }

// readReconfig answers what a server without reconfigEnabled does.
func readReconfig(*conn, *request, *core.View, *encoder) code { return codeReconfigDisabled }

func readEmptyMulti(_ *conn, _ *request, _ *core.View, e *encoder) code {
	e.itemsEnd()
	return codeOK
}

func readExists(c *conn, r *request, v *core.View, e *encoder) code {
	if strings.IndexByte(r.path, 0) >= 0 {
		return codeBadArguments
	}
	path := readPath(r.path)
	stat, ok := nodeStat(v, path)
	if r.watch {
		if failure := c.watches.add(watchData, path, v.Revision()+1); failure != codeOK {
			return failure
		}
	}
	if !ok {
		return codeNoNode
	}
	e.stat(stat)
	return codeOK
}

func readData(c *conn, r *request, v *core.View, e *encoder) code {
	path := readPath(r.path)
	data, stat, ok := node(v, path)
	if !ok {
		return codeNoNode
	}
	e.bytes(data)
	e.stat(stat)
	if r.watch {
		return c.watches.add(watchData, path, v.Revision()+1)
	}
	return codeOK
}

func readChildren(c *conn, r *request, v *core.View, e *encoder) code {
	_, failure := writeChildren(c, r, v, e)
	return failure
}

func readChildren2(c *conn, r *request, v *core.View, e *encoder) code {
	stat, failure := writeChildren(c, r, v, e)
	e.stat(stat)
	return failure
}

func writeChildren(c *conn, r *request, v *core.View, e *encoder) (core.Stat, code) {
	path := readPath(r.path)
	names, stat, ok := nodeChildren(v, path)
	if !ok {
		return stat, codeNoNode
	}
	e.strings(names)
	if r.watch {
		return stat, c.watches.add(watchChildren, path, v.Revision()+1)
	}
	return stat, codeOK
}

// readACL answers the truth: everybody may do everything, except with the reserved nodes, which can only be read.
func readACL(_ *conn, r *request, v *core.View, e *encoder) code {
	path := readPath(r.path)
	stat, ok := nodeStat(v, path)
	if !ok {
		return codeNoNode
	}
	perms := int32(permsAll)
	if isReservedNode(path) {
		perms = permsRead
	}
	e.acl(perms)
	e.stat(stat)
	return codeOK
}

// readSetACL takes the open ACL, which the node has already.
func readSetACL(_ *conn, r *request, v *core.View, e *encoder) code {
	stat, ok := nodeStat(v, r.path)
	switch {
	case !ok:
		return codeNoNode
	case r.version != anyVersion && r.version != stat.Aversion:
		return codeBadVersion
	}
	e.stat(stat)
	return codeOK
}

// readSync has done its work when its view is linearizable.
func readSync(_ *conn, r *request, _ *core.View, e *encoder) code {
	e.string(r.path)
	return codeOK
}

// readMultiRead answers each item by itself.
func readMultiRead(c *conn, r *request, v *core.View, e *encoder) code {
	for _, item := range r.items {
		start := len(e.buf)
		e.itemHeader(item.op.code, codeOK)
		item.watch = false
		failure := permitted(item, v)
		if failure == codeOK {
			failure = item.op.read(c, item, v, e)
		}
		if failure != codeOK {
			e.buf = e.buf[:start]
			e.itemHeader(opError, failure)
			e.int32(int32(failure))
		}
	}
	e.itemsEnd()
	return codeOK
}

// readEphemerals lists the session's own ephemeral nodes.
func readEphemerals(c *conn, r *request, v *core.View, e *encoder) code {
	prefix := strings.TrimSpace(r.path)
	var paths []string
	for _, key := range v.LeaseKeys(c.session) {
		path := string(key)
		if !strings.HasPrefix(path, prefix) {
			continue
		}
		if stat, ok := nodeStat(v, path); ok && stat.EphemeralOwner == c.session {
			paths = append(paths, path)
		}
	}
	e.strings(paths)
	return codeOK
}

// readDescendants counts the nodes below a node by walking them, as many as there are.
func readDescendants(_ *conn, r *request, v *core.View, e *encoder) code {
	path := readPath(r.path)
	if _, ok := nodeStat(v, path); !ok {
		return codeNoNode
	}
	total := int32(0)
	for left := []string{path}; len(left) > 0; {
		parent := left[len(left)-1]
		left = left[:len(left)-1]
		names, _, _ := nodeChildren(v, parent)
		total += int32(min(len(names), math.MaxInt32-int(total)))
		for _, name := range names {
			left = append(left, strings.TrimSuffix(parent, "/")+"/"+name)
		}
	}
	e.int32(total)
	return codeOK
}

func readSASL(c *conn, _ *request, _ *core.View, _ *encoder) code {
	c.log.Warn("zookeeper authentication refused: SASL is not supported")
	return codeAuthFailed
}

func readAddWatch(c *conn, r *request, v *core.View, e *encoder) code {
	kind := watchPersistent
	if r.mode == addRecursive {
		kind = watchRecursive
	}
	failure := c.watches.add(kind, r.path, v.Revision()+1)
	e.int32(int32(failure))
	return failure
}

func readCheckWatches(c *conn, r *request, _ *core.View, _ *encoder) code {
	if !c.watches.has(r.mode, r.path) {
		return codeNoWatcher
	}
	return codeOK
}

func readRemoveWatches(c *conn, r *request, _ *core.View, _ *encoder) code {
	if !c.watches.remove(r.mode, r.path) {
		return codeNoWatcher
	}
	return codeOK
}
