package zkcompat

import (
	"strings"

	"github.com/triglot/triglot/core"
)

// ZooKeeper looks at paths in different ways, as asked of version 3.8.0 on the wire: writes of data refuse a path that
// breaks its rules of naming (BadArguments); reads and deletes take any string and find no node of that name (NoNode).

// isNode reports whether a node can have this path at all.
func isNode(path string) bool {
	return core.IsNodePath([]byte(path))
}

// isWritable reports whether a path keeps ZooKeeper's rules for naming: beyond those of every node, no control characters
// and, since its strings are made of 16-bit units, nothing outside the basic plane and none of the private or special
// ranges. Bytes that are not UTF-8 count as U+FFFD, which is in such a range.
func isWritable(path string) bool {
	for _, r := range path {
		switch {
		case r <= 0x1f, r >= 0x7f && r <= 0x9f, r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0:
			return false
		}
	}
	return isNode(path)
}

// readPath is the path a read means: the empty one is the root.
func readPath(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// refuseCreate gives the code for a create that needs no look at the state.
func refuseCreate(path string, sequential, openACL bool) code {
	slash := strings.LastIndexByte(path, '/')
	named := path
	if sequential {
		named += "1"
	}
	switch {
	case slash < 0 || strings.IndexByte(path, 0) >= 0:
		return codeBadArguments
	case !openACL:
		return codeInvalidACL
	case !isNode(readPath(path[:slash])):
		return codeNoNode
	case !isWritable(named):
		return codeBadArguments
	}
	return refuseReserved(path)
}

// refuseDelete gives the code for a delete that needs no look at the state.
func refuseDelete(path string) code {
	_, special := reservedNodes[path]
	switch {
	case special || path == "/" || strings.IndexByte(path, '/') < 0 || strings.IndexByte(path, 0) >= 0:
		return codeBadArguments
	case !isNode(path):
		return codeNoNode
	}
	return refuseReserved(path)
}

// refuseChange gives the code for setData, setACL and check when they need no look at the state.
func refuseChange(path string) code {
	if !isWritable(path) {
		return codeBadArguments
	}
	return codeOK
}
