package grpcsvc

import (
	"context"
	"math"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// received is a request of a stream, or how its requests ended: io.EOF when the client has no more of them.
type received[Request any] struct {
	request *Request
	err     error
}

// receivedMax bounds the requests that wait for a handler; a client that sends more is held back by flow control.
const receivedMax = 16

// receive reads a stream's requests on a goroutine of its own, so that the handler can wait for other things too. The
// goroutine ends with the stream.
func receive[Request, Response any](s *Server, stream grpc.BidiStreamingServer[Request, Response]) <-chan received[Request] {
	requests := make(chan received[Request], receivedMax)
	done := stream.Context().Done()
	s.receivers.Go(func() {
		for {
			request, err := stream.Recv()
			select {
			case requests <- received[Request]{request, err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	})
	return requests
}

// requireLeader refuses a call whose client asked for that when there is no leader. Calls that go through the log, or
// read linearizably, need no such question: core answers it.
func (s *Server) requireLeader(ctx context.Context) error {
	asked := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	if len(asked) != 0 && asked[0] == rpctypes.MetadataHasLeader && s.store.Status().Leader == 0 {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}

// envelopeBytes is what etcd adds to a request when it marshals it for its log, where it counts.
const envelopeBytes = 18

func (s *Server) tooLarge(requestBytes int) bool {
	return requestBytes > math.MaxInt-envelopeBytes || requestBytes+envelopeBytes > s.opts.MaxRequestBytes
}
