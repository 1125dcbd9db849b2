package grpcsvc

import (
	"math"

	"google.golang.org/grpc"
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
	s.owned.Go(func() {
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

// envelopeBytes is what etcd adds to a request when it marshals it for its log, where it counts.
const envelopeBytes = 18

func (s *Server) tooLarge(requestBytes int) bool {
	return requestBytes > math.MaxInt-envelopeBytes || requestBytes+envelopeBytes > s.opts.MaxRequestBytes
}
