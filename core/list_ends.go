package core

import (
	"bytes"
	"slices"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// What happens at the ends of a list. The header is changed in place and stored by the caller.

func (t *tx) pushEnd(list *storage.Record, left bool, value []byte) {
	position := list.Head + list.Count
	if left {
		list.Head--
		position = list.Head
	}
	list.Count++
	t.addElement(list.Collection, position, value)
}

// popEnd takes n elements, no more than there are, the outermost first.
func (t *tx) popEnd(list *storage.Record, left bool, n int64) [][]byte {
	from := list.Head
	if !left {
		from += list.Count - n
	}
	values := t.elements(list.Collection, from, n)
	t.deleteElements(list.Collection, from, n)
	list.Count -= n
	if left {
		list.Head += n
	} else {
		slices.Reverse(values)
	}
	return values
}

func pushVerb(left bool) string {
	if left {
		return "lpush"
	}
	return "rpush"
}

func popVerb(left bool) string {
	if left {
		return "lpop"
	}
	return "rpop"
}

func (t *tx) listPush(op *corepb.ListPush, out *Result) {
	space := byte(op.Space)
	if len(op.Values) == 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "nothing to push"}
		return
	}
	before, err := t.open(space, op.Key, storage.KindList)
	if err != nil || before == nil && op.IfPresent {
		out.Err = err
		return
	}
	after := t.next(space, before, storage.KindList)
	for _, value := range op.Values {
		t.pushEnd(after, op.Left, value)
	}
	t.settle(space, op.Key, before, after, pushVerb(op.Left))
	out.Int = after.Count
}

// listPop looks for the first list that is present; a key of another kind before it is an error.
func (t *tx) listPop(op *corepb.ListPop, out *Result) {
	space := byte(op.Space)
	if op.Count < 0 {
		out.Err = &Error{Code: CodeBadArguments, Detail: "a negative count"}
		return
	}
	for _, key := range op.Keys {
		before, err := t.open(space, key, storage.KindList)
		if err != nil {
			out.Err = err
			return
		}
		if before == nil {
			continue
		}
		out.OK, out.Key = true, key
		if op.Count == 0 {
			return
		}
		after := t.next(space, before, storage.KindList)
		out.Values = t.popEnd(after, op.Left, min(op.Count, after.Count))
		t.settle(space, key, before, after, popVerb(op.Left))
		return
	}
}

// listMove adds to the target before it takes from the source, to the eyes of those who watch both, as Redis does.
func (t *tx) listMove(op *corepb.ListMove, out *Result) {
	space := byte(op.Space)
	source, err := t.open(space, op.From, storage.KindList)
	if source == nil {
		out.Err = err
		return
	}
	if bytes.Equal(op.From, op.To) {
		after := t.next(space, source, storage.KindList)
		values := t.popEnd(after, op.FromLeft, 1)
		if len(values) == 0 {
			return // unreadable: the reader's error stops the node
		}
		t.pushEnd(after, op.ToLeft, values[0])
		t.settle(space, op.From, source, after, pushVerb(op.ToLeft))
		out.OK, out.Bytes = true, values[0]
		return
	}
	target, err := t.open(space, op.To, storage.KindList)
	if err != nil {
		out.Err = err
		return
	}
	rest := t.next(space, source, storage.KindList)
	values := t.popEnd(rest, op.FromLeft, 1)
	if len(values) == 0 {
		return
	}
	longer := t.next(space, target, storage.KindList)
	t.pushEnd(longer, op.ToLeft, values[0])
	t.settle(space, op.To, target, longer, pushVerb(op.ToLeft))
	t.settle(space, op.From, source, rest, popVerb(op.FromLeft))
	out.OK, out.Bytes = true, values[0]
}
