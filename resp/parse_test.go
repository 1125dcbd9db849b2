package resp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func testOptions() *Options {
	o := Options{MaxRequestBytes: 64, MaxArguments: 16, MaxInlineBytes: 32, MaxQueryBytes: 256}.withDefaults()
	return &o
}

// parseAll reads every request of a stream, each as its words joined by "|".
func parseAll(r io.Reader, o *Options) (requests []string, err error) {
	p := newParser(o)
	for {
		args, ok, err := p.next()
		if err != nil {
			return requests, err
		}
		if ok {
			requests = append(requests, string(bytes.Join(args, []byte{'|'})))
			continue
		}
		if err := p.fill(r); err != nil {
			if err == io.EOF {
				return requests, nil
			}
			return requests, err
		}
	}
}

var parseCases = []struct {
	name, stream string
	want         []string
	err          string
}{
	{name: "array", stream: "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", want: []string{"GET|a"}},
	{name: "pipeline", stream: "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n", want: []string{"PING", "ECHO|hi"}},
	{name: "binary argument", stream: "*1\r\n$5\r\n\r\n*$0\r\n", want: []string{"\r\n*$0"}},
	{name: "empty argument", stream: "*2\r\n$1\r\na\r\n$0\r\n\r\n", want: []string{"a|"}},
	{name: "empty arrays are no requests", stream: "*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", want: []string{"a"}},
	{name: "bytes after a bulk are not looked at", stream: "*1\r\n$1\r\naXY*1\r\n$1\r\nb\r\n", want: []string{"a", "b"}},
	{name: "inline", stream: "SET a  'b c'\r\nPING\n", want: []string{"SET|a|b c", "PING"}},
	{name: "empty lines are no requests", stream: "\r\n\n \r\nPING\r\n", want: []string{"PING"}},
	{name: "unfinished", stream: "*2\r\n$3\r\nGET\r\n$1\r\n"},
	{name: "array length is no number", stream: "*x\r\n", err: "invalid multibulk length"},
	{name: "array length with leading zero", stream: "*01\r\n", err: "invalid multibulk length"},
	{name: "too many arguments", stream: "*17\r\n", err: "invalid multibulk length"},
	{name: "array head without end", stream: "*" + strings.Repeat("1", 40), err: "too big mbulk count string"},
	{name: "argument that is no bulk", stream: "*1\r\n:1\r\n", err: "expected '$', got ':'"},
	{name: "negative bulk", stream: "*1\r\n$-1\r\n", err: "invalid bulk length"},
	{name: "bulk too long", stream: "*1\r\n$65\r\n", err: "invalid bulk length"},
	{name: "bulk length is no number", stream: "*1\r\n$\r\n", err: "invalid bulk length"},
	{name: "bulk head without end", stream: "*1\r\n$" + strings.Repeat("1", 40), err: "too big bulk count string"},
	{name: "line too long", stream: strings.Repeat("a", 40) + "\r\n", err: "too big inline request"},
	{name: "line without end", stream: strings.Repeat("a", 40), err: "too big inline request"},
	{name: "quotes left open", stream: "GET \"a\r\n", err: "unbalanced quotes in request"},
	{name: "requests before an error count", stream: "PING\r\n*x\r\n", want: []string{"PING"}, err: "invalid multibulk length"},
	{
		name: "request too long as a whole", stream: "*16\r\n" + strings.Repeat("$60\r\n"+strings.Repeat("x", 60)+"\r\n", 16),
		err: "too big query buffer",
	},
}

func TestParserReadsRequestsAsRedisDoes(t *testing.T) {
	for _, c := range parseCases {
		for _, r := range []struct {
			how    string
			reader io.Reader
		}{
			{"at once", strings.NewReader(c.stream)},
			{"byte by byte", iotest.OneByteReader(strings.NewReader(c.stream))},
		} {
			t.Run(c.name+" "+r.how, func(t *testing.T) {
				got, err := parseAll(r.reader, testOptions())
				if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
					t.Errorf("got %q, want %q", got, c.want)
				}
				var broken protocolError
				errors.As(err, &broken)
				if string(broken) != c.err {
					t.Errorf("error %q, want %q", broken, c.err)
				}
			})
		}
	}
}

func TestArgumentsStayValidWhileMoreIsReadAhead(t *testing.T) {
	p := newParser(testOptions())
	if err := p.fill(strings.NewReader("*1\r\n$3\r\nabc\r\n")); err != nil {
		t.Fatal(err)
	}
	args, ok, err := p.next()
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	for range 100 {
		p.add([]byte("*1\r\n$200"))
	}
	if string(args[0]) != "abc" {
		t.Fatalf("argument became %q", args[0])
	}
}

func TestAnIdleConnectionKeepsNoLargeBuffer(t *testing.T) {
	o := Options{}.withDefaults()
	p := newParser(&o)
	r := io.MultiReader(strings.NewReader("*1\r\n$1000000\r\n"+strings.Repeat("x", 1000000)+"\r\n"), strings.NewReader("PING\r\n"))
	for requests := 0; requests < 2; {
		_, ok, err := p.next()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			requests++
		} else if err := p.fill(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.buf) > keptBufferBytes {
		t.Fatalf("%d bytes kept", len(p.buf))
	}
}

func FuzzRESPParser(f *testing.F) {
	for _, c := range parseCases {
		f.Add([]byte(c.stream))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err1 := parseAll(bytes.NewReader(stream), testOptions())
		bytewise, err2 := parseAll(iotest.OneByteReader(bytes.NewReader(stream)), testOptions())
		if strings.Join(whole, "\n") != strings.Join(bytewise, "\n") {
			t.Fatalf("at once %q, byte by byte %q", whole, bytewise)
		}
		// A stream that breaks off after a line that grew too long may be judged earlier when it comes in pieces.
		if (err1 == nil) != (err2 == nil) {
			t.Fatalf("at once %v, byte by byte %v", err1, err2)
		}
	})
}

func TestSplitWordsFollowsRedis(t *testing.T) {
	for line, want := range map[string]string{
		``:                     "",
		`  a  b	c `:            "a|b|c",
		`"a b" 'c d'`:          "a b|c d",
		`"\x41\x4g\n\t\r\b\a"`: "Ax4g\n\t\r\b\a",
		`"\"" '\'' '\n'`:       `"|'|\n`,
		`a"b"`:                 "ab",
		`"" ''`:                "|",
	} {
		words, ok := splitWords([]byte(line))
		if got := string(bytes.Join(words, []byte{'|'})); !ok || got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{`"a`, `'a`, `"a"b`, `'a'b`, `"a\"`} {
		if words, ok := splitWords([]byte(line)); ok {
			t.Errorf("%s: got %q, want a refusal", line, words)
		}
	}
}
