package grpcsvc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/metadata"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/etcdfile"
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

// takeSnapshot does what etcdctl does: it writes all blobs to a file, and wants a hash at its end.
func (n *node) takeSnapshot(ctx context.Context) (path string, content []byte) {
	n.t.Helper()
	stream := must(n.maintenance().Snapshot(ctx, &pb.SnapshotRequest{}))(n.t)
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			n.t.Fatal(err)
		}
		content = append(content, r.Blob...)
	}
	if len(content)%512 != sha256.Size {
		n.t.Fatalf("%d bytes: etcdctl finds no hash", len(content))
	}
	before, sum := content[:len(content)-sha256.Size], content[len(content)-sha256.Size:]
	if want := sha256.Sum256(before); !bytes.Equal(sum, want[:]) {
		n.t.Error("the hash is not that of the content")
	}
	path = filepath.Join(n.t.TempDir(), "snapshot")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return path, content
}

func TestASnapshotIsAnEtcdDatabase(t *testing.T) {
	scratch := t.TempDir()
	n := startNode(t, Options{ScratchDir: scratch})
	n.put("a", "1")
	path, _ := n.takeSnapshot(n.ctx)
	info, err := etcdfile.Inspect(n.ctx, path, etcdfile.ReadOptions{})
	if err != nil || info.Keys != 1 || info.Revision != n.store.Revision() {
		t.Errorf("%+v %v", info, err)
	}
	if names, _ := os.ReadDir(scratch); len(names) != 0 {
		t.Errorf("%v was left", names)
	}
}

func TestASnapshotIsABackupForThoseWhoAsk(t *testing.T) {
	n := startNode(t, Options{})
	n.put("a", "1")
	_, content := n.takeSnapshot(metadata.AppendToOutgoingContext(n.ctx, FormMetadata, FormBackup))
	if _, err := core.InspectBackup(bytes.NewReader(content), nil); err != nil {
		t.Fatalf("the backup is not readable: %v", err)
	}
}

func TestASnapshotThatFindsNoRoomFails(t *testing.T) {
	n := startNode(t, Options{ScratchDir: filepath.Join(t.TempDir(), "absent")})
	stream := must(n.maintenance().Snapshot(n.ctx, &pb.SnapshotRequest{}))(t)
	if _, err := stream.Recv(); err == nil || err == io.EOF {
		t.Errorf("it ends with %v", err)
	}
}
