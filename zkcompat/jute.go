package zkcompat

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/triglot/triglot/core"
)

// Jute is ZooKeeper's record format: fixed-size numbers, big-endian; strings and buffers with a length before them, -1
// for null; vectors with a count before them. There are no tags, so both sides must know the record.

// decoder reads jute from a packet, and copies what it reads. The first mistake latches: what is read after it is zero, and ok says
// so.
type decoder struct {
	rest   []byte
	broken bool
}

func (d *decoder) ok() bool { return !d.broken }

// fail latches a mistake that the record's reader found.
func (d *decoder) fail() {
	d.broken = true
	d.rest = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.fail()
		return nil
	}
	taken := d.rest[:n:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) bool() bool {
	b := d.take(1)
	return b != nil && b[0] != 0
}

func (d *decoder) int32() int32 {
	b := d.take(4)
	if b == nil {
		return 0
	}
	return int32(binary.BigEndian.Uint32(b))
}

func (d *decoder) int64() int64 {
	b := d.take(8)
	if b == nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(b))
}

// bytes gives a copy of a buffer; null and empty are both empty.
func (d *decoder) bytes() []byte { return bytes.Clone(d.buffer()) }

// buffer reads a buffer, of which it gives the packet's bytes.
func (d *decoder) buffer() []byte {
	n := d.int32()
	if n == -1 {
		return nil
	}
	return d.take(int(n))
}

// string reads a string that must not be null.
func (d *decoder) string() string {
	n := d.int32()
	return string(d.take(int(n)))
}

// optionalString reads a string that may be null, which is read as empty.
func (d *decoder) optionalString() string {
	return string(d.buffer())
}

// count reads the length of a vector whose items take at least itemBytesMin each, so that a forged count is found out
// before anything is allocated for it. A null vector is an empty one.
func (d *decoder) count(itemBytesMin int) int {
	n := d.int32()
	if n == -1 {
		return 0
	}
	if n < 0 || int64(n)*int64(itemBytesMin) > int64(len(d.rest)) {
		d.fail()
		return 0
	}
	return int(n)
}

// strings reads a vector of strings.
func (d *decoder) strings() []string {
	n := d.count(4)
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.string()
	}
	return list
}

// encoder appends jute to a buffer.
type encoder struct {
	buf []byte
}

func (e *encoder) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	e.buf = append(e.buf, b)
}

func (e *encoder) int32(v int32) { e.buf = binary.BigEndian.AppendUint32(e.buf, uint32(v)) }

func (e *encoder) int64(v int64) { e.buf = binary.BigEndian.AppendUint64(e.buf, uint64(v)) }

func (e *encoder) bytes(v []byte) {
	e.length(len(v))
	e.buf = append(e.buf, v...)
}

func (e *encoder) string(v string) {
	e.length(len(v))
	e.buf = append(e.buf, v...)
}

func (e *encoder) strings(list []string) {
	e.length(len(list))
	for _, s := range list {
		e.string(s)
	}
}

func (e *encoder) length(n int) {
	if n > math.MaxInt32 {
		panic("zkcompat: a record longer than jute can say")
	}
	e.int32(int32(n))
}

// stat writes a node's Stat, 68 bytes.
func (e *encoder) stat(s core.Stat) {
	e.int64(s.Czxid)
	e.int64(s.Mzxid)
	e.int64(s.Ctime)
	e.int64(s.Mtime)
	e.int32(s.Version)
	e.int32(s.Cversion)
	e.int32(s.Aversion)
	e.int64(s.EphemeralOwner)
	e.int32(s.DataLength)
	e.int32(s.NumChildren)
	e.int64(s.Pzxid)
}
