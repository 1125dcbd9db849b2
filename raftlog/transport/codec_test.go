package transport

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

func encode(t testing.TB, messages ...*raftpb.Message) []byte {
	b, err := proto.Marshal(&peerpb.Frame{Messages: messages})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzFrame compares the decoder with the library's: what one takes, the other takes, and as the same.
func FuzzFrame(f *testing.F) {
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
	frame := protowire.AppendTag(nil, frameMessages, protowire.BytesType)
	f.Add(protowire.AppendBytes(frame, content))
	f.Add([]byte{0x0a, 0x05, 0x3a})
	f.Add([]byte("\xe8\xe8\xe8\xe800")) // a number that no field can have
	f.Fuzz(func(t *testing.T, b []byte) {
		var ours, theirs peerpb.Frame
		ourErr, theirErr := decodeFrame(bytes.Clone(b), &ours), proto.Unmarshal(b, &theirs)
		if (ourErr == nil) != (theirErr == nil) {
			t.Fatalf("here %v, in the library %v", ourErr, theirErr)
		}
		if ourErr != nil {
			return
		}
		theirs.ProtoReflect().SetUnknown(nil) // a frame's own are skipped here
		if !proto.Equal(&ours, &theirs) {
			t.Fatalf("here\n%v\nin the library\n%v", &ours, &theirs)
		}
	})
}

func TestPayloadsAreNotCopied(t *testing.T) {
	b := encode(t, app(1, 2, 3, []byte("first"), []byte("second")))
	var f peerpb.Frame
	if err := decodeFrame(b, &f); err != nil {
		t.Fatal(err)
	}
	first := f.Messages[0].Entries[0].Data
	b[bytes.Index(b, []byte("first"))] = 'F'
	if string(first) != "First" {
		t.Error("a payload was copied")
	}
	if grown := append(first, 'x'); string(f.Messages[0].Entries[1].Data) != "second" || len(grown) != 6 {
		t.Error("appending to a payload writes into the frame")
	}
}

func TestTheCodecCounts(t *testing.T) {
	sent := &frame{pb: peerpb.Frame{Messages: []*raftpb.Message{app(1, 2, 3, make([]byte, 5000))}}}
	data, err := codec{}.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var received frame
	if err := (codec{}).Unmarshal(data, &received); err != nil {
		t.Fatal(err)
	}
	if sent.bytes != data.Len() || received.bytes != data.Len() || !proto.Equal(&sent.pb, &received.pb) {
		t.Errorf("%d bytes, sent %d, received %d", data.Len(), sent.bytes, received.bytes)
	}
	small, err := codec{}.Marshal(&peerpb.Answer{Answer: []byte("a")})
	if err != nil {
		t.Fatal(err)
	}
	answer := &peerpb.Answer{}
	if err := (codec{}).Unmarshal(mem.BufferSlice(small), answer); err != nil || string(answer.Answer) != "a" {
		t.Errorf("%v, %v", answer, err)
	}
}
