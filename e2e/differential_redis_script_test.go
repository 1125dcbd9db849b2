package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A redisCase is a script of requests. A line is
//
//	[connection:] [@likeness] command...
//
// where words may be quoted as in Go. The connection is 1 unless it is said; each is opened when it is first used. A
// command is sent, and its replies compared, except for these:
//
//	.raw BYTES             sends bytes and compares a reply
//	.send COMMAND...       sends a command and reads nothing
//	.sendraw BYTES         sends bytes and reads nothing
//	.read                  compares one more reply
//	.until REPLY COMMAND.. asks until that is the reply
//	.walk COMMAND...       follows the cursors, from the one given, and compares all that came
//	.blocked N             waits until N connections are blocked
//
// $x where x is a letter stands for the reply of the line that ends in "=> x", which each server has its own of.
type redisCase struct{ name, script string }

type scriptLine struct {
	text       string
	connection string
	likeness   string
	verb       string // "" for a plain command
	words      []string
	keep       string // the name under which the reply is kept
}

func parseLine(t testing.TB, text string) scriptLine {
	line := scriptLine{text: text, connection: "1"}
	words := splitScript(t, text)
	if strings.HasSuffix(words[0], ":") {
		line.connection = strings.TrimSuffix(words[0], ":")
		words = words[1:]
	}
	if strings.HasPrefix(words[0], "@") {
		line.likeness = words[0][1:]
		if _, ok := likenesses[line.likeness]; !ok {
			t.Fatalf("no such likeness: %s", text)
		}
		words = words[1:]
	}
	if strings.HasPrefix(words[0], ".") {
		line.verb = words[0]
		words = words[1:]
	}
	if n := len(words); n > 2 && words[n-2] == "=>" {
		line.keep = "$" + words[n-1]
		words = words[:n-2]
	}
	line.words = words
	return line
}

// splitScript cuts a line into words.
func splitScript(t testing.TB, line string) (words []string) {
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		quoted, err := strconv.QuotedPrefix(line)
		if err != nil {
			word, _, _ := strings.Cut(line, " ")
			words = append(words, word)
			line = line[len(word):]
			continue
		}
		word, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		words = append(words, word)
		line = line[len(quoted):]
	}
	return words
}

func parseScript(t testing.TB, script string) (lines []scriptLine) {
	for text := range strings.Lines(script) {
		if text = strings.TrimSpace(text); text != "" && !strings.HasPrefix(text, "#") {
			lines = append(lines, parseLine(t, text))
		}
	}
	return lines
}

// scriptRun carries a script out on both servers.
type scriptRun struct {
	redisPair
	resp3       bool
	connections map[string]twin
	kept        map[string][2]string
}

func (p redisPair) run(t testing.TB, script string, resp3 bool) {
	t.Helper()
	p.t = t
	p.empty()
	run := scriptRun{p, resp3, map[string]twin{}, map[string][2]string{}}
	defer run.close()
	for _, line := range parseScript(t, script) {
		if !run.line(line) {
			return // a server that has not answered would answer the next request with this one's reply
		}
	}
}

func (r *scriptRun) close() {
	for _, c := range r.connections {
		c.close()
	}
}

func (r *scriptRun) connection(name string) twin {
	c, ok := r.connections[name]
	if !ok {
		c = r.dial()
		r.connections[name] = c
		if r.resp3 {
			c.call("HELLO", "3")
		}
	}
	return c
}

// own puts a server's own replies in the place of the names that stand for them.
func (r *scriptRun) own(words []string, server int) []string {
	own := make([]string, len(words))
	for i, word := range words {
		own[i] = word
		if kept, ok := r.kept[word]; ok {
			own[i] = kept[server]
		}
	}
	return own
}

// line carries out a line and reports whether the connection is still of use.
func (r *scriptRun) line(line scriptLine) bool {
	r.t.Helper()
	c := r.connection(line.connection)
	switch line.verb {
	case ".send":
		c.ours.send(request(r.own(line.words, 0)...))
		c.theirs.send(request(r.own(line.words, 1)...))
		return true
	case ".sendraw":
		c.send(line.words[0])
		return true
	case ".until":
		r.both(func(got reply) bool { return got.encode() == line.words[0] }, line.words[1:]...)
		return true
	case ".blocked":
		r.both(func(got reply) bool {
			return strings.Contains(got.encode(), "\nblocked_clients:"+line.words[0]+"\r")
		}, "INFO", "clients")
		return true
	case ".walk":
		ours, theirs := walk(c.ours, line.words), walk(c.theirs, line.words)
		if !slices.Equal(ours, theirs) {
			r.t.Errorf("%s\n   redis: %q\n triglot: %q", line.text, theirs, ours)
		}
		return true
	case ".raw":
		c.send(line.words[0])
	case ".read":
	default:
		c.ours.send(request(r.own(line.words, 0)...))
		c.theirs.send(request(r.own(line.words, 1)...))
	}
	ours, theirs := c.receive()
	if line.keep != "" {
		line.likeness = "shape"
		trim := func(got reply) string { return strings.TrimRight(got.text, "\r\n")[1:] }
		r.kept[line.keep] = [2]string{trim(ours), trim(theirs)}
	}
	if !likenesses[line.likeness].same(ours, theirs) || theirs.text == "(no reply)" {
		r.t.Errorf("%s\n   redis: %v\n triglot: %v", line.text, theirs, ours)
	}
	return ours.text != "(no reply)" && theirs.text != "(no reply)"
}

// walk follows the cursors of a scan, for which the word 0 stands, and gives what came, each once and in order.
func walk(c *respConn, words []string) (found []string) {
	cursor := "0"
	for page := 0; page == 0 || cursor != "0"; page++ {
		own := slices.Clone(words)
		own[slices.Index(own, "0")] = cursor
		got := c.call(own...)
		if len(got.kids) != 2 || page == 10_000 {
			return append(found, fmt.Sprintf("page %d is %v", page, got))
		}
		_, cursor, _ = strings.Cut(strings.TrimSuffix(got.kids[0].text, "\r\n"), "\r\n")
		for _, item := range got.kids[1].kids {
			found = append(found, item.text)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// plain reports whether a script can be carried out within one MULTI: nothing but commands of one connection that are
// about keys.
func plain(lines []scriptLine) bool {
	for _, line := range lines {
		if line.connection != "1" || line.verb != "" || line.keep != "" {
			return false
		}
		switch strings.ToUpper(line.words[0]) {
		case "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "QUIT", "RESET", "HELLO", "AUTH", "CLIENT", "CONFIG", "INFO",
			"SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "MONITOR":
			return false
		}
	}
	return true
}

// runInMulti carries out all commands of a script as one transaction.
func (p redisPair) runInMulti(t testing.TB, lines []scriptLine) {
	t.Helper()
	p.t = t
	p.empty()
	c := p.dial()
	defer c.close()
	c.call("MULTI")
	var queued []scriptLine
	for _, line := range lines {
		ours, theirs := c.call(line.words...)
		if ours.encode() != theirs.encode() {
			t.Errorf("%s: queueing\n   redis: %v\n triglot: %v", line.text, theirs, ours)
		}
		if theirs.kind() == '-' { // the transaction is off: begin it again without this one
			c.call("DISCARD")
			c.call("MULTI")
			for _, line := range queued {
				c.call(line.words...)
			}
			continue
		}
		queued = append(queued, line)
	}
	ours, theirs := c.call("EXEC")
	if len(ours.kids) != len(queued) || len(theirs.kids) != len(queued) {
		t.Errorf("EXEC of %d commands\n   redis: %v\n triglot: %v", len(queued), theirs, ours)
		return
	}
	for i, line := range queued {
		if !likenesses[line.likeness].same(ours.kids[i], theirs.kids[i]) {
			t.Errorf("%s: in MULTI\n   redis: %v\n triglot: %v", line.text, theirs.kids[i], ours.kids[i])
		}
	}
}

func TestRedisCommandsAreAnsweredAsRedisDoes(t *testing.T) {
	p := startRedisPair(t)
	for _, cases := range [][]redisCase{redisStringCases, redisKeyCases, redisCollectionCases, redisTxnCases, redisSessionCases} {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				for version, resp3 := range []bool{false, true} {
					t.Run(fmt.Sprintf("RESP%d", version+2), func(t *testing.T) { p.run(t, c.script, resp3) })
				}
				if lines := parseScript(t, c.script); plain(lines) {
					t.Run("MULTI", func(t *testing.T) { p.runInMulti(t, lines) })
				}
			})
		}
	}
}
