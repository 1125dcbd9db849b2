package storage

import (
	"bytes"
	"encoding/binary"
)

// The first byte of every key names its table. The numbers are stored.
const (
	tableMeta       byte = 0x01 // name -> State, reach of the history, purge progress
	tableCurrent    byte = 0x02 // space, key -> Record
	tableLog        byte = 0x03 // revision, sub -> Event
	tableHistory    byte = 0x04 // key, revision descending, sub descending -> pointer into the log
	tableElement    byte = 0x05 // collection, element -> what the collection's kind keeps
	tableTree       byte = 0x06 // path -> Tree
	tableChild      byte = 0x07 // parent path, name -> what the state machine keeps
	tableDeadline   byte = 0x08 // instant, space, key -> nothing
	tableLease      byte = 0x09 // lease -> Lease
	tableAttachment byte = 0x0a // lease, space, key -> nothing
	tableScan       byte = 0x0b // space, create revision, key -> nothing
	tableContainer  byte = 0x0c // path -> nothing
	tableMember     byte = 0x0d // member -> what the state machine keeps
	tableRemoved    byte = 0x0e // member that was removed -> nothing
	tableAlarm      byte = 0x0f // kind, member -> nothing
	tableUser       byte = 0x10 // name -> what the state machine keeps
	tableRole       byte = 0x11 // name -> what the state machine keeps
	tableLast            = tableRole
)

var (
	historyKey = append([]byte{tableMeta}, "history"...)
	stateKey   = append([]byte{tableMeta}, "state"...)
	purgeKey   = append([]byte{tableMeta}, "purge"...)
)

// All builders append to dst and return it. Numbers are written so that byte order is number order, negative numbers
// included. Splitters return parts that alias the key; ok is false when the key is not of their table or malformed.

// CurrentKey is where the record of a key stands.
func CurrentKey(dst []byte, space byte, key []byte) []byte {
	dst = append(dst, tableCurrent, space)
	return append(dst, key...)
}

// SplitCurrent undoes CurrentKey.
func SplitCurrent(k []byte) (space byte, key []byte, ok bool) {
	if len(k) < 2 || k[0] != tableCurrent {
		return 0, nil, false
	}
	return k[1], k[2:], true
}

// LogKey is where an event stands: the log is in the order of (revision, sub).
func LogKey(dst []byte, revision int64, sub int32) []byte {
	dst = append(dst, tableLog)
	dst = appendInt64(dst, revision)
	return appendInt32(dst, sub)
}

// SplitLog undoes LogKey.
func SplitLog(k []byte) (revision int64, sub int32, ok bool) {
	if len(k) != 13 || k[0] != tableLog {
		return 0, 0, false
	}
	return int64At(k[1:]), int32At(k[9:]), true
}

// HistoryKey is where a version of a key of the shared space stands. The versions of a key are together, newest first.
func HistoryKey(dst []byte, key []byte, revision int64, sub int32) []byte {
	dst = append(dst, tableHistory)
	dst = appendEscaped(dst, key)
	dst = appendInt64(dst, ^revision)
	return appendInt32(dst, ^sub)
}

// SplitHistory undoes HistoryKey. The key is appended to dst, since its stored form may be escaped.
func SplitHistory(k, dst []byte) (key []byte, revision int64, sub int32, ok bool) {
	if len(k) < 1+2+12 || k[0] != tableHistory {
		return nil, 0, 0, false
	}
	key, rest, ok := splitEscaped(k[1:], dst)
	if !ok || len(rest) != 12 {
		return nil, 0, 0, false
	}
	return key, ^int64At(rest), ^int32At(rest[8:]), true
}

// ElementKey is where an element of a collection stands.
func ElementKey(dst []byte, collection uint64, element []byte) []byte {
	dst = append(dst, tableElement)
	dst = binary.BigEndian.AppendUint64(dst, collection)
	return append(dst, element...)
}

// SplitElement undoes ElementKey.
func SplitElement(k []byte) (collection uint64, element []byte, ok bool) {
	if len(k) < 9 || k[0] != tableElement {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(k[1:]), k[9:], true
}

// TreeKey is where the Tree of a path stands.
func TreeKey(dst []byte, path []byte) []byte {
	return append(append(dst, tableTree), path...)
}

// SplitTree undoes TreeKey.
func SplitTree(k []byte) (path []byte, ok bool) { return splitName(k, tableTree) }

// ChildKey is where a child of a path stands. The children of a parent are together, in the order of their names.
func ChildKey(dst []byte, parent, name []byte) []byte {
	dst = append(dst, tableChild)
	dst = appendEscaped(dst, parent)
	return append(dst, name...)
}

// SplitChild undoes ChildKey. The parent is appended to dst, since its stored form may be escaped.
func SplitChild(k, dst []byte) (parent, name []byte, ok bool) {
	if len(k) < 1 || k[0] != tableChild {
		return nil, nil, false
	}
	return splitEscaped(k[1:], dst)
}

// DeadlineKey is where a key with a deadline stands, in the order of the instants.
func DeadlineKey(dst []byte, millis int64, space byte, key []byte) []byte {
	return appendNumbered(dst, tableDeadline, millis, space, key)
}

// SplitDeadline undoes DeadlineKey.
func SplitDeadline(k []byte) (millis int64, space byte, key []byte, ok bool) {
	return splitNumbered(k, tableDeadline)
}

// LeaseKey is where a lease stands.
func LeaseKey(dst []byte, id int64) []byte {
	return appendInt64(append(dst, tableLease), id)
}

// SplitLease undoes LeaseKey.
func SplitLease(k []byte) (id int64, ok bool) {
	if len(k) != 9 || k[0] != tableLease {
		return 0, false
	}
	return int64At(k[1:]), true
}

// AttachmentKey is where the tie of a key to a lease stands.
func AttachmentKey(dst []byte, lease int64, space byte, key []byte) []byte {
	return appendNumbered(dst, tableAttachment, lease, space, key)
}

// SplitAttachment undoes AttachmentKey.
func SplitAttachment(k []byte) (lease int64, space byte, key []byte, ok bool) {
	return splitNumbered(k, tableAttachment)
}

// ScanKey is where a key stands in its space's order of creation.
func ScanKey(dst []byte, space byte, createRevision int64, key []byte) []byte {
	dst = append(dst, tableScan, space)
	dst = appendInt64(dst, createRevision)
	return append(dst, key...)
}

// SplitScan undoes ScanKey.
func SplitScan(k []byte) (space byte, createRevision int64, key []byte, ok bool) {
	if len(k) < 10 || k[0] != tableScan {
		return 0, 0, nil, false
	}
	return k[1], int64At(k[2:]), k[10:], true
}

// ContainerKey is where a path stands that is removed some time after it lost its last child.
func ContainerKey(dst []byte, path []byte) []byte {
	return append(append(dst, tableContainer), path...)
}

// SplitContainer undoes ContainerKey.
func SplitContainer(k []byte) (path []byte, ok bool) { return splitName(k, tableContainer) }

// MemberKey is where a member of the cluster stands.
func MemberKey(dst []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableMember), id)
}

// RemovedKey is where a member stands that was removed from the cluster for good.
func RemovedKey(dst []byte, id uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableRemoved), id)
}

// SplitRemoved undoes RemovedKey.
func SplitRemoved(k []byte) (id uint64, ok bool) {
	if len(k) != 9 || k[0] != tableRemoved {
		return 0, false
	}
	return binary.BigEndian.Uint64(k[1:]), true
}

// AlarmKey is where an alarm of a member stands.
func AlarmKey(dst []byte, kind byte, member uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, tableAlarm, kind), member)
}

// SplitAlarm undoes AlarmKey.
func SplitAlarm(k []byte) (kind byte, member uint64, ok bool) {
	if len(k) != 10 || k[0] != tableAlarm {
		return 0, 0, false
	}
	return k[1], binary.BigEndian.Uint64(k[2:]), true
}

// UserKey is where a user stands.
func UserKey(dst []byte, name string) []byte { return append(append(dst, tableUser), name...) }

// RoleKey is where a role stands.
func RoleKey(dst []byte, name string) []byte { return append(append(dst, tableRole), name...) }

func splitName(k []byte, table byte) ([]byte, bool) {
	if len(k) < 1 || k[0] != table {
		return nil, false
	}
	return k[1:], true
}

func appendNumbered(dst []byte, table byte, number int64, space byte, key []byte) []byte {
	dst = append(dst, table)
	dst = appendInt64(dst, number)
	dst = append(dst, space)
	return append(dst, key...)
}

func splitNumbered(k []byte, table byte) (number int64, space byte, key []byte, ok bool) {
	if len(k) < 10 || k[0] != table {
		return 0, 0, nil, false
	}
	return int64At(k[1:]), k[9], k[10:], true
}

// Big-endian with the sign bit flipped sorts as the numbers do.

func appendInt64(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^1<<63)
}

func int64At(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }

func appendInt32(dst []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(v)^1<<31)
}

func int32At(b []byte) int32 { return int32(binary.BigEndian.Uint32(b) ^ 1<<31) }

// Where something follows a key of arbitrary bytes, the key is escaped so that order is kept and the end is found:
// 0x00 becomes 0x00 0xff, and 0x00 0x01 ends it. The end sorts below every continuation of the key.
const (
	escapeByte  byte = 0x00
	escapedZero byte = 0xff
	escapeEnd   byte = 0x01
)

func appendEscaped(dst, key []byte) []byte {
	for {
		i := bytes.IndexByte(key, escapeByte)
		if i < 0 {
			dst = append(dst, key...)
			return append(dst, escapeByte, escapeEnd)
		}
		dst = append(dst, key[:i]...)
		dst = append(dst, escapeByte, escapedZero)
		key = key[i+1:]
	}
}

// splitEscaped appends the key at the start of b to dst, and returns what follows it.
func splitEscaped(b, dst []byte) (key, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(b, escapeByte)
		if i < 0 || i+1 >= len(b) {
			return nil, nil, false
		}
		dst = append(dst, b[:i]...)
		switch b[i+1] {
		case escapeEnd:
			return dst, b[i+2:], true
		case escapedZero:
			dst = append(dst, escapeByte)
		default:
			return nil, nil, false
		}
		b = b[i+2:]
	}
}
