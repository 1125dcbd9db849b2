package grpcsvc

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// snapshotChunkBytes is what one message of a snapshot carries, as in etcd.
const snapshotChunkBytes = 32 << 10

// Snapshot sends a backup of this member's state in chunks, its SHA-256 at the end. Clients write everything they are sent
// to one file, and tell by its length that the hash is there; that file is what `triglot snapshot save` makes too.
func (s *maintenanceService) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) error {
	if err := s.permitRoot(stream.Context()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	defer context.AfterFunc(s.lifetime, func() { cancel(rpctypes.ErrGRPCStopped) })()
	out := &snapshotStream{send: stream.Send}
	err := s.store.Backup(ctx, out, func(_, total int64) { out.total = total })
	if err == nil {
		err = out.finish()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return statusOf(err)
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
