package resp

var sessionCommands = []*command{
	{
		name: "ping", arity: -1, flags: flagFast | flagConnection | flagSubscribed, since: "1.0.0", group: "connection",
		args: "[message]", summary: "Answers, to show that the server does.", run: runPing,
	}, {
		name: "echo", arity: 2, flags: always | flagFast, since: "1.0.0", group: "connection", args: "message",
		summary: "Returns its argument.", run: func(c *conn, q *request) { c.out.bulk(q.args[1]) },
	}, {
		name: "select", arity: 2, flags: always | flagFast, since: "1.0.0", group: "connection", args: "index",
		summary: "Chooses the database.", run: runSelect,
	}, {
		name: "hello", arity: -1, flags: session | flagFast | flagNoAuth | flagAllowBusy, since: "6.0.0",
		group: "connection", args: "[protover [AUTH username password] [SETNAME clientname]]",
		summary: "Chooses the protocol version and introduces both sides.", run: runHello,
	}, {
		name: "auth", arity: -2, flags: session | flagFast | flagNoAuth | flagAllowBusy, since: "1.0.0",
		group: "connection", args: "[username] password", summary: "Checks a password.", run: runAuth,
	}, {
		name: "quit", arity: -1, flags: inMulti | flagNoAuth | flagSubscribed, since: "1.0.0", group: "connection",
		summary: "Closes the connection.",
		run: func(c *conn, _ *request) {
			c.out.ok()
			c.ending = true
		},
	}, {
		name: "reset", arity: 1, flags: inMulti | flagNoAuth | flagSubscribed, since: "6.2.0", group: "connection",
		summary: "Makes the connection as it was when it began.", run: runReset,
	}, {
		name: "readonly", arity: 1, flags: always | flagFast, since: "3.0.0", group: "cluster",
		summary: "Allows reads on replicas; every node answers every read here.", run: runOK,
	}, {
		name: "readwrite", arity: 1, flags: always | flagFast, since: "3.0.0", group: "cluster",
		summary: "Takes READONLY back.", run: runOK,
	},
}

func runOK(c *conn, _ *request) { c.out.ok() }

func runPing(c *conn, q *request) {
	if len(q.args) > 2 {
		c.out.err(errArity("ping"))
		return
	}
	if c.subs.total() > 0 && !c.out.resp3 {
		c.out.array(2)
		c.out.bulkString("pong")
		c.out.bulk(append([]byte{}, lastArg(q.args[1:])...))
		return
	}
	if len(q.args) == 1 {
		c.out.simple("PONG")
	} else {
		c.out.bulk(q.args[1])
	}
}

func lastArg(args [][]byte) []byte {
	if len(args) == 0 {
		return nil
	}
	return args[len(args)-1]
}

func runSelect(c *conn, q *request) {
	db, text := parseDB(q.args[1])
	if text != "" {
		c.out.err(text)
		return
	}
	c.setDB(db)
	c.out.ok()
}

func (c *conn) setDB(db uint32) {
	c.db = db
	c.public.db.Store(int64(db))
}

func (c *conn) setRESP3(on bool) {
	c.out.resp3 = on
	c.public.resp3.Store(on)
}

const (
	errWrongPass = "WRONGPASS invalid username-password pair or user is disabled."
	errBadName   = "ERR Client names cannot contain spaces, newlines or special characters."
)

// runHello checks everything before it changes anything.
func runHello(c *conn, q *request) {
	version, setName := int64(0), false
	var name, user, password []byte
	if len(q.args) > 1 {
		var ok bool
		if version, ok = parseInt(q.args[1]); !ok {
			c.out.err("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			c.out.err("NOPROTO unsupported protocol version")
			return
		}
	}
	for i := 2; i < len(q.args); i++ {
		switch word := q.args[i]; {
		case is(word, "AUTH") && i+2 < len(q.args):
			user, password = q.args[i+1], q.args[i+2]
			i += 2
		case is(word, "SETNAME") && i+1 < len(q.args):
			i++
			name, setName = q.args[i], true
			if !isClientName(name) {
				c.out.err(errBadName)
				return
			}
		default:
			c.out.err("ERR Syntax error in HELLO option '" + string(word) + "'")
			return
		}
	}
	if user != nil {
		if text := c.login(user, password); text != "" {
			c.out.err(text)
			return
		}
	} else if enabled, _ := c.srv.store.AuthEnabled(); enabled && c.caller == nil {
		c.out.err(errNoAuthHello)
		return
	}
	if version != 0 {
		c.setRESP3(version == 3)
	}
	if setName {
		c.public.setName(string(name))
	}
	version = 2 + int64(btoi(c.out.resp3))
	w := &c.out
	w.mapHead(7)
	w.bulkString("server")
	w.bulkString("redis")
	w.bulkString("version")
	w.bulkString(redisVersion)
	w.bulkString("proto")
	w.int(version)
	w.bulkString("id")
	w.int(c.id)
	w.bulkString("mode")
	w.bulkString("standalone")
	w.bulkString("role")
	w.bulkString("master") // every node takes writes; ROLE tells which one leads
	w.bulkString("modules")
	w.array(0)
}

// isClientName reports whether a name would keep CLIENT LIST readable.
func isClientName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			return false
		}
	}
	return true
}

func runReset(c *conn, _ *request) {
	c.srv.pubsub.drop(c)
	c.stopTracking()
	c.leaveMulti()
	c.setDB(0)
	c.setRESP3(false)
	c.public.setName("")
	c.public.noEvict.Store(false)
	c.public.quiet.Store(false)
	c.muted, c.skip, c.silent = false, false, false
	c.logout()
	c.out.simple("RESET")
}
