package transport

import (
	"context"

	"google.golang.org/grpc"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// The service of peer.proto, as gRPC wants it described. There are few methods, and frames are not decoded as generated
// code would do it.

const serviceName = "triglot.peer.Peer"

func fullName(method string) string { return "/" + serviceName + "/" + method }

func methodOf(c class) *grpc.StreamDesc {
	if c == classUrgent {
		return urgentStream
	}
	return bulkStream
}

var (
	urgentStream   = &grpc.StreamDesc{StreamName: "Urgent", ClientStreams: true, ServerStreams: true}
	bulkStream     = &grpc.StreamDesc{StreamName: "Bulk", ClientStreams: true, ServerStreams: true}
	snapshotStream = &grpc.StreamDesc{StreamName: "Snapshot", ClientStreams: true, ServerStreams: true}
)

func serviceDesc() *grpc.ServiceDesc {
	handled := func(d *grpc.StreamDesc, serve func(*Transport, grpc.ServerStream) error) grpc.StreamDesc {
		out := *d
		out.Handler = func(srv any, stream grpc.ServerStream) error { return serve(srv.(*Transport), stream) }
		return out
	}
	return &grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*any)(nil),
		Metadata:    "raftlog/transport/peerpb/peer.proto",
		Streams: []grpc.StreamDesc{
			handled(urgentStream, func(t *Transport, s grpc.ServerStream) error { return t.serveMessages(s, classUrgent) }),
			handled(bulkStream, func(t *Transport, s grpc.ServerStream) error { return t.serveMessages(s, classBulk) }),
			handled(snapshotStream, (*Transport).serveSnapshot),
		},
		Methods: []grpc.MethodDesc{
			unary("Call", (*Transport).serveCall),
			unary("Describe", (*Transport).serveDescribe),
			unary("Ping", (*Transport).servePing),
		},
	}
}

// unary describes a method with one request and one answer.
func unary[Request any, Answer any](name string, serve func(*Transport, context.Context, *Request) (*Answer, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			request := new(Request)
			if err := decode(request); err != nil {
				return nil, err
			}
			return serve(srv.(*Transport), ctx, request)
		},
	}
}

func (t *Transport) servePing(ctx context.Context, _ *peerpb.Nothing) (*peerpb.Nothing, error) {
	_, err := t.admit(ctx)
	return &peerpb.Nothing{}, err
}

func (t *Transport) serveDescribe(context.Context, *peerpb.Nothing) (*peerpb.Answer, error) {
	return &peerpb.Answer{Answer: t.handler.Description()}, nil
}

func (t *Transport) serveCall(ctx context.Context, question *peerpb.Question) (*peerpb.Answer, error) {
	hello, err := t.admit(ctx)
	if err != nil {
		return nil, err
	}
	answer := t.handler.ServeCall(ctx, hello.From, question.Question)
	counts := t.counts.of(hello.From)
	counts.receivedBytes.Add(uint64(len(question.Question)))
	counts.sentBytes.Add(uint64(len(answer)))
	return &peerpb.Answer{Answer: answer}, nil
}
