package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// patience is how long a test waits for what must come. It is there so that a failure has a place, and nothing is measured by it.
const patience = 20 * time.Second

// The calls of the tests. Their messages are bytes.
const (
	serviceName = "test.Echo"
	echoPath    = "/test.Echo/Echo"  // one message each way
	blockPath   = "/test.Echo/Block" // answers when it is told to, or its context ends
	chatPath    = "/test.Echo/Chat"  // messages both ways
	countPath   = "/test.Echo/Count" // as many messages as the request has bytes
)

// service serves them. A test may put its own handlers in.
type service struct {
	unary func(context.Context, []byte) ([]byte, error) // of Echo, nil = gives back what it got
	chat  func(grpc.ServerStream) error                 // of Chat, nil = gives back what it gets

	entered chan context.Context // each Block that has begun
	release chan struct{}        // lets one Block answer, or all when it is closed
	left    chan error           // each Block whose context has ended, with why
}

func (s *service) echo(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	if s.unary == nil {
		return in, nil
	}
	out, err := s.unary(ctx, in.Value)
	if err != nil {
		return nil, err
	}
	return wrapperspb.Bytes(out), nil
}

func (s *service) block(ctx context.Context, in *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	select {
	case s.entered <- ctx:
	case <-ctx.Done():
	}
	select {
	case <-s.release:
		return in, nil
	case <-ctx.Done():
		select {
		case s.left <- ctx.Err():
		default: // more than a test looks at
		}
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (s *service) talk(stream grpc.ServerStream) error {
	if s.chat != nil {
		return s.chat(stream)
	}
	return echoAll(stream)
}

// echoAll gives back each message until the client has no more, and then what RecvMsg said unless that was the end.
func echoAll(stream grpc.ServerStream) error {
	for {
		m := new(wrapperspb.BytesValue)
		if err := stream.RecvMsg(m); err != nil {
			return orEnd(err)
		}
		if err := stream.SendMsg(m); err != nil {
			return err
		}
	}
}

func (s *service) count(stream grpc.ServerStream) error {
	in := new(wrapperspb.BytesValue)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	for i := range in.Value {
		if err := stream.SendMsg(wrapperspb.Bytes(in.Value[i : i+1])); err != nil {
			return err
		}
	}
	return nil
}

var serviceDesc = grpc.ServiceDesc{
	ServiceName: serviceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{unaryRow("Echo", (*service).echo), unaryRow("Block", (*service).block)},
	Streams: []grpc.StreamDesc{
		{StreamName: "Chat", ClientStreams: true, ServerStreams: true, Handler: streamHandler((*service).talk)},
		{StreamName: "Count", ServerStreams: true, Handler: streamHandler((*service).count)},
	},
}

// unaryRow is what protoc-gen-go-grpc writes for a call.
func unaryRow(name string, call func(*service, context.Context, *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(server any, ctx context.Context, decode func(any) error, around grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		if around == nil {
			return call(server.(*service), ctx, in)
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: "/" + serviceName + "/" + name}
		return around(ctx, in, info, func(ctx context.Context, in any) (any, error) {
			return call(server.(*service), ctx, in.(*wrapperspb.BytesValue))
		})
	}}
}

func streamHandler(handle func(*service, grpc.ServerStream) error) grpc.StreamHandler {
	return func(server any, stream grpc.ServerStream) error { return handle(server.(*service), stream) }
}

// harness is a server before a service.
type harness struct {
	t testing.TB
	*service
	server *Server
	addr   string
	served chan error // what Serve has returned
}

// start serves on a port of loopback until the test ends, when Shutdown must find nothing left to wait for.
func start(t testing.TB, opts Options, s *service) *harness {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, opts, s)
}

func startOn(t testing.TB, l net.Listener, opts Options, s *service) *harness {
	s.entered, s.left, s.release = make(chan context.Context, 100), make(chan error, 100), make(chan struct{})
	h := &harness{t: t, service: s, server: New(withDefaults(opts)), addr: l.Addr().String(), served: make(chan error, 1)}
	h.server.RegisterService(&serviceDesc, s)
	go func() { h.served <- h.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := await(t, h.shutdown(ctx)); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := await(t, h.served); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	return h
}

// withDefaults are bounds that a test does not meet unless it is about them.
func withDefaults(o Options) Options {
	set(&o.MessageBytesMax, 8<<20)
	set(&o.MaxStreams, 1000)
	set(&o.HandshakeTimeout, patience)
	set(&o.PingMin, time.Hour)
	set(&o.PingAfter, time.Hour)
	set(&o.PingTimeout, time.Hour)
	return o
}

func set[T comparable](option *T, value T) {
	var none T
	if *option == none {
		*option = value
	}
}

// dial gives a client of grpc-go.
func (h *harness) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	h.t.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}, opts...)
	conn, err := grpc.NewClient("passthrough:///"+h.addr, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// patient gives a context for what must come.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// invoke makes a call.
func invoke(ctx context.Context, conn *grpc.ClientConn, path string, in []byte, opts ...grpc.CallOption) ([]byte, error) {
	out := new(wrapperspb.BytesValue)
	err := conn.Invoke(ctx, path, wrapperspb.Bytes(in), out, opts...)
	return out.Value, err
}

// stream opens a stream.
func (h *harness) stream(ctx context.Context, conn *grpc.ClientConn, path string, opts ...grpc.CallOption) grpc.ClientStream {
	h.t.Helper()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, path, opts...)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// receive gives the next message of a stream.
func receive(s interface{ RecvMsg(any) error }) ([]byte, error) {
	m := new(wrapperspb.BytesValue)
	err := s.RecvMsg(m)
	return m.Value, err
}

// await gives what comes through a channel.
func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience + patience/2): // more than what is bounded by patience itself
		t.Fatal("what should have come did not")
		panic("unreachable")
	}
}

func wantCode(t testing.TB, err error, code codes.Code, words string) {
	t.Helper()
	if s := status.Convert(err); s.Code() != code || s.Message() != words {
		t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), code, words)
	}
}

func orEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
