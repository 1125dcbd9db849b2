package resp

import (
	"math"
	"strconv"
	"strings"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

var scanCommands = []*command{
	{
		name: "scan", arity: -2, flags: flagReadonly, since: "2.8.0", group: "generic",
		args: "cursor [MATCH pattern] [COUNT count] [TYPE type]", summary: "Lists keys of the database, page by page.",
		plan: planScan,
	}, {
		name: "keys", arity: 2, flags: flagReadonly | flagDangerous, since: "1.0.0", group: "generic", args: "pattern",
		summary: "Lists every key that matches a pattern.", plan: planKeys, read: readKeys,
	}, {
		name: "dbsize", arity: 1, flags: readsFast | flagKeyspace, since: "1.0.0", group: "server",
		summary: "Counts the keys of the database.", plan: planDBSize, read: readDBSize,
	},
}

// scanOptions are those of SCAN and HSCAN.
type scanOptions struct {
	cursor   uint64
	count    int64
	pattern  []byte // nil: everything
	kind     []byte // nil: every kind
	noValues bool
}

// parseScan reads a cursor and what follows it. hash says that it is HSCAN.
func parseScan(words [][]byte, hash bool) (o scanOptions, errText string) {
	var err error
	if o.cursor, err = parseCursor(words[0]); err != nil {
		return o, errCursor
	}
	o.count = 10
	for i := 1; i < len(words); i++ {
		more := i+1 < len(words)
		switch {
		case more && is(words[i], "COUNT"):
			i++
			n, ok := parseInt(words[i])
			if !ok {
				return o, errNotInteger
			}
			if n < 1 {
				return o, errSyntax
			}
			o.count = n
		case more && is(words[i], "MATCH"):
			i++
			o.pattern = words[i]
		case more && !hash && is(words[i], "TYPE"):
			i++
			o.kind = words[i]
		case hash && is(words[i], "NOVALUES"):
			o.noValues = true
		default:
			return o, errSyntax
		}
	}
	if len(o.pattern) == 1 && o.pattern[0] == '*' {
		o.pattern = nil
	}
	return o, ""
}

// parseCursor reads a cursor as C's strtoul does, for which -1 is the largest number.
func parseCursor(word []byte) (uint64, error) {
	s := strings.TrimPrefix(string(word), "+")
	if s == "" {
		return 0, nil
	}
	if len(s) > 1 && s[0] == '-' {
		n, err := strconv.ParseUint(s[1:], 10, 64)
		return -n, err
	}
	return strconv.ParseUint(s, 10, 64)
}

func (o *scanOptions) matches(name []byte) bool {
	return o.pattern == nil || len(o.pattern) == 1 && o.pattern[0] == '*' || globMatch(o.pattern, name)
}

func (o *scanOptions) matchesKind(record *core.KeyRecord) bool {
	return o.kind == nil || equalFold(o.kind, record.Kind.String())
}

func equalFold(word []byte, lower string) bool {
	if len(word) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := word[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func scanOp(space uint32, cursor uint64, limit int64) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Scan{Scan: &corepb.Scan{Space: space, Cursor: cursor, Limit: limit}}}
}

func planScan(q *request) plan {
	o, text := parseScan(q.args[1:], false)
	if text != "" {
		return refuse(text)
	}
	if o.cursor > math.MaxInt64 { // no page begins there
		return plan{format: func(w *writer, _ []core.Result) { formatPage(w, 0, nil) }}
	}
	return single(scanOp(q.db, o.cursor, o.count), func(w *writer, r *core.Result) {
		var keys [][]byte
		for i := range r.Records {
			if o.matchesKind(&r.Records[i]) && o.matches(r.Records[i].Key) {
				keys = append(keys, r.Records[i].Key)
			}
		}
		formatPage(w, r.Cursor, keys)
	})
}

func formatPage(w *writer, cursor uint64, items [][]byte) {
	w.array(2)
	w.bulkString(strconv.FormatUint(cursor, 10))
	w.bulks(items)
}

// planKeys looks at everything in one op. It serves MULTI, where there is no second look.
func planKeys(q *request) plan {
	o := scanOptions{pattern: q.args[1]}
	return single(scanOp(q.db, 0, math.MaxInt64), func(w *writer, r *core.Result) {
		var keys [][]byte
		for i := range r.Records {
			if o.matches(r.Records[i].Key) {
				keys = append(keys, r.Records[i].Key)
			}
		}
		w.bulks(keys)
	})
}

// readKeys walks the database in steps, so that it holds the names that match and not all records.
func readKeys(q *request, view *core.View, w *writer) {
	o := scanOptions{pattern: q.args[1]}
	var keys [][]byte
	for cursor := uint64(0); ; {
		result, err := view.Do(&corepb.Txn{Then: []*corepb.Op{scanOp(q.db, cursor, scanPage)}})
		if err != nil {
			w.fail(err)
			return
		}
		page := &result.Results[0]
		for i := range page.Records {
			if o.matches(page.Records[i].Key) {
				keys = append(keys, page.Records[i].Key)
			}
		}
		if cursor = page.Cursor; cursor == 0 {
			break
		}
	}
	w.bulks(keys)
}

func planDBSize(q *request) plan {
	return single(&corepb.Op{Op: &corepb.Op_Count{Count: &corepb.Count{Space: q.db}}}, formatInt)
}

func readDBSize(q *request, view *core.View, w *writer) { w.int(view.Count(byte(q.db))) }
