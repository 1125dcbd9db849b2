package resp

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func everyRow(visit func(*command)) {
	for _, c := range commands {
		visit(c)
		for _, sub := range c.subs {
			visit(sub)
		}
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	everyRow(func(c *command) {
		if c.name != strings.ToLower(c.name) || len(c.name) > nameBytesMax {
			t.Errorf("%s: name", c.fullName)
		}
		if c.arity == 0 || c.since == "" || c.group == "" || !strings.HasSuffix(c.summary, ".") {
			t.Errorf("%s: arity, since, group or summary", c.fullName)
		}
		if c.plan == nil && c.run == nil && len(c.subs) == 0 || c.plan != nil && c.run != nil {
			t.Errorf("%s: what does it do?", c.fullName)
		}
		if (c.read != nil || c.block != nil) && c.plan == nil {
			t.Errorf("%s: MULTI needs a plan", c.fullName)
		}
		if c.block != nil != (c.flags&flagBlocking != 0) {
			t.Errorf("%s: blocking flag", c.fullName)
		}
		if c.read != nil && c.flags&flagReadonly == 0 {
			t.Errorf("%s: readonly flag", c.fullName)
		}
		if find([]byte(strings.ToUpper(c.fullName))) != c {
			t.Errorf("%s: not found by its name", c.fullName)
		}
	})
}

func TestSyntaxIsTakenApart(t *testing.T) {
	for syntax, want := range map[string]string{
		"":                            "",
		"key value":                   "key:key value:string",
		"key...":                      "key:key+",
		"(field value)...":            "block{field:string value:string}+",
		"[NX|XX] [GET]":               "oneof{NX XX}? GET?",
		"[EX seconds|PERSIST]":        "oneof{EX=seconds:integer PERSIST}?",
		"(LEFT|RIGHT) [COUNT count]":  "oneof{LEFT RIGHT} COUNT=count:integer?",
		"key [count [WITHVALUES]]":    "key:key block{count:integer WITHVALUES?}?",
		"[TYPE (NORMAL|PUBSUB)]":      "TYPE=oneof{NORMAL PUBSUB}?",
		"[FILTERBY (MODULE m|ACL c)]": "FILTERBY=oneof{MODULE=m:string ACL=c:string}?",
		"[channel...]":                "channel:string+?",
	} {
		if got := showAll(parseSyntax(syntax)); got != want {
			t.Errorf("%s: got %s, want %s", syntax, got, want)
		}
	}
	everyRow(func(c *command) {
		p := syntaxParser{rest: c.args}
		p.sequence()
		if p.rest != "" || strings.Contains(showAll(parseSyntax(c.args)), "block{}") {
			t.Errorf("%s: syntax %q, not read: %q", c.fullName, c.args, p.rest)
		}
	})
}

func showAll(list []*argument) string {
	var parts []string
	for _, a := range list {
		s := a.name + ":" + a.kind
		switch {
		case a.kind == "pure-token":
			s = a.token
		case len(a.children) > 0 || a.kind == "block":
			s = a.kind + "{" + showAll(a.children) + "}"
		}
		if a.token != "" && a.kind != "pure-token" {
			s = a.token + "=" + s
		}
		if a.multiple {
			s += "+"
		}
		if a.optional {
			s += "?"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func TestNoRequestStopsTheServer(t *testing.T) {
	n := startNode(t, Options{})
	pool := []string{
		"", "a", "b", "l", "h", "0", "1", "2", "-1", "3.5", "inf", "nan", "9223372036854775807", "-9223372036854775808", "*", "[",
		"EX", "PX", "NX", "XX", "GET", "MATCH", "COUNT", "LEFT", "RIGHT", "BEFORE", "WITHVALUES", "REPLACE", "DB", "ID", "TYPE",
		"\x00\xff\r\n", strings.Repeat("x", 1000),
	}
	// Those that end the connection, change what it answers, or wait.
	left := map[string]bool{
		"quit": true, "client|reply": true, "client|kill": true, "hello": true, "subscribe": true, "psubscribe": true, "exec": true,
		"blpop": true, "brpop": true, "blmove": true, "blmpop": true, "brpoplpush": true, "multi": true,
	}
	r := rand.New(rand.NewPCG(1, 2))
	var requests strings.Builder
	everyRow(func(c *command) {
		for words := range 7 {
			if left[c.fullName] {
				continue
			}
			parts := strings.Split(c.fullName, "|")
			for range words {
				parts = append(parts, pool[r.IntN(len(pool))])
			}
			fmt.Fprintf(&requests, "*%d\r\n", len(parts))
			for _, p := range parts {
				fmt.Fprintf(&requests, "$%d\r\n%s\r\n", len(p), p)
			}
		}
	})
	// Once as they are, once as a transaction.
	c := n.dial()
	go c.nc.Write([]byte(requests.String() + "echo .end.\r\n"))
	for c.line() != ".end." {
	}
	c.do("multi", "+OK")
	go c.nc.Write([]byte(requests.String() + "discard\r\necho .end.\r\n"))
	for c.line() != ".end." {
	}
	c = n.dial()
	everyRow(func(row *command) {
		if left[row.fullName] || row.arity > 6 {
			return
		}
		words := max(row.arity, -row.arity)
		for range 3 {
			parts := strings.Split(row.fullName, "|")
			for len(parts) < words {
				parts = append(parts, pool[r.IntN(16)])
			}
			c.send("multi\r\n")
			c.reads("+OK")
			c.send(fmt.Sprintf("*%d\r\n", len(parts)))
			for _, p := range parts {
				c.send(fmt.Sprintf("$%d\r\n%s\r\n", len(p), p))
			}
			c.run("exec")
		}
	})
	n.dial().do("ping", "+PONG")
}
