package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrCorrupt marks stored bytes that do not decode. Callers find it with errors.Is; the text says what was read.
var ErrCorrupt = errors.New("storage: corrupt data")

// decoder reads the parts of a stored value one after another. The first part that does not decode latches, and every
// part after it reads as zero, so that codecs need one check at their end.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) byte() byte {
	if d.bad || len(d.rest) == 0 {
		d.bad = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	// One byte is by far the commonest length.
	if !d.bad && len(d.rest) > 0 && d.rest[0] < 0x80 {
		b := d.rest[0]
		d.rest = d.rest[1:]
		return uint64(b)
	}
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// signed reads what appendSigned wrote.
func (d *decoder) signed() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// bytes reads a length and that many bytes, which alias the input.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

// failure is the decoder's error, nil when everything decoded. Nothing may be left over unless the caller took it.
func (d *decoder) failure(what string) error {
	if d.bad {
		return fmt.Errorf("%w: %s", ErrCorrupt, what)
	}
	return nil
}

// appendSigned appends a number that may well be negative: small magnitudes of either sign take one byte.
func appendSigned(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
