package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// reply is what a Redis server answers: its bytes, cut into lines and elements.
type reply struct {
	text string  // of a scalar: all of it; of an aggregate: its first line
	kids []reply // of an aggregate
}

func (r reply) kind() byte { return r.text[0] }

// encode gives the bytes that came.
func (r reply) encode() string {
	if len(r.kids) == 0 {
		return r.text
	}
	var b strings.Builder
	b.WriteString(r.text)
	for _, kid := range r.kids {
		b.WriteString(kid.encode())
	}
	return b.String()
}

func (r reply) String() string { return clip(strconv.Quote(r.encode())) }

// integer gives the number in an integer reply.
func (r reply) integer() (int64, bool) {
	if r.kind() != ':' {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(r.text[1:], "\r\n"), 10, 64)
	return n, err == nil
}

func readReply(r *bufio.Reader) (reply, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return reply{}, err
	}
	got := reply{text: line}
	count, err := strconv.Atoi(strings.TrimSuffix(line[1:], "\r\n"))
	switch line[0] {
	case '$', '=', '!':
		if err != nil || count < 0 {
			return got, err
		}
		body := make([]byte, count+2)
		if _, err := io.ReadFull(r, body); err != nil {
			return got, err
		}
		got.text += string(body)
	case '%':
		count *= 2
		fallthrough
	case '*', '~', '>':
		for ; err == nil && count > 0; count-- {
			var kid reply
			kid, err = readReply(r)
			got.kids = append(got.kids, kid)
		}
		return got, err
	}
	return got, nil
}

// respConn is a connection that shows the bytes of the Redis protocol as they are.
type respConn struct {
	net.Conn
	r *bufio.Reader
}

// replyPatience bounds the wait for a reply that a server may not send at all.
const replyPatience = 10 * time.Second

func dialRESP(t testing.TB, address string) *respConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return &respConn{conn, bufio.NewReader(conn)}
}

// receive reads a reply. The end of the connection and silence are replies too.
func (c *respConn) receive() reply {
	_ = c.SetReadDeadline(time.Now().Add(replyPatience))
	got, err := readReply(c.r)
	var timeout net.Error
	switch {
	case err == nil:
		return got
	case errors.As(err, &timeout) && timeout.Timeout():
		return reply{text: "(no reply)"}
	default:
		return reply{text: "(closed)"}
	}
}

func (c *respConn) send(bytes string) {
	_, _ = io.WriteString(c, bytes) // whoever reads sees that it failed
}

func (c *respConn) call(words ...string) reply {
	c.send(request(words...))
	return c.receive()
}

// request is the form in which clients send a command.
func request(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b.String()
}

// A likeness says when two replies count as the same. All but exact stand for a difference that is by design, or for
// one that two servers cannot help having.
type likeness struct {
	reason string
	same   func(ours, theirs reply) bool
}

var likenesses = map[string]likeness{
	"": {"", func(ours, theirs reply) bool { return ours.encode() == theirs.encode() }},
	"sorted": {"the order of keys and fields is nobody's promise", func(ours, theirs reply) bool {
		return sortedBy(ours, 1).encode() == sortedBy(theirs, 1).encode()
	}},
	"pairs": {"the order of fields is nobody's promise", func(ours, theirs reply) bool {
		return sortedBy(ours, 2).encode() == sortedBy(theirs, 2).encode()
	}},
	"page": {"cursors are each server's own, and so is how much a page holds; the tests ask for everything in one",
		func(ours, theirs reply) bool {
			if len(ours.kids) == 2 && len(theirs.kids) == 2 {
				return ours.kids[0].encode() == theirs.kids[0].encode() &&
					sortedBy(ours.kids[1], 1).encode() == sortedBy(theirs.kids[1], 1).encode()
			}
			return ours.encode() == theirs.encode()
		}},
	"near":  {"two servers are asked at two moments", func(ours, theirs reply) bool { return near(ours, theirs, 3000) }},
	"shape": {"the content is the server's own: its version, its time, its numbers for clients", sameShape},
	"words": {"a table of properties, each a set", func(ours, theirs reply) bool {
		return deepSorted(ours).encode() == deepSorted(theirs).encode()
	}},
	"hello": {"version, id and list of modules are the server's own", func(ours, theirs reply) bool {
		return sameShape(ours, theirs) && (len(ours.kids) != 14 || ours.kids[5].encode() == theirs.kids[5].encode())
	}},
	"failure": {"only that it fails counts: the words speak of something that is the server's own",
		func(ours, theirs reply) bool { return ours.kind() == '-' && theirs.kind() == '-' }},
}

// sortedBy puts groups of elements in order.
func sortedBy(r reply, size int) reply {
	if len(r.kids)%size != 0 {
		return r
	}
	groups := slices.Collect(slices.Chunk(r.kids, size))
	slices.SortFunc(groups, func(a, b []reply) int {
		return strings.Compare(reply{"", a}.encode(), reply{"", b}.encode())
	})
	return reply{r.text, slices.Concat(groups...)}
}

func deepSorted(r reply) reply {
	sorted := reply{text: r.text}
	for _, kid := range r.kids {
		sorted.kids = append(sorted.kids, deepSorted(kid))
	}
	return sortedBy(sorted, 1)
}

// near compares integers with a tolerance, wherever they are, and everything else exactly. -1 and -2 have meanings of
// their own.
func near(ours, theirs reply, tolerance int64) bool {
	a, isInt := ours.integer()
	b, isInt2 := theirs.integer()
	if isInt && isInt2 {
		return a == b || a >= 0 && b >= 0 && max(a-b, b-a) <= tolerance
	}
	if ours.text != theirs.text || len(ours.kids) != len(theirs.kids) {
		return false
	}
	for i := range ours.kids {
		if !near(ours.kids[i], theirs.kids[i], tolerance) {
			return false
		}
	}
	return true
}

func sameShape(ours, theirs reply) bool {
	if ours.kind() != theirs.kind() || len(ours.kids) != len(theirs.kids) {
		return false
	}
	for i := range ours.kids {
		if !sameShape(ours.kids[i], theirs.kids[i]) {
			return false
		}
	}
	return true
}

// redisPair is this server and a real redis-server, with connections in pairs.
type redisPair struct {
	t            testing.TB
	ours, theirs string // addresses
}

func startRedisPair(t testing.TB) redisPair {
	program := lookPath(t, "redis-server")
	address := freePorts(t, 1)[0]
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	startPeer(t, address, exec.Command(program,
		"--bind", host, "--port", port, "--dir", t.TempDir(), "--save", "", "--appendonly", "no"))
	return redisPair{t, startServer(t).resp, address}
}

// twin is a connection to each of the two servers.
type twin struct{ ours, theirs *respConn }

func (p redisPair) dial() twin {
	p.t.Helper()
	return twin{dialRESP(p.t, p.ours), dialRESP(p.t, p.theirs)}
}

func (c twin) close() {
	c.ours.Close()
	c.theirs.Close()
}

func (c twin) send(bytes string) {
	c.ours.send(bytes)
	c.theirs.send(bytes)
}

func (c twin) receive() (ours, theirs reply) { return c.ours.receive(), c.theirs.receive() }

func (c twin) call(words ...string) (ours, theirs reply) {
	c.send(request(words...))
	return c.receive()
}

// empty makes both servers forget all keys.
func (p redisPair) empty() {
	c := p.dial()
	defer c.close()
	if ours, theirs := c.call("FLUSHALL"); ours.encode() != "+OK\r\n" || theirs.encode() != "+OK\r\n" {
		p.t.Fatalf("FLUSHALL: ours %v, theirs %v", ours, theirs)
	}
}

// both calls on a connection of its own to each server until a reply is the one wanted.
func (p redisPair) both(wanted func(reply) bool, words ...string) {
	p.t.Helper()
	for _, address := range []string{p.ours, p.theirs} {
		c := dialRESP(p.t, address)
		var last reply
		for deadline := time.Now().Add(replyPatience); ; {
			if last = c.call(words...); wanted(last) {
				break
			}
			if time.Now().After(deadline) {
				p.t.Errorf("%s: %q still answers %v", address, words, last)
				break
			}
		}
		c.Close()
	}
}
