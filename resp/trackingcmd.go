package resp

import (
	"slices"
	"strings"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// The commands about tracking, and which requests count as reading a key.

func runClientTracking(c *conn, q *request) {
	mode, on, text := c.parseTracking(q.args[2:])
	if text == "" && on {
		text = c.checkTracking(mode)
	}
	switch {
	case text != "":
		c.out.err(text)
		return
	case !on:
		c.stopTracking()
		c.out.ok()
		return
	}
	var before trackingMode
	if c.track != nil {
		before = *c.public.tracking.Load()
	}
	added := mode.prefixes
	if mode.broadcast && len(added) == 0 && !slices.Contains(before.prefixes, "") {
		added = []string{""} // everything
	}
	if !c.maySee(added) {
		c.out.err(errNoPermKey)
		return
	}
	if c.track == nil {
		c.closeView() // what is read from now on is read with messages held
		c.track = startTracking(c)
	}
	mode.prefixes = slices.Sorted(slices.Values(append(slices.Clone(before.prefixes), added...)))
	c.public.brokenRedirect.Store(false)
	c.public.tracking.Store(&mode)
	c.hold()
	for _, prefix := range added {
		c.track.addPrefix(prefix)
	}
	c.out.ok()
}

// parseTracking reads what stands behind CLIENT TRACKING.
func (c *conn) parseTracking(words [][]byte) (mode trackingMode, on bool, errText string) {
	for i := 1; i < len(words); i++ {
		word, more := words[i], i+1 < len(words)
		switch {
		case is(word, "REDIRECT") && more:
			i++
			if mode.redirect != 0 {
				return mode, false, "ERR A client can only redirect to a single other client"
			}
			id, ok := parseInt(words[i])
			if !ok {
				return mode, false, errNotInteger
			}
			if c.srv.client(id) == nil {
				return mode, false, "ERR The client ID you want redirect to does not exist"
			}
			mode.redirect = id
		case is(word, "BCAST"):
			mode.broadcast = true
		case is(word, "OPTIN"):
			mode.optIn = true
		case is(word, "OPTOUT"):
			mode.optOut = true
		case is(word, "NOLOOP"):
			mode.noLoop = true
		case is(word, "PREFIX") && more:
			i++
			mode.prefixes = append(mode.prefixes, string(words[i]))
		default:
			return mode, false, errSyntax
		}
	}
	on = is(words[0], "ON")
	if !on && !is(words[0], "OFF") {
		return mode, false, errSyntax
	}
	return mode, on, ""
}

const errSwitch = " before disabling tracking for this client, and then re-enabling it with a different mode."

// checkTracking says what is wrong with a mode, alone or after the one before it.
func (c *conn) checkTracking(mode trackingMode) (errText string) {
	before := c.public.tracking.Load()
	switch {
	case !mode.broadcast && len(mode.prefixes) > 0:
		return "ERR PREFIX option requires BCAST mode to be enabled"
	case before != nil && before.broadcast != mode.broadcast:
		return "ERR You can't switch BCAST mode on/off" + errSwitch
	case mode.broadcast && (mode.optIn || mode.optOut):
		return "ERR OPTIN and OPTOUT are not compatible with BCAST"
	case mode.optIn && mode.optOut:
		return "ERR You can't specify both OPTIN mode and OPTOUT mode"
	case before != nil && (mode.optIn && before.optOut || mode.optOut && before.optIn):
		return "ERR You can't switch OPTIN/OPTOUT mode" + errSwitch
	}
	for i, prefix := range mode.prefixes {
		if before != nil {
			for _, other := range before.prefixes {
				if overlap(prefix, other) {
					return errOverlap(prefix, "an existing", other)
				}
			}
		}
		for _, other := range mode.prefixes[i+1:] {
			if overlap(prefix, other) {
				return errOverlap(prefix, "another provided", other)
			}
		}
	}
	return ""
}

func overlap(a, b string) bool { return strings.HasPrefix(a, b) || strings.HasPrefix(b, a) }

func errOverlap(prefix, which, other string) string {
	return "ERR Prefix '" + prefix + "' overlaps with " + which + " prefix '" + other +
		"'. Prefixes for a single client must not overlap."
}

func runClientCaching(c *conn, q *request) {
	mode := c.public.tracking.Load()
	yes := is(q.args[2], "YES")
	switch {
	case mode == nil:
		c.out.err("ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled")
	case !yes && !is(q.args[2], "NO"):
		c.out.err(errSyntax)
	case yes && !mode.optIn:
		c.out.err("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
	case !yes && !mode.optOut:
		c.out.err("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
	default:
		c.track.caching = true
		c.out.ok()
	}
}

// spendCaching ends what CLIENT CACHING said once a command was executed, or a transaction as a whole.
func (c *conn) spendCaching() {
	if c.track == nil || !c.track.caching || c.tx != nil {
		return
	}
	if last := c.public.command.Load(); last.container == nil || last.container.name != "client" {
		c.track.caching = false
	}
}

func runClientTrackingInfo(c *conn, _ *request) {
	mode := c.public.tracking.Load()
	flags, redirect := []string{"off"}, int64(-1)
	var prefixes []string
	if mode != nil {
		flags, redirect, prefixes = []string{"on"}, mode.redirect, mode.prefixes
		for _, f := range []struct {
			set  bool
			name string
		}{
			{mode.broadcast, "bcast"},
			{mode.optIn, "optin"}, {mode.optIn && c.track.caching, "caching-yes"},
			{mode.optOut, "optout"}, {mode.optOut && c.track.caching, "caching-no"},
			{mode.noLoop, "noloop"}, {c.public.brokenRedirect.Load(), "broken_redirect"},
		} {
			if f.set {
				flags = append(flags, f.name)
			}
		}
	}
	w := &c.out
	w.mapHead(3)
	w.bulkString("flags")
	w.setHead(len(flags))
	w.each(flags, w.bulkString)
	w.bulkString("redirect")
	w.int(redirect)
	w.bulkString("prefixes")
	w.strings(prefixes...)
}

func runClientGetRedir(c *conn, _ *request) {
	if mode := c.public.tracking.Load(); mode != nil {
		c.out.int(mode.redirect)
	} else {
		c.out.int(-1)
	}
}

// readsKeys reports whether a command counts as reading its keys.
func (cmd *command) readsKeys() bool { return cmd.flags&flagReadonly != 0 && cmd.keys != noKeys }

// observes reports whether somebody wants to know which keys a command has read, or missed.
func (c *conn) observes(cmd *command) bool {
	return (c.track != nil || c.srv.pubsub.misses.Load()) && cmd.readsKeys()
}

// observe notes what a request has read that was answered from the view.
func (c *conn) observe(q *request) {
	if c.view == nil { // it was refused
		return
	}
	at, _ := q.cmd.keys.positions(q.args)
	if c.srv.pubsub.misses.Load() && (q.cmd.container == nil || q.cmd.container.name != "object") { // as in Redis
		for _, i := range at {
			if c.view.Get(byte(q.db), q.args[i]) == nil {
				c.srv.pubsub.keyMissed(q.db, q.args[i])
			}
		}
	}
	c.remember(q, at, c.view.Revision()+1)
}

// remember tracks the keys of a request, unless they are not wanted, for changes from a revision on.
func (c *conn) remember(q *request, at []int, from int64) {
	if c.track == nil {
		return
	}
	mode := c.public.tracking.Load()
	if mode.broadcast || mode.optIn && !c.track.caching || mode.optOut && c.track.caching {
		return
	}
	for _, i := range at {
		c.track.remember(q.db, q.args[i], from)
	}
}

// rememberCall tracks the keys of a transaction's call. What a later call of the same transaction changes has the
// transaction's own revision.
func (c *conn) rememberCall(calls []request, i int, result *core.TxnResult) {
	q := &calls[i]
	if c.track == nil || !q.cmd.readsKeys() {
		return
	}
	from := result.Revision + 1
	changes := func(q request) bool { return q.cmd.flags&flagWrite != 0 }
	if result.Changed && !c.public.tracking.Load().noLoop && slices.ContainsFunc(calls[i+1:], changes) {
		from = result.Revision
	}
	at, _ := q.cmd.keys.positions(q.args)
	c.remember(q, at, from)
}

// do runs a command that may change something, or not.
func (c *conn) do(txn *corepb.Txn) (*core.TxnResult, error) {
	if c.track == nil || !c.public.tracking.Load().noLoop {
		txn.Caller = c.caller
		return c.srv.store.Do(c.srv.ctx, txn)
	}
	results, err := c.submit(txn)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}
