package grpcsvc

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/triglot/triglot/core"
)

func TestASnapshotIsCutIntoChunksThatSayWhatRemains(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	for _, size := range []int{0, 1, snapshotChunkBytes, snapshotChunkBytes + 1, 100_000} {
		var got []byte
		out := &snapshotStream{total: int64(size), send: func(r *pb.SnapshotResponse) error {
			got = append(got, r.Blob...)
			if len(r.Blob) == 0 || len(r.Blob) > snapshotChunkBytes || int(r.RemainingBytes) != size-len(got) || r.Version != "3.7.0" {
				t.Errorf("%d bytes, %d remaining, version %s", len(r.Blob), r.RemainingBytes, r.Version)
			}
			return nil
		}}
		for rest := content[:size]; len(rest) > 0; { // in pieces of any size
			n := min(len(rest), 7001)
			if _, err := out.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := out.finish(); err != nil || !bytes.Equal(got, content[:size]) {
			t.Errorf("%d bytes of %d: %v", len(got), size, err)
		}
	}
}

func TestASnapshotOfAnotherLengthThanAnnouncedFails(t *testing.T) {
	for _, total := range []int64{4, 6} {
		out := &snapshotStream{total: total, send: func(*pb.SnapshotResponse) error { return nil }}
		_, err := out.Write([]byte("12345"))
		if err == nil {
			err = out.finish()
		}
		if err == nil {
			t.Errorf("5 bytes where %d were announced", total)
		}
	}
}

// What etcdctl does with a snapshot: it writes all blobs to a file, and wants a hash at its end.
func TestASnapshotIsABackupWithItsHash(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	stream := must(n.maintenance().Snapshot(n.ctx, &pb.SnapshotRequest{}))(t)
	var file []byte
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		file = append(file, r.Blob...)
	}
	if len(file)%512 != sha256.Size {
		t.Fatalf("%d bytes: etcdctl finds no hash", len(file))
	}
	content, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if want := sha256.Sum256(content); !bytes.Equal(sum, want[:]) {
		t.Error("the hash is not that of the content")
	}
	if _, err := core.InspectBackup(bytes.NewReader(file), nil); err != nil {
		t.Fatalf("the backup is not readable: %v", err)
	}
}
