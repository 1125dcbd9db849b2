package zkcompat

import (
	"slices"
	"strings"

	"github.com/triglot/triglot/core"
)

// ZooKeeper keeps nodes of its own under /zookeeper. Clients expect to find them (Curator reads the configuration), so
// they are shown; but nothing is stored, so they can be neither changed nor removed, and nothing can be put below them
// through this protocol. Keys that another protocol put there are shown beside them.
const reservedRoot = "/zookeeper"

// reservedNodes are the nodes with the names of their children.
var reservedNodes = map[string][]string{
	reservedRoot:             {"config", "quota"},
	reservedRoot + "/config": nil,
	reservedRoot + "/quota":  nil,
}

func isReserved(path string) bool {
	return strings.HasPrefix(path, reservedRoot) && (len(path) == len(reservedRoot) || path[len(reservedRoot)] == '/')
}

// refuseReserved gives the code for a change at a path, were it only for its being reserved.
func refuseReserved(path string) code {
	switch {
	case !isReserved(path):
		return codeOK
	case isReservedNode(path):
		return codeNodeExists
	default:
		return codeNoAuth
	}
}

func isReservedNode(path string) bool {
	_, ok := reservedNodes[path]
	return ok
}

// node reads a node as this protocol's clients see it.
func node(v *core.View, path string) (data []byte, stat core.Stat, ok bool) {
	if !isNode(path) {
		return nil, core.Stat{}, false
	}
	data, stat, ok = v.Node(path)
	stat, ok = withReserved(v, path, stat, ok)
	return data, stat, ok
}

// nodeStat is node without the data.
func nodeStat(v *core.View, path string) (core.Stat, bool) {
	if !isNode(path) {
		return core.Stat{}, false
	}
	stat, ok := v.Stat(path)
	return withReserved(v, path, stat, ok)
}

// nodeChildren lists the names of a node's children.
func nodeChildren(v *core.View, path string) ([]string, core.Stat, bool) {
	if !isNode(path) {
		return nil, core.Stat{}, false
	}
	names, stat, ok := v.Children(path)
	stat, ok = withReserved(v, path, stat, ok)
	for _, name := range reservedChildren(path) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, stat, ok
}

// reservedChildren names the reserved children of a node.
func reservedChildren(path string) []string {
	if path == "/" {
		return []string{reservedRoot[1:]}
	}
	return reservedNodes[path]
}

// withReserved corrects what the store says of a node by what is reserved.
func withReserved(v *core.View, path string, stat core.Stat, ok bool) (core.Stat, bool) {
	if path != "/" && !isReservedNode(path) {
		return stat, ok
	}
	for _, name := range reservedChildren(path) {
		if _, stored := v.Stat(strings.TrimSuffix(path, "/") + "/" + name); !stored {
			stat.NumChildren++
		}
	}
	if path == "/" {
		stat.Cversion-- // ZooKeeper shows twice the creations less the children, and has never counted that of /zookeeper
	}
	return stat, true
}
