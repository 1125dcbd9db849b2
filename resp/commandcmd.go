package resp

import (
	"slices"
	"strings"
)

// COMMAND tells clients what is in the table, off the same rows that are executed.
var commandCommands = []*command{{
	name: "command", arity: -1, flags: always | flagConnection, since: "2.8.13", group: "server",
	summary: "Describes the commands.",
	run:     func(c *conn, _ *request) { c.describeAll(commands) },
	subs: []*command{
		{
			name: "count", arity: 2, flags: always | flagConnection, since: "2.8.13", summary: "Counts the commands.",
			run: func(c *conn, _ *request) { c.out.int(int64(len(commands))) },
		},
		{
			name: "info", arity: -2, flags: always | flagConnection, since: "2.8.13", args: "[command-name...]",
			summary: "Describes commands for programs.", run: runCommandInfo,
		}, {
			name: "docs", arity: -2, flags: always | flagConnection, since: "7.0.0", args: "[command-name...]",
			summary: "Describes commands for people.", run: runCommandDocs,
		}, {
			name: "list", arity: -2, flags: always | flagConnection, since: "7.0.0",
			args:    "[FILTERBY (MODULE module-name|ACLCAT category|PATTERN pattern)]",
			summary: "Lists the names of commands.", run: runCommandList,
		}, {
			name: "getkeys", arity: -3, flags: always | flagConnection, since: "2.8.13", args: "command [arg...]",
			summary: "Tells which words of a request are keys.", run: runCommandGetKeys,
		}, {
			name: "help", arity: 2, flags: always | flagConnection, since: "5.0.0", summary: "Lists the subcommands.",
			run: runHelp,
		},
	},
}}

func (c *conn) describeAll(rows []*command) {
	c.out.array(len(rows))
	for _, row := range rows {
		row.describe(&c.out)
	}
}

// find gives the row of a name such as "get" or "client|list".
func find(name []byte) *command {
	container, sub, nested := strings.Cut(string(name), "|")
	row := lookup(commandsByName, []byte(container))
	if row != nil && nested {
		row = lookup(row.byName, []byte(sub))
	}
	return row
}

func runCommandInfo(c *conn, q *request) {
	if len(q.args) == 2 {
		c.describeAll(commands)
		return
	}
	c.out.array(len(q.args) - 2)
	for _, name := range q.args[2:] {
		if row := find(name); row != nil {
			row.describe(&c.out)
		} else {
			c.out.null()
		}
	}
}

// describe writes a row as COMMAND INFO does since Redis 7.
func (c *command) describe(w *writer) {
	w.array(10)
	w.bulkString(c.fullName)
	w.int(int64(c.arity))
	var flags []string
	for _, f := range flagNames {
		if c.flags&f.flag != 0 {
			flags = append(flags, f.name)
		}
	}
	w.statusSet(flags)
	w.int(int64(c.keys.first))
	w.int(int64(c.keys.last))
	w.int(int64(c.keys.step))
	w.statusSet(c.categories())
	w.setHead(0) // tips
	c.describeKeys(w)
	w.array(len(c.subs))
	for _, sub := range c.subs {
		sub.describe(w)
	}
}

func (w *writer) statusSet(words []string) {
	w.setHead(len(words))
	w.each(words, w.simple)
}

// categories are those of ACLs that a command belongs to. Most follow from its flags and group.
func (c *command) categories() []string {
	isConnection := c.flags&flagConnection != 0
	var list []string
	for _, category := range []struct {
		name string
		in   bool
	}{
		{"@keyspace", c.flags&flagKeyspace != 0 || c.group == "generic" && !isConnection && len(c.subs) == 0},
		{"@read", c.flags&flagReadonly != 0},
		{"@write", c.flags&flagWrite != 0},
		{"@list", c.group == "list"},
		{"@hash", c.group == "hash"},
		{"@string", c.group == "string"},
		{"@pubsub", c.flags&flagPubsub != 0},
		{"@admin", c.flags&(flagAdmin|flagAdminOnly) != 0},
		{"@fast", c.flags&flagFast != 0},
		{"@slow", c.flags&flagFast == 0},
		{"@blocking", c.flags&flagBlocking != 0},
		{"@dangerous", c.flags&(flagAdmin|flagAdminOnly|flagDangerous) != 0},
		{"@connection", isConnection || (c.group == "connection" || c.group == "cluster") && len(c.subs) == 0},
		{"@transaction", c.group == "transactions"},
	} {
		if category.in {
			list = append(list, category.name)
		}
	}
	return list
}

// describeKeys writes the key specifications: at most one for a command here.
func (c *command) describeKeys(w *writer) {
	k := c.keys
	if k == noKeys {
		w.setHead(0)
		return
	}
	w.setHead(1)
	w.mapHead(3)
	w.bulkString("flags")
	if c.flags&flagReadonly != 0 {
		w.statusSet([]string{"RO", "access"})
	} else {
		w.statusSet([]string{"RW", "access", "update"})
	}
	spec := func(part, kind string, fields ...any) {
		w.bulkString(part)
		w.mapHead(2)
		w.bulkString("type")
		w.bulkString(kind)
		w.bulkString("spec")
		w.mapHead(len(fields) / 2)
		for i := 0; i < len(fields); i += 2 {
			w.bulkString(fields[i].(string))
			w.int(int64(fields[i+1].(int)))
		}
	}
	if k.count > 0 {
		spec("begin_search", "index", "index", k.count)
		spec("find_keys", "keynum", "keynumidx", 0, "firstkey", 1, "keystep", 1)
		return
	}
	last := k.last
	if last > 0 {
		last -= k.first
	}
	spec("begin_search", "index", "index", k.first)
	spec("find_keys", "range", "lastkey", last, "keystep", k.step, "limit", 0)
}

func runCommandList(c *conn, q *request) {
	wanted := func(*command) bool { return true }
	if rest := q.args[2:]; len(rest) > 0 {
		if len(rest) != 3 || !is(rest[0], "FILTERBY") {
			c.out.err(errSyntax)
			return
		}
		value := strings.ToLower(string(rest[2]))
		switch {
		case is(rest[1], "MODULE"):
			wanted = func(*command) bool { return false }
		case is(rest[1], "ACLCAT"):
			wanted = func(row *command) bool { return slices.Contains(row.categories(), "@"+value) }
		case is(rest[1], "PATTERN"):
			wanted = func(row *command) bool { return globMatch([]byte(value), []byte(row.fullName)) }
		default:
			c.out.err(errSyntax)
			return
		}
	}
	var names []string
	for _, row := range commands {
		for _, r := range append([]*command{row}, row.subs...) {
			if wanted(r) && (r == row || len(q.args) > 2) {
				names = append(names, r.fullName)
			}
		}
	}
	c.out.strings(names...)
}

func runCommandGetKeys(c *conn, q *request) {
	args := q.args[2:]
	row, _ := resolve(args)
	switch {
	case lookup(commandsByName, args[0]) == nil:
		c.out.err("ERR Invalid command specified")
	case row == nil:
		c.out.err("ERR Invalid number of arguments specified for command")
	case row.keys == noKeys:
		c.out.err("ERR The command has no key arguments")
	default:
		at, ok := row.keys.positions(args)
		if !ok {
			c.out.err("ERR Invalid arguments specified for command")
			return
		}
		c.out.array(len(at))
		for _, i := range at {
			c.out.bulk(args[i])
		}
	}
}
