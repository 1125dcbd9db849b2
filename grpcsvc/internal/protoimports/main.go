// Command protoimports writes to a file, as one FileDescriptorSet, the definitions that lock.proto and election.proto
// import: etcd's messages and the HTTP annotations. They come as generated code, of which protoc reads nothing else.
// `make generate` runs it.
package main

import (
	"log"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/grpcsvc/internal/descriptors"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: protoimports FILE")
	}
	set, err := descriptors.Set(pb.File_rpc_proto)
	if err != nil {
		log.Fatal(err)
	}
	encoded, err := proto.Marshal(set)
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(os.Args[1], encoded, 0o644); err != nil {
		log.Fatal(err)
	}
}
