package h2

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// How connections end: by Shutdown first, by the client then.

// shutdown begins Shutdown and gives what it returns.
func (h *harness) shutdown(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- h.server.Shutdown(ctx) }()
	return ended
}

// toldOfDrain reads what tells a client to open no more streams.
func (c *raw) toldOfDrain() {
	c.t.Helper()
	if last, code, _ := c.goAway(); last != streamIDMax || code != http2.ErrCodeNo {
		c.t.Fatalf("GOAWAY: %d, %v", last, code)
	}
}

// knowDrain answers the ping that came with it.
func (c *raw) knowDrain() {
	c.t.Helper()
	ping := awaitFrame(c, func(f *http2.PingFrame) bool { return !f.IsAck() })
	c.must(c.WritePing(true, ping.Data))
}

func TestShutdownWaitsForACall(t *testing.T) {
	h := start(t, Options{}, &service{})
	c := h.greeted()
	c.call(1, blockPath, []byte("in"))
	await(t, h.entered)
	ended := h.shutdown(patient(t))
	c.toldOfDrain()
	c.call(3, echoPath, nil) // the client may have sent it before it was told
	if r := c.answer(3); r.status() != "0" {
		t.Errorf("what was opened before the client knew: %+v", r)
	}
	c.must(c.WritePing(true, [8]byte([]byte(drainPing))))
	if last, code, _ := c.goAway(); last != 3 || code != http2.ErrCodeNo {
		t.Errorf("the last stream is %d, code %v", last, code)
	}
	select {
	case err := <-ended:
		t.Fatalf("Shutdown has not waited: %v", err)
	default:
	}
	h.release <- struct{}{}
	if r := c.answer(1); r.status() != "0" {
		t.Errorf("got %+v", r)
	}
	c.over()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsIdleConnections(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn, c := h.dial(), h.greeted()
	if _, err := invoke(patient(t), conn, echoPath, nil); err != nil {
		t.Fatal(err)
	}
	c.wantEcho(1)
	ended := h.shutdown(patient(t))
	c.toldOfDrain()
	c.knowDrain()
	c.over()
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
	for ctx, state := patient(t), conn.GetState(); state == connectivity.Ready; state = conn.GetState() {
		if !conn.WaitForStateChange(ctx, state) {
			t.Fatal("the client takes the connection for good")
		}
	}
	if _, err := invoke(patient(t), conn, echoPath, nil); err == nil {
		t.Error("a call was answered after Shutdown")
	}
}

func TestShutdownLetsACallOfGRPCGoEnd(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial()
	called := make(chan error, 1)
	go func() {
		_, err := invoke(patient(t), conn, blockPath, nil)
		called <- err
	}()
	await(t, h.entered)
	ended := h.shutdown(patient(t))
	ctx := patient(t)
	for conn.GetState() == connectivity.Ready && conn.WaitForStateChange(ctx, connectivity.Ready) {
	} // until it knows
	h.release <- struct{}{}
	if err := await(t, called); err != nil {
		t.Errorf("the call that was running: %v", err)
	}
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsWhatDoesNotEndInTime(t *testing.T) {
	h := start(t, Options{}, &service{})
	c := h.greeted()
	c.call(1, blockPath, nil)
	await(t, h.entered)
	ctx, cancel := context.WithCancel(t.Context())
	ended := h.shutdown(ctx)
	c.toldOfDrain()
	cancel()
	if err := await(t, h.left); err != context.Canceled {
		t.Errorf("the handler's context has ended with %v", err)
	}
	if err := await(t, ended); err != context.Canceled {
		t.Errorf("Shutdown gave %v", err)
	}
	c.over()
}

func TestShutdownMayBeAskedForTwice(t *testing.T) {
	h := start(t, Options{}, &service{})
	h.greeted().nc.Close()
	first, second := h.shutdown(patient(t)), h.shutdown(patient(t))
	if err := errors.Join(await(t, first), await(t, second)); err != nil {
		t.Error(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.server.Serve(l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve after it gave %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("its listener is open")
	}
}

// A client that was told which of its streams is the last may have sent more before it read that. We have no part in them, and those
// that run go on (RFC 9113, section 6.8).
func TestAStreamThatIsOpenedTooLateIsIgnored(t *testing.T) {
	h := start(t, Options{}, &service{})
	c := h.greeted()
	c.call(1, blockPath, nil)
	await(t, h.entered)
	ended := h.shutdown(patient(t))
	c.toldOfDrain()
	c.knowDrain()
	if last, _, _ := c.goAway(); last != 1 {
		t.Fatalf("the last stream is %d", last)
	}
	c.call(3, echoPath, nil)
	c.must(c.WriteWindowUpdate(3, 100))
	c.must(c.WriteRSTStream(3, http2.ErrCodeCancel))
	c.must(c.WritePing(false, [8]byte{1}))
	awaitFrame(c, func(f *http2.PingFrame) bool { return f.IsAck() })
	h.release <- struct{}{}
	if r := c.answer(1); r.status() != "0" {
		t.Errorf("got %+v", r)
	}
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

// Whatever the last stream ends by, the connection ends with it.
func TestShutdownEndsWithTheLastStream(t *testing.T) {
	for name, end := range map[string]func(*raw){
		"that is answered": func(c *raw) { c.must(c.WriteData(1, true, message(nil))) },
		"that is reset before it was there as a whole": func(c *raw) { c.must(c.WriteRSTStream(1, http2.ErrCodeCancel)) },
		"that breaks the rules":                        func(c *raw) { c.must(c.WriteWindowUpdate(1, 0)) },
		"that is refused":                              func(c *raw) { c.must(c.WriteData(1, false, []byte{0, 255, 255, 255, 255})) },
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Options{}, &service{})
			c := h.greeted()
			c.open(1, false, callFields(echoPath)...)
			c.wantEcho(3) // by which 1 is open too
			ctx, cancel := context.WithTimeout(t.Context(), patience/4)
			defer cancel()
			ended := h.shutdown(ctx)
			c.toldOfDrain()
			c.knowDrain()
			if last, _, _ := c.goAway(); last != 3 {
				t.Fatalf("the last stream is %d", last)
			}
			end(c)
			c.over()
			if err := await(t, ended); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAClientThatLeavesIsLetGo(t *testing.T) {
	h := start(t, Options{}, &service{})
	idle := h.greeted()
	idle.must(idle.WriteGoAway(0, http2.ErrCodeNo, nil))
	idle.over()

	busy := h.greeted()
	busy.call(1, blockPath, nil)
	await(t, h.entered)
	busy.must(busy.WriteGoAway(0, http2.ErrCodeNo, []byte("bye")))
	h.release <- struct{}{}
	if r := busy.answer(1); r.status() != "0" {
		t.Errorf("got %+v", r)
	}
}

func TestAConnectionThatDoesNotOpenAsHTTP2Ends(t *testing.T) {
	for name, first := range map[string]string{
		"nothing":           "",
		"half a preface":    clientPreface[:10],
		"nothing behind it": clientPreface,
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, Options{HandshakeTimeout: 20 * time.Millisecond}, &service{}).raw()
			c.bytes([]byte(first))
			c.over()
		})
	}
	t.Run("another protocol", func(t *testing.T) {
		c := start(t, Options{}, &service{}).raw()
		c.bytes([]byte("GET / HTTP/1.1\r\nHost: test\r\n\r\n"))
		if _, code, _ := c.goAway(); code != http2.ErrCodeProtocol {
			t.Errorf("got %v", code)
		}
		c.over()
	})
}

// A client of grpc-go learns that a call which was cut has no answer.
func TestAConnectionThatIsCutIsUnavailable(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial()
	called := make(chan error, 1)
	go func() {
		_, err := invoke(patient(t), conn, blockPath, nil)
		called <- err
	}()
	await(t, h.entered)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	await(t, h.shutdown(ctx))
	if err := await(t, called); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}
