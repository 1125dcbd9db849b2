package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The log holds every version of a key of the shared space, its value included. A large value is nowhere else: the row of the
// current table then has all but the value, and names the row of the log that has it. So it is written once and not twice, no
// compaction moves it, and whoever only needs to know what is there, as most who write do, does not read it.
//
// The row of the log stays as long as the row that names it: a purge leaves the newest version of every key.
//
// Such a row is kindApart, the sub of the version in the log, whose revision is the record's ModRevision, the length of the
// value, and the stored form of the record without it.

// apartBytesMin is the least size of a value that is stored apart. To read a smaller one along costs less than to find it.
const apartBytesMin = 1 << 10

// kindApart stands where other rows have their kind.
const kindApart = 0xff

// Size is the length of the value, whether it was read or not.
func (r *Record) Size() int {
	if r.Apart > 0 {
		return r.Apart
	}
	return len(r.Value)
}

// SetLogged writes the current row of an event that was just appended.
func (b *Batch) SetLogged(key []byte, e *Event) {
	if b.ended {
		return
	}
	if len(e.Record.Value) < apartBytesMin {
		current := b.entry(key)
		b.write(current, writeSet, b.logged) // the same bytes end the row of the log
		current.shared = true
		return
	}
	row := e.Record
	row.Value, row.Apart, row.sub = nil, len(e.Record.Value), e.Sub
	b.Set(key, b.rowRoom.keep(row.Append(b.rowRoom.take(apartHeadBytesMax+recordHeadBytesMax))))
}

const apartHeadBytesMax = 1 + 2*binary.MaxVarintLen64

// appendApart is Append for a record whose value is apart.
func (r *Record) appendApart(dst []byte) []byte {
	dst = append(dst, kindApart)
	dst = binary.AppendUvarint(dst, uint64(uint32(r.sub)))
	dst = binary.AppendUvarint(dst, uint64(r.Apart))
	head := *r
	head.Apart, head.Value = 0, nil
	return head.Append(dst)
}

// apart reads what stands before the record in a row whose value is apart.
func (d *decoder) apart() (sub int32, size int) {
	d.byte()
	number, length := d.uvarint(), d.uvarint()
	if number > 1<<32-1 || length < 1 || length > 1<<40 {
		d.bad = true
	}
	return int32(uint32(number)), int(length)
}

func isApart(key, row []byte) bool {
	return key[0] == tableCurrent && len(row) > 0 && row[0] == kindApart
}

// apartRow is a row whose value is apart.
type apartRow struct {
	head []byte // the stored form of the record without its value
	log  []byte // key of the row of the log that has the value
	size int
}

func decodeApart(row []byte) (apartRow, error) {
	d := decoder{rest: row}
	_, size := d.apart()
	record, err := DecodeRecord(row)
	return apartRow{head: d.rest, log: LogKey(make([]byte, 0, 13), record.ModRevision, record.sub), size: size}, err
}

// join appends what the row would be with its value, of which logged is the row of the log, nil if there is none.
func (a *apartRow) join(dst, logged []byte) ([]byte, error) {
	event, err := DecodeEvent(logged)
	if err != nil || len(event.Record.Value) != a.size {
		return nil, fmt.Errorf("%w: the log does not have a value of %d bytes at %x", ErrCorrupt, a.size, a.log)
	}
	return append(append(dst, a.head...), event.Record.Value...), nil
}

// get gives a row as a view shows it, a value that is apart included. It is the caller's own copy.
func (p *pinned) get(key []byte) (value []byte, present bool, err error) {
	if value, present, err = p.stored(key); present && isApart(key, value) {
		value, err = p.whole(value)
	}
	return value, present, err
}

func (p *pinned) whole(row []byte) (value []byte, err error) {
	apart, err := decodeApart(row)
	if err != nil {
		return nil, err
	}
	var wrong error
	present, err := p.lookUp(apart.log, func(logged []byte) {
		value, wrong = apart.join(make([]byte, 0, len(apart.head)+apart.size), logged)
	})
	if err == nil && !present {
		_, wrong = apart.join(nil, nil)
	}
	return value, errors.Join(err, wrong)
}

// Head is Get without a value that is apart: DecodeRecord gives its size in its place.
func (v *View) Head(key []byte) ([]byte, bool) {
	if v.failed() {
		return nil, false
	}
	value, present, err := v.pinned.stored(key)
	if err != nil {
		v.fail(err)
	}
	return value, present
}

func (b *Batch) whole(row []byte) []byte {
	apart, err := decodeApart(row)
	if err == nil {
		logged, _ := b.getRow(apart.log)
		row, err = apart.join(nil, logged)
	}
	if err != nil {
		b.fail(err)
		return nil
	}
	return row
}

// apartReader gives an iterator the values that are apart. Those of neighbours were often written together, so that one
// lookup goes on from one to the next.
type apartReader struct {
	log  lookup
	of   *ground // what log came from, nil before the first
	room []byte  // for the row with its value
}

// whole gives the row that an iterator stands on with its value. It holds until the next call.
func (r *apartReader) whole(it *Iterator, row []byte) ([]byte, error) {
	apart, err := decodeApart(row)
	if err != nil {
		return nil, err
	}
	logged, err := r.find(it, apart.log)
	if err != nil {
		return nil, err
	}
	r.room, err = apart.join(r.room[:0], logged)
	return r.room, err
}

// find gives a row of the log, nil if there is none.
func (r *apartReader) find(it *Iterator, key []byte) ([]byte, error) {
	if it.batch != nil {
		it.batch.orderRows()
		if e, ok := it.batch.rowsOrder.Get(bytesString(key)); ok {
			return e.value, nil
		}
	}
	for _, l := range it.pinned.layers {
		if value, _, known := l.get(key, it.pinned.commit); known {
			return value, nil
		}
	}
	if r.of == nil {
		log, err := it.pinned.ground.lookup(key)
		if err != nil {
			return nil, err
		}
		r.log, r.of = log, it.pinned.ground
	}
	value, _, err := r.log.find(key)
	return value, err
}

func (r *apartReader) close() error {
	if r.of == nil {
		return nil
	}
	return r.of.leave(r.log)
}
