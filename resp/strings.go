package resp

import (
	"math"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

const setLife = "EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds"

var stringCommands = []*command{
	{
		name: "get", arity: 2, flags: readsFast, keys: oneKey, since: "1.0.0", group: "string", args: "key",
		summary: "Reads a string.", plan: planGet, read: readGet,
	}, {
		name: "set", arity: -3, flags: writes, keys: oneKey, since: "1.0.0", group: "string",
		args:    "key value [NX|XX] [GET] [" + setLife + "|KEEPTTL]",
		summary: "Sets a key to a string, whatever it held and however long it had to live.", plan: planSet,
	}, {
		name: "mget", arity: -2, flags: readsFast, keys: allKeys, since: "1.0.0", group: "string", args: "key...",
		summary: "Reads several strings at one moment.", plan: planMGet, read: readMGet,
	}, {
		name: "mset", arity: -3, flags: writes, keys: keySpec{first: 1, last: -1, step: 2}, since: "1.0.1", group: "string",
		args: "(key value)...", summary: "Sets several keys to strings, all at once.", plan: planMSet,
	}, {
		name: "msetnx", arity: -3, flags: writes, keys: keySpec{first: 1, last: -1, step: 2}, since: "1.0.1",
		group: "string", args: "(key value)...",
		summary: "Sets several keys to strings, unless one of them exists.", plan: planMSetNX,
	}, {
		name: "getset", arity: 3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key value",
		summary: "Sets a string and returns the one before.", plan: planGetSet,
	}, {
		name: "getdel", arity: 2, flags: flagWrite | flagFast, keys: oneKey, since: "6.2.0", group: "string", args: "key",
		summary: "Reads a string and deletes it.", plan: planGetDel,
	}, {
		name: "getex", arity: -2, flags: flagWrite | flagFast, keys: oneKey, since: "6.2.0", group: "string",
		args: "key [" + setLife + "|PERSIST]", summary: "Reads a string and changes how long it lives.", plan: planGetEx,
	}, {
		name: "setnx", arity: 3, flags: writesFast, keys: oneKey, since: "1.0.0", group: "string", args: "key value",
		summary: "Sets a key to a string unless it exists.", plan: planSetNX,
	}, {
		name: "setex", arity: 4, flags: writes, keys: oneKey, since: "2.0.0", group: "string", args: "key seconds value",
		summary: "Sets a key to a string that lives for some seconds.", plan: planSetEx,
	}, {
		name: "psetex", arity: 4, flags: writes, keys: oneKey, since: "2.6.0", group: "string",
		args: "key milliseconds value", summary: "Sets a key to a string that lives for some milliseconds.",
		plan: planSetEx,
	}, {
		name: "append", arity: 3, flags: writesFast, keys: oneKey, since: "2.0.0", group: "string", args: "key value",
		summary: "Adds to the end of a string, creating it when there is none.", plan: planAppend,
	}, {
		name: "strlen", arity: 2, flags: readsFast, keys: oneKey, since: "2.2.0", group: "string", args: "key",
		summary: "Tells the length of a string.", plan: planStrLen,
	}, {
		name: "setrange", arity: 4, flags: writes, keys: oneKey, since: "2.2.0", group: "string", args: "key offset value",
		summary: "Overwrites part of a string, which grows as needed.", plan: planSetRange,
	}, {
		name: "getrange", arity: 4, flags: flagReadonly, keys: oneKey, since: "2.4.0", group: "string",
		args: "key start end", summary: "Reads part of a string.", plan: planGetRange,
	}, {
		name: "substr", arity: 4, flags: flagReadonly, keys: oneKey, since: "1.0.0", group: "string", args: "key start end",
		summary: "Reads part of a string; the old name of GETRANGE.", plan: planGetRange,
	},
}

func planGet(q *request) plan {
	return single(getKindOp(q.db, q.args[1], storage.KindBytes), formatValue)
}

func formatValue(w *writer, r *core.Result) {
	if r.Record == nil {
		w.null()
	} else {
		w.bulk(r.Record.Value)
	}
}

func readGet(q *request, view *core.View, w *writer) {
	switch record := view.Get(byte(q.db), q.args[1]); {
	case record == nil:
		w.null()
	case record.Kind != storage.KindBytes:
		w.err(errWrongType)
	default:
		w.bulk(record.Value)
	}
}

func planMGet(q *request) plan {
	p := plan{ops: make([]*corepb.Op, len(q.args)-1)}
	for i, key := range q.args[1:] {
		p.ops[i] = getOp(q.db, key)
	}
	p.format = func(w *writer, rs []core.Result) {
		w.array(len(rs))
		for i := range rs {
			formatIfString(w, rs[i].Record)
		}
	}
	return p
}

func readMGet(q *request, view *core.View, w *writer) {
	w.array(len(q.args) - 1)
	for _, key := range q.args[1:] {
		formatIfString(w, view.Get(byte(q.db), key))
	}
}

// formatIfString shows what is not a string as absent.
func formatIfString(w *writer, record *storage.Record) {
	if record == nil || record.Kind != storage.KindBytes {
		w.null()
	} else {
		w.bulk(record.Value)
	}
}

// life is what the options EX, PX, EXAT, PXAT, KEEPTTL and PERSIST say.
type life struct {
	deadlineMillis int64
	ttlMillis      int64
	keep, persist  bool
	value          []byte // as given, nil without one
	unit           int64  // milliseconds
	absolute       bool
}

// option takes a word of SET or GETEX; used tells how many words it was, 0 when it is none of these options or one
// too many.
func (l *life) option(args [][]byte, i int, keepAllowed, persistAllowed bool) (used int) {
	word := args[i]
	switch {
	case keepAllowed && is(word, "KEEPTTL") && l.value == nil:
		l.keep = true
		return 1
	case persistAllowed && is(word, "PERSIST") && l.value == nil:
		l.persist = true
		return 1
	}
	unit, absolute := int64(1000), false
	switch {
	case is(word, "EX"):
	case is(word, "PX"):
		unit = 1
	case is(word, "EXAT"):
		absolute = true
	case is(word, "PXAT"):
		unit, absolute = 1, true
	default:
		return 0
	}
	if l.keep || l.persist || i+1 == len(args) || l.value != nil && (l.unit != unit || l.absolute != absolute) {
		return 0
	}
	l.value, l.unit, l.absolute = args[i+1], unit, absolute
	return 2
}

// resolve turns the words into numbers. name is of the command, for the error's text.
func (l *life) resolve(name string) (errText string) {
	if l.value == nil {
		return ""
	}
	n, ok := parseInt(l.value)
	if !ok {
		return errNotInteger
	}
	if n <= 0 || n > math.MaxInt64/l.unit {
		return errExpire(name)
	}
	n *= l.unit
	if l.absolute {
		l.deadlineMillis = n
		return ""
	}
	if n > math.MaxInt64-nowMillis() {
		return errExpire(name)
	}
	l.ttlMillis = n
	return ""
}

func planSet(q *request) plan {
	put := &corepb.Put{Space: q.db, Key: q.args[1], Value: q.args[2], OverCollection: true}
	if len(q.args) == 3 {
		return single(putOp(put), formatSet)
	}
	var l life
	wantPrev := false
	for i := 3; i < len(q.args); {
		word := q.args[i]
		used := 1
		switch {
		case is(word, "NX") && put.Condition != corepb.Put_IF_PRESENT:
			put.Condition = corepb.Put_IF_ABSENT
		case is(word, "XX") && put.Condition != corepb.Put_IF_ABSENT:
			put.Condition = corepb.Put_IF_PRESENT
		case is(word, "GET"):
			wantPrev = true
		default:
			used = l.option(q.args, i, true, false)
		}
		if used == 0 {
			return refuse(errSyntax)
		}
		i += used
	}
	if text := l.resolve(q.cmd.name); text != "" {
		return refuse(text)
	}
	put.DeadlineMillis, put.TtlMillis, put.KeepLife = l.deadlineMillis, l.ttlMillis, l.keep
	if wantPrev {
		put.WantPrev, put.OverCollection = true, false
		return single(putOp(put), formatPrev)
	}
	return single(putOp(put), formatSet)
}

func formatSet(w *writer, r *core.Result) {
	if r.OK {
		w.ok()
	} else {
		w.null()
	}
}

func formatPrev(w *writer, r *core.Result) {
	switch {
	case r.Prev == nil:
		w.null()
	case r.Prev.Kind != storage.KindBytes:
		w.err(errWrongType)
	default:
		w.bulk(r.Prev.Value)
	}
}

func planSetNX(q *request) plan {
	return single(putOp(&corepb.Put{
		Space: q.db, Key: q.args[1], Value: q.args[2], Condition: corepb.Put_IF_ABSENT, OverCollection: true,
	}), func(w *writer, r *core.Result) { w.bool(r.OK) })
}

func planSetEx(q *request) plan {
	l := life{value: q.args[2], unit: 1000}
	if q.cmd.name == "psetex" {
		l.unit = 1
	}
	if text := l.resolve(q.cmd.name); text != "" {
		return refuse(text)
	}
	return single(putOp(&corepb.Put{
		Space: q.db, Key: q.args[1], Value: q.args[3], TtlMillis: l.ttlMillis, OverCollection: true,
	}), formatSet)
}

func planGetSet(q *request) plan {
	return single(putOp(&corepb.Put{Space: q.db, Key: q.args[1], Value: q.args[2], WantPrev: true}), formatPrev)
}

func planMSet(q *request) plan {
	if len(q.args)%2 == 0 {
		return refuse(errArity(q.cmd.name))
	}
	return plan{ops: putPairs(q), format: func(w *writer, _ []core.Result) { w.ok() }}
}

func planMSetNX(q *request) plan {
	if len(q.args)%2 == 0 {
		return refuse(errArity(q.cmd.name))
	}
	txn := &corepb.Txn{Then: putPairs(q)}
	for i := 1; i < len(q.args); i += 2 {
		txn.Guards = append(txn.Guards, &corepb.Guard{
			Space: q.db, Key: q.args[i], Target: corepb.Guard_KIND, Comparison: corepb.Guard_EQUAL,
			Number: int64(storage.KindNone), AnyKind: true,
		})
	}
	return single(&corepb.Op{Op: &corepb.Op_Txn{Txn: txn}}, func(w *writer, r *core.Result) { w.bool(r.Txn.Succeeded) })
}

func putPairs(q *request) []*corepb.Op {
	ops := make([]*corepb.Op, 0, len(q.args)/2)
	for i := 1; i < len(q.args); i += 2 {
		ops = append(ops, putOp(&corepb.Put{Space: q.db, Key: q.args[i], Value: q.args[i+1], OverCollection: true}))
	}
	return ops
}

func planGetDel(q *request) plan {
	return single(deleteOp(&corepb.Delete{
		Space: q.db, Key: q.args[1], WantPrev: true, RequireKind: uint32(storage.KindBytes),
	}), func(w *writer, r *core.Result) {
		if len(r.Records) == 0 {
			w.null()
		} else {
			w.bulk(r.Records[0].Value)
		}
	})
}

func planGetEx(q *request) plan {
	var l life
	for i := 2; i < len(q.args); {
		used := l.option(q.args, i, false, true)
		if used == 0 {
			return refuse(errSyntax)
		}
		i += used
	}
	key := q.args[1]
	if !l.persist && l.value == nil {
		return planGet(q)
	}
	check := getKindOp(q.db, key, storage.KindBytes)
	if text := l.resolve(q.cmd.name); text != "" {
		// An absent key is answered before the number is looked at.
		return single(check, func(w *writer, r *core.Result) {
			if r.Record == nil {
				w.null()
			} else {
				w.err(text)
			}
		})
	}
	expire := expireOp(&corepb.Expire{
		Space: q.db, Key: key, Persist: l.persist, DeadlineMillis: l.deadlineMillis, TtlMillis: l.ttlMillis,
		Relative: l.ttlMillis != 0,
	})
	return single(ifKind(q.db, key, storage.KindBytes, check, expire), func(w *writer, r *core.Result) {
		got := &r.Txn.Results[0]
		if got.Err != nil {
			w.fail(got.Err)
		} else {
			formatValue(w, got)
		}
	})
}

func planAppend(q *request) plan {
	return single(&corepb.Op{Op: &corepb.Op_Append{Append: &corepb.Append{
		Space: q.db, Key: q.args[1], Value: q.args[2], ValueBytesMax: int64(q.opts.MaxRequestBytes),
	}}}, formatInt)
}

func formatInt(w *writer, r *core.Result) { w.int(r.Int) }

func planStrLen(q *request) plan {
	return single(getKindOp(q.db, q.args[1], storage.KindBytes), func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.int(0)
		} else {
			w.int(int64(len(r.Record.Value)))
		}
	})
}

func planSetRange(q *request) plan {
	offset, ok := parseInt(q.args[2])
	if !ok {
		return refuse(errNotInteger)
	}
	if offset < 0 {
		return refuse("ERR offset is out of range")
	}
	value := q.args[3]
	if len(value) > 0 && offset > int64(q.opts.MaxRequestBytes-len(value)) {
		return refuseAfter(getKindOp(q.db, q.args[1], storage.KindBytes), errStringSize)
	}
	return single(&corepb.Op{Op: &corepb.Op_SetRange{SetRange: &corepb.SetRange{
		Space: q.db, Key: q.args[1], Offset: offset, Value: value,
	}}}, formatInt)
}

func planGetRange(q *request) plan {
	start, ok1 := parseInt(q.args[2])
	end, ok2 := parseInt(q.args[3])
	if !ok1 || !ok2 {
		return refuse(errNotInteger)
	}
	return single(getKindOp(q.db, q.args[1], storage.KindBytes), func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.bulk(nil)
			return
		}
		w.bulk(slice(r.Record.Value, start, end))
	})
}

// slice cuts out start to end, both included, where negative numbers count from the end.
func slice(value []byte, start, end int64) []byte {
	n := int64(len(value))
	if start < 0 && end < 0 && start > end {
		return nil
	}
	if start < 0 {
		start = max(start+n, 0)
	}
	if end < 0 {
		end = max(end+n, 0)
	}
	end = min(end, n-1)
	if start > end {
		return nil
	}
	return value[start : end+1]
}
