// Package descriptors gives the definitions that generated code carries as a whole that others can read: protoc, which
// compiles what imports them, and clients that ask a server what it offers.
package descriptors

import (
	"path"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Set gives files with all that they import, each after what it imports.
//
// etcd's code is generated within the folder of each definition, and so names its files by their last element while they
// import each other by whole paths. Here an import is named as its file is.
func Set(files ...protoreflect.FileDescriptor) (*descriptorpb.FileDescriptorSet, error) {
	c := &collector{set: &descriptorpb.FileDescriptorSet{}, done: map[string]bool{}}
	for _, file := range files {
		if err := c.collect(file); err != nil {
			return nil, err
		}
	}
	return c.set, nil
}

type collector struct {
	set  *descriptorpb.FileDescriptorSet
	done map[string]bool // by path
}

func (c *collector) collect(file protoreflect.FileDescriptor) error {
	if c.done[file.Path()] {
		return nil
	}
	c.done[file.Path()] = true
	described := protodesc.ToFileDescriptorProto(file)
	imports := file.Imports()
	for i := range imports.Len() {
		imported := imports.Get(i).FileDescriptor
		if imported.IsPlaceholder() {
			found, err := protoregistry.GlobalFiles.FindFileByPath(path.Base(imported.Path()))
			if err != nil {
				return err
			}
			imported = found
		}
		described.Dependency[i] = imported.Path()
		if err := c.collect(imported); err != nil {
			return err
		}
	}
	c.set.File = append(c.set.File, described)
	return nil
}
