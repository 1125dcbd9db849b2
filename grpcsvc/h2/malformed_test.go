package h2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// What breaks the rules of RFC 9113, and what is said to it.

// states opens streams in each state that a client can bring one into: 1 is open, 3 is half closed, 5 is closed, and 7 is idle.
func states(t *testing.T) *raw {
	t.Helper()
	c := start(t, Options{}, &service{chat: deaf}).greeted()
	c.open(1, false, callFields(chatPath)...)
	c.open(3, true, callFields(chatPath)...)
	c.open(5, false, callFields(chatPath)...)
	c.must(c.WriteRSTStream(5, http2.ErrCodeCancel))
	return c
}

const (
	protocolError    = http2.ErrCodeProtocol
	flowControlError = http2.ErrCodeFlowControl
	frameSizeError   = http2.ErrCodeFrameSize
	streamClosed     = http2.ErrCodeStreamClosed
	compressionError = http2.ErrCodeCompression
	enhanceYourCalm  = http2.ErrCodeEnhanceYourCalm
)

// wrongFrame is a frame that ends the connection.
type wrongFrame struct {
	name    string
	kind    http2.FrameType
	flags   http2.Flags
	stream  uint32
	payload string
	want    http2.ErrCode
}

var wrongFrames = []wrongFrame{
	{"longer than allowed", http2.FramePing, 0, 0, strings.Repeat("x", frameBytesMin+1), frameSizeError},
	{"longer than allowed and unknown", 99, 0, 0, strings.Repeat("x", frameBytesMin+1), frameSizeError},

	{"DATA of no stream", http2.FrameData, 0, 0, "x", protocolError},
	{"DATA of an idle stream", http2.FrameData, 0, 7, "x", protocolError},
	{"DATA without the length of its padding", http2.FrameData, flagPadded, 1, "", frameSizeError},
	{"DATA with too much padding", http2.FrameData, flagPadded, 1, "\x03xx", protocolError},

	{"HEADERS of no stream", http2.FrameHeaders, flagEndHeaders, 0, "\x82", protocolError},
	{"HEADERS of a server's stream", http2.FrameHeaders, flagEndHeaders, 8, "\x82", protocolError},
	{"HEADERS of an open stream, without an end", http2.FrameHeaders, flagEndHeaders, 1, "\x82", protocolError},
	{"HEADERS of a half closed stream", http2.FrameHeaders, flagEndHeaders | flagEndStream, 3, "\x82", streamClosed},
	{"HEADERS of a stream that the client has reset", http2.FrameHeaders, flagEndHeaders | flagEndStream, 5, "\x82", streamClosed},
	{"HEADERS without the length of their padding", http2.FrameHeaders, flagEndHeaders | flagPadded, 7, "", frameSizeError},
	{"HEADERS with too much padding", http2.FrameHeaders, flagEndHeaders | flagPadded, 7, "\x02\x82\x82"[:2], protocolError},
	{"HEADERS too short for their priority", http2.FrameHeaders, flagEndHeaders | flagPriority, 7, "\x00\x00\x00\x01", frameSizeError},
	{"HEADERS of a stream that depends on itself", http2.FrameHeaders, flagEndHeaders | flagPriority, 7, "\x80\x00\x00\x07\x01\x82", protocolError},
	{"a field of no index", http2.FrameHeaders, flagEndHeaders, 7, "\x80", compressionError},
	{"a field beyond the table", http2.FrameHeaders, flagEndHeaders, 7, "\xfe", compressionError},
	{"half a field", http2.FrameHeaders, flagEndHeaders, 7, "\x40\x05ab", compressionError},
	{"a table that is too large", http2.FrameHeaders, flagEndHeaders, 7, "\x3f\xe2\x1f\x82", compressionError},
	{"a wrong code of Huffman's", http2.FrameHeaders, flagEndHeaders, 7, "\x40\x84\xff\xff\xff\xff\x00", compressionError},

	{"PRIORITY of no stream", http2.FramePriority, 0, 0, "\x00\x00\x00\x01\x00", protocolError},
	{"PRIORITY of a wrong length", http2.FramePriority, 0, 1, "\x00\x00\x00\x01", frameSizeError},
	{"PRIORITY of a stream that depends on itself", http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x00", protocolError},

	{"RST_STREAM of no stream", http2.FrameRSTStream, 0, 0, "\x00\x00\x00\x08", protocolError},
	{"RST_STREAM of an idle stream", http2.FrameRSTStream, 0, 7, "\x00\x00\x00\x08", protocolError},
	{"RST_STREAM of a wrong length", http2.FrameRSTStream, 0, 1, "\x00\x00\x00", frameSizeError},

	{"SETTINGS of a stream", http2.FrameSettings, 0, 1, "", protocolError},
	{"SETTINGS of a wrong length", http2.FrameSettings, 0, 0, "\x00\x01\x00\x00\x00", frameSizeError},
	{"SETTINGS with an acknowledgement", http2.FrameSettings, flagAck, 0, "\x00\x01\x00\x00\x00\x00", frameSizeError},
	{"ENABLE_PUSH of 2", http2.FrameSettings, 0, 0, "\x00\x02\x00\x00\x00\x02", protocolError},
	{"INITIAL_WINDOW_SIZE too large", http2.FrameSettings, 0, 0, "\x00\x04\x80\x00\x00\x00", flowControlError},
	{"MAX_FRAME_SIZE too small", http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x3f\xff", protocolError},
	{"MAX_FRAME_SIZE too large", http2.FrameSettings, 0, 0, "\x00\x05\x01\x00\x00\x00", protocolError},

	{"PUSH_PROMISE", http2.FramePushPromise, flagEndHeaders, 1, "\x00\x00\x00\x02\x82", protocolError},

	{"PING of a wrong length", http2.FramePing, 0, 0, "1234567", frameSizeError},
	{"PING of a stream", http2.FramePing, 0, 1, "12345678", protocolError},

	{"GOAWAY of a stream", http2.FrameGoAway, 0, 1, "\x00\x00\x00\x00\x00\x00\x00\x00", protocolError},
	{"GOAWAY too short", http2.FrameGoAway, 0, 0, "\x00\x00\x00\x00", frameSizeError},

	{"WINDOW_UPDATE of a wrong length", http2.FrameWindowUpdate, 0, 0, "\x00\x00\x01", frameSizeError},
	{"WINDOW_UPDATE of the connection by nothing", http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00", protocolError},
	{"WINDOW_UPDATE of the connection by too much", http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff", flowControlError},
	{"WINDOW_UPDATE of an idle stream", http2.FrameWindowUpdate, 0, 7, "\x00\x00\x00\x01", protocolError},

	{"CONTINUATION of no stream", http2.FrameContinuation, flagEndHeaders, 0, "\x82", protocolError},
	{"CONTINUATION of nothing", http2.FrameContinuation, flagEndHeaders, 1, "\x82", protocolError},
}

func TestAWrongFrameEndsTheConnection(t *testing.T) {
	for _, test := range wrongFrames {
		t.Run(test.name, func(t *testing.T) {
			c := states(t)
			c.must(c.WriteRawFrame(test.kind, test.flags, test.stream, []byte(test.payload)))
			last, code, text := c.goAway()
			if code != test.want || text == "" {
				t.Errorf("got %v %q, want %v", code, text, test.want)
			}
			if last < 5 {
				t.Errorf("the last stream is %d", last)
			}
			c.over()
		})
	}
}

func TestAWrongSequenceEndsTheConnection(t *testing.T) {
	begin := func(c *raw) { c.must(c.WriteRawFrame(http2.FrameHeaders, 0, 7, []byte("\x82"))) } // the header goes on
	for name, test := range map[string]struct {
		send func(*raw)
		want http2.ErrCode
	}{
		"a header that another frame interrupts": {func(c *raw) { begin(c); c.must(c.WritePing(false, [8]byte{})) }, protocolError},
		"a header that an unknown frame interrupts": {
			func(c *raw) { begin(c); c.must(c.WriteRawFrame(99, 0, 0, nil)) }, protocolError},
		"a header that goes on elsewhere": {
			func(c *raw) { begin(c); c.must(c.WriteContinuation(9, true, []byte("\x82"))) }, protocolError},
		"a header that goes on with nothing": {func(c *raw) { begin(c); c.must(c.WriteContinuation(7, false, nil)) }, enhanceYourCalm},
		"a header that goes on for too long": {func(c *raw) {
			begin(c)
			for range headerBytesMax / frameBytesMin {
				c.must(c.WriteContinuation(7, false, make([]byte, frameBytesMin)))
			}
		}, enhanceYourCalm},
		"a header that grows when it is decoded": {func(c *raw) {
			fields := callFields(chatPath, "x", strings.Repeat("x", 4000))
			for range 20 { // each a byte
				fields = append(fields, "x", strings.Repeat("x", 4000))
			}
			c.open(7, false, fields...)
		}, enhanceYourCalm},
		"a window that becomes too large by all streams'": {func(c *raw) {
			c.must(c.WriteWindowUpdate(1, windowMax-initialWindow))
			c.must(c.WriteSettings(window(initialWindow + 1)))
		}, flowControlError},
		"a stream that is older than the last": {func(c *raw) {
			c.open(9, false, callFields(chatPath)...)
			c.open(7, false, callFields(chatPath)...)
		}, streamClosed},
	} {
		t.Run(name, func(t *testing.T) {
			c := states(t)
			test.send(c)
			if _, code, _ := c.goAway(); code != test.want {
				t.Errorf("got %v, want %v", code, test.want)
			}
			c.over()
		})
	}
}

func TestTheFirstFrameMustBeSettings(t *testing.T) {
	c := start(t, Options{}, &service{}).raw()
	c.bytes([]byte(clientPreface))
	c.must(c.WritePing(false, [8]byte{}))
	if _, code, _ := c.goAway(); code != protocolError {
		t.Errorf("got %v", code)
	}
	c.over()
}

func TestWhatIsWrongWithAStreamEndsThatAlone(t *testing.T) {
	for name, test := range map[string]struct {
		send   func(*raw)
		stream uint32
		want   http2.ErrCode
	}{
		"DATA of a half closed stream":         {func(c *raw) { c.must(c.WriteData(3, false, []byte("x"))) }, 3, streamClosed},
		"DATA of a closed stream":              {func(c *raw) { c.must(c.WriteData(5, false, []byte("x"))) }, 5, streamClosed},
		"WINDOW_UPDATE of a stream by nothing": {func(c *raw) { c.must(c.WriteWindowUpdate(1, 0)) }, 1, protocolError},
		"WINDOW_UPDATE of a stream by too much": {
			func(c *raw) { c.must(c.WriteWindowUpdate(1, windowMax)) }, 1, flowControlError},
	} {
		t.Run(name, func(t *testing.T) {
			c := states(t)
			test.send(c)
			if code := c.reset(test.stream); code != test.want {
				t.Errorf("got %v, want %v", code, test.want)
			}
			c.wantEcho(7)
		})
	}
}
