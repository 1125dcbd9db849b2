package h2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// raw is a client that sends what it is told to, frame by frame, and does nothing by itself: it gives no window and answers no ping.
type raw struct {
	t  testing.TB
	nc net.Conn
	*http2.Framer
	encoder *hpack.Encoder
	block   bytes.Buffer
}

// raw connects. Its first words are up to the test.
func (h *harness) raw() *raw {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	return newRaw(h.t, nc)
}

func newRaw(t testing.TB, nc net.Conn) *raw {
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	c := &raw{t: t, nc: nc, Framer: http2.NewFramer(nc, nc)}
	c.AllowIllegalWrites = true
	c.SetMaxReadFrameSize(1 << 20)
	c.ReadMetaHeaders = hpack.NewDecoder(defaultHeaderTable, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	return c
}

// greeted connects and says how it wants to be treated.
func (h *harness) greeted(settings ...http2.Setting) *raw {
	h.t.Helper()
	c := h.raw()
	c.greet(settings...)
	return c
}

func (c *raw) greet(settings ...http2.Setting) {
	c.t.Helper()
	c.bytes([]byte(clientPreface))
	c.must(c.WriteSettings(settings...))
}

func (c *raw) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *raw) bytes(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	c.must(err)
}

// callFields are the header of a call, and what a test adds to it.
func callFields(path string, more ...string) []string {
	return append([]string{
		":method", "POST", ":scheme", "http", ":path", path, ":authority", "test", "content-type", contentType, "te", "trailers",
	}, more...)
}

// encode gives a header of names and values as it goes into HEADERS.
func (c *raw) encode(fields []string) []byte {
	c.t.Helper()
	c.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.must(c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	return bytes.Clone(c.block.Bytes())
}

// open opens a stream.
func (c *raw) open(id uint32, ends bool, fields ...string) {
	c.t.Helper()
	c.must(c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.encode(fields), EndHeaders: true, EndStream: ends}))
}

// call sends a whole call.
func (c *raw) call(id uint32, path string, in []byte, more ...string) {
	c.t.Helper()
	c.open(id, false, callFields(path, more...)...)
	for body := message(in); ; {
		n := min(len(body), frameBytesMin)
		c.must(c.WriteData(id, n == len(body), body[:n]))
		if body = body[n:]; len(body) == 0 {
			return
		}
	}
}

// message is bytes as a message of gRPC.
func message(in []byte) []byte {
	body, err := proto.Marshal(wrapperspb.Bytes(in))
	if err != nil {
		panic(err) // bytes are always encoded
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// next gives the next frame.
func (c *raw) next() http2.Frame {
	c.t.Helper()
	f, err := c.ReadFrame()
	if err != nil {
		c.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// awaitFrame reads until a frame of a kind comes that a test asks for.
func awaitFrame[F http2.Frame](c *raw, is func(F) bool) F {
	c.t.Helper()
	for {
		switch f := c.next().(type) {
		case F:
			if is(f) {
				return f
			}
		case *http2.GoAwayFrame: // whatever was asked for will not come
			c.t.Fatalf("GOAWAY: %v %q", f.ErrCode, f.DebugData())
		}
	}
}

// headers reads until a header of a stream comes.
func (c *raw) headers(id uint32) *http2.MetaHeadersFrame {
	c.t.Helper()
	return awaitFrame(c, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == id })
}

// dataBytes reads until so many bytes of a stream have come, and no more of it must.
func (c *raw) dataBytes(id uint32, want int) {
	c.t.Helper()
	for got := 0; got != want; {
		got += len(awaitFrame(c, func(f *http2.DataFrame) bool { return f.StreamID == id }).Data())
		if got > want {
			c.t.Fatalf("got %d bytes, want %d", got, want)
		}
	}
}

// reset reads until a stream is reset.
func (c *raw) reset(id uint32) http2.ErrCode {
	c.t.Helper()
	return awaitFrame(c, func(f *http2.RSTStreamFrame) bool { return f.StreamID == id }).ErrCode
}

// goAway reads until the connection is said to end.
func (c *raw) goAway() (last uint32, code http2.ErrCode, text string) {
	c.t.Helper()
	for {
		if f, ok := c.next().(*http2.GoAwayFrame); ok {
			return f.LastStreamID, f.ErrCode, string(f.DebugData())
		}
	}
}

// over reads until the connection ends.
func (c *raw) over() {
	c.t.Helper()
	for {
		_, err := c.ReadFrame()
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			c.t.Fatal("the connection does not end")
		} else if err != nil && !errors.As(err, new(http2.StreamError)) {
			return
		}
	}
}

// result is an answer as it came.
type result struct {
	header  map[string]string
	body    []byte
	trailer map[string]string
}

// answer reads the answer of a stream to its end, in which other streams' frames are passed over.
func (c *raw) answer(id uint32) result {
	c.t.Helper()
	var r result
	for {
		switch f := c.next().(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID != id {
				continue
			}
			fields := map[string]string{}
			for _, field := range f.Fields {
				fields[field.Name] = field.Value
			}
			if r.header == nil {
				r.header = fields
			} else {
				r.trailer = fields
			}
			if f.StreamEnded() {
				return r
			}
		case *http2.DataFrame:
			if f.StreamID != id {
				continue
			}
			r.body = append(r.body, f.Data()...)
			if f.StreamEnded() {
				return r
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				c.t.Fatalf("stream %d was reset: %v", id, f.ErrCode)
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				c.t.Fatalf("GOAWAY: %v %q", f.ErrCode, f.DebugData())
			}
		}
	}
}

// status is how a call ended: its code in digits.
func (r result) status() string {
	if r.trailer != nil {
		return r.trailer["grpc-status"]
	}
	return r.header["grpc-status"]
}

// wantEcho makes a call, so as to see that a connection is in order.
func (c *raw) wantEcho(id uint32) {
	c.t.Helper()
	in := []byte(strings.Repeat("x", 10))
	c.call(id, echoPath, in)
	if r := c.answer(id); r.status() != "0" || !bytes.Equal(r.body, message(in)) {
		c.t.Fatalf("stream %d was answered with %+v", id, r)
	}
}
