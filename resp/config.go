package resp

import (
	"slices"
	"strconv"
	"strings"
)

var configSubs = []*command{
	{
		name: "get", arity: -3, flags: session | flagAdmin, since: "2.0.0", args: "parameter...",
		summary: "Lists settings whose names match patterns.", run: runConfigGet,
	}, {
		name: "set", arity: -4, flags: session | flagAdmin, since: "2.0.0", args: "(parameter value)...",
		summary: "Changes notify-keyspace-events; other settings are chosen when the server starts.", run: runConfigSet,
	}, {
		name: "resetstat", arity: 2, flags: session | flagAdmin, since: "2.0.0", summary: "Sets the counters of INFO to zero.",
		run: func(c *conn, _ *request) {
			s := &c.srv.stats
			s.connections.Store(0)
			s.commands.Store(0)
			s.errors.Store(0)
			s.dropped.Store(0)
			s.published.Store(0)
			c.out.ok()
		},
	}, {
		name: "rewrite", arity: 2, flags: session | flagAdmin, since: "2.8.0", summary: "Would write settings to a file.",
		run: func(c *conn, _ *request) { c.out.err("ERR The server is running without a config file") },
	}, {
		name: "help", arity: 2, flags: always, since: "5.0.0", summary: "Lists the subcommands.", run: runHelp,
	},
}

// settings are Redis' names for what is true of this server.
func (s *Server) settings() [][2]string {
	o := &s.opts
	return [][2]string{
		{"appendfsync", "always"},
		{"appendonly", "yes"},
		{"client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub " + strconv.Itoa(o.MaxOutputBytes) + " 0 0"},
		{"client-query-buffer-limit", strconv.Itoa(o.MaxQueryBytes)},
		{"cluster-enabled", "no"},
		{"databases", strconv.Itoa(databases)},
		{"maxmemory", "0"},
		{"maxmemory-policy", "noeviction"},
		{notifySetting, s.pubsub.eventClasses().String()},
		{"port", strconv.Itoa(s.port())},
		{"proto-max-bulk-len", strconv.Itoa(o.MaxRequestBytes)},
		{"save", ""},
		{"timeout", "0"},
		{"tracking-table-max-keys", strconv.Itoa(o.MaxTrackedKeys)},
	}
}

func runConfigGet(c *conn, q *request) {
	var found [][2]string
	for _, setting := range c.srv.settings() {
		for _, asked := range q.args[2:] {
			pattern := strings.ToLower(string(asked))
			if pattern == setting[0] {
				setting[0] = string(asked) // a plain name is answered as it was asked for
			} else if !globMatch([]byte(pattern), []byte(setting[0])) {
				continue
			}
			found = append(found, setting)
			break
		}
	}
	c.out.mapHead(len(found))
	for _, setting := range found {
		c.out.bulkString(setting[0])
		c.out.bulkString(setting[1])
	}
}

// runConfigSet changes what can be changed, all of it or nothing.
func runConfigSet(c *conn, q *request) {
	if len(q.args)%2 != 0 {
		c.out.err(errArity(q.cmd.fullName))
		return
	}
	failed := func(name, reason string) {
		c.out.err("ERR CONFIG SET failed (possibly related to argument '" + name + "') - " + reason)
	}
	for i := 2; i < len(q.args); i += 2 {
		name := strings.ToLower(string(q.args[i]))
		known := slices.ContainsFunc(c.srv.settings(), func(setting [2]string) bool { return setting[0] == name })
		switch {
		case !known:
			c.out.err("ERR Unknown option or number of arguments for CONFIG SET - '" + string(q.args[i]) + "'")
			return
		case name != notifySetting:
			failed(name, "can't set immutable config")
			return
		case i > 2:
			failed(name, "duplicate parameter")
			return
		}
	}
	classes, ok := parseEventClasses(string(q.args[3]))
	if !ok {
		failed(notifySetting, "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
		return
	}
	c.srv.pubsub.setEventClasses(classes)
	c.out.ok()
}
