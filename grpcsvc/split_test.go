package grpcsvc

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/test/bufconn"
)

// sorted is a splitter over a listener in memory, with what each outlet accepts.
type sorted struct {
	listener *bufconn.Listener
	split    *splitter
	ran      chan error
}

func startSplitter(t *testing.T, patience time.Duration) *sorted {
	t.Helper()
	s := &sorted{listener: bufconn.Listen(1 << 10), ran: make(chan error, 1)}
	s.split = newSplitter(s.listener, patience)
	go func() { s.ran <- s.split.run() }()
	t.Cleanup(func() { s.listener.Close() })
	return s
}

func TestAConnectionGoesWhereItsFirstBytesSayHoweverTheyAreSplit(t *testing.T) {
	for _, c := range []struct {
		sent string
		grpc bool
	}{
		{http2.ClientPreface, true},
		{http2Opening, true},
		{"GET / HTTP/1.1\r\n\r\n", false},
		{"POST /v3/kv/put HTTP/1.1\r\n\r\n", false},
		{"PUT / HTTP/1.1\r\n\r\n", false},
		{"PROPFIND / HTTP/1.1\r\n\r\n", false}, // the longest way together with the preface that a method has
		{"PRI * HTTP/1.1\r\n\r\n", false},
		{"\x16\x03\x01", false},
		{"x", false},
	} {
		for _, size := range []int{1, 2, 3, 7, len(c.sent)} {
			s := startSplitter(t, time.Minute)
			client := must(s.listener.Dial())(t)
			go func() {
				for rest := c.sent; len(rest) > 0; {
					part := rest[:min(size, len(rest))]
					rest = rest[len(part):]
					client.Write([]byte(part))
				}
			}()
			from, other := s.split.http1, s.split.http2
			if c.grpc {
				from, other = other, from
			}
			got := make(chan net.Conn, 2)
			accept := func(o *outlet) {
				if conn, err := o.Accept(); err == nil {
					got <- conn
				}
			}
			go accept(other)
			conn := must(from.Accept())(t)
			read := make([]byte, len(c.sent))
			if _, err := io.ReadFull(conn, read); err != nil || string(read) != c.sent {
				t.Errorf("%q in parts of %d: read %q, %v", c.sent, size, read, err)
			}
			client.Close()
			conn.Close()
			s.split.http2.Close()
			<-s.ran
			if len(got) != 0 {
				t.Errorf("%q in parts of %d: the other server has it as well", c.sent, size)
			}
		}
	}
}

func FuzzOpening(f *testing.F) {
	for _, seed := range []string{"", "P", "PRI", http2Opening, http2.ClientPreface, "POST / HTTP/1.1", "GET /"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		want := strings.HasPrefix(string(sent), http2Opening)
		settled := false
		for n := range len(sent) + 1 {
			isHTTP2, known := opensHTTP2(sent[:n])
			if settled && !known {
				t.Fatalf("%q: known, and unknown with %d bytes", sent, n)
			}
			if known && isHTTP2 != want {
				t.Fatalf("%q: HTTP/2 is %v after %d bytes", sent, isHTTP2, n)
			}
			settled = known
		}
		if !settled && !strings.HasPrefix(http2Opening, string(sent)) {
			t.Fatalf("%q: undecided", sent)
		}
	})
}

func TestASilentClientStallsNobodyAndIsClosedInTime(t *testing.T) {
	s := startSplitter(t, 200*time.Millisecond)
	silent := must(s.listener.Dial())(t)
	half := must(s.listener.Dial())(t)
	must(half.Write([]byte("PRI")))(t)
	prompt := must(s.listener.Dial())(t)
	must(prompt.Write([]byte("GET /")))(t)
	must(s.split.http1.Accept())(t)
	for _, conn := range []net.Conn{silent, half} {
		if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read %d, %v", n, err)
		}
	}
}

func TestAConnectionThatIsKnownHasNoTimeLimit(t *testing.T) {
	s := startSplitter(t, 50*time.Millisecond)
	client := must(s.listener.Dial())(t)
	must(client.Write([]byte(http2Opening)))(t)
	conn := must(s.split.http2.Accept())(t)
	must(io.ReadFull(conn, make([]byte, len(http2Opening))))(t)
	go func() {
		<-time.After(150 * time.Millisecond) // thrice what it has to show itself
		client.Write([]byte("x"))
	}()
	if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
}

func TestClosingEitherOutletEndsThePort(t *testing.T) {
	for _, which := range []string{"grpc", "http"} {
		s := startSplitter(t, time.Minute)
		silent := must(s.listener.Dial())(t)
		must(silent.Write([]byte("P")))(t) // it is being looked at now, or will be closed when it is accepted
		if which == "grpc" {
			s.split.http2.Close()
		} else {
			s.split.http1.Close()
		}
		if err := <-s.ran; err == nil {
			t.Errorf("%s: the splitter ended without an error", which)
		}
		for _, o := range []*outlet{s.split.http2, s.split.http1} {
			if _, err := o.Accept(); err == nil {
				t.Errorf("%s: an outlet still accepts", which)
			}
			if err := o.Close(); err != nil {
				t.Errorf("%s: closing once more: %v", which, err)
			}
		}
	}
}

func TestHTTPIsAnsweredAndGRPCGoesOnOnOnePort(t *testing.T) {
	n := startNode(t, Options{})
	conn := must(n.dial(n.ctx))(t)
	defer conn.Close()
	n.put("a", "1") // over gRPC, while this connection has said nothing
	must(io.WriteString(conn, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"))(t)
	response := must(http.ReadResponse(bufio.NewReader(conn), nil))(t)
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("status: %v", response.Status)
	}
}
