package resp

import (
	"math/rand/v2"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

var keyCommands = []*command{
	{
		name: "del", arity: -2, flags: flagWrite, keys: allKeys, since: "1.0.0", group: "generic", args: "key...",
		summary: "Deletes keys.", plan: planDel,
	}, {
		name: "unlink", arity: -2, flags: flagWrite | flagFast, keys: allKeys, since: "4.0.0", group: "generic",
		args: "key...", summary: "Deletes keys; the same as DEL, which does not block here either.", plan: planDel,
	}, {
		name: "exists", arity: -2, flags: readsFast, keys: allKeys, since: "1.0.0", group: "generic", args: "key...",
		summary: "Counts which of the keys exist.", plan: planExists, read: readExists,
	}, {
		name: "touch", arity: -2, flags: readsFast, keys: allKeys, since: "3.2.1", group: "generic", args: "key...",
		summary: "Counts which of the keys exist; access times are not kept.", plan: planExists, read: readExists,
	}, {
		name: "type", arity: 2, flags: readsFast, keys: oneKey, since: "1.0.0", group: "generic", args: "key",
		summary: "Tells what kind of value a key holds.", plan: planType,
	}, {
		name: "rename", arity: 3, flags: flagWrite, keys: twoKeys, since: "1.0.0", group: "generic", args: "key newkey",
		summary: "Gives a key another name, replacing what was there.", plan: planRename,
	}, {
		name: "renamenx", arity: 3, flags: flagWrite | flagFast, keys: twoKeys, since: "1.0.0", group: "generic",
		args: "key newkey", summary: "Gives a key another name unless that is taken.", plan: planRenameNX,
	}, {
		name: "copy", arity: -3, flags: writes, keys: twoKeys, since: "6.2.0", group: "generic",
		args: "source destination [DB destination-db] [REPLACE]", summary: "Copies a key with its remaining life.",
		plan: planCopy,
	}, {
		name: "move", arity: 3, flags: flagWrite | flagFast, keys: oneKey, since: "1.0.0", group: "generic",
		args: "key db", summary: "Moves a key to another database.", plan: planMove,
	}, {
		name: "randomkey", arity: 1, flags: flagReadonly, since: "1.0.0", group: "generic",
		summary: "Picks a key of the database.", plan: planRandomKey,
	}, {
		name: "flushdb", arity: -1, flags: flagWrite | flagKeyspace | flagDangerous, since: "1.0.0", group: "server",
		args: "[ASYNC|SYNC]", summary: "Deletes every key of the database.", plan: planFlush,
	}, {
		name: "flushall", arity: -1, flags: flagWrite | flagKeyspace | flagDangerous, since: "1.0.0", group: "server",
		args: "[ASYNC|SYNC]", summary: "Deletes every key of every database.", plan: planFlush,
	},
}

func planDel(q *request) plan {
	p := plan{ops: make([]*corepb.Op, len(q.args)-1), format: formatSum}
	for i, key := range q.args[1:] {
		p.ops[i] = deleteOp(&corepb.Delete{Space: q.db, Key: key, AnyKind: true})
	}
	return p
}

func formatSum(w *writer, rs []core.Result) {
	var n int64
	for i := range rs {
		n += rs[i].Int
	}
	w.int(n)
}

func planExists(q *request) plan {
	p := plan{ops: make([]*corepb.Op, len(q.args)-1)}
	for i, key := range q.args[1:] {
		p.ops[i] = getOp(q.db, key)
	}
	p.format = func(w *writer, rs []core.Result) {
		n := 0
		for i := range rs {
			n += btoi(rs[i].Record != nil)
		}
		w.int(int64(n))
	}
	return p
}

func readExists(q *request, view *core.View, w *writer) {
	n := 0
	for _, key := range q.args[1:] {
		n += btoi(view.Get(byte(q.db), key) != nil)
	}
	w.int(int64(n))
}

func planType(q *request) plan {
	return single(getOp(q.db, q.args[1]), func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.simple("none")
		} else {
			w.simple(r.Record.Kind.String())
		}
	})
}

func planRename(q *request) plan {
	return single(transferOp(&corepb.Transfer{FromSpace: q.db, From: q.args[1], ToSpace: q.db, To: q.args[2]}),
		func(w *writer, _ *core.Result) { w.ok() })
}

func planRenameNX(q *request) plan {
	return single(transferOp(&corepb.Transfer{
		FromSpace: q.db, From: q.args[1], ToSpace: q.db, To: q.args[2], IfAbsent: true,
	}), formatOK01)
}

func formatOK01(w *writer, r *core.Result) { w.bool(r.OK) }

func zero(w *writer) { w.int(0) }

func planCopy(q *request) plan {
	t := &corepb.Transfer{
		FromSpace: q.db, From: q.args[1], ToSpace: q.db, To: q.args[2], Copy: true, IfAbsent: true,
	}
	for i := 3; i < len(q.args); i++ {
		switch {
		case is(q.args[i], "REPLACE"):
			t.IfAbsent = false
		case is(q.args[i], "DB") && i+1 < len(q.args):
			i++
			db, text := parseDB(q.args[i])
			if text != "" {
				return refuse(text)
			}
			t.ToSpace = db
		default:
			return refuse(errSyntax)
		}
	}
	if t.FromSpace == t.ToSpace && string(t.From) == string(t.To) {
		return refuse(errSameObject)
	}
	p := single(transferOp(t), formatOK01)
	p.absent = zero
	return p
}

func planMove(q *request) plan {
	db, text := parseDB(q.args[2])
	if text != "" {
		return refuse(text)
	}
	if db == q.db {
		return refuse(errSameObject)
	}
	p := single(transferOp(&corepb.Transfer{
		FromSpace: q.db, From: q.args[1], ToSpace: db, To: q.args[1], IfAbsent: true,
	}), formatOK01)
	p.absent = zero
	return p
}

func parseDB(word []byte) (db uint32, errText string) {
	n, ok := parseInt(word)
	if !ok {
		return 0, errNotInteger
	}
	if n != int64(int32(n)) {
		return 0, "ERR value is out of range, value must between -2147483648 and 2147483647"
	}
	if n < 0 || n >= databases {
		return 0, errDBRange
	}
	return uint32(n), ""
}

func planRandomKey(q *request) plan {
	op := &corepb.Op{Op: &corepb.Op_RandomKey{RandomKey: &corepb.RandomKey{Space: q.db, Seed: rand.Uint64()}}}
	return single(op, func(w *writer, r *core.Result) {
		if r.OK {
			w.bulk(r.Key)
		} else {
			w.null()
		}
	})
}

func planFlush(q *request) plan {
	if len(q.args) > 2 || len(q.args) == 2 && !is(q.args[1], "ASYNC") && !is(q.args[1], "SYNC") {
		return refuse(errSyntax)
	}
	p := plan{format: func(w *writer, _ []core.Result) { w.ok() }}
	flush := func(space uint32) {
		p.ops = append(p.ops, &corepb.Op{Op: &corepb.Op_Flush{Flush: &corepb.Flush{Space: space}}})
	}
	if q.cmd.name == "flushdb" {
		flush(q.db)
		return p
	}
	for space := range uint32(databases) {
		flush(space)
	}
	return p
}
