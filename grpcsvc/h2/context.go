package h2

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// callContext is the context that handlers are given: the stream's, which leads to the stream itself as well.
type callContext struct {
	context.Context
	st *stream
}

type headKey struct{}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key {
	case transportKey:
		return transportStream{c.st}
	case headKey{}:
		return c.st.head
	}
	return c.Context.Value(key)
}

// transportKey is what grpc.SetHeader and the like look for their stream by. It is theirs alone, so it is asked for.
var transportKey = func() any {
	var asked keyNote
	grpc.ServerTransportStreamFromContext(&asked)
	return asked.key
}()

// keyNote is a context that notes what it is asked for.
type keyNote struct {
	context.Context
	key any
}

// Value implements context.Context.
func (n *keyNote) Value(key any) any {
	n.key = key
	return nil
}

// Field gives the first value of a field of a call's metadata. It costs less than to look there, where each look copies.
func Field(ctx context.Context, name string) (value string, ok bool) {
	if h, ok := ctx.Value(headKey{}).(*head); ok {
		return h.field(name)
	}
	if values := metadata.ValueFromIncomingContext(ctx, name); len(values) > 0 {
		return values[0], true
	}
	return "", false
}

// transportStream is a stream as grpc.SetHeader and the like look for it.
type transportStream struct{ *stream }

// Method implements grpc.ServerTransportStream.
func (t transportStream) Method() string { return t.head.path }

// SetTrailer implements grpc.ServerTransportStream.
func (t transportStream) SetTrailer(md metadata.MD) error {
	t.stream.SetTrailer(md)
	return nil
}
