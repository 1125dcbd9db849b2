package core

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/triglot/triglot/storage"
)

// Backup writes the whole state of this member, as it is now or a little later, as one file (see backup_format.go). The
// cluster goes on meanwhile. progress, which may be nil, is called with the bytes written so far and in all, for the first
// time before anything is written.
func (s *Store) Backup(ctx context.Context, w io.Writer, progress func(done, total int64)) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	x, err := s.db.Export(ctx)
	if err != nil {
		return err
	}
	defer x.Release()
	info := s.backupInfo(x)
	head, err := info.headBytes()
	if err != nil {
		return err
	}
	padding, total, err := info.layOut(len(head))
	if err != nil {
		return fmt.Errorf("core: %w", err)
	}
	begun := time.Now()
	progress(0, total)

	digest := sha256.New()
	out := bufio.NewWriterSize(w, backupPiece)
	written := int64(0)
	write := func(b []byte) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		digest.Write(b)
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("core: writing the backup: %w", err)
		}
		written += int64(len(b))
		progress(written, total)
		return nil
	}
	if err := write(head); err != nil {
		return err
	}
	for _, f := range x.Files() {
		if err := copyFile(x, f, write); err != nil {
			return err
		}
	}
	if err := write(make([]byte, padding)); err != nil {
		return err
	}
	if err := write(digest.Sum(nil)); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("core: writing the backup: %w", err)
	}
	s.measures.backup.Since(begun)
	return nil
}

// copyFile reads a file of an export through.
func copyFile(x *storage.Export, f storage.SnapshotFile, write func([]byte) error) (err error) {
	file, err := x.Open(f.Name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffer := make([]byte, min(backupPiece, f.Bytes))
	for at := int64(0); at < f.Bytes; at += int64(len(buffer)) {
		buffer = buffer[:min(int64(len(buffer)), f.Bytes-at)]
		if _, err := io.ReadFull(file, buffer); err != nil {
			return fmt.Errorf("core: reading %s for the backup: %w", f.Name, err)
		}
		if err := write(buffer); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) backupInfo(x *storage.Export) BackupInfo {
	state := x.State()
	info := BackupInfo{
		ClusterID: s.identity.Cluster, MemberID: s.identity.Member,
		Index: state.AppliedIndex, Term: state.AppliedTerm, Conf: state.Conf, Revision: state.Revision, Compacted: state.Compacted,
		Created: time.UnixMilli(s.cfg.NowMillis()).UTC(), Version: s.cfg.Published.Version,
	}
	for _, n := range state.Counts {
		info.Keys += n
	}
	for _, m := range s.Members() {
		info.Members = append(info.Members, BackupMember{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, Learner: m.Learner})
	}
	for _, f := range x.Files() {
		info.Files = append(info.Files, BackupFile(f))
	}
	return info
}
