package grpcsvc

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// reflectionService tells tools such as grpcurl which calls there are, and of which messages. etcd has no such service.
// The library's server answers until the client goes away; here Shutdown ends that too.
type reflectionService struct {
	reflectionpb.ServerReflectionServer
	*Server
}

func newReflection(s *Server, services reflection.ServiceInfoProvider) *reflectionService {
	return &reflectionService{reflection.NewServerV1(reflection.ServerOptions{Services: services}), s}
}

// ServerReflectionInfo answers until the client or the server ends.
func (s *reflectionService) ServerReflectionInfo(stream reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	return s.ServerReflectionServer.ServerReflectionInfo(&reflectionStream{stream, receive(s.Server, stream), s.lifetime})
}

// reflectionStream is a stream whose requests end with the server.
type reflectionStream struct {
	reflectionpb.ServerReflection_ServerReflectionInfoServer
	requests <-chan received[reflectionpb.ServerReflectionRequest]
	lifetime context.Context
}

func (s *reflectionStream) Recv() (*reflectionpb.ServerReflectionRequest, error) {
	select {
	case r := <-s.requests:
		return r.request, r.err
	case <-s.lifetime.Done():
		return nil, rpctypes.ErrGRPCStopped
	}
}
