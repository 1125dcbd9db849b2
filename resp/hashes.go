package resp

import (
	"math"
	"math/rand/v2"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

var hashCommands = []*command{
	{
		name: "hset", arity: -4, flags: writesFast, keys: oneKey, since: "2.0.0", group: "hash",
		args: "key (field value)...", summary: "Sets fields of a hash.", plan: planHSet,
	}, {
		name: "hmset", arity: -4, flags: writesFast, keys: oneKey, since: "2.0.0", group: "hash",
		args: "key (field value)...", summary: "Sets fields of a hash; the old name of HSET.", plan: planHSet,
	}, {
		name: "hsetnx", arity: 4, flags: writesFast, keys: oneKey, since: "2.0.0", group: "hash", args: "key field value",
		summary: "Sets a field of a hash unless it exists.",
		plan: func(q *request) plan {
			return single(hashSetOp(&corepb.HashSet{Space: q.db, Key: q.args[1], Fields: q.args[2:], IfAbsent: true}), formatInt)
		},
	}, {
		name: "hget", arity: 3, flags: readsFast, keys: oneKey, since: "2.0.0", group: "hash", args: "key field",
		summary: "Reads a field of a hash.",
		plan: func(q *request) plan {
			return single(hashGetOp(q), func(w *writer, r *core.Result) { w.bulkOrNull(firstOf(r.Values)) })
		},
	}, {
		name: "hmget", arity: -3, flags: readsFast, keys: oneKey, since: "2.0.0", group: "hash", args: "key field...",
		summary: "Reads several fields of a hash.", plan: planHMGet,
	}, {
		name: "hgetall", arity: 2, flags: flagReadonly, keys: oneKey, since: "2.0.0", group: "hash", args: "key",
		summary: "Reads a whole hash.",
		plan: func(q *request) plan {
			return single(hashRangeOp(q, 0, 0), func(w *writer, r *core.Result) {
				w.mapHead(len(r.Values) / 2)
				for _, v := range r.Values {
					w.bulk(v)
				}
			})
		},
	}, {
		name: "hkeys", arity: 2, flags: flagReadonly, keys: oneKey, since: "2.0.0", group: "hash", args: "key",
		summary: "Lists the fields of a hash.",
		plan:    func(q *request) plan { return planEverySecond(q, 0) },
	}, {
		name: "hvals", arity: 2, flags: flagReadonly, keys: oneKey, since: "2.0.0", group: "hash", args: "key",
		summary: "Lists the values of a hash.",
		plan:    func(q *request) plan { return planEverySecond(q, 1) },
	}, {
		name: "hlen", arity: 2, flags: readsFast, keys: oneKey, since: "2.0.0", group: "hash", args: "key",
		summary: "Counts the fields of a hash.",
		plan:    func(q *request) plan { return planCount(q, storage.KindHash) },
	}, {
		name: "hexists", arity: 3, flags: readsFast, keys: oneKey, since: "2.0.0", group: "hash", args: "key field",
		summary: "Tells whether a hash has a field.",
		plan: func(q *request) plan {
			return single(hashGetOp(q), func(w *writer, r *core.Result) { w.bool(firstOf(r.Values) != nil) })
		},
	}, {
		name: "hstrlen", arity: 3, flags: readsFast, keys: oneKey, since: "3.2.0", group: "hash", args: "key field",
		summary: "Tells the length of a field's value.",
		plan: func(q *request) plan {
			return single(hashGetOp(q), func(w *writer, r *core.Result) { w.int(int64(len(firstOf(r.Values)))) })
		},
	}, {
		name: "hdel", arity: -3, flags: flagWrite | flagFast, keys: oneKey, since: "2.0.0", group: "hash",
		args: "key field...", summary: "Deletes fields of a hash.",
		plan: func(q *request) plan {
			return single(&corepb.Op{Op: &corepb.Op_HashDelete{HashDelete: &corepb.HashDelete{
				Space: q.db, Key: q.args[1], Fields: q.args[2:],
			}}}, formatInt)
		},
	}, {
		name: "hincrby", arity: 4, flags: writesFast, keys: oneKey, since: "2.0.0", group: "hash",
		args: "key field increment", summary: "Adds to a number in a hash.", plan: planHIncrBy,
	}, {
		name: "hincrbyfloat", arity: 4, flags: writesFast, keys: oneKey, since: "2.6.0", group: "hash",
		args: "key field increment", summary: "Adds to a decimal number in a hash.", plan: planHIncrByFloat,
	}, {
		name: "hrandfield", arity: -2, flags: flagReadonly, keys: oneKey, since: "6.2.0", group: "hash",
		args: "key [count [WITHVALUES]]", summary: "Picks fields of a hash.", plan: planHRandField,
	}, {
		name: "hscan", arity: -3, flags: flagReadonly, keys: oneKey, since: "2.8.0", group: "hash",
		args: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]", summary: "Lists a hash page by page.",
		plan: planHScan,
	},
}

func hashSetOp(set *corepb.HashSet) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_HashSet{HashSet: set}}
}

// hashGetOp reads the fields that follow the key.
func hashGetOp(q *request) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_HashGet{HashGet: &corepb.HashGet{
		Space: q.db, Key: q.args[1], Fields: q.args[2:],
	}}}
}

func hashRangeOp(q *request, cursor uint64, limit int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_HashRange{HashRange: &corepb.HashRange{
		Space: q.db, Key: q.args[1], Cursor: cursor, Limit: limit,
	}}}
}

// firstOf gives the first of some values, nil when it, or all of them, are absent.
func firstOf(values [][]byte) []byte {
	if len(values) == 0 {
		return nil
	}
	return values[0]
}

func planHSet(q *request) plan {
	if len(q.args)%2 != 0 {
		return refuse(errArity(q.cmd.name))
	}
	format := formatInt
	if q.cmd.name == "hmset" {
		format = func(w *writer, _ *core.Result) { w.ok() }
	}
	return single(hashSetOp(&corepb.HashSet{Space: q.db, Key: q.args[1], Fields: q.args[2:]}), format)
}

func planHMGet(q *request) plan {
	fields := len(q.args) - 2
	return single(hashGetOp(q), func(w *writer, r *core.Result) {
		w.array(fields)
		for i := range fields {
			if i < len(r.Values) {
				w.bulkOrNull(r.Values[i])
			} else {
				w.null()
			}
		}
	})
}

// planEverySecond lists the fields (offset 0) or values (offset 1) of a hash.
func planEverySecond(q *request, offset int) plan {
	return single(hashRangeOp(q, 0, 0), func(w *writer, r *core.Result) {
		w.array(len(r.Values) / 2)
		for i := offset; i < len(r.Values); i += 2 {
			w.bulk(r.Values[i])
		}
	})
}

// planCount answers the number of elements of a collection.
func planCount(q *request, kind storage.Kind) plan {
	return single(getKindOp(q.db, q.args[1], kind), func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.int(0)
		} else {
			w.int(r.Record.Count)
		}
	})
}

func planHIncrBy(q *request) plan {
	delta, ok := parseInt(q.args[3])
	if !ok {
		return refuse(errNotInteger)
	}
	return single(&corepb.Op{Op: &corepb.Op_HashAdd{HashAdd: &corepb.HashAdd{
		Space: q.db, Key: q.args[1], Field: q.args[2], Delta: delta,
	}}}, formatInt)
}

func planHIncrByFloat(q *request) plan {
	delta, finite, ok := decimal(q.args[3])
	if !ok {
		return refuse(errNotFloat)
	}
	if !finite {
		return refuse("ERR value is NaN or Infinity")
	}
	return single(&corepb.Op{Op: &corepb.Op_HashAddFloat{HashAddFloat: &corepb.HashAddFloat{
		Space: q.db, Key: q.args[1], Field: q.args[2], Delta: delta,
	}}}, formatBytes)
}

func planHRandField(q *request) plan {
	if len(q.args) == 2 {
		return single(hashRangeOp(q, 0, 0), func(w *writer, r *core.Result) {
			if len(r.Values) == 0 {
				w.null()
			} else {
				w.bulk(r.Values[2*rand.IntN(len(r.Values)/2)])
			}
		})
	}
	count, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	if count == math.MinInt64 {
		return refuse(errNotNegatable)
	}
	withValues := len(q.args) == 4 && is(q.args[3], "WITHVALUES")
	if len(q.args) > 3 && !withValues {
		return refuse(errSyntax)
	}
	if withValues && (count > math.MaxInt64/2 || count < math.MinInt64/2) {
		return refuse("ERR value is out of range")
	}
	if -count > int64(q.opts.MaxArguments) { // Redis would try; the reply is held in memory
		return refuse("ERR value is out of range")
	}
	return single(hashRangeOp(q, 0, 0), func(w *writer, r *core.Result) {
		w.pairs(r.Values, drawPairs(len(r.Values)/2, count), withValues)
	})
}

// drawPairs picks count of n places: different ones, or, when count is negative, any, the same more than once.
func drawPairs(n int, count int64) []int {
	if n == 0 || count == 0 {
		return nil
	}
	if count < 0 {
		places := make([]int, -count)
		for i := range places {
			places[i] = rand.IntN(n)
		}
		return places
	}
	return rand.Perm(n)[:min(count, int64(n))]
}

// pairs writes fields at some places, with their values when wanted: RESP3 has an array of pairs then, RESP2 a flat one.
func (w *writer) pairs(values [][]byte, places []int, withValues bool) {
	if withValues && !w.resp3 {
		w.array(2 * len(places))
	} else {
		w.array(len(places))
	}
	for _, i := range places {
		if withValues && w.resp3 {
			w.array(2)
		}
		w.bulk(values[2*i])
		if withValues {
			w.bulk(values[2*i+1])
		}
	}
}

func planHScan(q *request) plan {
	o, text := parseScan(q.args[2:], true)
	if text == errCursor {
		return refuse(text)
	}
	if text != "" {
		return single(getKindOp(q.db, q.args[1], storage.KindHash), func(w *writer, r *core.Result) {
			if r.Record == nil { // like Redis, which looks at the options last
				formatPage(w, 0, nil)
			} else {
				w.err(text)
			}
		})
	}
	return single(hashRangeOp(q, o.cursor, o.count), func(w *writer, r *core.Result) {
		var items [][]byte
		for i := 0; i+1 < len(r.Values); i += 2 {
			if !o.matches(r.Values[i]) {
				continue
			}
			items = append(items, r.Values[i])
			if !o.noValues {
				items = append(items, r.Values[i+1])
			}
		}
		formatPage(w, r.Cursor, items)
	})
}
