package core

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// A hash keeps one row for each field, in the order of the fields' 32-bit hashes. The order never changes for a field, so
// a position in it is a cursor that needs nothing remembered: whatever is added or removed between two pages, a field that
// stays is found.

// appendFieldKey appends where a field stands.
func appendFieldKey(dst []byte, collection uint64, field []byte) []byte {
	dst = appendHashPosition(dst, collection, fieldHash(field))
	return append(dst, field...)
}

func appendHashPosition(dst []byte, collection uint64, hash uint32) []byte {
	return binary.BigEndian.AppendUint32(storage.ElementKey(dst, collection, nil), hash)
}

// fieldHash is stored: it can never be another function.
func fieldHash(field []byte) uint32 { return uint32(xxhash.Sum64(field) >> 32) }

// splitField undoes appendFieldKey.
func splitField(key []byte) (hash uint32, field []byte, ok bool) {
	_, element, ok := storage.SplitElement(key)
	if !ok || len(element) < 4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(element), element[4:], true
}

func (t *tx) hashGet(op *corepb.HashGet, out *Result) {
	hash, err := t.look(byte(op.Space), op.Key, storage.KindHash)
	if hash == nil {
		out.Err = err
		return
	}
	out.OK = true
	out.Values = make([][]byte, len(op.Fields))
	for i, field := range op.Fields {
		t.scratch = appendFieldKey(t.scratch[:0], hash.Collection, field)
		if value, ok := t.r.Get(t.scratch); ok {
			out.Values[i] = t.own(value)
		}
	}
}

// hashRange reads a page of fields. A cursor is the hash of the first field that was not looked at. Fields of one hash
// stay together, so that the cursor stands between fields; a page has at least one field before it, so it is never 0.
func (t *tx) hashRange(op *corepb.HashRange, out *Result) {
	hash, err := t.look(byte(op.Space), op.Key, storage.KindHash)
	if hash == nil {
		out.Err = err
		return
	}
	out.OK = true
	if op.Cursor > 1<<32-1 {
		return // behind the last hash
	}
	_, upper := storage.CollectionBounds(hash.Collection)
	iter := t.r.Scan(appendHashPosition(nil, hash.Collection, uint32(op.Cursor)), upper)
	defer iter.Close()
	var previous uint32
	for looked := int64(0); iter.Next(); looked++ {
		position, field, ok := splitField(iter.Key())
		if !ok {
			continue
		}
		if op.Limit > 0 && looked >= op.Limit && position != previous {
			out.Cursor = uint64(position)
			return
		}
		previous = position
		out.Values = append(out.Values, append([]byte{}, field...), append([]byte{}, iter.Value()...))
	}
}
