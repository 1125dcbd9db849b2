package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// noise is bytes that no compression makes shorter.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestLargeMessagesGoBothWays(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial()
	in := noise(5 << 20)
	if out, err := invoke(patient(t), conn, echoPath, in); err != nil || !bytes.Equal(out, in) {
		t.Errorf("Echo gave %d bytes, %v", len(out), err)
	}
	s := h.stream(patient(t), conn, chatPath)
	for range 2 {
		if err := s.SendMsg(wrapperspb.Bytes(in)); err != nil {
			t.Fatal(err)
		}
		if out, err := receive(s); err != nil || !bytes.Equal(out, in) {
			t.Errorf("Chat gave %d bytes, %v", len(out), err)
		}
	}
}

func TestARequestThatIsTooLargeIsRefusedAndTheConnectionGoesOn(t *testing.T) {
	const bytesMax = 100_000
	h := start(t, Options{MessageBytesMax: bytesMax}, &service{})
	conn := h.dial()
	var first, last peer.Peer
	fits := noise(bytesMax - 4) // what protobuf puts before so many bytes
	if _, err := invoke(patient(t), conn, echoPath, fits, grpc.Peer(&first)); err != nil {
		t.Errorf("of the largest size: %v", err)
	}
	words := fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", bytesMax+1, bytesMax)
	_, err := invoke(patient(t), conn, echoPath, noise(bytesMax-3))
	wantCode(t, err, codes.ResourceExhausted, words)
	s := h.stream(patient(t), conn, chatPath)
	if err := s.SendMsg(wrapperspb.Bytes(noise(bytesMax - 3))); err != nil {
		t.Fatal(err)
	}
	_, err = receive(s)
	wantCode(t, err, codes.ResourceExhausted, words)
	_, err = invoke(patient(t), conn, echoPath, noise(5<<20)) // is refused before it has come
	wantCode(t, err, codes.ResourceExhausted, fmt.Sprintf("grpc: received message larger than max (%d vs. %d)", 5<<20+5, bytesMax))
	if _, err := invoke(patient(t), conn, echoPath, fits, grpc.Peer(&last)); err != nil {
		t.Error(err)
	}
	if first.LocalAddr.String() != last.LocalAddr.String() {
		t.Error("the client has made another connection")
	}
}

func TestCompressedRequestsAreUnderstood(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial(grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	for _, in := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte("long"), 1<<18), noise(1 << 20)} {
		if out, err := invoke(patient(t), conn, echoPath, in); err != nil || !bytes.Equal(out, in) {
			t.Errorf("Echo gave %d of %d bytes, %v", len(out), len(in), err)
		}
		s := h.stream(patient(t), conn, chatPath)
		if err := s.SendMsg(wrapperspb.Bytes(in)); err != nil {
			t.Fatal(err)
		}
		if out, err := receive(s); err != nil || !bytes.Equal(out, in) {
			t.Errorf("Chat gave %d of %d bytes, %v", len(out), len(in), err)
		}
	}
}

// A few bytes may be much when they are decompressed.
func TestARequestThatExpandsTooFarIsRefused(t *testing.T) {
	conn := start(t, Options{MessageBytesMax: 10_000}, &service{}).dial()
	_, err := invoke(patient(t), conn, echoPath, make([]byte, 1<<20), grpc.UseCompressor(gzip.Name))
	wantCode(t, err, codes.ResourceExhausted, "grpc: received message after decompression larger than max 10000")
}

func TestMessagesThatCannotBeExpandedAreRefused(t *testing.T) {
	compressed := message([]byte("not what it claims to be"))
	compressed[0] = 1
	c := start(t, Options{}, &service{}).greeted()
	for i, test := range []struct {
		encoding string
		want     codes.Code
	}{
		{"", codes.Internal}, {"identity", codes.Internal}, {"gzip", codes.Internal}, {"brotli", codes.Unimplemented},
	} {
		for j, path := range []string{echoPath, chatPath} {
			id := uint32(4*i + 2*j + 1)
			fields := callFields(path)
			if test.encoding != "" {
				fields = append(fields, "grpc-encoding", test.encoding)
			}
			c.open(id, false, fields...)
			c.must(c.WriteData(id, true, compressed))
			if got := c.answer(id).status(); got != fmt.Sprint(int(test.want)) {
				t.Errorf("%s in %q: status %s, want %d", path, test.encoding, got, test.want)
			}
		}
	}
}

func TestACallWhoseRequestIsNotOneMessageFails(t *testing.T) {
	one := message([]byte("one"))
	c := start(t, Options{}, &service{}).greeted()
	id := uint32(1)
	for name, body := range map[string][]byte{
		"nothing":                {},
		"a part of a head":       one[:3],
		"a head":                 one[:messageHeadBytes],
		"a part of a message":    one[:len(one)-1],
		"a message and a bit":    append(slices.Clone(one), 0),
		"two messages":           slices.Concat(one, one),
		"something else":         {0, 0, 0, 0, 3, 0xff, 0xff, 0xff},
		"an unknown compression": append([]byte{2}, one[1:]...),
	} {
		c.open(id, false, callFields(echoPath)...)
		c.must(c.WriteData(id, true, body))
		if r := c.answer(id); r.status() != "13" {
			t.Errorf("%s: %+v", name, r)
		}
		id += 2
	}
	c.open(id, true, callFields(echoPath)...) // without any body
	if r := c.answer(id); r.status() != "13" {
		t.Errorf("without a body: %+v", r)
	}
	c.wantEcho(id + 2)
}

func TestAStreamThatEndsWithinAMessageFails(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	c.open(1, false, callFields(chatPath)...)
	c.must(c.WriteData(1, false, message([]byte("whole"))))
	c.must(c.WriteData(1, true, message([]byte("cut"))[:6]))
	if r := c.answer(1); r.status() != "13" || !bytes.Equal(r.body, message([]byte("whole"))) {
		t.Errorf("got %+v", r)
	}
}

// Where frames begin and end means nothing to messages.
func TestMessagesMayBeCutAnywhere(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	messages := slices.Concat(message([]byte("one")), message(nil), message([]byte(strings.Repeat("three", 100))))
	for i, path := range []string{chatPath, echoPath} {
		id, body := uint32(2*i+1), messages
		if path == echoPath {
			body = message([]byte("alone"))
		}
		c.open(id, false, callFields(path)...)
		for i := range body {
			c.must(c.WriteData(id, false, body[i:i+1]))
		}
		c.must(c.WriteDataPadded(id, true, nil, make([]byte, 7)))
		if r := c.answer(id); r.status() != "0" || !bytes.Equal(r.body, body) {
			t.Errorf("%s: %+v", path, r)
		}
	}
	c.open(5, false, callFields(chatPath)...)
	c.must(c.WriteData(5, true, messages)) // all in one
	if r := c.answer(5); !bytes.Equal(r.body, messages) {
		t.Errorf("got %+v", r)
	}
}

func TestAnAnswerHasFramesOfTheSizeThatTheClientTakes(t *testing.T) {
	const bytesMax = 20_000
	c := start(t, Options{}, &service{}).greeted(
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: bytesMax}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	c.must(c.WriteWindowUpdate(connectionStream, 1<<20))
	c.open(1, false, callFields(chatPath)...)
	body := message(noise(3 * bytesMax))
	for rest := body; len(rest) > 0; {
		n := min(len(rest), frameBytesMin)
		c.must(c.WriteData(1, len(rest) == n, rest[:n]))
		rest = rest[n:]
	}
	for got := 0; got < len(body); {
		f := awaitFrame(c, func(f *http2.DataFrame) bool { return true })
		if got += len(f.Data()); len(f.Data()) > bytesMax {
			t.Fatalf("a frame of %d bytes", len(f.Data()))
		}
	}
}
