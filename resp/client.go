package resp

import (
	"slices"
	"strings"
)

var clientCommands = []*command{{
	name: "client", arity: -2, since: "2.4.0", group: "connection", summary: "Is about connections.",
	subs: []*command{
		{
			name: "id", arity: 2, flags: session, since: "5.0.0", summary: "Tells the number of the connection.",
			run: func(c *conn, _ *request) { c.out.int(c.id) },
		}, {
			name: "getname", arity: 2, flags: session, since: "2.6.9", summary: "Tells the name of the connection.",
			run: func(c *conn, _ *request) {
				if name := c.public.getName(); name == "" {
					c.out.null()
				} else {
					c.out.bulkString(name)
				}
			},
		}, {
			name: "setname", arity: 3, flags: session, since: "2.6.9", args: "connection-name",
			summary: "Names the connection.", run: runClientSetName,
		}, {
			name: "setinfo", arity: 4, flags: session, since: "7.2.0", args: "(LIB-NAME libname|LIB-VER libver)",
			summary: "Tells what library the client is.", run: runClientSetInfo,
		}, {
			name: "info", arity: 2, flags: session, since: "6.2.0", summary: "Describes the connection.",
			run: func(c *conn, _ *request) { c.out.text(c.line()) },
		}, {
			name: "list", arity: -2, flags: session | flagAdmin, since: "2.4.0",
			args: "[TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID client-id...]", summary: "Describes the connections of this node.",
			run: runClientList,
		}, {
			name: "kill", arity: -3, flags: session | flagAdmin, since: "2.4.0",
			args: "(ip:port|([ID client-id]|[TYPE type]|[USER username]|[ADDR ip:port]|[LADDR ip:port]|[SKIPME yes/no]|" +
				"[MAXAGE maxage])...)",
			summary: "Closes connections.", run: runClientKill,
		}, {
			name: "reply", arity: 3, flags: session, since: "3.2.0", args: "(ON|OFF|SKIP)",
			summary: "Turns replies off and on.", run: runClientReply,
		}, {
			name: "unblock", arity: -3, flags: session | flagAdmin, since: "5.0.0", args: "client-id [TIMEOUT|ERROR]",
			summary: "Ends the waiting of a blocked connection.", run: runClientUnblock,
		}, {
			name: "no-evict", arity: 3, flags: session | flagAdmin, since: "7.0.0", args: "(ON|OFF)",
			summary: "Asks that the connection not be closed to save memory, which no connection is.",
			run:     func(c *conn, q *request) { c.setOnOff(&c.public.noEvict, q.args[2]) },
		}, {
			name: "no-touch", arity: 3, flags: session, since: "7.2.0", args: "(ON|OFF)",
			summary: "Asks that access times not be changed, which are not kept.",
			run:     func(c *conn, q *request) { c.setOnOff(&c.public.quiet, q.args[2]) },
		}, {
			name: "tracking", arity: -3, flags: session, since: "6.0.0",
			args:    "(ON|OFF) [REDIRECT client-id] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
			summary: "Asks to be told when keys change that the client has read.", run: runClientTracking,
		}, {
			name: "caching", arity: 3, flags: session, since: "6.0.0", args: "(YES|NO)",
			summary: "Tells whether the keys of the next command shall be tracked.", run: runClientCaching,
		}, {
			name: "trackinginfo", arity: 2, flags: session, since: "6.2.0", summary: "Describes how keys are tracked.",
			run: runClientTrackingInfo,
		}, {
			name: "getredir", arity: 2, flags: session, since: "6.0.0",
			summary: "Tells to which connection invalidation messages go.", run: runClientGetRedir,
		}, {
			name: "help", arity: 2, flags: always, since: "5.0.0", summary: "Lists the subcommands.", run: runHelp,
		},
	},
}}

func (c *conn) setOnOff(setting interface{ Store(bool) }, word []byte) {
	on := is(word, "ON")
	if !on && !is(word, "OFF") {
		c.out.err(errSyntax)
		return
	}
	setting.Store(on)
	c.out.ok()
}

func runClientSetName(c *conn, q *request) {
	if !isClientName(q.args[2]) {
		c.out.err(errBadName)
		return
	}
	c.public.setName(string(q.args[2]))
	c.out.ok()
}

func runClientSetInfo(c *conn, q *request) {
	var field *string
	var option string
	switch {
	case is(q.args[2], "LIB-NAME"):
		field, option = &c.public.library, "lib-name"
	case is(q.args[2], "LIB-VER"):
		field, option = &c.public.libVersion, "lib-ver"
	default:
		c.out.err("ERR Unrecognized option '" + string(q.args[2]) + "'")
		return
	}
	if !isClientName(q.args[3]) {
		c.out.err("ERR " + option + " cannot contain spaces, newlines or special characters.")
		return
	}
	c.public.mu.Lock()
	*field = string(q.args[3])
	c.public.mu.Unlock()
	c.out.ok()
}

// all lists the connections, oldest first.
func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*conn, 0, len(s.clients))
	for _, c := range s.clients {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *conn) int { return int(a.id - b.id) })
	return list
}

// clientTypes are what CLIENT LIST and KILL choose by. No connection is a replication link here.
var clientTypes = map[string]func(*conn) bool{
	"normal":  func(c *conn) bool { return !c.public.isSubscriber() },
	"pubsub":  func(c *conn) bool { return c.public.isSubscriber() },
	"master":  func(*conn) bool { return false },
	"replica": func(*conn) bool { return false },
	"slave":   func(*conn) bool { return false },
}

func runClientList(c *conn, q *request) {
	wanted := func(*conn) bool { return true }
	switch rest := q.args[2:]; {
	case len(rest) == 0:
	case len(rest) == 2 && is(rest[0], "TYPE"):
		wanted = clientTypes[strings.ToLower(string(rest[1]))]
		if wanted == nil {
			c.out.err("ERR Unknown client type '" + string(rest[1]) + "'")
			return
		}
	case len(rest) >= 2 && is(rest[0], "ID"):
		ids := map[int64]bool{}
		for _, word := range rest[1:] {
			id, ok := parseInt(word)
			if !ok {
				c.out.err("ERR Invalid client ID")
				return
			}
			ids[id] = true
		}
		wanted = func(c *conn) bool { return ids[c.id] }
	default:
		c.out.err(errSyntax)
		return
	}
	var b strings.Builder
	for _, other := range c.srv.all() {
		if wanted(other) {
			b.WriteString(other.line())
		}
	}
	c.out.text(b.String())
}

func runClientKill(c *conn, q *request) {
	if len(q.args) == 3 {
		addr := string(q.args[2])
		if c.kill(func(o *conn) bool { return o.public.remote == addr }) == 0 {
			c.out.err("ERR No such client")
		} else {
			c.out.ok()
		}
		return
	}
	if len(q.args)%2 != 0 {
		c.out.err(errSyntax)
		return
	}
	skipMe := true
	var conditions []func(*conn) bool
	for i := 2; i < len(q.args); i += 2 {
		value := string(q.args[i+1])
		var condition func(*conn) bool
		switch word := q.args[i]; {
		case is(word, "ID"):
			id, ok := parseInt(q.args[i+1])
			if !ok || id < 1 {
				c.out.err("ERR client-id should be greater than 0")
				return
			}
			condition = func(o *conn) bool { return o.id == id }
		case is(word, "TYPE"):
			if condition = clientTypes[strings.ToLower(value)]; condition == nil {
				c.out.err("ERR Unknown client type '" + value + "'")
				return
			}
		case is(word, "ADDR"):
			condition = func(o *conn) bool { return o.public.remote == value }
		case is(word, "LADDR"):
			condition = func(o *conn) bool { return o.public.local == value }
		case is(word, "USER"):
			if value != "default" {
				c.out.err("ERR No such user '" + value + "'")
				return
			}
			continue
		case is(word, "MAXAGE"):
			age, ok := parseInt(q.args[i+1])
			if !ok {
				c.out.err("ERR maxage is not an integer or out of range")
				return
			}
			condition = func(o *conn) bool { return (nowMillis()-o.public.sinceMillis)/1000 >= age }
		case is(word, "SKIPME") && is(q.args[i+1], "YES"):
			skipMe = true
			continue
		case is(word, "SKIPME") && is(q.args[i+1], "NO"):
			skipMe = false
			continue
		default:
			c.out.err(errSyntax)
			return
		}
		conditions = append(conditions, condition)
	}
	c.out.int(int64(c.kill(func(o *conn) bool {
		if o == c && skipMe {
			return false
		}
		for _, condition := range conditions {
			if !condition(o) {
				return false
			}
		}
		return true
	})))
}

// kill closes the connections that are wanted, its own after the reply.
func (c *conn) kill(wanted func(*conn) bool) (killed int) {
	for _, other := range c.srv.all() {
		if !wanted(other) {
			continue
		}
		killed++
		if other == c {
			c.ending = true
		} else {
			other.nc.Close()
		}
	}
	return killed
}

func runClientReply(c *conn, q *request) {
	switch word := q.args[2]; {
	case is(word, "ON"):
		c.muted, c.silent = false, false
		c.out.ok()
	case is(word, "OFF"):
		c.muted, c.silent = true, true
	case is(word, "SKIP"):
		c.skip, c.silent = !c.muted, true
	default:
		c.out.err(errSyntax)
	}
}

func runClientUnblock(c *conn, q *request) {
	withError := false
	if len(q.args) == 4 {
		switch {
		case is(q.args[3], "ERROR"):
			withError = true
		case !is(q.args[3], "TIMEOUT"):
			c.out.err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
			return
		}
	}
	id, ok := parseInt(q.args[2])
	if !ok {
		c.out.err(errNotInteger)
		return
	}
	unblocked := false
	if other := c.srv.client(id); other != nil {
		if w := other.public.blocked.Load(); w != nil {
			select {
			case w.unblock <- withError:
				unblocked = true
			default: // somebody else has just done it
			}
		}
	}
	c.out.bool(unblocked)
}
