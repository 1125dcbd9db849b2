package h2

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Headers: those that make no request, those that come in an unusual form, and ours.

// with gives the header of a call in which a field has another value, "-" for none.
func with(name, value string) []string {
	fields := callFields(echoPath)
	at := slices.Index(fields, name)
	if value == "-" {
		return slices.Delete(fields, at, at+2)
	}
	fields[at+1] = value
	return fields
}

func TestAMalformedRequestHasItsStreamReset(t *testing.T) {
	h := start(t, Options{}, &service{})
	for name, fields := range map[string][]string{
		"no method":                     with(":method", "-"),
		"no scheme":                     with(":scheme", "-"),
		"no path":                       with(":path", "-"),
		"an empty path":                 with(":path", ""),
		"a method twice":                append([]string{":method", "POST"}, callFields(echoPath)...),
		"a path twice":                  append([]string{":path", "/"}, callFields(echoPath)...),
		"an unknown pseudo field":       append([]string{":status", "200"}, callFields(echoPath)...),
		"a pseudo field behind others":  {":method", "POST", ":scheme", "http", "a", "b", ":path", echoPath},
		"upper case":                    callFields(echoPath, "Key", "value"),
		"no name":                       callFields(echoPath, "", "value"),
		"connection":                    callFields(echoPath, "connection", "close"),
		"transfer-encoding":             callFields(echoPath, "transfer-encoding", "chunked"),
		"upgrade":                       callFields(echoPath, "upgrade", "h2c"),
		"te":                            with("te", "gzip"),
		"content-length of letters":     callFields(echoPath, "content-length", "ten"),
		"content-length less than none": callFields(echoPath, "content-length", "-1"),
		"content-length with a sign":    callFields(echoPath, "content-length", "+10"),
		"a timeout without unit":        callFields(echoPath, "grpc-timeout", "10"),
		"a binary field that is none":   callFields(echoPath, "key-bin", "!!!"),
		"a line end in a value":         callFields(echoPath, "key", "a\r\nb"),
		"a zero in a value":             callFields(echoPath, "key", "a\x00b"),
		"a space in a name":             callFields(echoPath, "a key", "value"),
		"a colon in a name":             callFields(echoPath, "a:key", "value"),
	} {
		t.Run(name, func(t *testing.T) {
			c := h.greeted()
			c.open(1, true, fields...)
			for {
				switch f := c.next().(type) {
				case *http2.RSTStreamFrame:
					if f.ErrCode != http2.ErrCodeProtocol {
						t.Errorf("got %v", f.ErrCode)
					}
					c.wantEcho(3)
					return
				case *http2.MetaHeadersFrame:
					t.Fatalf("it was answered: %v", f.Fields)
				}
			}
		})
	}
}

// It is to be noticed as soon as it can, since what comes without end must not be kept.
func TestABodyHasTheLengthThatWasAnnounced(t *testing.T) {
	body := append([]byte{0, 0, 0x10, 0, 0}, make([]byte, 1<<20)...) // for calls, one message that all of these are less than
	for name, test := range map[string]struct {
		length string
		body   func(*raw)
	}{
		"shorter":                  {"10", func(c *raw) { c.must(c.WriteData(1, true, body[:9])) }},
		"longer":                   {"10", func(c *raw) { c.must(c.WriteData(1, true, body[:11])) }},
		"longer, without end":      {"10", func(c *raw) { c.must(c.WriteData(1, false, body[:11])) }},
		"none":                     {"10", func(c *raw) { c.must(c.WriteData(1, true, nil)) }},
		"some where none was":      {"0", func(c *raw) { c.must(c.WriteData(1, true, body[:1])) }},
		"shorter, before trailers": {"10", func(c *raw) { c.open(1, true, "after", "all") }},
		"longer and large": {"1000000", func(c *raw) {
			c.upload(1, body[:1_000_001], frameBytesMin, -1)
		}},
	} {
		for _, kind := range []string{echoPath, chatPath, "/"} {
			t.Run(name+" to "+kind, func(t *testing.T) {
				c := serveFunc(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }).greeted()
				fields := callFields(kind, "content-length", test.length)
				if kind == "/" {
					fields = []string{":method", "POST", ":scheme", "http", ":path", kind, ":authority", "test", "content-length", test.length}
				}
				c.open(1, false, fields...)
				test.body(c)
				if code := c.reset(1); code != http2.ErrCodeProtocol {
					t.Errorf("got %v", code)
				}
				c.wantEcho(3)
			})
		}
	}
}

func TestAHeaderMayComeInAnyForm(t *testing.T) {
	h := start(t, Options{}, &service{})
	for name, send := range map[string]func(c *raw, block []byte){
		"byte by byte": func(c *raw, block []byte) {
			c.must(c.WriteRawFrame(http2.FrameHeaders, 0, 1, block[:1]))
			for i := range block[1:] {
				c.must(c.WriteContinuation(1, i == len(block)-2, block[i+1:i+2]))
			}
		},
		"with nothing at first": func(c *raw, block []byte) {
			c.must(c.WriteRawFrame(http2.FrameHeaders, 0, 1, nil))
			c.must(c.WriteContinuation(1, false, block))
			c.must(c.WriteContinuation(1, true, nil))
		},
		"with padding and priority": func(c *raw, block []byte) {
			c.must(c.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1, BlockFragment: block, EndHeaders: true, PadLength: 200, Priority: http2.PriorityParam{StreamDep: 3, Exclusive: true, Weight: 9},
			}))
		},
		"behind the priority of an idle stream": func(c *raw, block []byte) {
			c.must(c.WritePriority(1, http2.PriorityParam{StreamDep: 7}))
			c.must(c.WriteRawFrame(http2.FrameHeaders, flagEndHeaders, 1, block))
		},
		"behind frames that nobody knows": func(c *raw, block []byte) {
			c.must(c.WriteRawFrame(99, 0xff, 0, []byte("what is it?")))
			c.must(c.WriteRawFrame(10, 0xff, 1, nil))
			c.must(c.WriteSettings(http2.Setting{ID: 999, Val: 1 << 31}))
			c.must(c.WriteSettingsAck())
			c.must(c.WritePing(true, [8]byte{}))
			c.must(c.WriteRawFrame(http2.FrameHeaders, 0x80|flagEndHeaders, 1, block)) // a flag that nobody knows
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.greeted()
			send(c, c.encode(callFields(echoPath)))
			c.must(c.WriteDataPadded(1, true, message([]byte("in")), make([]byte, 99)))
			if r := c.answer(1); r.status() != "0" || string(r.body) != string(message([]byte("in"))) {
				t.Errorf("got %+v", r)
			}
			c.must(c.WriteRSTStream(1, http2.ErrCodeCancel)) // which is closed, so that it means nothing
			c.must(c.WriteWindowUpdate(1, 100))
			c.wantEcho(3)
		})
	}
}

func TestARequestMayHaveTrailers(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	for i, path := range []string{echoPath, chatPath} {
		id := uint32(2*i + 1)
		c.open(id, false, callFields(path)...)
		c.must(c.WriteData(id, false, message(nil)))
		c.open(id, true, "after", "all")
		if r := c.answer(id); r.status() != "0" {
			t.Errorf("%s: %+v", path, r)
		}
	}
}

// What a client sends on a stream that we have ended is passed over: it cannot know yet (RFC 9113, section 5.1).
func TestTrailersThatCrossTheAnswerArePassedOver(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	c.open(1, false, callFields("/no.Such/Call")...)
	if code := c.reset(1); code != http2.ErrCodeNo {
		t.Errorf("got %v", code)
	}
	c.must(c.WriteData(1, false, message(nil)))
	c.open(1, true, "after", "all")
	c.wantEcho(3)
}

// longHeader is a handler whose answers have a header that does not fit in a frame.
func longHeader(ctx context.Context, in []byte) ([]byte, error) {
	return in, grpc.SetHeader(ctx, metadata.Pairs("long", strings.Repeat("~", 50_000), "last", "1"))
}

func TestALongHeaderGoesOnInOtherFrames(t *testing.T) {
	h := start(t, Options{}, &service{unary: longHeader})
	var header metadata.MD
	if _, err := invoke(patient(t), h.dial(), echoPath, nil, grpc.Header(&header)); err != nil || len(header.Get("long")[0]) != 50_000 {
		t.Errorf("got %v", err)
	}
	c := h.greeted()
	c.ReadMetaHeaders = nil // so as to see the frames
	c.call(1, echoPath, nil)
	frames := 0
	if f := awaitFrame(c, func(*http2.HeadersFrame) bool { return true }); f.HeadersEnded() || f.Length > frameBytesMin {
		t.Errorf("the first frame is %v", f)
	}
	for ended := false; !ended; frames++ {
		f := awaitFrame(c, func(*http2.ContinuationFrame) bool { return true })
		if ended = f.HeadersEnded(); f.Length > frameBytesMin {
			t.Errorf("a frame of %d bytes", f.Length)
		}
	}
	if frames < 2 {
		t.Errorf("%d more frames", frames)
	}
}

// The client says how large our table may be, and may change its mind.
func TestAnswersKeepToTheClientsTable(t *testing.T) {
	h := start(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		return in, grpc.SetHeader(ctx, metadata.Pairs("in", string(in)))
	}})
	for _, sizes := range [][]uint32{{0}, {50}, {64}, {104}, {1 << 20}, {defaultHeaderTable, 0, defaultHeaderTable}, {0, 64, 1 << 30, 104, 0, 50}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			c := h.greeted(http2.Setting{ID: http2.SettingHeaderTableSize, Val: sizes[0]})
			c.ReadMetaHeaders = hpack.NewDecoder(sizes[0], nil)
			id := uint32(1)
			for i, size := range sizes {
				if i > 0 {
					c.must(c.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: size}))
					awaitFrame(c, func(f *http2.SettingsFrame) bool { return f.IsAck() })
					c.ReadMetaHeaders.SetAllowedMaxDynamicTableSize(size)
				}
				for n := range 5 {
					c.call(id, blockPath, nil, "grpc-timeout", "1n") // an error
					if r := c.answer(id); r.status() != "4" {
						t.Errorf("got %+v", r)
					}
					c.call(id+2, chatPath, []byte{byte('a' + n)}) // the short header and trailer
					if r := c.answer(id + 2); r.status() != "0" || r.header["content-type"] != contentType || r.header[":status"] != "200" {
						t.Errorf("got %+v", r)
					}
					c.call(id+4, echoPath, []byte{byte('a' + n)})
					if r := c.answer(id + 4); r.status() != "0" || r.header["in"] != string(rune('a'+n)) {
						t.Errorf("got %+v", r)
					}
					id += 6
				}
			}
		})
	}
}
