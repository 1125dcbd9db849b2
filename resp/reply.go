package resp

import (
	"math"
	"strconv"

	"github.com/tidwall/redcon"

	"github.com/triglot/triglot/core"
)

// writer gathers replies. Where the two protocol versions differ it writes the connection's own.
type writer struct {
	buf   []byte
	resp3 bool
	srv   *Server
	now   int64 // Unix milliseconds that remaining times are counted from, 0 = the clock
}

func (w *writer) ok()                 { w.buf = append(w.buf, "+OK\r\n"...) }
func (w *writer) simple(s string)     { w.buf = redcon.AppendString(w.buf, s) }
func (w *writer) int(n int64)         { w.buf = redcon.AppendInt(w.buf, n) }
func (w *writer) bulk(b []byte)       { w.buf = redcon.AppendBulk(w.buf, b) }
func (w *writer) bulkString(s string) { w.buf = redcon.AppendBulkString(w.buf, s) }
func (w *writer) array(n int)         { w.buf = redcon.AppendArray(w.buf, n) }
func (w *writer) bool(b bool)         { w.int(int64(btoi(b))) }
func (w *writer) err(text string)     { w.buf = redcon.AppendError(w.buf, text); w.srv.stats.errors.Add(1) }
func (w *writer) fail(err error)      { w.err(errorText(err)) }
func (w *writer) head(c byte, n int) {
	w.buf = append(strconv.AppendInt(append(w.buf, c), int64(n), 10), "\r\n"...)
}
func (w *writer) strings(ss ...string) { w.array(len(ss)); w.each(ss, w.bulkString) }

func (w *writer) each(ss []string, f func(string)) {
	for _, s := range ss {
		f(s)
	}
}

// null is the absence of a value.
func (w *writer) null() {
	if w.resp3 {
		w.buf = append(w.buf, "_\r\n"...)
	} else {
		w.buf = append(w.buf, "$-1\r\n"...)
	}
}

// nullArray is the absence of an array, which only RESP2 tells from the absence of a value.
func (w *writer) nullArray() {
	if w.resp3 {
		w.buf = append(w.buf, "_\r\n"...)
	} else {
		w.buf = append(w.buf, "*-1\r\n"...)
	}
}

// bulkOrNull takes nil as null and an empty slice as an empty string.
func (w *writer) bulkOrNull(b []byte) {
	if b == nil {
		w.null()
	} else {
		w.bulk(b)
	}
}

func (w *writer) bulks(values [][]byte) {
	w.array(len(values))
	for _, v := range values {
		w.bulk(v)
	}
}

// mapHead opens a map of n pairs; RESP2 has a flat array for it.
func (w *writer) mapHead(n int) {
	if w.resp3 {
		w.head('%', n)
	} else {
		w.array(2 * n)
	}
}

// setHead opens a set of n members; RESP2 has an array for it.
func (w *writer) setHead(n int) {
	if w.resp3 {
		w.head('~', n)
	} else {
		w.array(n)
	}
}

// pushHead opens an out-of-band message of n elements; RESP2 has an array for it.
func (w *writer) pushHead(n int) {
	if w.resp3 {
		w.head('>', n)
	} else {
		w.array(n)
	}
}

// text is a long text for people.
func (w *writer) text(s string) {
	if !w.resp3 {
		w.bulkString(s)
		return
	}
	w.head('=', len(s)+4)
	w.buf = append(append(append(w.buf, "txt:"...), s...), "\r\n"...)
}

// remaining is how long a key has to live: until its deadline or, when attached to a lease, until that ends unless it
// is kept alive; whichever comes first. limited is false when nothing ends it. The leader knows when leases end: without
// one the error is ErrNoLeader.
func (w *writer) remaining(r *core.Result) (millis int64, limited bool, err error) {
	record := r.Record
	millis = math.MaxInt64
	if record.DeadlineMillis != 0 {
		millis, limited = record.DeadlineMillis-w.nowMillis(), true
	}
	if record.Lease != 0 {
		left, ok, err := w.srv.store.LeaseRemaining(w.srv.ctx, record.Lease)
		if err != nil {
			return 0, false, err
		}
		if ok {
			millis, limited = min(millis, left), true
		}
	}
	return max(millis, 0), limited, nil
}

func (w *writer) nowMillis() int64 {
	if w.now == 0 {
		return nowMillis()
	}
	return w.now
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
