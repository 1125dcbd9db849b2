package core

import (
	"fmt"
	"strconv"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// ValueBytesMax is the longest value that Append and SetRange make: they are the operations whose result can be longer
// than any request. Redis' own limit is 512 MiB; here a value travels through the log and the event stream whole, so it is
// kept to what they can carry.
const ValueBytesMax = 64 << 20

// The operations on byte strings read the present value, make another and store it with the life of the present key.

func (t *tx) loadBytes(space byte, key []byte) (*storage.Record, error) {
	return ofKind(t.load(space, key), storage.KindBytes)
}

func (t *tx) storeBytes(space byte, key []byte, before *storage.Record, value []byte, verb string) {
	after := succeed(before, storage.KindBytes)
	keepLife(after, before)
	after.Value = value
	t.change(space, key, before, after, verb)
}

// presentValue gives a record's value and whether there is one.
func presentValue(rec *storage.Record) ([]byte, bool) {
	if rec == nil {
		return nil, false
	}
	return rec.Value, true
}

func valueTooLarge(limit int64) error {
	return &Error{Code: CodeTooLarge, Number: limit, Detail: fmt.Sprintf("a value is at most %d bytes long", limit)}
}

// appendBytes makes the key even when nothing is appended, as Redis does.
func (t *tx) appendBytes(op *corepb.Append, out *Result) {
	space := byte(op.Space)
	before, err := t.loadBytes(space, op.Key)
	if err != nil {
		out.Err = err
		return
	}
	present, _ := presentValue(before)
	size := int64(len(present)) + int64(len(op.Value))
	limit := int64(ValueBytesMax)
	if op.ValueBytesMax > 0 {
		limit = min(limit, op.ValueBytesMax)
	}
	if size > limit {
		out.Err = valueTooLarge(limit)
		return
	}
	value := make([]byte, 0, size)
	value = append(append(value, present...), op.Value...)
	t.storeBytes(space, op.Key, before, value, "append")
	out.Int = size
}

func (t *tx) setRange(op *corepb.SetRange, out *Result) {
	space := byte(op.Space)
	if op.Offset < 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "offset is out of range"}
		return
	}
	before, err := t.loadBytes(space, op.Key)
	if err != nil {
		out.Err = err
		return
	}
	present, _ := presentValue(before)
	if len(op.Value) == 0 {
		out.Int = int64(len(present))
		return
	}
	if op.Offset > ValueBytesMax-int64(len(op.Value)) {
		out.Err = valueTooLarge(ValueBytesMax)
		return
	}
	value := make([]byte, max(int64(len(present)), op.Offset+int64(len(op.Value))))
	copy(value, present)
	copy(value[op.Offset:], op.Value)
	t.storeBytes(space, op.Key, before, value, "setrange")
	out.Int = int64(len(value))
}

func (t *tx) add(op *corepb.Add, out *Result) {
	space := byte(op.Space)
	before, err := t.loadBytes(space, op.Key)
	if err != nil {
		out.Err = err
		return
	}
	present, there := presentValue(before)
	sum, err := addIntegers(present, there, op.Delta, ErrNotInteger)
	if err != nil {
		out.Err = err
		return
	}
	t.storeBytes(space, op.Key, before, strconv.AppendInt(nil, sum, 10), "incrby")
	out.Int = sum
}

func (t *tx) addFloat(op *corepb.AddFloat, out *Result) {
	space := byte(op.Space)
	before, err := t.loadBytes(space, op.Key)
	if err != nil {
		out.Err = err
		return
	}
	present, there := presentValue(before)
	sum, err := addFloats(present, there, op.Delta, ErrNotFloat)
	if err != nil {
		out.Err = err
		return
	}
	t.storeBytes(space, op.Key, before, sum, "incrbyfloat")
	out.Bytes = sum
}
