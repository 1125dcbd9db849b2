package storage

import "encoding/binary"

// Lease ties keys to the life of a client. With a password it is a ZooKeeper session.
type Lease struct {
	ID            int64
	TTLMillis     int64
	GrantedMillis int64  // stamp of the entry that granted it
	Password      []byte // sessions only
	Owner         uint64 // sessions only: the connection that holds it
	// RemainingMillis is what was left of its time when a leader noted that last; 0 = all of it. Its row has it only if it is not 0.
	RemainingMillis int64
}

// IsSession says whether the lease is a ZooKeeper session.
func (l *Lease) IsSession() bool { return len(l.Password) > 0 }

// Append appends the stored form. The id is in the table's key too; it is repeated so that a value stands alone.
func (l *Lease) Append(dst []byte) []byte {
	dst = appendSigned(dst, l.ID)
	dst = binary.AppendUvarint(dst, uint64(l.TTLMillis))
	dst = binary.AppendUvarint(dst, uint64(l.GrantedMillis))
	dst = appendBytes(dst, l.Password)
	dst = binary.AppendUvarint(dst, l.Owner)
	if l.RemainingMillis != 0 {
		dst = binary.AppendUvarint(dst, uint64(l.RemainingMillis))
	}
	return dst
}

// DecodeLease reads a stored lease; the password aliases b. Malformed input is ErrCorrupt.
func DecodeLease(b []byte) (Lease, error) {
	d := decoder{rest: b}
	l := Lease{
		ID:            d.signed(),
		TTLMillis:     int64(d.uvarint()),
		GrantedMillis: int64(d.uvarint()),
	}
	if p := d.bytes(); len(p) > 0 {
		l.Password = p
	}
	l.Owner = d.uvarint()
	if len(d.rest) > 0 {
		l.RemainingMillis = int64(d.uvarint())
	}
	if err := d.failure("lease"); err != nil {
		return Lease{}, err
	}
	return l, nil
}
