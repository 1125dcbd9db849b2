package grpcsvc

import (
	"context"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

// reflectionService tells tools such as grpcurl which calls there are, and of which messages. etcd has no such service.
type reflectionService struct {
	reflectionpb.ServerReflectionServer
	lifetime context.Context
}

func newReflection(s *Server) *reflectionService {
	return &reflectionService{reflection.NewServerV1(reflection.ServerOptions{Services: s.grpc}), s.lifetime}
}

// ServerReflectionInfo answers until the client or the server ends; the library's own goes on as long as the client does.
func (s *reflectionService) ServerReflectionInfo(stream reflectionpb.ServerReflection_ServerReflectionInfoServer) error {
	ended := make(chan error, 1)
	go func() { ended <- s.ServerReflectionServer.ServerReflectionInfo(stream) }() // which the stream's end ends
	select {
	case err := <-ended:
		return err
	case <-s.lifetime.Done():
		return rpctypes.ErrGRPCStopped
	}
}
