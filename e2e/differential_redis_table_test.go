package e2e

import (
	"slices"
	"strings"
	"testing"
)

// redisTableDiffers lists what is known to differ between the descriptions of commands, with the reason.
var redisTableDiffers = map[string]string{
	"command|getkeys: arity": "Redis 7.2 made it one word less, so that commands without keys are answered too",
}

// What COMMAND tells of each command decides how clients and proxies route and retry it.
func TestRedisCommandTableIsThatOfRedis(t *testing.T) {
	p := startRedisPair(t)
	c := p.dial()
	defer c.close()
	names, _ := c.call("COMMAND", "LIST", "FILTERBY", "PATTERN", "*")
	if len(names.kids) < 100 {
		t.Fatalf("few commands: %v", names)
	}
	word := func(r reply) string {
		_, text, _ := strings.Cut(strings.TrimSuffix(r.text, "\r\n"), "\r\n")
		return text
	}
	for _, name := range names.kids {
		ours, theirs := c.call("COMMAND", "INFO", word(name))
		if len(theirs.kids[0].kids) == 0 {
			continue // not in this version of the peer
		}
		for i, what := range []string{"name", "arity", "flags", "first key", "last key", "step", "ACL categories"} {
			a, b := deepSorted(ours.kids[0].kids[i]), deepSorted(theirs.kids[0].kids[i])
			if a.encode() != b.encode() && redisTableDiffers[word(name)+": "+what] == "" {
				t.Errorf("COMMAND INFO %s: %s\n   redis: %v\n triglot: %v", word(name), what, b, a)
			}
		}
		ours, theirs = c.call("COMMAND", "DOCS", word(name))
		for _, what := range []string{"since", "group"} {
			a, b := property(ours, what), property(theirs, what)
			if a != b {
				t.Errorf("COMMAND DOCS %s: %s\n   redis: %q\n triglot: %q", word(name), what, b, a)
			}
		}
	}
}

// property finds a property in what COMMAND DOCS says of one command: an array of the name and an array of pairs.
func property(docs reply, name string) string {
	if len(docs.kids) != 2 {
		return "none"
	}
	pairs := docs.kids[1].kids
	i := slices.IndexFunc(pairs, func(r reply) bool { return strings.HasSuffix(r.text, "\r\n"+name+"\r\n") })
	if i < 0 || i+1 == len(pairs) {
		return "none"
	}
	return pairs[i+1].text
}
