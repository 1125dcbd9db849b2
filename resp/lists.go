package resp

import (
	"bytes"
	"math"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

var listCommands = []*command{
	{
		name: "lpush", arity: -3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "list", args: "key element...",
		summary: "Adds elements at the head of a list.",
		plan:    func(q *request) plan { return planPush(q, true, false) },
	}, {
		name: "rpush", arity: -3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "list", args: "key element...",
		summary: "Adds elements at the tail of a list.",
		plan:    func(q *request) plan { return planPush(q, false, false) },
	}, {
		name: "lpushx", arity: -3, flags: writesFast, keys: oneKey, since: "2.2.0", group: "list", args: "key element...",
		summary: "Adds elements at the head of a list that exists.",
		plan:    func(q *request) plan { return planPush(q, true, true) },
	}, {
		name: "rpushx", arity: -3, flags: writesFast, keys: oneKey, since: "2.2.0", group: "list", args: "key element...",
		summary: "Adds elements at the tail of a list that exists.",
		plan:    func(q *request) plan { return planPush(q, false, true) },
	}, {
		name: "lpop", arity: -2, flags: flagWrite | flagFast, keys: oneKey, since: "1.0.0", group: "list",
		args: "key [count]", summary: "Takes elements from the head of a list.",
		plan: func(q *request) plan { return planPop(q, true) },
	}, {
		name: "rpop", arity: -2, flags: flagWrite | flagFast, keys: oneKey, since: "1.0.0", group: "list",
		args: "key [count]", summary: "Takes elements from the tail of a list.",
		plan: func(q *request) plan { return planPop(q, false) },
	}, {
		name: "lmpop", arity: -4, flags: flagWrite | flagMovableKeys, keys: keySpec{count: 1}, since: "7.0.0",
		group: "list", args: "numkeys key... (LEFT|RIGHT) [COUNT count]",
		summary: "Takes elements from the first list that is not empty.",
		plan:    func(q *request) plan { return planMPop(q, q.args[1:]) },
	}, {
		name: "llen", arity: 2, flags: readsFast, keys: oneKey, since: "1.0.0", group: "list", args: "key",
		summary: "Counts the elements of a list.",
		plan:    func(q *request) plan { return planCount(q, storage.KindList) },
	}, {
		name: "lrange", arity: 4, flags: flagReadonly, keys: oneKey, since: "1.0.0", group: "list", args: "key start stop",
		summary: "Reads part of a list.", plan: planLRange,
	}, {
		name: "lindex", arity: 3, flags: flagReadonly, keys: oneKey, since: "1.0.0", group: "list", args: "key index",
		summary: "Reads an element of a list.", plan: planLIndex,
	}, {
		name: "lset", arity: 4, flags: writes, keys: oneKey, since: "1.0.0", group: "list", args: "key index element",
		summary: "Replaces an element of a list.", plan: planLSet,
	}, {
		name: "linsert", arity: 5, flags: writes, keys: oneKey, since: "2.2.0", group: "list",
		args: "key (BEFORE|AFTER) pivot element", summary: "Adds an element beside another.", plan: planLInsert,
	}, {
		name: "lrem", arity: 4, flags: flagWrite, keys: oneKey, since: "1.0.0", group: "list", args: "key count element",
		summary: "Removes elements of a value.", plan: planLRem,
	}, {
		name: "ltrim", arity: 4, flags: flagWrite, keys: oneKey, since: "1.0.0", group: "list", args: "key start stop",
		summary: "Keeps part of a list.", plan: planLTrim,
	}, {
		name: "lpos", arity: -3, flags: flagReadonly, keys: oneKey, since: "6.0.6", group: "list",
		args:    "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
		summary: "Finds where in a list a value is.", plan: planLPos,
	}, {
		name: "lmove", arity: 5, flags: writes, keys: twoKeys, since: "6.2.0", group: "list",
		args:    "source destination (LEFT|RIGHT) (LEFT|RIGHT)",
		summary: "Moves an element from one list to another.", plan: planLMove,
	}, {
		name: "rpoplpush", arity: 3, flags: writes, keys: twoKeys, since: "1.2.0", group: "list",
		args: "source destination", summary: "Moves the last element of a list to the head of another.",
		plan: func(q *request) plan { return planMove1(moveOp(q, false, true)) },
	},
}

func planPush(q *request, left, ifPresent bool) plan {
	return single(&corepb.Op{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{
		Space: q.db, Key: q.args[1], Values: q.args[2:], Left: left, IfPresent: ifPresent,
	}}}, formatInt)
}

func popOp(space uint32, keys [][]byte, count int64, left bool) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListPop{ListPop: &corepb.ListPop{
		Space: space, Keys: keys, Count: count, Left: left,
	}}}
}

func planPop(q *request, left bool) plan {
	if len(q.args) > 3 {
		return refuse(errArity(q.cmd.name))
	}
	keys := q.args[1:2]
	if len(q.args) == 2 {
		return single(popOp(q.db, keys, 1, left), func(w *writer, r *core.Result) {
			w.bulkOrNull(firstOf(r.Values))
		})
	}
	count, ok := parseInt(q.args[2])
	if !ok || count < 0 {
		return refuse(errNotPositive)
	}
	if count == 0 {
		return single(getKindOp(q.db, q.args[1], storage.KindList), func(w *writer, r *core.Result) {
			if r.Record == nil {
				w.nullArray()
			} else {
				w.array(0)
			}
		})
	}
	return single(popOp(q.db, keys, count, left), func(w *writer, r *core.Result) {
		if !r.OK {
			w.nullArray()
		} else {
			w.bulks(r.Values)
		}
	})
}

// mpop is the part of LMPOP and BLMPOP that starts with the number of keys.
type mpop struct {
	keys  [][]byte
	left  bool
	count int64
}

func parseMPop(words [][]byte) (m mpop, errText string) {
	n, ok := parseInt(words[0])
	if !ok || n < 1 {
		return m, "ERR numkeys should be greater than 0"
	}
	if n > int64(len(words)-2) {
		return m, errSyntax
	}
	m.keys = words[1 : n+1]
	if m.left, ok = parseSide(words[n+1]); !ok {
		return m, errSyntax
	}
	for rest := words[n+2:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) < 2 || !is(rest[0], "COUNT") || m.count != 0 {
			return m, errSyntax
		}
		if m.count, ok = parseInt(rest[1]); !ok || m.count < 1 {
			return m, "ERR count should be greater than 0"
		}
	}
	m.count = max(m.count, 1)
	return m, ""
}

func parseSide(word []byte) (left, ok bool) {
	left = is(word, "LEFT")
	return left, left || is(word, "RIGHT")
}

func planMPop(q *request, words [][]byte) plan {
	m, text := parseMPop(words)
	if text != "" {
		return refuse(text)
	}
	return single(popOp(q.db, m.keys, m.count, m.left), formatMPop)
}

func formatMPop(w *writer, r *core.Result) {
	if !r.OK {
		w.nullArray()
		return
	}
	w.array(2)
	w.bulk(r.Key)
	w.bulks(r.Values)
}

func listRangeOp(q *request, start, stop int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListRange{ListRange: &corepb.ListRange{
		Space: q.db, Key: q.args[1], Start: start, Stop: stop,
	}}}
}

func planLRange(q *request) plan {
	start, ok1 := parseInt(q.args[2])
	stop, ok2 := parseInt(q.args[3])
	if !ok1 || !ok2 {
		return refuse(errNotInteger)
	}
	return single(listRangeOp(q, start, stop), func(w *writer, r *core.Result) { w.bulks(r.Values) })
}

func planLIndex(q *request) plan {
	index, ok := parseInt(q.args[2])
	if !ok {
		return single(getKindOp(q.db, q.args[1], storage.KindList), func(w *writer, r *core.Result) {
			if r.Record == nil {
				w.null()
			} else {
				w.err(errNotInteger)
			}
		})
	}
	return single(listRangeOp(q, index, index), func(w *writer, r *core.Result) { w.bulkOrNull(firstOf(r.Values)) })
}

func planLSet(q *request) plan {
	index, ok := parseInt(q.args[2])
	if !ok {
		return single(getKindOp(q.db, q.args[1], storage.KindList), func(w *writer, r *core.Result) {
			if r.Record == nil {
				w.err(errNoSuchKey)
			} else {
				w.err(errNotInteger)
			}
		})
	}
	return single(&corepb.Op{Op: &corepb.Op_ListSet{ListSet: &corepb.ListSet{
		Space: q.db, Key: q.args[1], Index: index, Value: q.args[3],
	}}}, func(w *writer, _ *core.Result) { w.ok() })
}

func planLInsert(q *request) plan {
	before := is(q.args[2], "BEFORE")
	if !before && !is(q.args[2], "AFTER") {
		return refuse(errSyntax)
	}
	return single(&corepb.Op{Op: &corepb.Op_ListInsert{ListInsert: &corepb.ListInsert{
		Space: q.db, Key: q.args[1], Pivot: q.args[3], Value: q.args[4], Before: before,
	}}}, formatInt)
}

func planLRem(q *request) plan {
	count, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	return single(&corepb.Op{Op: &corepb.Op_ListRemove{ListRemove: &corepb.ListRemove{
		Space: q.db, Key: q.args[1], Count: count, Value: q.args[3],
	}}}, formatInt)
}

func planLTrim(q *request) plan {
	start, ok1 := parseInt(q.args[2])
	stop, ok2 := parseInt(q.args[3])
	if !ok1 || !ok2 {
		return refuse(errNotInteger)
	}
	return single(&corepb.Op{Op: &corepb.Op_ListTrim{ListTrim: &corepb.ListTrim{
		Space: q.db, Key: q.args[1], Start: start, Stop: stop,
	}}}, func(w *writer, _ *core.Result) { w.ok() })
}

func planLMove(q *request) plan {
	fromLeft, ok1 := parseSide(q.args[3])
	toLeft, ok2 := parseSide(q.args[4])
	if !ok1 || !ok2 {
		return refuse(errSyntax)
	}
	return planMove1(moveOp(q, fromLeft, toLeft))
}

func moveOp(q *request, fromLeft, toLeft bool) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_ListMove{ListMove: &corepb.ListMove{
		Space: q.db, From: q.args[1], To: q.args[2], FromLeft: fromLeft, ToLeft: toLeft,
	}}}
}

func planMove1(op *corepb.Op) plan { return single(op, formatMove) }

func formatMove(w *writer, r *core.Result) {
	if r.OK {
		w.bulk(r.Bytes)
	} else {
		w.null()
	}
}

// search is what LPOS looks for.
type search struct {
	element []byte
	rank    int64 // from 1; negative from the tail
	count   int64 // 0 = every one
	counted bool  // COUNT was given: the answer is an array
	maxLen  int64 // elements to look at, 0 = all
}

func planLPos(q *request) plan {
	s := search{element: q.args[2], rank: 1, count: 1}
	for rest := q.args[3:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) < 2 {
			return refuse(errSyntax)
		}
		n, ok := parseInt(rest[1])
		switch {
		case is(rest[0], "RANK"):
			if !ok {
				return refuse(errNotInteger)
			}
			if n == 0 {
				return refuse("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use " +
					"negative to start from the end of the list")
			}
			if n == math.MinInt64 {
				return refuse(errNotNegatable)
			}
			s.rank = n
		case is(rest[0], "COUNT"):
			if !ok || n < 0 {
				return refuse("ERR COUNT can't be negative")
			}
			s.count, s.counted = n, true
		case is(rest[0], "MAXLEN"):
			if !ok || n < 0 {
				return refuse("ERR MAXLEN can't be negative")
			}
			s.maxLen = n
		default:
			return refuse(errSyntax)
		}
	}
	return single(listRangeOp(q, 0, -1), func(w *writer, r *core.Result) {
		found := s.find(r.Values)
		switch {
		case s.counted:
			w.array(len(found))
			for _, i := range found {
				w.int(i)
			}
		case len(found) == 0:
			w.null()
		default:
			w.int(found[0])
		}
	})
}

func (s *search) find(values [][]byte) (found []int64) {
	n := int64(len(values))
	skip := -s.rank - 1
	if s.rank > 0 {
		skip = s.rank - 1
	}
	for looked := range n {
		if s.maxLen > 0 && looked >= s.maxLen {
			break
		}
		i := looked
		if s.rank < 0 {
			i = n - 1 - looked
		}
		if !bytes.Equal(values[i], s.element) {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		found = append(found, i)
		if s.count > 0 && int64(len(found)) == s.count {
			break
		}
	}
	return found
}
