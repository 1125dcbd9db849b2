package resp

import (
	"math"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

var counterCommands = []*command{
	{
		name: "incr", arity: 2, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key",
		summary: "Adds one to a number, which is 0 when absent.",
		plan:    func(q *request) plan { return planAdd(q, 1) },
	}, {
		name: "decr", arity: 2, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key",
		summary: "Takes one from a number, which is 0 when absent.",
		plan:    func(q *request) plan { return planAdd(q, -1) },
	}, {
		name: "incrby", arity: 3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key increment",
		summary: "Adds to a number, which is 0 when absent.", plan: planIncrBy,
	}, {
		name: "decrby", arity: 3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key decrement",
		summary: "Takes from a number, which is 0 when absent.", plan: planDecrBy,
	}, {
		name: "incrbyfloat", arity: 3, flags: writesFast, keys: oneKey, since: "2.6.0", group: "string",
		args: "key increment", summary: "Adds to a decimal number, which is 0 when absent.", plan: planIncrByFloat,
	},
}

func planAdd(q *request, delta int64) plan {
	return single(addOp(&corepb.Add{Space: q.db, Key: q.args[1], Delta: delta}), formatInt)
}

func planIncrBy(q *request) plan {
	delta, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	return planAdd(q, delta)
}

func planDecrBy(q *request) plan {
	delta, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	if delta == math.MinInt64 {
		return refuse("ERR decrement would overflow")
	}
	return planAdd(q, -delta)
}

func planIncrByFloat(q *request) plan {
	delta, finite, ok := decimal(q.args[2])
	switch check := getKindOp(q.db, q.args[1], storage.KindBytes); {
	case !ok:
		return refuseAfter(check, errNotFloat)
	case !finite:
		delta = "inf" // the stored value is looked at before the sum
	}
	return single(&corepb.Op{Op: &corepb.Op_AddFloat{AddFloat: &corepb.AddFloat{
		Space: q.db, Key: q.args[1], Delta: delta,
	}}}, formatBytes)
}

func formatBytes(w *writer, r *core.Result) { w.bulk(r.Bytes) }
