package h2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Calls as a client of grpc-go sees them.

func TestACallIsAnswered(t *testing.T) {
	conn := start(t, Options{}, &service{}).dial()
	for _, in := range []string{"", "hello", "\x00\xff"} {
		if out, err := invoke(patient(t), conn, echoPath, []byte(in)); err != nil || string(out) != in {
			t.Errorf("Echo(%q) = %q, %v", in, out, err)
		}
	}
}

func TestAnErrorIsToldWithItsCodeAndWords(t *testing.T) {
	for _, test := range []struct {
		err   error
		code  codes.Code
		words string
	}{
		{status.Error(codes.NotFound, "no such key"), codes.NotFound, "no such key"},
		{status.Error(codes.Aborted, ""), codes.Aborted, ""},
		{status.Error(codes.DataLoss, "100 % größer\nals „erlaubt“\x00\x7f %41"), codes.DataLoss, "100 % größer\nals „erlaubt“\x00\x7f %41"},
		{status.Error(codes.Internal, "not \xff text"), codes.Internal, "not \ufffd text"},
		{errors.New("a plain error"), codes.Unknown, "a plain error"},
		{context.Canceled, codes.Canceled, "context canceled"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
		{fmt.Errorf("around: %w", status.Error(codes.NotFound, "it")), codes.NotFound, "around: rpc error: code = NotFound desc = it"},
	} {
		t.Run(test.words, func(t *testing.T) {
			conn := start(t, Options{}, &service{unary: func(context.Context, []byte) ([]byte, error) { return nil, test.err }}).dial()
			_, err := invoke(patient(t), conn, echoPath, nil)
			wantCode(t, err, test.code, test.words)
		})
	}
}

func TestAnErrorKeepsItsDetails(t *testing.T) {
	s, err := status.New(codes.FailedPrecondition, "sooner or later").WithDetails(wrapperspb.String("a detail"), wrapperspb.Int64(7))
	if err != nil {
		t.Fatal(err)
	}
	conn := start(t, Options{}, &service{unary: func(context.Context, []byte) ([]byte, error) { return nil, s.Err() }}).dial()
	_, err = invoke(patient(t), conn, echoPath, nil)
	if got := status.Convert(err).Proto(); !proto.Equal(got, s.Proto()) {
		t.Errorf("got %v, want %v", got, s.Proto())
	}
}

func TestAHandlerSeesTheMetadataOfItsCall(t *testing.T) {
	seen := make(chan metadata.MD, 1)
	h := start(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		md, _ := metadata.FromIncomingContext(ctx)
		seen <- md
		return in, nil
	}})
	conn := h.dial(grpc.WithUserAgent("tests"), grpc.WithAuthority("somewhere"))
	for range 3 { // the header comes as a whole at first, and as indexes of the table then
		ctx := metadata.AppendToOutgoingContext(patient(t), "key", "a", "key", "b", "raw-bin", "\x00\xff", "odd-bin", "a", "even-bin", "abc")
		if _, err := invoke(ctx, conn, echoPath, nil); err != nil {
			t.Fatal(err)
		}
		md := await(t, seen)
		for name, want := range map[string][]string{
			"key": {"a", "b"}, "raw-bin": {"\x00\xff"}, "odd-bin": {"a"}, "even-bin": {"abc"},
			":authority": {"somewhere"}, "content-type": {"application/grpc"},
			"te": nil, "grpc-timeout": nil, ":path": nil, // the protocol's own
		} {
			if !slices.Equal(md[name], want) {
				t.Errorf("%s is %q, want %q", name, md[name], want)
			}
		}
		if agent := md.Get("user-agent"); len(agent) != 1 || !bytes.HasPrefix([]byte(agent[0]), []byte("tests")) {
			t.Errorf("user-agent is %q", agent)
		}
	}
}

// decorate gives a call a header and a trailer, by the functions that handlers of grpc-go use.
func decorate(ctx context.Context) error {
	return errors.Join(
		grpc.SetHeader(ctx, metadata.Pairs("set", "1", "Raw-Bin", "\x00\xff")),
		grpc.SetTrailer(ctx, metadata.Pairs("after", "1", "raw-bin", "\xfe")),
		grpc.SendHeader(ctx, metadata.Pairs("sent", "2", "set", "3")),
		grpc.SetTrailer(ctx, metadata.Pairs("after", "2", "grpc-status", "7")),
	)
}

// wantDecoration checks what decorate has set.
func wantDecoration(t *testing.T, header, trailer metadata.MD) {
	t.Helper()
	for _, want := range []struct {
		md     metadata.MD
		name   string
		values []string
	}{
		{header, "set", []string{"1", "3"}}, {header, "raw-bin", []string{"\x00\xff"}}, {header, "sent", []string{"2"}},
		{header, "content-type", []string{"application/grpc"}}, {header, "after", nil},
		{trailer, "after", []string{"1", "2"}}, {trailer, "raw-bin", []string{"\xfe"}}, {trailer, "set", nil},
	} {
		if !slices.Equal(want.md[want.name], want.values) {
			t.Errorf("%s is %q, want %q", want.name, want.md[want.name], want.values)
		}
	}
}

func TestAHandlerSetsHeaderAndTrailer(t *testing.T) {
	h := start(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		if err := decorate(ctx); err != nil {
			return nil, err
		}
		if grpc.SendHeader(ctx, nil) == nil || grpc.SetHeader(ctx, metadata.Pairs("late", "1")) == nil {
			return nil, errors.New("a header was taken when one was out")
		}
		return in, nil
	}})
	var header, trailer metadata.MD
	if _, err := invoke(patient(t), h.dial(), echoPath, nil, grpc.Header(&header), grpc.Trailer(&trailer)); err != nil {
		t.Fatal(err)
	}
	wantDecoration(t, header, trailer)
}

func TestTheHeaderOfAFailedCallIsSentAsOne(t *testing.T) {
	h := start(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		if err := errors.Join(grpc.SetHeader(ctx, metadata.Pairs("before", "1")), grpc.SetTrailer(ctx, metadata.Pairs("after", "2"))); err != nil {
			return nil, err
		}
		return nil, status.Error(codes.Aborted, "no")
	}})
	var header, trailer metadata.MD
	_, err := invoke(patient(t), h.dial(), echoPath, nil, grpc.Header(&header), grpc.Trailer(&trailer))
	wantCode(t, err, codes.Aborted, "no")
	if !slices.Equal(header["before"], []string{"1"}) || !slices.Equal(trailer["after"], []string{"2"}) || trailer["before"] != nil {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
}

func TestAHandlerSeesWhoCallsAndWhat(t *testing.T) {
	type seen struct {
		peer   *peer.Peer
		method string
	}
	calls := make(chan seen, 1)
	h := start(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		p, _ := peer.FromContext(ctx)
		method, _ := grpc.Method(ctx)
		calls <- seen{p, method}
		return in, nil
	}})
	var client peer.Peer
	if _, err := invoke(patient(t), h.dial(), echoPath, nil, grpc.Peer(&client)); err != nil {
		t.Fatal(err)
	}
	got := await(t, calls)
	if got.peer.Addr.String() != client.LocalAddr.String() || got.peer.LocalAddr.String() != h.addr {
		t.Errorf("the peer is %v", got.peer)
	}
	if _, isTCP := got.peer.Addr.(*net.TCPAddr); !isTCP || got.peer.AuthInfo != nil {
		t.Errorf("the peer is %#v", got.peer)
	}
	if got.method != echoPath {
		t.Errorf("the method is %q", got.method)
	}
}

func TestWhatNobodyServesIsNamedAsByGRPCGo(t *testing.T) {
	conn := start(t, Options{}, &service{}).dial()
	for path, words := range map[string]string{
		"/test.Echo/Nope":  "unknown method Nope for service test.Echo",
		"/test.Echo/":      "unknown method  for service test.Echo",
		"/no.Such/Echo":    "unknown service no.Such",
		"/no/such/at/all":  "unknown service no/such/at",
		"/noservice":       `malformed method name: "/noservice"`,
		"/test.Echo/Größe": "unknown method Größe for service test.Echo",
	} {
		_, err := invoke(patient(t), conn, path, []byte("x"))
		wantCode(t, err, codes.Unimplemented, words)
		_, err = receive((&harness{t: t}).stream(patient(t), conn, path))
		wantCode(t, err, codes.Unimplemented, words)
	}
}

func TestInterceptorsAreAroundCallsInTheirOrder(t *testing.T) {
	var order []string
	unary := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			order = append(order, name+" "+info.FullMethod)
			defer func() { order = append(order, "end of "+name) }()
			return handle(ctx, r)
		}
	}
	stream := func(name string) grpc.StreamServerInterceptor {
		return func(server any, s grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			order = append(order, fmt.Sprintf("%s %s %v %v", name, info.FullMethod, info.IsClientStream, info.IsServerStream))
			defer func() { order = append(order, "end of "+name) }()
			return handle(server, s)
		}
	}
	for count := range 4 {
		names := []string{"first", "second", "third"}[:count]
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			order = nil
			var opts Options
			var wantUnary, wantStream, ends []string
			for _, name := range names {
				opts.Unary, opts.Stream = append(opts.Unary, unary(name)), append(opts.Stream, stream(name))
				wantUnary, wantStream = append(wantUnary, name+" "+echoPath), append(wantStream, name+" "+countPath+" false true")
				ends = append([]string{"end of " + name}, ends...)
			}
			h := start(t, opts, &service{})
			conn := h.dial()
			if _, err := invoke(patient(t), conn, echoPath, nil); err != nil {
				t.Fatal(err)
			}
			_, _ = receive(h.countOf(conn, nil))
			if want := slices.Concat(wantUnary, ends, wantStream, ends); !slices.Equal(order, want) {
				t.Errorf("got %q, want %q", order, want)
			}
		})
	}
}

// countOf begins a Count.
func (h *harness) countOf(conn *grpc.ClientConn, in []byte) grpc.ClientStream {
	h.t.Helper()
	s := h.stream(patient(h.t), conn, countPath)
	if err := errors.Join(s.SendMsg(wrapperspb.Bytes(in)), s.CloseSend()); err != nil {
		h.t.Fatal(err)
	}
	return s
}
