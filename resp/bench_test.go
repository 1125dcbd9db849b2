package resp

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkParsePipeline16 is one read of sixteen SETs.
func BenchmarkParsePipeline16(b *testing.B) {
	o := Options{}.withDefaults()
	p := newParser(&o)
	stream := strings.Repeat("*3\r\n$3\r\nSET\r\n$10\r\nkey:000001\r\n$16\r\n0123456789abcdef\r\n", 16)
	r := strings.NewReader(stream)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(stream)
		if err := p.fill(r); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < 16; n++ {
			if _, ok, err := p.next(); !ok || err != nil {
				b.Fatal(ok, err)
			}
		}
	}
}

// localConn is a connection without a socket: requests go in and replies come out of memory.
func localConn(b *testing.B) *conn {
	n := startNode(b, Options{})
	c := &conn{srv: n.srv, in: newParser(&n.srv.opts)}
	c.out.srv = n.srv
	b.Cleanup(c.closeView)
	return c
}

func run(b *testing.B, c *conn, words ...string) {
	args := make([][]byte, len(words))
	for i, w := range words {
		args[i] = []byte(w)
	}
	c.execute(args)
	c.settle()
	if len(c.out.buf) > 0 && c.out.buf[0] == '-' {
		b.Fatalf("%s", c.out.buf)
	}
	c.out.buf, c.mark = c.out.buf[:0], 0
}

// BenchmarkGET is a GET from parsed request to formatted reply, with a view of its own.
func BenchmarkGET(b *testing.B) {
	c := localConn(b)
	run(b, c, "set", "key", strings.Repeat("x", 256))
	args := [][]byte{[]byte("GET"), []byte("key")}
	b.ReportAllocs()
	for b.Loop() {
		c.execute(args)
		c.closeView()
		c.out.buf, c.mark = c.out.buf[:0], 0
	}
}

// BenchmarkSETPipeline16 is sixteen SETs that enter the log as one group.
func BenchmarkSETPipeline16(b *testing.B) {
	c := localConn(b)
	value := []byte(strings.Repeat("x", 256))
	requests := make([][][]byte, 16)
	for i := range requests {
		requests[i] = [][]byte{[]byte("SET"), fmt.Appendf(nil, "key:%d", i), value}
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, args := range requests {
			c.execute(args)
		}
		c.settle()
		c.out.buf, c.mark = c.out.buf[:0], 0
	}
}

// BenchmarkGlob is a pattern as KEYS and SCAN use it.
func BenchmarkGlob(b *testing.B) {
	pattern, s := []byte("user:*:session:[0-9a-f]*"), []byte("user:1234567:session:deadbeef")
	b.ReportAllocs()
	for b.Loop() {
		if !globMatch(pattern, s) {
			b.Fatal("no match")
		}
	}
}
