package protocols

import (
	"strings"
	"testing"
)

func connectRequest(length byte) string {
	return "\x00\x00\x00" + string(length) + strings.Repeat("\x00", int(length))
}

func TestFirstBytesTellTheProtocol(t *testing.T) {
	cases := []struct {
		name, first string
		want        Protocol
	}{
		{"HTTP/2 preface of gRPC", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Etcd},
		{"HTTP/1 GET", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", Etcd},
		{"HTTP/1 POST of the JSON gateway", "POST /v3/kv/range HTTP/1.1\r\n", Etcd},
		{"HTTP/1 PUT", "PUT /x HTTP/1.0\r\n", Etcd},
		{"HTTP/1 DELETE", "DELETE /x HTTP/1.1\r\n", Etcd},
		{"HTTP/1 HEAD", "HEAD / HTTP/1.1\r\n", Etcd},
		{"HTTP/1 OPTIONS", "OPTIONS / HTTP/1.1\r\n", Etcd},
		{"HTTP/1 with a path longer than the peek", "GET /" + strings.Repeat("a", peekMax), Etcd},

		{"ZooKeeper connect, 45 bytes", connectRequest(45), ZK},
		{"ZooKeeper connect, its length only", "\x00\x00\x00\x2c", ZK},
		{"ZooKeeper connect, empty password", connectRequest(28), ZK},
		{"four-letter word and newline", "ruok\n", ZK},
		{"four-letter word and CRLF", "mntr\r\n", ZK},
		{"a word that Redis also knows, alone on its line", "dump\n", ZK},

		{"RESP array", "*1\r\n$4\r\nPING\r\n", RESP},
		{"RESP array, first byte", "*", RESP},
		{"inline command", "PING\r\n", RESP},
		{"inline command that shares a word with ZooKeeper", "dump key\r\n", RESP},
		{"inline command that begins like a word", "statistics\r\n", RESP},
		{"inline GET of a key that is no path", "GET key\r\n", RESP},
		{"inline GET of a key that is a path", "GET /a/b\r\n", RESP},
		{"inline get in lower case", "get /a", RESP},
		{"inline command close to the HTTP/2 preface", "PRINT\r\n", RESP},
		{"upper-case four-letter word is no word", "STAT\n", RESP},
		{"empty line before a command", "\r\nPING\r\n", RESP},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Recognise([]byte(c.first)); got.Protocol != c.want || got.Refusal != "" {
				t.Fatalf("Recognise(%q) = %+v, want %s", c.first, got, c.want)
			}
		})
	}
}

func TestForeignFirstBytesAreRefusedWithAReason(t *testing.T) {
	cases := []struct{ name, first, want string }{
		{"TLS ClientHello", "\x16\x03\x01\x02\x00", "TLS"},
		{"binary", "\x01\x02", "none of the three"},
		{"high bytes", "\xff\xff", "none of the three"},
		{"length too small for a connect request", "\x00\x00\x00\x05", "no length of 5"},
		{"length too large for a connect request", "\x00\x0f\x00\x00", "no length of 983040"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := Recognise([]byte(c.first)); got.Protocol != "" || !strings.Contains(got.Refusal, c.want) {
				t.Fatalf("Recognise(%q) = %+v, want a refusal with %q", c.first, got, c.want)
			}
		})
	}
}

func TestTooFewBytesAreNotGuessedAt(t *testing.T) {
	for _, first := range []string{"", "P", "PRI * HTTP/2.", "G", "GET ", "GET /", "GET /health HTTP/1", "\x00", "\x00\x00\x00", "r", "ruo"} {
		if got := Recognise([]byte(first)); got != (Verdict{}) {
			t.Errorf("Recognise(%q) = %+v, want more bytes", first, got)
		}
	}
}

func TestABareFourLetterWordIsARequestIfNothingFollows(t *testing.T) {
	for _, word := range fourLetterWords {
		if got := Recognise([]byte(word)); got != (Verdict{IfSilent: ZK}) {
			t.Errorf("Recognise(%q) = %+v", word, got)
		}
	}
}

// A verdict must not depend on how the network cut the bytes into segments, and must come within the peek.
func FuzzRecognise(f *testing.F) {
	for _, seed := range []string{
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /a HTTP/1.1\r\n", "GET /a\r\n", "ruok", "dump key\r\n", "*1\r\n$4\r\nPING\r\n",
		connectRequest(45), "\x16\x03\x01", "\xff", "\r\n", "GET /" + strings.Repeat("a", 2*peekMax) + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var settled Verdict
		at := -1
		for n := 0; n <= len(data) && n <= peekMax+16; n++ {
			v := Recognise(data[:n])
			if v.Protocol != "" && v.Refusal != "" {
				t.Fatalf("%q: both known and refused: %+v", data[:n], v)
			}
			known := v.Protocol != "" || v.Refusal != ""
			if known && v.IfSilent != "" {
				t.Fatalf("%q: settled, and yet waits for silence: %+v", data[:n], v)
			}
			if at >= 0 && v != settled {
				t.Fatalf("%q was %+v, and %q is %+v", data[:at], settled, data[:n], v)
			}
			if known && at < 0 {
				settled, at = v, n
			}
			if !known && n >= peekMax {
				t.Fatalf("undecided after %d bytes: %q", n, data[:n])
			}
		}
	})
}
