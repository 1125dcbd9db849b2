package grpcsvc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/etcdfile"
)

// snapshotChunkBytes is what one message of a snapshot carries, as in etcd.
const snapshotChunkBytes = 32 << 10

// FormMetadata is what a Snapshot call says in its metadata to get a backup of Triglot's (FormBackup), with all that is in the
// store, instead of an etcd database.
const (
	FormMetadata = "triglot-snapshot"
	FormBackup   = "backup"
)

// Snapshot sends this member's state in chunks, its SHA-256 at the end. Clients write everything they are sent to one
// file, and tell by its length that the hash is there.
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	if err := s.permitRoot(stream.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.lifetime, func() { cancel(rpctypes.ErrGRPCStopped) })()
	out := &snapshotStream{send: stream.Send}
	var err error
	if md, _ := metadata.FromIncomingContext(ctx); len(md[FormMetadata]) > 0 && md[FormMetadata][0] == FormBackup {
		err = s.store.Backup(ctx, out, func(_, total int64) { out.total = total })
	} else {
		err = s.sendDatabase(ctx, out)
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return statusOf(err)
}

// sendDatabase makes an etcd database of the state and sends it.
func (s *maintenanceService) sendDatabase(ctx context.Context, out *snapshotStream) error {
	file, err := s.database(ctx)
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	out.total = stat.Size() + sha256.Size
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(sum, out), file); err != nil {
		return err
	}
	_, err = out.Write(sum.Sum(nil))
	return err
}

// database holds a view for as long as the file is made, and no longer.
func (s *maintenanceService) database(ctx context.Context) (*os.File, error) {
	view, err := s.store.View(ctx, core.Local)
	if err != nil {
		return nil, err
	}
	defer view.Close()
	return etcdfile.Make(ctx, s.opts.ScratchDir, view)
}

// snapshotStream cuts what is written to it into messages.
type snapshotStream struct {
	send        func(*pb.SnapshotResponse) error
	total, sent int64 // bytes; the total is known before the first write
	chunk       []byte
}

// Write gathers bytes, and sends each chunk that is full.
func (s *snapshotStream) Write(p []byte) (n int, err error) {
	n = len(p)
	for len(p) > 0 {
		if s.chunk == nil {
			s.chunk = make([]byte, 0, snapshotChunkBytes) // not used again once it is sent: interceptors may keep it
		}
		part := min(len(p), snapshotChunkBytes-len(s.chunk))
		s.chunk, p = append(s.chunk, p[:part]...), p[part:]
		if len(s.chunk) == snapshotChunkBytes {
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

func (s *snapshotStream) flush() error {
	s.sent += int64(len(s.chunk))
	if s.sent > s.total {
		return fmt.Errorf("the snapshot is longer than the %d bytes that were announced", s.total)
	}
	message := &pb.SnapshotResponse{RemainingBytes: uint64(s.total - s.sent), Blob: s.chunk, Version: storageVersion}
	s.chunk = nil
	return s.send(message)
}

// finish sends what is left.
func (s *snapshotStream) finish() error {
	if len(s.chunk) > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if s.sent != s.total {
		return fmt.Errorf("the snapshot has %d bytes and not the %d that were announced", s.sent, s.total)
	}
	return nil
}
