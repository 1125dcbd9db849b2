package storage

// Kind says what a key holds.
type Kind uint8

// The kinds. Their numbers are stored.
const (
	KindNone Kind = iota // no key
	KindBytes
	KindList
	KindHash
	KindSet
	KindZSet
	KindStream
)

var kindNames = [...]string{"none", "string", "list", "hash", "set", "zset", "stream"}

// String gives the kind's name as Redis' TYPE command words it.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Record is what the current table holds for a key, and what an event carries.
type Record struct {
	Kind           Kind
	Container      bool   // ZooKeeper container node
	CreateRevision int64  // revision that created the key
	ModRevision    int64  // revision of its last change
	Version        int64  // 1 at creation, +1 for each change since
	Lease          int64  // lease or session it is attached to, 0 for none
	DeadlineMillis int64  // Unix time at which it ends, 0 for never
	CreateMillis   int64  // stamp of the entry that created it
	ModMillis      int64  // stamp of the entry that changed it last
	NodeTTLMillis  int64  // ZooKeeper TTL node: its time to live, 0 for none
	Collection     uint64 // id under which a collection's elements are stored, 0 for bytes
	Count          int64  // elements of a collection
	Head           int64  // position of a list's first element
	Value          []byte // bytes kind only

	// Apart is the size of a value that was left where it is: Value is nil then, and not what the key holds. Such a record may be
	// written back to its key, and nowhere else.
	Apart int
	sub   int32 // of the version in the log that has it
}
