package storage

import "encoding/binary"

// Every function here gives the half-open interval [lower, upper) of stored keys that holds exactly what it names, ready
// for Scan and DeleteRange.

// CurrentBounds holds every record of a space.
func CurrentBounds(space byte) (lower, upper []byte) {
	return []byte{tableCurrent, space}, prefixEnd([]byte{tableCurrent, space})
}

// CurrentRange holds the records of a range of keys as etcd writes it: end empty is the one key, end "\0" is every key
// from key on, otherwise [key, end).
func CurrentRange(space byte, key, end []byte) (lower, upper []byte) {
	lower = CurrentKey(make([]byte, 0, 2+len(key)+1), space, key)
	switch {
	case len(end) == 0:
		upper = append(CurrentKey(make([]byte, 0, 2+len(key)+1), space, key), 0)
	case len(end) == 1 && end[0] == 0:
		upper = prefixEnd([]byte{tableCurrent, space})
	default:
		upper = CurrentKey(make([]byte, 0, 2+len(end)), space, end)
	}
	return lower, upper
}

// KeyRange turns a range of user keys as etcd writes it into [lower, upper) of user keys, with upper nil for no end.
func KeyRange(key, end []byte) (lower, upper []byte) {
	switch {
	case len(end) == 0:
		return key, append(append(make([]byte, 0, len(key)+1), key...), 0)
	case len(end) == 1 && end[0] == 0:
		return key, nil
	default:
		return key, end
	}
}

// LogBounds holds the events from a revision on.
func LogBounds(from int64) (lower, upper []byte) {
	return appendInt64([]byte{tableLog}, from), []byte{tableLog + 1}
}

// HistoryBounds holds the versions of the keys in [lower, upper), upper nil for no end.
func HistoryBounds(lowerKey, upperKey []byte) (lower, upper []byte) {
	lower = appendEscaped([]byte{tableHistory}, lowerKey)
	if upperKey == nil {
		return lower, []byte{tableHistory + 1}
	}
	return lower, appendEscaped([]byte{tableHistory}, upperKey)
}

// historyKeyBounds holds the versions of one key.
func historyKeyBounds(key []byte) (lower, upper []byte) {
	lower = appendEscaped(append(make([]byte, 0, len(key)+20), tableHistory), key)
	return lower, prefixEnd(lower)
}

// CollectionBounds holds the elements of a collection.
func CollectionBounds(collection uint64) (lower, upper []byte) {
	lower = binary.BigEndian.AppendUint64([]byte{tableElement}, collection)
	return lower, prefixEnd(lower)
}

// CollectionSpaceBounds holds the elements of every collection of a space: ids carry the space in their top byte.
func CollectionSpaceBounds(space byte) (lower, upper []byte) {
	lower = []byte{tableElement, space}
	return lower, prefixEnd(lower)
}

// TreeBounds holds the Trees of all paths.
func TreeBounds() (lower, upper []byte) { return []byte{tableTree}, []byte{tableTree + 1} }

// ChildBounds holds the children of a parent.
func ChildBounds(parent []byte) (lower, upper []byte) {
	lower = appendEscaped([]byte{tableChild}, parent)
	return lower, prefixEnd(lower)
}

// DeadlineBounds holds the keys whose deadline is at or before an instant.
func DeadlineBounds(untilMillis int64) (lower, upper []byte) {
	return []byte{tableDeadline}, prefixEnd(appendInt64([]byte{tableDeadline}, untilMillis))
}

// LeaseBounds holds every lease.
func LeaseBounds() (lower, upper []byte) { return []byte{tableLease}, []byte{tableLease + 1} }

// AttachmentBounds holds the keys tied to a lease.
func AttachmentBounds(lease int64) (lower, upper []byte) {
	lower = appendInt64([]byte{tableAttachment}, lease)
	return lower, prefixEnd(lower)
}

// ScanBounds holds the keys of a space that were created at a revision or after it, in the order of creation.
func ScanBounds(space byte, fromRevision int64) (lower, upper []byte) {
	return appendInt64([]byte{tableScan, space}, fromRevision), prefixEnd([]byte{tableScan, space})
}

// ContainerBounds holds the paths that may come due for removal.
func ContainerBounds() (lower, upper []byte) {
	return []byte{tableContainer}, []byte{tableContainer + 1}
}

// prefixEnd is the least key above everything that starts with the prefix.
func prefixEnd(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil // unreachable for our tables: no table byte is 0xff
}

// MemberBounds holds the members of the cluster.
func MemberBounds() (lower, upper []byte) { return []byte{tableMember}, []byte{tableMember + 1} }

// RemovedBounds holds the members that were removed.
func RemovedBounds() (lower, upper []byte) { return []byte{tableRemoved}, []byte{tableRemoved + 1} }

// AlarmBounds holds the alarms.
func AlarmBounds() (lower, upper []byte) { return []byte{tableAlarm}, []byte{tableAlarm + 1} }

// UserBounds holds the users, in the order of their names.
func UserBounds() (lower, upper []byte) { return []byte{tableUser}, []byte{tableUser + 1} }

// RoleBounds holds the roles, in the order of their names.
func RoleBounds() (lower, upper []byte) { return []byte{tableRole}, []byte{tableRole + 1} }
