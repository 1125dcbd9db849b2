package resp

import "strings"

// The syntax of a command is written as in Redis' manual:
//
//	[x]    optional            x|y    one of them         (x y)   a group
//	x...   once or more        EX seconds   a word in capitals goes with the argument behind it
//
// COMMAND DOCS takes it apart for clients, such as redis-cli, that give hints while one types.

// argument is a node of a command's syntax.
type argument struct {
	name     string
	kind     string // key, integer, double, pattern, unix-time, string; pure-token, oneof, block
	token    string
	optional bool
	multiple bool
	children []*argument
}

// parseSyntax takes a syntax apart.
func parseSyntax(s string) []*argument {
	p := syntaxParser{rest: s}
	return p.sequence()
}

type syntaxParser struct{ rest string }

func (p *syntaxParser) peek() byte {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.rest == "" {
		return 0
	}
	return p.rest[0]
}

// sequence reads arguments up to the end, a closing bracket or a bar.
func (p *syntaxParser) sequence() (list []*argument) {
	for {
		switch c := p.peek(); c {
		case 0, ')', ']', '|':
			return list
		case '(', '[':
			p.rest = p.rest[1:]
			a := p.alternatives()
			if p.peek() != 0 {
				p.rest = p.rest[1:] // the closing bracket
			}
			a.optional = a.optional || c == '['
			list = append(list, p.repeated(a))
		default:
			list = append(list, p.repeated(p.word()))
		}
	}
}

// alternatives reads what stands between brackets.
func (p *syntaxParser) alternatives() *argument {
	choices := []*argument{group1(p.sequence())}
	for p.peek() == '|' {
		p.rest = p.rest[1:]
		choices = append(choices, group1(p.sequence()))
	}
	if len(choices) == 1 {
		return choices[0]
	}
	return &argument{name: choices[0].name, kind: "oneof", children: choices}
}

// group1 makes one argument of several.
func group1(list []*argument) *argument {
	switch len(list) {
	case 0:
		return &argument{kind: "block"}
	case 1:
		return list[0]
	}
	return &argument{name: list[0].name, kind: "block", children: list}
}

// word reads a name, or a token with the name that follows it.
func (p *syntaxParser) word() *argument {
	end := strings.IndexAny(p.rest, " ()[]|.")
	if end < 0 {
		end = len(p.rest)
	}
	if end == 0 { // a stray dot
		end = 1
	}
	word := p.rest[:end]
	p.rest = p.rest[end:]
	if word != upper(word) {
		return &argument{name: word, kind: kindOf(word)}
	}
	name := strings.ToLower(word)
	switch c := p.peek(); {
	case c == '(':
		p.rest = p.rest[1:]
		a := p.alternatives()
		if p.peek() != 0 {
			p.rest = p.rest[1:]
		}
		a.token = word
		return a
	case 'a' <= c && c <= 'z':
		a := p.word()
		a.token = word
		return a
	}
	return &argument{name: name, kind: "pure-token", token: word}
}

func (p *syntaxParser) repeated(a *argument) *argument {
	if strings.HasPrefix(p.rest, "...") {
		p.rest = p.rest[3:]
		a.multiple = true
	}
	return a
}

func kindOf(name string) string {
	switch name {
	case "key", "newkey", "source", "destination":
		return "key"
	case "pattern":
		return "pattern"
	case "timeout":
		return "double"
	case "unix-time-seconds", "unix-time-milliseconds":
		return "unix-time"
	case "seconds", "milliseconds", "cursor", "count", "numkeys", "index", "start", "stop", "end", "offset", "rank", "len",
		"num-matches", "client-id", "destination-db", "db", "protover", "numreplicas", "decrement", "maxage", "version":
		return "integer"
	}
	return "string"
}

func upper(s string) string { return strings.ToUpper(s) }

func runCommandDocs(c *conn, q *request) {
	rows := commands
	if len(q.args) > 2 {
		rows = nil
		for _, name := range q.args[2:] {
			if row := find(name); row != nil {
				rows = append(rows, row)
			}
		}
	}
	c.out.mapHead(len(rows))
	for _, row := range rows {
		row.document(&c.out)
	}
}

// document writes a row as COMMAND DOCS does: its name and what there is to say.
func (c *command) document(w *writer) {
	arguments := parseSyntax(c.args)
	w.bulkString(c.fullName)
	w.mapHead(3 + btoi(len(arguments) > 0) + btoi(len(c.subs) > 0))
	w.bulkString("summary")
	w.bulkString(c.summary)
	w.bulkString("since")
	w.bulkString(c.since)
	w.bulkString("group")
	w.bulkString(c.group)
	if len(arguments) > 0 {
		w.bulkString("arguments")
		w.array(len(arguments))
		for _, a := range arguments {
			a.document(w)
		}
	}
	if len(c.subs) > 0 {
		w.bulkString("subcommands")
		w.mapHead(len(c.subs))
		for _, sub := range c.subs {
			sub.document(w)
		}
	}
}

func (a *argument) document(w *writer) {
	var flags []string
	if a.optional {
		flags = append(flags, "optional")
	}
	if a.multiple {
		flags = append(flags, "multiple")
	}
	leaf := len(a.children) == 0 && a.kind != "pure-token"
	w.mapHead(2 + btoi(leaf) + btoi(a.kind == "key") + btoi(a.token != "") + btoi(len(flags) > 0) + btoi(len(a.children) > 0))
	w.bulkString("name")
	w.bulkString(a.name)
	w.bulkString("type")
	w.bulkString(a.kind)
	if leaf {
		w.bulkString("display_text")
		w.bulkString(a.name)
	}
	if a.kind == "key" {
		w.bulkString("key_spec_index")
		w.int(0)
	}
	if a.token != "" {
		w.bulkString("token")
		w.bulkString(a.token)
	}
	if len(flags) > 0 {
		w.bulkString("flags")
		w.statusSet(flags)
	}
	if len(a.children) > 0 {
		w.bulkString("arguments")
		w.array(len(a.children))
		for _, child := range a.children {
			child.document(w)
		}
	}
}
