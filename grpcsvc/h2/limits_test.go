package h2

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What a client may not have: more streams than it was told, handlers that it has given up, answers that it does not read.

func TestAClientIsToldHowManyStreamsItMayHave(t *testing.T) {
	for _, max := range []uint32{2, ^uint32(0)} {
		c := start(t, Options{MaxStreams: max}, &service{}).greeted()
		f := awaitFrame(c, func(f *http2.SettingsFrame) bool { return !f.IsAck() })
		if got, told := f.Value(http2.SettingMaxConcurrentStreams); told != (max == 2) || told && got != max {
			t.Errorf("of %d it was told %d, %v", max, got, told)
		}
	}
}

func TestAStreamTooManyIsRefused(t *testing.T) {
	c := start(t, Options{MaxStreams: 2}, &service{}).greeted()
	c.open(1, false, callFields(chatPath)...)
	c.open(3, false, callFields(echoPath)...)
	c.call(5, echoPath, nil)
	if code := c.reset(5); code != http2.ErrCodeRefusedStream {
		t.Errorf("got %v", code)
	}
	c.must(c.WriteData(1, true, nil))
	if r := c.answer(1); r.status() != "0" {
		t.Errorf("got %+v", r)
	}
	c.wantEcho(7)
	c.must(c.WriteRSTStream(3, http2.ErrCodeCancel))
	c.open(9, false, callFields(chatPath)...)
	c.wantEcho(11)
}

func TestAClientOfGRPCGoWaitsForItsTurn(t *testing.T) {
	h := start(t, Options{MaxStreams: 1}, &service{})
	conn := h.dial()
	const calls = 20
	ended := make(chan error, calls)
	for range calls {
		go func() {
			_, err := invoke(patient(t), conn, blockPath, nil)
			ended <- err
		}()
	}
	for range calls {
		await(t, h.entered)
		if len(h.entered) > 0 {
			t.Error("two calls at a time")
		}
		h.release <- struct{}{}
		if err := await(t, ended); err != nil {
			t.Error(err)
		}
	}
}

// A stream that was reset is none any more, whatever its handler goes on to do (the "rapid reset" attack).
func TestHandlersOfStreamsThatWereResetAreBounded(t *testing.T) {
	gate := make(chan struct{})
	h := start(t, Options{}, &service{chat: func(grpc.ServerStream) error {
		<-gate
		return nil
	}})
	t.Cleanup(func() { close(gate) }) // before Shutdown
	c := h.greeted()
	for i := range uint32(orphansMax + 2) {
		c.open(2*i+1, false, callFields(chatPath)...)
		c.must(c.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
	}
	if _, code, _ := c.goAway(); code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("got %v", code)
	}
	c.over()
}

func TestStreamsMayBeResetAsOftenAsTheirHandlersEnd(t *testing.T) {
	ended := make(chan struct{}, 1)
	h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
		<-s.Context().Done()
		ended <- struct{}{}
		return nil
	}})
	c := h.greeted()
	const streams = 2 * orphansMax
	for i := range uint32(streams) {
		c.open(2*i+1, false, callFields(chatPath)...)
		c.must(c.WriteRSTStream(2*i+1, http2.ErrCodeCancel))
		await(t, ended)
	}
	c.wantEcho(2*streams + 1)
}

// Else both sides might wait for each other to read.
func TestAClientMayWriteMuchBeforeItReads(t *testing.T) {
	_, c := overPipe(t, Options{}, &service{})
	const calls = 500
	for i := range uint32(calls) {
		for range 10 {
			c.must(c.WriteSettings())
		}
		c.call(2*i+1, echoPath, make([]byte, 100))
	}
	for range calls {
		awaitFrame(c, func(f *http2.MetaHeadersFrame) bool { return f.StreamEnded() })
	}
}

func TestAClientThatDoesNotReadWhatItsFramesAreAnsweredIsEnded(t *testing.T) {
	for name, send := range map[string]func(*raw){
		"SETTINGS":                func(c *raw) { c.must(c.WriteSettings()) },
		"DATA of a closed stream": func(c *raw) { c.must(c.WriteData(1, false, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			_, c := overPipe(t, Options{}, &service{})
			c.open(1, false, callFields(chatPath)...)
			c.must(c.WriteRSTStream(1, http2.ErrCodeCancel))
			frames := bytes.Repeat(script(t, send), 1000)
			for range 1000 {
				if _, err := c.nc.Write(frames); err != nil {
					if !errors.Is(err, io.ErrClosedPipe) {
						t.Error(err)
					}
					return
				}
			}
			t.Error("a million frames were taken")
		})
	}
}

// unread says how much a server holds for its one client.
func (h *harness) unread() (bytes int) {
	h.server.mu.Lock()
	defer h.server.mu.Unlock()
	for c := range h.server.conns {
		c.mu.Lock()
		bytes += len(c.out)
		c.mu.Unlock()
	}
	return bytes
}

// Either the connection ends, or no more is read from it, or what is added waits.
func TestWhatAClientDoesNotReadIsBounded(t *testing.T) {
	long := strings.Repeat("~", 8000)
	request := func(c *raw, id uint32, method string) {
		c.open(id, true, ":method", method, ":scheme", "http", ":path", "/", ":authority", "test")
	}
	for name, send := range map[string]func(*raw, uint32){
		"answers":          func(c *raw, id uint32) { c.call(id, echoPath, []byte(long)) },
		"messages":         func(c *raw, id uint32) { c.call(id, chatPath, []byte(long)) },
		"errors":           func(c *raw, id uint32) { c.open(id, true, callFields("/"+long+"/Call")...) },
		"responses":        func(c *raw, id uint32) { request(c, id, "GET") },
		"headers alone":    func(c *raw, id uint32) { request(c, id, "HEAD") },
		"streams too many": func(c *raw, id uint32) { c.open(id, false, callFields(echoPath)...) },
	} {
		t.Run(name, func(t *testing.T) {
			h, c := overPipe(t, Options{MaxStreams: 100, HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Long", long)
				_, _ = io.WriteString(w, long)
			})}, &service{})
			if err := c.nc.SetWriteDeadline(time.Now().Add(patience / 10)); err != nil {
				t.Fatal(err)
			}
			for id := uint32(1); id < 2*3000; id += 2 {
				var b bytes.Buffer
				c.Framer = http2.NewFramer(&b, c.nc)
				send(c, id)
				if _, err := c.nc.Write(b.Bytes()); err != nil {
					return // it has ended, or is not read
				}
				if n := h.unread(); n > 2*controlBytesMax {
					t.Fatalf("%d bytes are held after %d streams", n, (id+1)/2)
				}
			}
		})
	}
}

// The windows are large here: it is the socket that takes no more.
func TestADeadlineLetsGoWhoWaitsForTheSocket(t *testing.T) {
	ended := make(chan error, 3)
	_, c := overPipe(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
		err := sendForever(s)
		ended <- err
		return err
	}})
	c.must(c.WriteSettings(window(windowMax)))
	c.must(c.WriteWindowUpdate(connectionStream, windowMax-initialWindow))
	for id := uint32(1); id < 6; id += 2 { // one writes, and the others wait for it
		c.open(id, false, callFields(chatPath, "grpc-timeout", "50m")...)
	}
	if err := await(t, ended); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("SendMsg has ended with %v", err)
	}
}

// However much of it the client allows to be sent.
func TestALargeAnswerIsNotHeldTwiceAsAWhole(t *testing.T) {
	const size, window = 4 << 20, 8 << 20
	_, c := overPipe(t, Options{}, &service{unary: func(context.Context, []byte) ([]byte, error) { return make([]byte, size), nil }})
	c.must(c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	c.must(c.WriteWindowUpdate(connectionStream, window))
	c.call(1, echoPath, nil)
	buf := make([]byte, size)
	for total := 0; total < size; {
		n, err := c.nc.Read(buf) // no more than one write
		c.must(err)
		if total += n; n > 2*outBytesMax {
			t.Fatalf("%d bytes were written at once", n)
		}
	}
}
