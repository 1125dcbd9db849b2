package h2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Streams, and how they and calls end before their time.

func TestAStreamGivesBackEachMessageUntilTheClientHasNoMore(t *testing.T) {
	h := start(t, Options{}, &service{})
	s := h.stream(patient(t), h.dial(), chatPath)
	for i := range 100 {
		want := fmt.Sprint(i)
		if err := s.SendMsg(wrapperspb.Bytes([]byte(want))); err != nil {
			t.Fatal(err)
		}
		if got, err := receive(s); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

func TestAStreamSendsAfterTheClientHasSentAll(t *testing.T) {
	h := start(t, Options{}, &service{})
	s := h.countOf(h.dial(), []byte("many messages"))
	var all []byte
	for {
		got, err := receive(s)
		if err != nil {
			if err != io.EOF || string(all) != "many messages" {
				t.Errorf("got %q, %v", all, err)
			}
			return
		}
		all = append(all, got...)
	}
}

func TestAStreamHasHeaderAndTrailer(t *testing.T) {
	h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
		if err := decorate(s.Context()); err != nil {
			return err
		}
		if s.SendHeader(nil) == nil || s.SetHeader(metadata.Pairs("late", "1")) == nil {
			return errors.New("a header was taken when one was out")
		}
		return echoAll(s)
	}})
	s := h.stream(patient(t), h.dial(), chatPath)
	header, err := s.Header() // comes before any message
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(s); err != io.EOF {
		t.Errorf("got %v", err)
	}
	wantDecoration(t, header, s.Trailer())
}

func TestAHandlerEndsItsStreamWhenItLikes(t *testing.T) {
	h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
		if _, err := receive(s); err != nil {
			return err
		}
		return status.Error(codes.OutOfRange, "enough")
	}})
	s := h.stream(patient(t), h.dial(), chatPath)
	if err := s.SendMsg(wrapperspb.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	_, err := receive(s)
	wantCode(t, err, codes.OutOfRange, "enough")
}

func TestACancelledCallLetsItsHandlerGo(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := invoke(ctx, conn, blockPath, nil)
		ended <- err
	}()
	await(t, h.entered)
	cancel()
	if err := await(t, h.left); err != context.Canceled {
		t.Errorf("the handler's context has ended with %v", err)
	}
	if err := await(t, ended); status.Code(err) != codes.Canceled {
		t.Errorf("the call has ended with %v", err)
	}
}

func TestACancelledStreamLetsItsHandlerGo(t *testing.T) {
	for name, wait := range map[string]func(grpc.ServerStream) error{
		"that waits for a message":     func(s grpc.ServerStream) error { _, err := receive(s); return err },
		"that waits for its context":   func(s grpc.ServerStream) error { <-s.Context().Done(); return s.Context().Err() },
		"that sends without end":       sendForever,
		"that receives when it is all": func(s grpc.ServerStream) error { <-s.Context().Done(); _, err := receive(s); return err },
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 1), make(chan error, 1)
			h := start(t, Options{}, &service{chat: func(s grpc.ServerStream) error {
				begun <- struct{}{}
				err := wait(s)
				ended <- err
				return err
			}})
			ctx, cancel := context.WithCancel(t.Context())
			s := h.stream(ctx, h.dial(), chatPath)
			await(t, begun)
			cancel()
			if err := await(t, ended); !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
				t.Errorf("the handler has got %v", err)
			}
			_, err := receive(s)
			for err == nil { // what it got before
				_, err = receive(s)
			}
			if status.Code(err) != codes.Canceled {
				t.Errorf("the stream has ended with %v", err)
			}
		})
	}
}

func sendForever(s grpc.ServerStream) error {
	for {
		if err := s.SendMsg(wrapperspb.Bytes(make([]byte, 1<<10))); err != nil {
			return err
		}
	}
}

// Above all, the end of a connection is not that of a request: a handler that took what has come for all would act on the half of it.
func TestAConnectionThatIsLostLetsItsHandlersGo(t *testing.T) {
	for name, lose := range map[string]func(*net.TCPConn) error{
		"by an end":  (*net.TCPConn).CloseWrite,
		"by a reset": func(nc *net.TCPConn) error { return errors.Join(nc.SetLinger(0), nc.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}, 2), make(chan error, 2)
			h := start(t, Options{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begun <- struct{}{}
				<-r.Context().Done()
				_, err := r.Body.Read(make([]byte, 1))
				ended <- err
			})}, &service{chat: func(s grpc.ServerStream) error {
				begun <- struct{}{}
				<-s.Context().Done()
				_, err := receive(s)
				ended <- err
				return err
			}})
			c := h.greeted()
			c.call(1, blockPath, nil)
			c.open(3, false, callFields(chatPath)...)
			c.open(5, false, ":method", "POST", ":scheme", "http", ":path", "/", ":authority", "test")
			c.open(7, false, callFields(echoPath)...) // of which nothing else comes
			await(t, h.entered)
			await(t, begun)
			await(t, begun)
			c.must(lose(c.nc.(*net.TCPConn)))
			if err := await(t, h.left); err != context.Canceled {
				t.Errorf("the handler's context has ended with %v", err)
			}
			for range 2 {
				if err := await(t, ended); err == nil || err == io.EOF {
					t.Errorf("a handler that reads its request has got %v", err)
				}
			}
		})
	}
}

// The reader may have more at hand when a write has failed. Nobody would tell the handlers of such streams that the client is gone.
func TestNoStreamIsOpenedOnAConnectionThatHasEnded(t *testing.T) {
	h := start(t, Options{}, &service{})
	one, two := net.Pipe()
	defer two.Close()
	c := newConn(h.server, one)
	c.settled = true
	c.fail(io.ErrClosedPipe)
	block := script(t, func(c *raw) { c.open(1, false, callFields(echoPath)...) })[frameHeadBytes:]
	_ = c.receive(&frame{kind: frameHeaders, flags: flagEndHeaders, stream: 1, payload: block}) // an error would do as well
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != 0 || len(c.streams) != 0 {
		t.Errorf("%d handlers, %d streams", c.running, len(c.streams))
	}
}

func TestADeadlineReachesTheHandler(t *testing.T) {
	h := start(t, Options{}, &service{})
	conn := h.dial()
	deadline := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := invoke(ctx, conn, blockPath, nil)
		ended <- err
	}()
	got, ok := (await(t, h.entered)).Deadline()
	if !ok || got.Sub(deadline).Abs() > time.Minute { // a minute is what nothing takes here
		t.Errorf("got %v, %v, want %v", got, ok, deadline)
	}
	h.release <- struct{}{}
	if err := await(t, ended); err != nil {
		t.Error(err)
	}
}

// The client may be gone without a word, so the server keeps the time as well.
func TestADeadlineEndsACallAtTheServerToo(t *testing.T) {
	c := start(t, Options{}, &service{}).greeted()
	c.call(1, blockPath, nil, "grpc-timeout", "20m")
	if r := c.answer(1); r.status() != "4" {
		t.Errorf("a call: %+v", r)
	}
	c.open(3, false, callFields(chatPath, "grpc-timeout", "20000u")...)
	if r := c.answer(3); r.status() != "4" {
		t.Errorf("a stream whose client sends nothing: %+v", r)
	}
	c.open(5, false, callFields(echoPath, "grpc-timeout", "20m")...)
	if r := c.answer(5); r.status() != "4" {
		t.Errorf("a call whose request never comes: %+v", r)
	}
	c.wantEcho(7)
}

func TestTimeoutsAreReadAsTheProtocolHasThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond,
		"6n": 6, "0n": 0, "00000007S": 7 * time.Second, "99999999H": math.MaxInt64, "99999999S": 99999999 * time.Second,
	} {
		if got, err := parseTimeout(text); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "S", "1s", "-1S", "+1S", "1.5S", "1 S", "123456789S", "1SS"} {
		if got, err := parseTimeout(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
