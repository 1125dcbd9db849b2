package h2

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Flow control (RFC 9113, section 5.2): of what we send first, of what we receive then.

func window(size uint32) http2.Setting {
	return http2.Setting{ID: http2.SettingInitialWindowSize, Val: size}
}

func TestWhatHasNoWindowWaitsAndOtherStreamsGoOn(t *testing.T) {
	in := make([]byte, 1000)
	whole := len(message(in))
	for name, test := range map[string]struct {
		initial uint32
		release func(*raw)
	}{
		"until the stream gets more":       {100, func(c *raw) { c.must(c.WriteWindowUpdate(1, 1000)) }},
		"until each stream gets more":      {100, func(c *raw) { c.must(c.WriteSettings(window(2000))) }},
		"of which there is none at all":    {0, func(c *raw) { c.must(c.WriteWindowUpdate(1, 1100)) }},
		"that comes in two kinds of steps": {10, func(c *raw) { c.must(c.WriteSettings(window(20))); c.must(c.WriteWindowUpdate(1, 1000)) }},
	} {
		for _, path := range []string{echoPath, chatPath} {
			t.Run(path+" waits "+name, func(t *testing.T) {
				c := start(t, Options{}, &service{}).greeted(window(test.initial))
				c.call(1, path, in)
				c.headers(1)
				c.dataBytes(1, int(test.initial))
				c.call(3, "/no.Such/Call", nil) // whose answer has no data
				if r := c.answer(3); r.status() != "12" {
					t.Fatalf("got %+v", r)
				}
				test.release(c)
				c.dataBytes(1, whole-int(test.initial))
				if c.headers(1); test.initial >= 100 {
					c.wantEcho(5)
				}
			})
		}
	}
}

func TestTheConnectionsWindowHoldsForAllStreams(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted(window(1 << 20))
	c.call(1, echoPath, make([]byte, initialWindow))
	c.dataBytes(1, initialWindow)
	c.call(3, echoPath, []byte("too late"))
	c.headers(3)
	c.must(c.WriteWindowUpdate(connectionStream, 1000))
	for streams := map[uint32]bool{}; len(streams) < 2; {
		f := awaitFrame(c, func(f *http2.MetaHeadersFrame) bool { return f.StreamEnded() })
		streams[f.StreamID] = true
	}
}

// A smaller window counts for what was sent already, so that a stream may owe (RFC 9113, section 6.9.2).
func TestAWindowMayBecomeLessThanNothing(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted(window(100))
	c.call(1, echoPath, make([]byte, 1000))
	c.dataBytes(1, 100)
	c.must(c.WriteSettings(window(60)))          // -40
	c.must(c.WriteWindowUpdate(1, 45))           // 5
	c.dataBytes(1, 5)                            // 0
	c.must(c.WriteSettings(window(20)))          // -40
	c.must(c.WriteSettings(window(50)))          // -10
	c.must(c.WriteWindowUpdate(1, windowMax-10)) // as much as may be
	c.headers(1)
}

func TestAStreamThatWaitsToSendIsLetGo(t *testing.T) {
	for name, test := range map[string]struct {
		timeout []string
		release func(*raw)
		want    codes.Code
	}{
		"when it is reset":              {nil, func(c *raw) { c.must(c.WriteRSTStream(1, http2.ErrCodeCancel)) }, codes.Canceled},
		"when its window becomes wrong": {nil, func(c *raw) { c.must(c.WriteWindowUpdate(1, 0)) }, codes.Internal},
		"when its deadline comes":       {[]string{"grpc-timeout", "50m"}, func(*raw) {}, codes.DeadlineExceeded},
		"when the connection is lost":   {nil, func(c *raw) { c.nc.Close() }, codes.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan error, 1)
			h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
				err := s.SendMsg(wrapperspb.Bytes(make([]byte, 1000)))
				sent <- err
				return err
			}})
			c := h.greeted(window(10))
			c.open(1, false, callFields(chatPath, test.timeout...)...)
			c.dataBytes(1, 10)
			test.release(c)
			if err := await(t, sent); status.Code(err) != test.want {
				t.Errorf("SendMsg has ended with %v, want %v", err, test.want)
			}
		})
	}
}

// A call whose answer cannot be sent in time is reset, since its header is out.
func TestAnAnswerThatWaitsEndsWithItsDeadline(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted(window(10))
	c.call(1, echoPath, make([]byte, 1000), "grpc-timeout", "50m")
	if code := c.reset(1); code != http2.ErrCodeCancel {
		t.Errorf("got %v", code)
	}
	c.wantEchoOf(3, nil)
}

// wantEchoOf is wantEcho for a small window.
func (c *raw) wantEchoOf(id uint32, in []byte) {
	c.t.Helper()
	c.call(id, echoPath, in)
	if r := c.answer(id); r.status() != "0" || !bytes.Equal(r.body, message(in)) {
		c.t.Fatalf("stream %d was answered with %+v", id, r)
	}
}

// deaf is a Chat that reads nothing until its context ends.
func deaf(s grpc.ServerStream) error {
	<-s.Context().Done()
	return s.Context().Err()
}

// fill sends as much on a stream as fits in its window.
func (c *raw) fill(id uint32) {
	c.t.Helper()
	for range streamWindow / frameBytesMin {
		c.must(c.WriteData(id, false, make([]byte, frameBytesMin)))
	}
}

func TestMoreDataThanAStreamsWindowEndsTheStream(t *testing.T) {
	for name, overflow := range map[string]func(*raw){
		"by a byte":   func(c *raw) { c.must(c.WriteData(1, false, []byte{0})) },
		"by padding":  func(c *raw) { c.must(c.WriteDataPadded(1, false, nil, []byte{})) },
		"by an ended": func(c *raw) { c.must(c.WriteData(1, true, []byte{0})) },
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, Options{}, &service{chat: deaf}).greeted()
			c.open(1, false, callFields(chatPath)...)
			c.fill(1)
			overflow(c)
			if code := c.reset(1); code != http2.ErrCodeFlowControl {
				t.Errorf("got %v", code)
			}
			c.wantEcho(3)
		})
	}
}

// The connection's window is given back for what nobody has read yet.
func TestStreamsThatNobodyReadsHoldUpNoOthers(t *testing.T) {
	c := start(t, Options{}, &service{chat: deaf}).greeted()
	const streams = 2 * connectionWindow / streamWindow
	for i := range uint32(streams) {
		c.open(2*i+1, false, callFields(chatPath)...)
		c.fill(2*i + 1)
	}
	c.wantEcho(2*streams + 1)
}

// upload sends data as the windows allow, and reads what gives more. Each frame has so much of it, and so much padding, of which -1 is
// none with no length of it either.
func (c *raw) upload(id uint32, data []byte, part, padding int) {
	c.t.Helper()
	windows := map[uint32]int{id: streamWindow, connectionStream: connectionWindow}
	for len(data) > 0 {
		n := min(len(data), part)
		size := n + 1 + padding
		if min(windows[id], windows[connectionStream]) < size {
			f := awaitFrame(c, func(*http2.WindowUpdateFrame) bool { return true })
			windows[f.StreamID] += int(f.Increment)
			continue
		}
		var pad []byte
		if padding >= 0 {
			pad = make([]byte, padding)
		}
		c.must(c.WriteDataPadded(id, n == len(data), data[:n], pad))
		data = data[n:]
		windows[id] -= size
		windows[connectionStream] -= size
	}
}

func TestWindowsAreGivenBack(t *testing.T) {
	large := message(make([]byte, 10*connectionWindow))
	for name, test := range map[string]struct {
		path          string
		body          []byte
		part, padding int
	}{
		"for a large call":    {echoPath, large, frameBytesMin, -1},
		"for a large message": {chatPath, large, frameBytesMin, -1},
		"for small messages":  {chatPath, bytes.Repeat(message(make([]byte, 100)), 20_000), 10_000, -1},
		"for padding":         {chatPath, bytes.Repeat(message(nil), 2000), messageHeadBytes, 250},
		"for a padded call":   {echoPath, message(make([]byte, 1000)), 1, 255},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Options{MessageBytesMax: 1 << 30}, &service{
				unary: func(context.Context, []byte) ([]byte, error) { return nil, nil },
				chat: func(s grpc.ServerStream) error {
					for {
						if _, err := receive(s); err != nil {
							return orEnd(err)
						}
					}
				},
			})
			c := h.greeted()
			c.open(1, false, callFields(test.path)...)
			c.upload(1, test.body, test.part, test.padding)
			if r := c.answer(1); r.status() != "0" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestAnUploadOfManyTimesTheWindowGoesThrough(t *testing.T) {
	h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
		total := 0
		for {
			in, err := receive(s)
			if err != nil {
				return errors.Join(orEnd(err), s.SendMsg(wrapperspb.UInt64(uint64(total))))
			}
			total += len(in)
		}
	}})
	s := h.stream(patient(t), h.dial(), chatPath)
	part := make([]byte, 100_000)
	for range 300 {
		if err := s.SendMsg(wrapperspb.Bytes(part)); err != nil {
			t.Fatal(err)
		}
	}
	got := new(wrapperspb.UInt64Value)
	if err := errors.Join(s.CloseSend(), s.RecvMsg(got)); err != nil || got.Value != 300*100_000 {
		t.Errorf("got %d, %v", got.Value, err)
	}
}
