package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// redisGenerator draws commands over few keys, so that they meet values of every kind.
type redisGenerator struct{ *rand.Rand }

func (g redisGenerator) key() string {
	return pick(g.Rand, "a", "b", "c", "d", "e")
}

func (g redisGenerator) field() string { return pick(g.Rand, "f", "g", "h", "i", "") }

func (g redisGenerator) value() string {
	if chance(g.Rand, 12) {
		return strings.Repeat("x", g.IntN(3000))
	}
	return pick(g.Rand, "", "v", "w", "0", "1", "-7", "42", "3.5", "1e3", " 1", "007", "9223372036854775807", "\x00\xff\r\n")
}

func (g redisGenerator) element() string { return pick(g.Rand, "x", "y", "z", "1", "") }

// index is a position in a short list, sometimes outside.
func (g redisGenerator) index() string { return strconv.Itoa(g.IntN(14) - 7) }

func (g redisGenerator) integer() string {
	if chance(g.Rand, 8) {
		return pick(g.Rand, "abc", "", "1.5", "9223372036854775807", "-9223372036854775808", "99999999999999999999")
	}
	return strconv.Itoa(g.IntN(21) - 10)
}

func (g redisGenerator) float() string {
	if chance(g.Rand, 10) {
		return pick(g.Rand, "abc", "nan", "inf", "", "1e400")
	}
	return pick(g.Rand, "0.5", "-0.25", "1", "3", "1e2", "-7.125", "0.1", "100000000")
}

// moment is an absolute time in seconds: far enough from now to be the same to both servers.
func (g redisGenerator) moment() string {
	return pick(g.Rand, "1", "1000000000", "33177117420", "33177117421", "33177117422", "33177117500", "99999999999")
}

func (g redisGenerator) millis() string {
	if m := g.moment(); m != "1" {
		return m + "123"
	}
	return "1"
}

// life draws an option of SET or GETEX that sets a deadline: one to come, since DBSIZE of Redis goes on counting a key
// that SET has given a deadline in the past, until its cleaner passes by.
func (g redisGenerator) life() []string {
	return pick(g.Rand, words("EX", "100000"), words("PX", "500000000"), words("EXAT", "33177117421"),
		words("PXAT", "33177117421123"), words("EX", pick(g.Rand, "abc", "", "1.5", "0", "-1", "9223372036854775807")))
}

// A redisDraw makes a command and says how its replies are to be compared.
type redisDraw struct {
	weight   int
	likeness string
	make     func(g redisGenerator) []string
}

func words(w ...string) []string { return w }

// some draws one to three of something.
func some(g redisGenerator, draw func() string) (list []string) {
	for range 1 + g.IntN(3) {
		list = append(list, draw())
	}
	return list
}

var redisDraws = []redisDraw{
	{6, "", func(g redisGenerator) []string { return words("GET", g.key()) }},
	{8, "", func(g redisGenerator) []string {
		w := words("SET", g.key(), g.value())
		if chance(g.Rand, 3) {
			w = append(w, pick(g.Rand, "NX", "XX", "GET"))
		}
		if chance(g.Rand, 4) {
			w = append(w, pick(g.Rand, "NX", "GET", "KEEPTTL"))
		}
		if chance(g.Rand, 4) {
			w = append(w, g.life()...)
		}
		return w
	}},
	{1, "", func(g redisGenerator) []string { return words("SETNX", g.key(), g.value()) }},
	{1, "", func(g redisGenerator) []string { return words("GETSET", g.key(), g.value()) }},
	{1, "", func(g redisGenerator) []string { return words("GETDEL", g.key()) }},
	{2, "", func(g redisGenerator) []string {
		return append(words("GETEX", g.key()), pick(g.Rand, nil, g.life(), words("PERSIST"))...)
	}},
	{1, "", func(g redisGenerator) []string { return words("MSET", g.key(), g.value(), g.key(), g.value()) }},
	{2, "", func(g redisGenerator) []string { return words("MSETNX", g.key(), g.value(), g.key(), g.value()) }},
	{2, "", func(g redisGenerator) []string { return words("MGET", g.key(), g.key(), g.key()) }},
	{2, "", func(g redisGenerator) []string { return words("APPEND", g.key(), g.value()) }},
	{2, "", func(g redisGenerator) []string { return words("STRLEN", g.key()) }},
	{2, "", func(g redisGenerator) []string { return words("GETRANGE", g.key(), g.index(), g.index()) }},
	{2, "", func(g redisGenerator) []string { return words("SETRANGE", g.key(), g.index(), g.value()) }},
	{2, "", func(g redisGenerator) []string { return words(pick(g.Rand, "INCR", "DECR"), g.key()) }},
	{2, "", func(g redisGenerator) []string { return words(pick(g.Rand, "INCRBY", "DECRBY"), g.key(), g.integer()) }},
	{2, "", func(g redisGenerator) []string { return words("INCRBYFLOAT", g.key(), g.float()) }},

	{3, "", func(g redisGenerator) []string {
		return append(words(pick(g.Rand, "DEL", "UNLINK")), some(g, g.key)...)
	}},
	{2, "", func(g redisGenerator) []string {
		return append(words(pick(g.Rand, "EXISTS", "TOUCH")), some(g, g.key)...)
	}},
	{3, "", func(g redisGenerator) []string { return words("TYPE", g.key()) }},
	{3, "near", func(g redisGenerator) []string {
		return words(pick(g.Rand, "TTL", "EXPIRETIME", "PTTL", "PEXPIRETIME"), g.key())
	}},
	{3, "", func(g redisGenerator) []string {
		w := words("EXPIREAT", g.key(), g.moment())
		if chance(g.Rand, 3) {
			w = words("PEXPIREAT", g.key(), g.millis())
		}
		for range g.IntN(3) {
			w = append(w, pick(g.Rand, "NX", "XX", "GT", "LT"))
		}
		return w
	}},
	{1, "", func(g redisGenerator) []string { return words(pick(g.Rand, "EXPIRE", "PEXPIRE"), g.key(), "90000000") }},
	{1, "", func(g redisGenerator) []string { return words("EXPIRE", g.key(), pick(g.Rand, "0", "-1", "x")) }},
	{2, "", func(g redisGenerator) []string { return words("PERSIST", g.key()) }},
	{2, "", func(g redisGenerator) []string { return words(pick(g.Rand, "RENAME", "RENAMENX"), g.key(), g.key()) }},
	{2, "", func(g redisGenerator) []string {
		w := words("COPY", g.key(), g.key())
		if chance(g.Rand, 2) {
			w = append(w, "DB", g.db())
		}
		if chance(g.Rand, 2) {
			w = append(w, "REPLACE")
		}
		return w
	}},
	{2, "", func(g redisGenerator) []string { return words("MOVE", g.key(), g.db()) }},
	{2, "", func(g redisGenerator) []string { return words("SELECT", g.db()) }},
	{2, "", func(redisGenerator) []string { return words("DBSIZE") }},
	{1, "sorted", func(g redisGenerator) []string { return words("KEYS", pick(g.Rand, "*", "[ab]", "?", "[^a]", "z*")) }},
	{1, "page", func(g redisGenerator) []string {
		return append(words("SCAN", "0", "COUNT", "1000"), pick(g.Rand, nil, words("TYPE", "list"), words("MATCH", "[a-c]"))...)
	}},
	{1, "", func(g redisGenerator) []string { return words("GETEX", g.key(), "EXAT", g.moment()) }},

	{4, "", func(g redisGenerator) []string { return words("HSET", g.key(), g.field(), g.value()) }},
	{2, "", func(g redisGenerator) []string {
		return words("HMSET", g.key(), g.field(), g.value(), g.field(), g.value())
	}},
	{1, "", func(g redisGenerator) []string { return words("HSETNX", g.key(), g.field(), g.value()) }},
	{2, "", func(g redisGenerator) []string { return words("HGET", g.key(), g.field()) }},
	{1, "", func(g redisGenerator) []string { return append(words("HMGET", g.key()), some(g, g.field)...) }},
	{2, "pairs", func(g redisGenerator) []string { return words("HGETALL", g.key()) }},
	{1, "sorted", func(g redisGenerator) []string { return words(pick(g.Rand, "HKEYS", "HVALS"), g.key()) }},
	{1, "", func(g redisGenerator) []string { return words("HLEN", g.key()) }},
	{1, "", func(g redisGenerator) []string { return words(pick(g.Rand, "HEXISTS", "HSTRLEN"), g.key(), g.field()) }},
	{3, "", func(g redisGenerator) []string { return append(words("HDEL", g.key()), some(g, g.field)...) }},
	{2, "", func(g redisGenerator) []string { return words("HINCRBY", g.key(), g.field(), g.integer()) }},
	{2, "", func(g redisGenerator) []string { return words("HINCRBYFLOAT", g.key(), g.field(), g.float()) }},
	{1, "sorted", func(g redisGenerator) []string { return words("HRANDFIELD", g.key(), "100") }},

	{4, "", func(g redisGenerator) []string {
		return append(words(pick(g.Rand, "LPUSH", "RPUSH", "LPUSHX", "RPUSHX"), g.key()), some(g, g.element)...)
	}},
	{2, "", func(g redisGenerator) []string { return words(pick(g.Rand, "LPOP", "RPOP"), g.key()) }},
	{1, "", func(g redisGenerator) []string {
		return words(pick(g.Rand, "LPOP", "RPOP"), g.key(), strconv.Itoa(g.IntN(4)))
	}},
	{1, "", func(g redisGenerator) []string { return words("LLEN", g.key()) }},
	{3, "", func(g redisGenerator) []string { return words("LRANGE", g.key(), g.index(), g.index()) }},
	{1, "", func(g redisGenerator) []string { return words("LINDEX", g.key(), g.index()) }},
	{1, "", func(g redisGenerator) []string { return words("LSET", g.key(), g.index(), g.element()) }},
	{2, "", func(g redisGenerator) []string {
		return words("LINSERT", g.key(), pick(g.Rand, "BEFORE", "AFTER"), g.element(), g.element())
	}},
	{2, "", func(g redisGenerator) []string { return words("LREM", g.key(), g.index(), g.element()) }},
	{1, "", func(g redisGenerator) []string { return words("LTRIM", g.key(), g.index(), g.index()) }},
	{2, "", func(g redisGenerator) []string {
		w := words("LPOS", g.key(), g.element())
		for range g.IntN(3) {
			w = append(w, pick(g.Rand, "RANK", "COUNT", "MAXLEN"), g.index())
		}
		return w
	}},
	{2, "", func(g redisGenerator) []string {
		return words("LMOVE", g.key(), g.key(), pick(g.Rand, "LEFT", "RIGHT"), pick(g.Rand, "LEFT", "RIGHT"))
	}},
	{1, "", func(g redisGenerator) []string { return words("RPOPLPUSH", g.key(), g.key()) }},
	{1, "", func(g redisGenerator) []string {
		return words("LMPOP", "2", g.key(), g.key(), pick(g.Rand, "LEFT", "RIGHT"), "COUNT", strconv.Itoa(1+g.IntN(3)))
	}},
}

// db is one of three databases, or none.
func (g redisGenerator) db() string { return pick(g.Rand, "0", "1", "2", "2", "16") }

// draw makes a command.
func (g redisGenerator) draw() (command []string, likeness string) {
	total := 0
	for _, d := range redisDraws {
		total += d.weight
	}
	n := g.IntN(total)
	i := slices.IndexFunc(redisDraws, func(d redisDraw) bool {
		n -= d.weight
		return n < 0
	})
	return redisDraws[i].make(g), redisDraws[i].likeness
}

// redisRandomRun compares replies until too many differ.
type redisRandomRun struct {
	redisPair
	redisGenerator
	main, other twin
	history     []string // commands since the servers were last known to be equal
	differences int
}

// differencesMax is how many differences are shown before a run is given up.
const differencesMax = 8

func (r *redisRandomRun) call(c twin, who string, command ...string) (ours, theirs reply) {
	r.history = append(r.history, fmt.Sprintf("%s%q", who, command))
	return c.call(command...)
}

// compare judges a reply. After a difference both servers begin again, empty.
func (r *redisRandomRun) compare(ours, theirs reply, likeness string) bool {
	if likenesses[likeness].same(ours, theirs) {
		return true
	}
	const shown = 25
	r.t.Errorf("after %d commands, of which the last are\n\t%s\n   redis: %v\n triglot: %v", len(r.history),
		strings.Join(r.history[max(0, len(r.history)-shown):], "\n\t"), theirs, ours)
	r.differences++
	r.begin()
	return false
}

func (r *redisRandomRun) begin() {
	if r.main.ours != nil {
		r.main.close()
		r.other.close()
	}
	r.empty()
	r.main, r.other = r.dial(), r.dial()
	r.history = nil
	if chance(r.Rand, 2) {
		r.main.call("HELLO", "3")
		r.history = append(r.history, "HELLO 3")
	}
}

// one compares a single command.
func (r *redisRandomRun) one() {
	command, likeness := r.draw()
	ours, theirs := r.call(r.main, "", command...)
	r.compare(ours, theirs, likeness)
}

// transaction compares a MULTI, sometimes with a watched key that sometimes changes. The change is by a client that
// has chosen database 0, so that it may be another key of the same name.
func (r *redisRandomRun) transaction() {
	if chance(r.Rand, 2) {
		ours, theirs := r.call(r.main, "", "WATCH", r.key(), r.key())
		if !r.compare(ours, theirs, "") {
			return
		}
		if chance(r.Rand, 2) {
			ours, theirs := r.call(r.other, "(another client) ", "APPEND", r.key(), "+")
			if !r.compare(ours, theirs, "") {
				return
			}
		}
	}
	r.call(r.main, "", "MULTI")
	var queued []string
	for range r.IntN(8) {
		command, likeness := r.draw()
		ours, theirs := r.call(r.main, "", command...)
		if !r.compare(ours, theirs, "") {
			return
		}
		queued = append(queued, likeness)
	}
	ours, theirs := r.call(r.main, "", pick(r.Rand, "EXEC", "EXEC", "EXEC", "DISCARD"))
	if len(ours.kids) != len(queued) || len(theirs.kids) != len(queued) {
		r.compare(ours, theirs, "")
		return
	}
	for i, likeness := range queued {
		if !r.compare(ours.kids[i], theirs.kids[i], likeness) {
			return
		}
	}
}

// keyspace compares everything that is stored.
func (r *redisRandomRun) keyspace() {
	for db := range 3 {
		r.main.call("SELECT", strconv.Itoa(db))
		ours, theirs := r.call(r.main, "", "KEYS", "*")
		if !r.compare(ours, theirs, "sorted") {
			return
		}
		for _, key := range sortedBy(theirs, 1).kids {
			_, name, _ := strings.Cut(strings.TrimSuffix(key.text, "\r\n"), "\r\n")
			read := map[string][]string{
				"+string\r\n": {"", "GET", name}, "+list\r\n": {"", "LRANGE", name, "0", "-1"}, "+hash\r\n": {"pairs", "HGETALL", name},
			}
			ours, theirs := r.call(r.main, "", "TYPE", name)
			if !r.compare(ours, theirs, "") {
				return
			}
			command := read[theirs.text]
			ours, theirs = r.call(r.main, "", command[1:]...)
			if !r.compare(ours, theirs, command[0]) {
				return
			}
			ours, theirs = r.call(r.main, "", "PEXPIRETIME", name)
			if !r.compare(ours, theirs, "near") {
				return
			}
		}
	}
}

func TestRandomRedisCommandsAreAnsweredAsRedisDoes(t *testing.T) {
	const steps, keyspaceEvery = 6000, 500
	r := redisRandomRun{redisPair: startRedisPair(t), redisGenerator: redisGenerator{randomSource(t)}}
	r.begin()
	defer func() {
		r.main.close()
		r.other.close()
	}()
	for step := 1; step <= steps && r.differences < differencesMax; step++ {
		if chance(r.Rand, 12) {
			r.transaction()
		} else {
			r.one()
		}
		if step%keyspaceEvery == 0 {
			r.keyspace()
		}
	}
}
