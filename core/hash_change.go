package core

import (
	"strconv"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func (t *tx) hashSet(op *corepb.HashSet, out *Result) {
	space := byte(op.Space)
	if len(op.Fields) == 0 || len(op.Fields)%2 != 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "a hash is set by pairs of field and value"}
		return
	}
	before, err := t.open(space, op.Key, storage.KindHash)
	if err != nil {
		out.Err = err
		return
	}
	after := t.next(space, before, storage.KindHash)
	changed := false
	for i := 0; i < len(op.Fields); i += 2 {
		key := appendFieldKey(nil, after.Collection, op.Fields[i])
		_, present := t.r.Get(key)
		if present && op.IfAbsent {
			continue
		}
		if !present {
			after.Count++
			out.Int++
		}
		t.b.Set(key, op.Fields[i+1])
		changed = true
	}
	if changed {
		t.settle(space, op.Key, before, after, "hset")
	}
}

func (t *tx) hashDelete(op *corepb.HashDelete, out *Result) {
	space := byte(op.Space)
	before, err := t.open(space, op.Key, storage.KindHash)
	if before == nil {
		out.Err = err
		return
	}
	after := t.next(space, before, storage.KindHash)
	for _, field := range op.Fields {
		key := appendFieldKey(nil, after.Collection, field)
		if _, present := t.r.Get(key); present {
			t.b.Delete(key)
			after.Count--
			out.Int++
		}
	}
	if out.Int > 0 {
		t.settle(space, op.Key, before, after, "hdel")
	}
}

func (t *tx) hashAdd(op *corepb.HashAdd, out *Result) {
	out.Err = t.changeField(byte(op.Space), op.Key, op.Field, "hincrby", func(present []byte, there bool) ([]byte, error) {
		sum, err := addIntegers(present, there, op.Delta, ErrHashNotInteger)
		out.Int = sum
		return strconv.AppendInt(nil, sum, 10), err
	})
}

func (t *tx) hashAddFloat(op *corepb.HashAddFloat, out *Result) {
	out.Err = t.changeField(byte(op.Space), op.Key, op.Field, "hincrbyfloat", func(present []byte, there bool) ([]byte, error) {
		sum, err := addFloats(present, there, op.Delta, ErrHashNotFloat)
		out.Bytes = sum
		return sum, err
	})
}

// changeField replaces the value of one field by what is computed from the present one. An error changes nothing.
func (t *tx) changeField(space byte, key, field []byte, verb string, compute func(present []byte, there bool) ([]byte, error)) error {
	before, err := t.open(space, key, storage.KindHash)
	if err != nil {
		return err
	}
	var present []byte
	var there bool
	if before != nil {
		present, there = t.r.Get(appendFieldKey(nil, before.Collection, field))
	}
	value, err := compute(present, there)
	if err != nil {
		return err
	}
	after := t.next(space, before, storage.KindHash)
	if !there {
		after.Count++
	}
	t.b.Set(appendFieldKey(nil, after.Collection, field), value)
	t.settle(space, key, before, after, verb)
	return nil
}
