package h2

import (
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
)

// Pings: the client's first, ours then.

// ping sends one and waits for its answer.
func (c *raw) ping(n byte) {
	c.t.Helper()
	c.must(c.WritePing(false, [8]byte{n}))
	if f := awaitFrame(c, func(f *http2.PingFrame) bool { return f.IsAck() }); f.Data != [8]byte{n} {
		c.t.Fatalf("the answer to ping %d is %v", n, f.Data)
	}
}

func TestTooManyPingsEndTheConnection(t *testing.T) {
	for name, test := range map[string]struct {
		apart time.Duration
		open  bool // a stream
	}{
		"while a stream is open":        {time.Hour, true},
		"while none is, however spaced": {1, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, Options{PingMin: test.apart}, &service{}).greeted()
			if test.open {
				c.open(1, false, callFields(chatPath)...)
			}
			for n := range byte(pingStrikesMax + 1) { // the first has none before it
				c.ping(n)
			}
			c.must(c.WritePing(false, [8]byte{}))
			if last, code, text := c.goAway(); code != http2.ErrCodeEnhanceYourCalm || text != "too_many_pings" || (last == 1) != test.open {
				t.Errorf("got %d, %v, %q", last, code, text)
			}
			c.over()
		})
	}
}

func TestPingsThatAreFarApartAreBorne(t *testing.T) {
	c := start(t, Options{PingMin: 1}, &service{}).greeted()
	c.open(1, false, callFields(chatPath)...)
	for n := range byte(20) {
		c.ping(n)
	}
}

func TestPingsAreForgivenWhenSomethingWasAnswered(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	for n := range byte(20) {
		c.ping(n)
		if n%2 == 1 {
			c.wantEcho(uint32(n))
		}
	}
}

func TestASilentClientIsAsked(t *testing.T) {
	h := start(t, Options{PingAfter: time.Millisecond, PingTimeout: time.Second}, &service{})
	c := h.greeted()
	c.call(1, blockPath, nil)
	await(t, h.entered)
	for range 2 { // the second comes when the first one's answer was good enough
		f := awaitFrame(c, func(f *http2.PingFrame) bool { return !f.IsAck() })
		c.must(c.WritePing(true, f.Data))
	}
	h.release <- struct{}{}
	if r := c.answer(1); r.status() != "0" {
		t.Errorf("got %+v", r)
	}
}

func TestASilentClientThatDoesNotAnswerIsGivenUp(t *testing.T) {
	h := start(t, Options{PingAfter: time.Millisecond, PingTimeout: time.Millisecond}, &service{})
	c := h.greeted()
	c.call(1, blockPath, nil)
	c.over()
	select { // unless it was given up before it had called
	case <-h.entered:
		await(t, h.left)
	default:
	}
}

// A ping must not wait behind what the client does not read.
func TestASilentClientThatReadsNothingIsGivenUp(t *testing.T) {
	ended := make(chan error, 1)
	h := start(t, Options{PingAfter: 100 * time.Millisecond, PingTimeout: time.Millisecond}, &service{chat: func(s grpc.ServerStream) error {
		err := sendForever(s)
		ended <- err
		return err
	}})
	c := h.greeted(window(windowMax))
	c.must(c.WriteWindowUpdate(connectionStream, windowMax-initialWindow))
	c.open(1, false, callFields(chatPath)...)
	if err := await(t, ended); err == nil {
		t.Error("the handler could send without end")
	}
}
