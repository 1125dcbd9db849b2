package grpcsvc

import (
	"slices"
	"testing"

	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

func TestReflectionListsTheServicesAndEndsWithTheServer(t *testing.T) {
	n := startNode(t, Options{})
	stream := must(reflectionpb.NewServerReflectionClient(n.conn).ServerReflectionInfo(n.ctx))(t)
	ask := func(request *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		return must(stream.Recv())(t)
	}
	list := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
	var names []string
	for _, service := range list.GetListServicesResponse().GetService() {
		names = append(names, service.Name)
	}
	for _, want := range []string{"etcdserverpb.KV", "v3lockpb.Lock", "v3electionpb.Election", "grpc.health.v1.Health"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %q", want, names)
		}
		file := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{
			FileContainingSymbol: want,
		}})
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("nothing is told of %s: %v", want, file)
		}
	}
	if err := n.server.Shutdown(n.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on after the server")
	}
}
