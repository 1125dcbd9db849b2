package core

import "bytes"

var rootPath = []byte("/")

// IsNodePath reports whether a key is a path to ZooKeeper's eyes: the root, or segments each after a slash, none of
// them empty, "." or "..", and no NUL.
func IsNodePath(key []byte) bool {
	if len(key) == 0 || key[0] != '/' {
		return false
	}
	if len(key) == 1 {
		return true
	}
	start := 1
	for i := 1; i <= len(key); i++ {
		if i < len(key) && key[i] == 0 {
			return false
		}
		if i < len(key) && key[i] != '/' {
			continue
		}
		segment := key[start:i]
		if len(segment) == 0 || segment[0] == '.' && (len(segment) == 1 || len(segment) == 2 && segment[1] == '.') {
			return false
		}
		start = i + 1
	}
	return true
}

// parentPath gives the path one segment up, and the last segment. The root has no parent.
func parentPath(path []byte) (parent, name []byte) {
	slash := bytes.LastIndexByte(path, '/')
	if slash == 0 {
		return rootPath, path[1:]
	}
	return path[:slash], path[slash+1:]
}

func isRoot(path []byte) bool { return len(path) == 1 && path[0] == '/' }
