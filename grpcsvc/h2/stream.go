package h2

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// stream is one call or stream of gRPC, or one request of HTTP.
type stream struct {
	c      *conn
	id     uint32
	head   *head
	method *method // nil: nobody's
	ctx    context.Context
	cancel context.CancelFunc
	within callContext
	bare   bool // the request is a header and no more
	whole  bool // its handler begins when the request is there as a whole

	// The connection's mu guards the fields below.
	in       []byte        // what the client sent and nobody took
	received bool          // the client has sent all
	orphan   bool          // the client has no use for what the handler does
	handled  bool          // a handler has begun
	ended    error         // why nothing can be sent any more
	window   int           // what may be sent to the client
	space    int           // what the client may send
	credit   int           // what it sent and was not allowed again
	total    int64         // what it sent
	headed   bool          // the header of the answer is out
	room     chan struct{} // capacity 1: window may have grown; nil until somebody waits
	news     chan struct{} // capacity 1: something was received, or the stream has ended; nil until somebody waits
	header   metadata.MD   // to be sent with the answer's header
	trailer  metadata.MD   // to be sent behind the answer

	scratch []byte // of the handler, for what it sends
}

// newStream makes a stream. The caller holds the connection's mu.
func newStream(c *conn, id uint32, h *head) *stream {
	st := &stream{c: c, id: id, head: h, method: h.row, window: c.starting, space: streamWindow}
	ctx := h.ctx
	if ctx == nil {
		ctx = c.base
	}
	if h.limited {
		st.ctx, st.cancel = context.WithTimeout(ctx, h.timeout)
	} else {
		st.ctx, st.cancel = context.WithCancel(ctx)
	}
	st.within = callContext{st.ctx, st}
	return st
}

const messageHeadBytes = 5 // of a message of gRPC: whether it is compressed, its length

// messageLength is the length of a message, by its head.
func messageLength(b []byte) int { return int(binary.BigEndian.Uint32(b[1:])) }

// take adds what the client has sent. The caller holds mu.
func (st *stream) take(data []byte) {
	st.credit += len(data)
	st.total += int64(len(data))
	if !st.whole {
		st.in = append(st.in, data...)
		st.arrived()
		return
	}
	if st.in == nil && st.head.isCall {
		st.in = make([]byte, 0, expected(data))
	}
	if st.in = append(st.in, data...); st.head.isCall && len(st.in) >= messageHeadBytes {
		var refusal *status.Status
		if n := messageLength(st.in); n > st.c.srv.opts.MessageBytesMax {
			refusal = st.tooLarge(n)
		} else if len(st.in) > messageHeadBytes+n {
			refusal = notOneMessage
		}
		if refusal != nil {
			st.handled = true
			st.c.running--
			st.finish(refusal)
			st.cancel()
			return
		}
	}
	st.giveBack(0)
}

var notOneMessage = status.New(codes.Internal, "the request of a call is not one message")

// expected is how much memory is worth having for a request of which this is the beginning: all that it says it needs if that is
// little.
func expected(first []byte) int {
	if len(first) >= messageHeadBytes {
		if n := messageHeadBytes + messageLength(first); n <= frameBytesMin {
			return max(n, len(first))
		}
	}
	return len(first)
}

func (st *stream) tooLarge(n int) *status.Status {
	return status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, st.c.srv.opts.MessageBytesMax)
}

// giveBack allows the client to send again what was taken, all but so many bytes that nobody wants yet. It does when that is much,
// since each time is a frame. The caller holds mu.
func (st *stream) giveBack(but int) {
	if n := st.credit - but; n >= streamWindow/4 && !st.received {
		st.space += n
		st.credit -= n
		st.c.out = appendWindowUpdate(st.c.out, st.id, n)
	}
}

// arrived wakes who waits to receive. The caller holds mu.
func (st *stream) arrived() { wake(st.news) }

// allow wakes who waits to send. The caller holds mu.
func (st *stream) allow() { wake(st.room) }

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // nobody waits, or somebody will look anyway
	}
}

// drop ends a stream that is not to be answered. The caller holds mu.
func (c *conn) drop(st *stream, why error) {
	delete(c.streams, st.id)
	st.lost(why)
}

// lost is drop for a stream that is no longer among the connection's.
func (st *stream) lost(why error) {
	if st.ended == nil {
		st.ended = why
	}
	st.in = nil
	st.cancel()
	st.allow()
	st.arrived()
	if st.handled {
		st.orphan = true
		st.c.orphans++
	} else {
		st.handled = true
		st.c.running--
	}
	st.c.changed.Broadcast()
}

// abort ends a stream by a fault of the client. The caller holds mu.
func (c *conn) abort(st *stream, code errorCode) {
	c.out = appendReset(c.out, st.id, code)
	c.drop(st, status.Error(codes.Internal, "the client has broken the rules of HTTP/2"))
}

// message waits for the next message of the client. It holds until the next. At their end the error is io.EOF.
func (st *stream) message() ([]byte, error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if len(st.in) >= messageHeadBytes {
			n := messageLength(st.in)
			if n > c.srv.opts.MessageBytesMax {
				return nil, st.tooLarge(n).Err()
			}
			if end := messageHeadBytes + n; len(st.in) >= end {
				message := st.in[:end:end]
				st.in = st.in[end:] // what is received from now on is added behind
				st.giveBack(len(st.in))
				c.write()
				return st.expand(message)
			}
		}
		if st.ended != nil {
			return nil, st.ended
		}
		if st.received {
			if len(st.in) == 0 {
				return nil, io.EOF
			}
			return nil, status.Error(codes.Internal, io.ErrUnexpectedEOF.Error())
		}
		if err := st.awaitNews(); err != nil {
			return nil, err
		}
	}
}

// awaitNews waits for the client to send something, once it may. The caller holds mu, which is free meanwhile.
func (st *stream) awaitNews() error {
	if st.news == nil {
		st.news = make(chan struct{}, 1) // before mu is free for the first time: what comes then must be heard
	}
	st.giveBack(0)
	st.c.write()
	return st.await(st.news)
}

// await waits for a signal. The error is the context's. The caller holds mu, which is free meanwhile.
func (st *stream) await(signal <-chan struct{}) error {
	st.c.mu.Unlock()
	defer st.c.mu.Lock()
	select {
	case <-signal:
		return nil
	case <-st.ctx.Done():
		return status.FromContextError(st.ctx.Err()).Err()
	}
}

// expand takes the head off a message, and decompresses what is behind it.
func (st *stream) expand(message []byte) ([]byte, error) {
	compressed, body := message[0], message[messageHeadBytes:]
	if compressed == 0 {
		return body, nil
	}
	if st.head.encoding == "" || st.head.encoding == encoding.Identity {
		return nil, status.Error(codes.Internal, "grpc: compressed flag set with identity or empty encoding")
	}
	compressor := encoding.GetCompressor(st.head.encoding)
	if compressor == nil {
		return nil, status.Errorf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", st.head.encoding)
	}
	plain, err := compressor.Decompress(bytes.NewReader(body))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	bytesMax := st.c.srv.opts.MessageBytesMax
	whole, err := io.ReadAll(io.LimitReader(plain, int64(bytesMax)+1))
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	if len(whole) > bytesMax {
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: received message after decompression larger than max %d", bytesMax)
	}
	return whole, nil
}

// unmarshal decodes a message.
func unmarshal(b []byte, into any) error {
	m, ok := into.(proto.Message)
	if !ok {
		return status.Errorf(codes.Internal, "grpc: %T is no message", into)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}

// marshal encodes a message with its head, into memory that the next one uses again.
func (st *stream) marshal(answer any) ([]byte, error) {
	m, ok := answer.(proto.Message)
	if !ok {
		return nil, status.Errorf(codes.Internal, "grpc: %T is no message", answer)
	}
	room := st.scratch
	if bytes := messageHeadBytes + proto.Size(m); bytes > cap(room) && bytes > keptOutBytes {
		room = messageRoom(bytes)
	}
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(append(room[:0], make([]byte, messageHeadBytes)...), m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	if uint64(len(b)-messageHeadBytes) > uint64(^uint32(0)) {
		return nil, status.Error(codes.ResourceExhausted, "grpc: message too large")
	}
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-messageHeadBytes))
	st.scratch = b
	return b, nil
}

// Context implements grpc.ServerStream.
func (st *stream) Context() context.Context { return &st.within }

// RecvMsg implements grpc.ServerStream.
func (st *stream) RecvMsg(into any) error {
	b, err := st.message()
	if err != nil {
		return err
	}
	return unmarshal(b, into)
}

// SendMsg implements grpc.ServerStream. It returns when the message is on its way to the socket, as far as the client's windows
// let it.
func (st *stream) SendMsg(message any) error {
	b, err := st.marshal(message)
	if err != nil {
		return err
	}
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.ended != nil {
		return st.ended
	}
	st.sendHead()
	err = c.send(st, b, false)
	c.write()
	st.scratch = keep(st.scratch, &messages)
	return err
}

// SetHeader implements grpc.ServerStream.
func (st *stream) SetHeader(md metadata.MD) error {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.headed {
		return errHeaded
	}
	st.header = metadata.Join(st.header, md)
	return nil
}

var errHeaded = status.Error(codes.Internal, "the header was sent already")

// SendHeader implements grpc.ServerStream.
func (st *stream) SendHeader(md metadata.MD) error {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	if st.headed {
		return errHeaded
	}
	if err := st.c.awaitRoom(st); err != nil {
		return err
	}
	st.header = metadata.Join(st.header, md)
	st.sendHead()
	st.c.write()
	return nil
}

// SetTrailer implements grpc.ServerStream.
func (st *stream) SetTrailer(md metadata.MD) {
	st.c.mu.Lock()
	defer st.c.mu.Unlock()
	st.trailer = metadata.Join(st.trailer, md)
}
