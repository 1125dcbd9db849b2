package transport

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

func encode(t testing.TB, messages ...*raftpb.Message) []byte {
	b, err := proto.Marshal(&peerpb.Messages{Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzMessages compares the decoder with the library's: what one takes, the other takes, and as the same.
func FuzzMessages(f *testing.F) {
	whole := app(1, 2, 3, []byte("data"), nil, []byte{})
	whole.Snapshot = &raftpb.Snapshot{Data: []byte("d"), Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: []uint64{1}}}}
	whole.Reject, whole.RejectHint, whole.Context = new(true), new(uint64(4)), []byte("c")
	f.Add(encode(f, whole, message(raftpb.MsgHeartbeat, 1, 2, 3)))
	f.Add(encode(f, app(1, 2, 3, []byte("x"))))
	// Fields between entries, unknown ones, and an entry that has one.
	odd := encode(f, app(1, 2, 3, []byte("x")))
	_, _, n := protowire.ConsumeTag(odd)
	content, _ := protowire.ConsumeBytes(odd[n:])
	content = append(bytes.Clone(content), content...)
	content = protowire.AppendTag(content, 99, protowire.BytesType)
	content = protowire.AppendString(content, "unknown")
	entry := protowire.AppendTag(nil, 50, protowire.VarintType)
	entry = protowire.AppendVarint(entry, 1)
	content = protowire.AppendTag(content, messageEntries, protowire.BytesType)
	content = protowire.AppendBytes(content, entry)
	frame := protowire.AppendTag(nil, messagesField, protowire.BytesType)
	f.Add(protowire.AppendBytes(frame, content))
	f.Add([]byte{0x0a, 0x05, 0x3a})
	f.Add([]byte("\xe8\xe8\xe8\xe800")) // a number that no field can have
	f.Fuzz(func(t *testing.T, b []byte) {
		var theirs peerpb.Messages
		messages, ourErr := decodeMessages(bytes.Clone(b))
		theirErr := proto.Unmarshal(b, &theirs)
		if (ourErr == nil) != (theirErr == nil) {
			t.Fatalf("here %v, in the library %v", ourErr, theirErr)
		}
		if ourErr != nil {
			return
		}
		theirs.ProtoReflect().SetUnknown(nil) // what is beside the messages is skipped here
		if ours := (&peerpb.Messages{Messages: messages}); !proto.Equal(ours, &theirs) {
			t.Fatalf("here\n%v\nin the library\n%v", ours, &theirs)
		}
	})
}

func TestPayloadsAreNotCopied(t *testing.T) {
	b := encode(t, app(1, 2, 3, []byte("first"), []byte("second")))
	messages, err := decodeMessages(b)
	if err != nil {
		t.Fatal(err)
	}
	first := messages[0].Entries[0].Data
	b[bytes.Index(b, []byte("first"))] = 'F'
	if string(first) != "First" {
		t.Error("a payload was copied")
	}
	if grown := append(first, 'x'); string(messages[0].Entries[1].Data) != "second" || len(grown) != 6 {
		t.Error("appending to a payload writes into the frame")
	}
}
