package resp

import (
	"math"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

const expireConditions = " [NX|XX|GT|LT]"

var expireCommands = []*command{
	{
		name: "expire", arity: -3, flags: flagWrite | flagFast, keys: oneKey, since: "1.0.0", group: "generic",
		args: "key seconds" + expireConditions, summary: "Lets a key live for some seconds.",
		plan: func(q *request) plan { return planExpire(q, 1000, true) },
	}, {
		name: "pexpire", arity: -3, flags: flagWrite | flagFast, keys: oneKey, since: "2.6.0", group: "generic",
		args: "key milliseconds" + expireConditions, summary: "Lets a key live for some milliseconds.",
		plan: func(q *request) plan { return planExpire(q, 1, true) },
	}, {
		name: "expireat", arity: -3, flags: flagWrite | flagFast, keys: oneKey, since: "1.2.0", group: "generic",
		args: "key unix-time-seconds" + expireConditions, summary: "Lets a key live until a time, in Unix seconds.",
		plan: func(q *request) plan { return planExpire(q, 1000, false) },
	}, {
		name: "pexpireat", arity: -3, flags: flagWrite | flagFast, keys: oneKey, since: "2.6.0", group: "generic",
		args:    "key unix-time-milliseconds" + expireConditions,
		summary: "Lets a key live until a time, in Unix milliseconds.",
		plan:    func(q *request) plan { return planExpire(q, 1, false) },
	}, {
		name: "ttl", arity: 2, flags: readsFast, keys: oneKey, since: "1.0.0", group: "generic", args: "key",
		summary: "Tells how many seconds a key has to live.", plan: planTTL(1000, false),
	}, {
		name: "pttl", arity: 2, flags: readsFast, keys: oneKey, since: "2.6.0", group: "generic", args: "key",
		summary: "Tells how many milliseconds a key has to live.", plan: planTTL(1, false),
	}, {
		name: "expiretime", arity: 2, flags: readsFast, keys: oneKey, since: "7.0.0", group: "generic", args: "key",
		summary: "Tells until when a key lives, in Unix seconds.", plan: planTTL(1000, true),
	}, {
		name: "pexpiretime", arity: 2, flags: readsFast, keys: oneKey, since: "7.0.0", group: "generic", args: "key",
		summary: "Tells until when a key lives, in Unix milliseconds.", plan: planTTL(1, true),
	}, {
		name: "persist", arity: 2, flags: flagWrite | flagFast, keys: oneKey, since: "2.2.0", group: "generic", args: "key",
		summary: "Lets a key live without end, detaching it from a lease too.",
		plan: func(q *request) plan {
			return single(expireOp(&corepb.Expire{Space: q.db, Key: q.args[1], Persist: true}), formatInt)
		},
	},
}

func planExpire(q *request, unit int64, relative bool) plan {
	conditions, text := expireOptions(q.args[3:])
	if text != "" {
		return refuse(text)
	}
	n, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return refuse(errExpire(q.cmd.name))
	}
	n *= unit
	expire := &corepb.Expire{Space: q.db, Key: q.args[1], Conditions: conditions}
	if relative {
		if n > math.MaxInt64-nowMillis() {
			return refuse(errExpire(q.cmd.name))
		}
		// A time in the past is one, however far it is: core adds the stamp, and must not wrap round.
		expire.Relative, expire.TtlMillis = true, max(n, -1<<62)
	} else {
		expire.DeadlineMillis = n
	}
	return single(expireOp(expire), formatInt)
}

func expireOptions(words [][]byte) (conditions []corepb.Expire_Condition, errText string) {
	var nx, xx, gt, lt bool
	for _, word := range words {
		switch {
		case is(word, "NX"):
			nx = true
		case is(word, "XX"):
			xx = true
		case is(word, "GT"):
			gt = true
		case is(word, "LT"):
			lt = true
		default:
			return nil, "ERR Unsupported option " + string(word)
		}
	}
	if nx && (xx || gt || lt) {
		return nil, "ERR NX and XX, GT or LT options at the same time are not compatible"
	}
	if gt && lt {
		return nil, "ERR GT and LT options at the same time are not compatible"
	}
	for _, c := range []struct {
		set       bool
		condition corepb.Expire_Condition
	}{
		{nx, corepb.Expire_IF_NONE}, {xx, corepb.Expire_IF_SOME}, {gt, corepb.Expire_IF_GREATER}, {lt, corepb.Expire_IF_LESS},
	} {
		if c.set {
			conditions = append(conditions, c.condition)
		}
	}
	return conditions, ""
}

// planTTL serves the four commands that tell a key's remaining life: in units of so many milliseconds, and as a time
// of day or a duration.
func planTTL(unit int64, absolute bool) func(*request) plan {
	format := func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.int(-2)
			return
		}
		millis, limited, err := w.remaining(r)
		if err != nil {
			w.fail(err)
			return
		}
		if !limited {
			w.int(-1)
			return
		}
		if absolute {
			millis += w.nowMillis()
		}
		// Redis rounds to the nearest second.
		w.int(millis/unit + millis%unit*2/unit)
	}
	return func(q *request) plan { return single(getOp(q.db, q.args[1]), format) }
}
