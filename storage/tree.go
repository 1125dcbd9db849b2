package storage

import "encoding/binary"

// Tree is what ZooKeeper's Stat of a parent needs beyond the parent's record. It is kept for changes made by any
// protocol, and for parents that have no record of their own.
type Tree struct {
	Creates            int64 // children created so far: the next sequence number
	Deletes            int64 // children deleted so far: with Creates, the children version
	Pzxid              int64 // revision of the last creation or deletion of a child
	Children           int64 // children present now
	IdleDeadlineMillis int64 // containers and TTL nodes: when it may be removed, 0 for never
	BirthRevision      int64 // nodes without a record: since when they are there, for their children's sake
	BirthMillis        int64
}

// Append appends the stored form.
func (t *Tree) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(t.Creates))
	dst = binary.AppendUvarint(dst, uint64(t.Deletes))
	dst = binary.AppendUvarint(dst, uint64(t.Pzxid))
	dst = binary.AppendUvarint(dst, uint64(t.Children))
	dst = binary.AppendUvarint(dst, uint64(t.IdleDeadlineMillis))
	dst = binary.AppendUvarint(dst, uint64(t.BirthRevision))
	return binary.AppendUvarint(dst, uint64(t.BirthMillis))
}

// DecodeTree reads a stored Tree. Malformed input is ErrCorrupt.
func DecodeTree(b []byte) (Tree, error) {
	d := decoder{rest: b}
	t := Tree{
		Creates:            int64(d.uvarint()),
		Deletes:            int64(d.uvarint()),
		Pzxid:              int64(d.uvarint()),
		Children:           int64(d.uvarint()),
		IdleDeadlineMillis: int64(d.uvarint()),
		BirthRevision:      int64(d.uvarint()),
		BirthMillis:        int64(d.uvarint()),
	}
	if err := d.failure("tree"); err != nil {
		return Tree{}, err
	}
	return t, nil
}
