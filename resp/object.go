package resp

import (
	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

var objectCommands = []*command{{
	name: "object", arity: -2, since: "2.2.3", group: "generic", summary: "Tells how a value is kept.",
	subs: []*command{
		{
			name: "encoding", arity: 3, flags: flagReadonly | flagKeyspace, keys: keySpec{first: 2, last: 2, step: 1},
			since: "2.2.3", args: "key", summary: "Names the form in which Redis would keep the value.",
			plan: func(q *request) plan { return planObject(q, formatEncoding) },
		}, {
			name: "refcount", arity: 3, flags: flagReadonly | flagKeyspace, keys: keySpec{first: 2, last: 2, step: 1},
			since: "2.2.3", args: "key", summary: "Counts the references to the value, which is always 1.",
			plan: func(q *request) plan {
				return planObject(q, func(w *writer, _ *storage.Record) { w.int(1) })
			},
		}, {
			name: "idletime", arity: 3, flags: flagReadonly | flagKeyspace, keys: keySpec{first: 2, last: 2, step: 1},
			since: "2.2.3", args: "key", summary: "Tells the seconds since the last change; reads are not recorded.",
			plan: func(q *request) plan {
				return planObject(q, func(w *writer, r *storage.Record) {
					w.int(max(w.nowMillis()-r.ModMillis, 0) / 1000)
				})
			},
		}, {
			name: "freq", arity: 3, flags: flagReadonly | flagKeyspace, keys: keySpec{first: 2, last: 2, step: 1},
			since: "4.0.0", args: "key", summary: "Would tell how often a value is used, which is not recorded.",
			plan: func(q *request) plan {
				return planObject(q, func(w *writer, _ *storage.Record) {
					w.err("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that " +
						"when switching between policies at runtime LRU and LFU data will take some time to adjust.")
				})
			},
		}, {
			name: "help", arity: 2, flags: always | flagKeyspace, since: "6.2.0", summary: "Lists the subcommands.",
			run: runHelp,
		},
	},
}}

func planObject(q *request, format func(*writer, *storage.Record)) plan {
	return single(getOp(q.db, q.args[2]), func(w *writer, r *core.Result) {
		if r.Record == nil {
			w.null()
		} else {
			format(w, r.Record)
		}
	})
}

// formatEncoding answers what clients that look at encodings expect of values of such a size. Storage has one form per
// kind.
func formatEncoding(w *writer, r *storage.Record) {
	const (
		embeddedBytesMax = 44
		listpackItemsMax = 128
	)
	switch r.Kind {
	case storage.KindBytes:
		if _, ok := parseInt(r.Value); ok {
			w.bulkString("int")
		} else if len(r.Value) <= embeddedBytesMax {
			w.bulkString("embstr")
		} else {
			w.bulkString("raw")
		}
	case storage.KindHash:
		if r.Count <= listpackItemsMax {
			w.bulkString("listpack")
		} else {
			w.bulkString("hashtable")
		}
	case storage.KindList:
		if r.Count <= listpackItemsMax {
			w.bulkString("listpack")
		} else {
			w.bulkString("quicklist")
		}
	default:
		w.bulkString(r.Kind.String())
	}
}
