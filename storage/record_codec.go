package storage

import "encoding/binary"

// A stored record is: kind (1 byte), a bitmap of the fields present (uvarint), those fields as varints in the order of
// the bits, then the value as all that is left. Fields at their usual value take no room, so that a plain key costs a
// dozen bytes beside its value; the value comes last so that decoding never copies it.
const (
	recordContainer = 1 << iota
	recordCreateRevision
	recordModRevision // as the distance from the create revision
	recordVersion     // absent: 1
	recordCreateMillis
	recordModMillis // as the distance from the creation
	recordLease
	recordDeadline
	recordNodeTTL
	recordCollection
	recordCount
	recordHead
	recordFieldsEnd
)

// recordHeadBytesMax is what the stored form takes at most beside the value: the kind, and eleven numbers and the bitmap.
const recordHeadBytesMax = 1 + 12*binary.MaxVarintLen64

// Append appends the stored form of the record.
func (r *Record) Append(dst []byte) []byte {
	if r.Apart > 0 {
		return r.appendApart(dst)
	}
	var present uint64
	if r.Container {
		present |= recordContainer
	}
	if r.CreateRevision != 0 {
		present |= recordCreateRevision
	}
	if r.ModRevision != r.CreateRevision {
		present |= recordModRevision
	}
	if r.Version != 1 {
		present |= recordVersion
	}
	if r.CreateMillis != 0 {
		present |= recordCreateMillis
	}
	if r.ModMillis != r.CreateMillis {
		present |= recordModMillis
	}
	if r.Lease != 0 {
		present |= recordLease
	}
	if r.DeadlineMillis != 0 {
		present |= recordDeadline
	}
	if r.NodeTTLMillis != 0 {
		present |= recordNodeTTL
	}
	if r.Collection != 0 {
		present |= recordCollection
	}
	if r.Count != 0 {
		present |= recordCount
	}
	if r.Head != 0 {
		present |= recordHead
	}

	dst = append(dst, byte(r.Kind))
	dst = binary.AppendUvarint(dst, present)
	if present&recordCreateRevision != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.CreateRevision))
	}
	if present&recordModRevision != 0 {
		dst = appendSigned(dst, r.ModRevision-r.CreateRevision)
	}
	if present&recordVersion != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.Version))
	}
	if present&recordCreateMillis != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.CreateMillis))
	}
	if present&recordModMillis != 0 {
		dst = appendSigned(dst, r.ModMillis-r.CreateMillis)
	}
	if present&recordLease != 0 {
		dst = appendSigned(dst, r.Lease)
	}
	if present&recordDeadline != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.DeadlineMillis))
	}
	if present&recordNodeTTL != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.NodeTTLMillis))
	}
	if present&recordCollection != 0 {
		dst = binary.AppendUvarint(dst, r.Collection)
	}
	if present&recordCount != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.Count))
	}
	if present&recordHead != 0 {
		dst = appendSigned(dst, r.Head)
	}
	return append(dst, r.Value...)
}

// DecodeRecord reads a stored record. Its Value aliases b; it is never nil for kind bytes. Malformed input is
// ErrCorrupt.
func DecodeRecord(b []byte) (Record, error) {
	d := decoder{rest: b}
	if len(b) > 0 && b[0] == kindApart {
		sub, size := d.apart()
		r := d.record()
		d.bad = d.bad || r.Kind != KindBytes || len(r.Value) > 0
		r.Value, r.Apart, r.sub = nil, size, sub
		return r, d.failure("record")
	}
	r := d.record()
	return r, d.failure("record")
}

// record reads a record from all that is left.
func (d *decoder) record() Record {
	var r Record
	r.Kind = Kind(d.byte())
	present := d.uvarint()
	if r.Kind > KindStream || present >= recordFieldsEnd {
		d.bad = true
	}
	if d.bad {
		return Record{}
	}
	r.Container = present&recordContainer != 0
	if present&recordCreateRevision != 0 {
		r.CreateRevision = int64(d.uvarint())
	}
	r.ModRevision = r.CreateRevision
	if present&recordModRevision != 0 {
		r.ModRevision += d.signed()
	}
	r.Version = 1
	if present&recordVersion != 0 {
		r.Version = int64(d.uvarint())
	}
	if present&recordCreateMillis != 0 {
		r.CreateMillis = int64(d.uvarint())
	}
	r.ModMillis = r.CreateMillis
	if present&recordModMillis != 0 {
		r.ModMillis += d.signed()
	}
	if present&recordLease != 0 {
		r.Lease = d.signed()
	}
	if present&recordDeadline != 0 {
		r.DeadlineMillis = int64(d.uvarint())
	}
	if present&recordNodeTTL != 0 {
		r.NodeTTLMillis = int64(d.uvarint())
	}
	if present&recordCollection != 0 {
		r.Collection = d.uvarint()
	}
	if present&recordCount != 0 {
		r.Count = int64(d.uvarint())
	}
	if present&recordHead != 0 {
		r.Head = d.signed()
	}
	if d.bad {
		return Record{}
	}
	if r.Kind == KindBytes || len(d.rest) > 0 {
		r.Value = d.rest
	}
	d.rest = nil
	return r
}
