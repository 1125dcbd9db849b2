package h2

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// idlersMax is how many workers wait for a call at most. A worker that was used before has the stack that calls need.
const idlersMax = 512

// handle has a stream handled, by a worker that waits if there is one. It never blocks.
func (s *Server) handle(st *stream) {
	select {
	case s.idle <- st:
	default:
		go s.work(st)
	}
}

func (s *Server) work(st *stream) {
	var scratch []byte
	for st != nil {
		st.scratch = scratch
		st.handle()
		scratch = keep(st.scratch, &messages)
		if s.idlers.Add(1) > idlersMax {
			s.idlers.Add(-1)
			return
		}
		st = <-s.idle // nil when the server has ended
		s.idlers.Add(-1)
	}
}

// handle is a stream's life from its header, or from the end of its request, to the end of its answer.
func (st *stream) handle() {
	switch {
	case !st.head.isCall:
		st.c.srv.serveHTTP(st)
	case st.method == nil:
		st.done(unknownMethod(st.c.srv, st.head.path))
	case st.method.unary != nil:
		st.call()
	default:
		st.done(statusOf(st.converse()))
	}
}

// call answers a request that is there as a whole.
func (st *stream) call() {
	answer, err := st.method.unary(st.method.server, &st.within, st.request, st.c.srv.unary)
	if err != nil {
		st.done(statusOf(err))
		return
	}
	b, err := st.marshal(answer)
	if err != nil {
		st.done(statusOf(err))
		return
	}
	st.answer(b)
}

// request decodes the request of a call.
func (st *stream) request(into any) error {
	st.c.mu.Lock()
	in := st.in
	st.in = nil
	st.c.mu.Unlock()
	if len(in) < messageHeadBytes || len(in) != messageHeadBytes+messageLength(in) {
		return notOneMessage.Err()
	}
	b, err := st.expand(in)
	if err != nil {
		return err
	}
	return unmarshal(b, into)
}

// converse runs the handler of a stream.
func (st *stream) converse() error {
	if around := st.c.srv.stream; around != nil {
		return around(st.method.server, st, &st.method.info, st.method.stream)
	}
	return st.method.stream(st.method.server, st)
}

// answer ends a call with its answer.
func (st *stream) answer(b []byte) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaitRoom(st) == nil {
		st.sendHead()
		if c.send(st, b, false) == nil && st.ended == nil {
			st.finish(nil)
		}
	}
	st.leave()
}

// done ends a stream that has no more to send, with its status.
func (st *stream) done(s *status.Status) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.awaitRoom(st) == nil {
		st.finish(s)
	}
	st.leave()
}

// leave notes that a handler has returned, and writes what it has left. The caller holds mu.
func (st *stream) leave() {
	c := st.c
	if st.ended == nil { // its deadline came while it waited to send
		c.out = appendReset(c.out, st.id, codeCancel)
		c.drop(st, context.DeadlineExceeded)
	}
	c.running--
	if st.orphan {
		c.orphans--
	}
	st.cancel()
	c.write()
	c.changed.Broadcast()
}

// Fields of every answer.
var (
	fieldStatus200 = hpack.HeaderField{Name: ":status", Value: "200"}
	fieldOK        = hpack.HeaderField{Name: "grpc-status", Value: "0"}
)

// headFields are those of an answer's header.
func (st *stream) headFields() []hpack.HeaderField {
	fields := []hpack.HeaderField{fieldStatus200, {Name: "content-type", Value: contentType + st.head.subtype, Sensitive: true}}
	return appendMetadata(fields, st.header)
}

// sendHead adds the header of the answer if it is not out. The caller holds mu.
func (st *stream) sendHead() {
	if st.headed {
		return
	}
	st.headed = true
	if st.header == nil && st.head.subtype == "" {
		st.c.appendFixed(st.id, &plainHead)
	} else {
		st.c.appendHeaders(st.id, false, st.headFields()...)
	}
}

// finish adds what ends a stream: its status, nil = OK. The caller holds mu.
func (st *stream) finish(s *status.Status) {
	c := st.c
	if st.header != nil {
		st.sendHead()
	}
	if st.headed && s == nil && st.trailer == nil {
		c.appendFixed(st.id, &plainTrailer)
	} else {
		var fields []hpack.HeaderField
		if !st.headed {
			st.headed = true
			fields = st.headFields()
		}
		c.appendHeaders(st.id, true, appendMetadata(appendStatus(fields, s), st.trailer)...)
	}
	c.close(st)
	st.ended = errEnded
	st.in = nil
	st.arrived()
}

// close is the end of a stream that is answered. The caller holds mu.
func (c *conn) close(st *stream) {
	if !st.received { // the client need not send the rest
		c.out = appendReset(c.out, st.id, codeNone)
		c.forgone[c.forgo] = st.id
		c.forgo = (c.forgo + 1) % forgoneMax
	}
	delete(c.streams, st.id)
}

// isForgone reports whether a stream was answered not long ago, before its request was complete.
func (c *conn) isForgone(id uint32) bool { return slices.Contains(c.forgone[:], id) }

var errEnded = status.Error(codes.Internal, "the stream has been answered")

// appendStatus adds how a call ended. Its fields are left out of the table, as are all that are not fixed.
func appendStatus(fields []hpack.HeaderField, s *status.Status) []hpack.HeaderField {
	fields = append(fields,
		hpack.HeaderField{Name: "grpc-status", Value: strconv.Itoa(int(s.Code())), Sensitive: true},
		hpack.HeaderField{Name: "grpc-message", Value: escape(s.Message()), Sensitive: true})
	if p := s.Proto(); len(p.GetDetails()) > 0 {
		if details, err := proto.Marshal(p); err == nil {
			fields = append(fields, hpack.HeaderField{
				Name: "grpc-status-details-bin", Value: base64.RawStdEncoding.EncodeToString(details), Sensitive: true,
			})
		}
	}
	return fields
}

func appendMetadata(fields []hpack.HeaderField, md metadata.MD) []hpack.HeaderField {
	for name, values := range md {
		if name = strings.ToLower(name); reserved[name] || name == "content-type" || strings.HasPrefix(name, ":") {
			continue
		}
		for _, value := range values {
			if strings.HasSuffix(name, "-bin") {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			fields = append(fields, hpack.HeaderField{Name: name, Value: value, Sensitive: true})
		}
	}
	return fields
}

// escape writes a text as grpc-message has it: what is not printable ASCII, and the sign for that, in hexadecimal.
func escape(text string) string {
	plain := true
	for i := range len(text) {
		plain = plain && text[i] >= ' ' && text[i] <= '~' && text[i] != '%'
	}
	if plain {
		return text
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		if r >= ' ' && r <= '~' && r != '%' {
			b.WriteRune(r)
			continue
		}
		for _, octet := range []byte(string(r)) {
			fmt.Fprintf(&b, "%%%02X", octet)
		}
	}
	return b.String()
}

// statusOf is how a handler's error is told, nil for none.
func statusOf(err error) *status.Status {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok {
		return s
	}
	return status.FromContextError(err)
}

// unknownMethod words as grpc-go does that nobody serves a path.
func unknownMethod(s *Server, path string) *status.Status {
	rest := strings.TrimPrefix(path, "/")
	at := strings.LastIndex(rest, "/")
	if at < 0 {
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	}
	service, name := rest[:at], rest[at+1:]
	if _, known := s.info[service]; known {
		return status.Newf(codes.Unimplemented, "unknown method %v for service %v", name, service)
	}
	return status.Newf(codes.Unimplemented, "unknown service %v", service)
}

// chainUnary makes one interceptor of several.
func chainUnary(list []grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	if len(list) == 0 {
		return nil
	}
	first, rest := list[0], chainUnary(list[1:])
	if rest == nil {
		return first
	}
	return func(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return first(ctx, r, info, func(ctx context.Context, r any) (any, error) { return rest(ctx, r, info, handle) })
	}
}

// chainStream makes one interceptor of several.
func chainStream(list []grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	if len(list) == 0 {
		return nil
	}
	first, rest := list[0], chainStream(list[1:])
	if rest == nil {
		return first
	}
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		return first(server, stream, info, func(server any, stream grpc.ServerStream) error { return rest(server, stream, info, handle) })
	}
}
