package storage

import "encoding/binary"

// A stored event is: a header byte (type, node change, flags), the space unless it is 0, the ancestors unless there are
// none, the key with its length, and the record to the end. Revision and sub are in the log's key, Prev and Verb are not
// stored.
const (
	eventTypeMask     = 0x07
	eventNodeShift    = 3
	eventNodeMask     = 0x03
	eventHasAncestors = 1 << 5
	eventHasSpace     = 1 << 6
	eventUnknown      = 1 << 7

	// eventHeadBytesMax is what the stored form takes at most beside key and value.
	eventHeadBytesMax = 2 + 2*binary.MaxVarintLen64 + recordHeadBytesMax
)

// Append appends the stored form of the event.
func (e *Event) Append(dst []byte) []byte { return e.Record.Append(e.appendHead(dst)) }

// appendHead appends what stands before the record.
func (e *Event) appendHead(dst []byte) []byte {
	header := byte(e.Type)&eventTypeMask | byte(e.Node)&eventNodeMask<<eventNodeShift
	if e.Ancestors != 0 {
		header |= eventHasAncestors
	}
	if e.Space != 0 {
		header |= eventHasSpace
	}
	dst = append(dst, header)
	if e.Space != 0 {
		dst = append(dst, e.Space)
	}
	if e.Ancestors != 0 {
		dst = binary.AppendUvarint(dst, uint64(uint32(e.Ancestors)))
	}
	return appendBytes(dst, e.Key)
}

// DecodeEvent reads a stored event; key and value alias b. Revision and Sub come from the log's key and are left zero.
// Malformed input is ErrCorrupt.
func DecodeEvent(b []byte) (Event, error) {
	d := decoder{rest: b}
	e := d.eventHead()
	e.Record = d.record()
	if err := d.failure("event"); err != nil {
		return Event{}, err
	}
	return e, nil
}

// eventHead reads what stands before the record.
func (d *decoder) eventHead() (e Event) {
	header := d.byte()
	e.Type = EventType(header & eventTypeMask)
	e.Node = NodeChange(header >> eventNodeShift & eventNodeMask)
	if header&eventUnknown != 0 || e.Type < EventPut || e.Type > EventPublish {
		d.bad = true
	}
	if header&eventHasSpace != 0 {
		e.Space = d.byte()
	}
	if header&eventHasAncestors != 0 {
		n := d.uvarint()
		if n > 1<<32-1 {
			d.bad = true
		}
		e.Ancestors = int32(uint32(n))
	}
	e.Key = d.bytes()
	return e
}
