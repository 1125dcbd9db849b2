package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/triglot/triglot/core"
)

// `triglot snapshot …`: backups. They are taken over etcd's API, so that the file is the one that etcdctl gets.

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		GroupID: "operate",
		Short:   "Back the cluster up, and restore a backup",
		Long: `Back the cluster up, and restore a backup into a new cluster of any size.

A backup is one file with the whole state as of one moment, with checksums over all of it.`,
		Example: `  triglot snapshot save backup.db
  triglot snapshot status backup.db
  triglot snapshot restore backup.db --data-dir a --name a --initial-cluster a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380`,
		Args: noSuchCommand,
		Run:  func(cmd *cobra.Command, _ []string) { cmd.Help() },
	}
	cmd.AddCommand(newSnapshotSaveCommand(), newSnapshotStatusCommand(), newSnapshotRestoreCommand())
	return cmd
}

func newSnapshotSaveCommand() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Take a backup of the cluster while it serves",
		Long: `Take a backup of the cluster while it serves, from the member that answers first, and check it. The file gets its name when
all of it is on disk; one that has the name already is replaced. 'etcdctl snapshot save' makes the same file.`,
		Example: `  triglot snapshot save backup.db
  triglot snapshot save --endpoints 10.0.0.2:2379 /backup/$(date +%F).db`,
		Args: named("the file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			m, err := flags.connect(ctx)
			if err != nil {
				return err
			}
			defer m.close()
			p := newProgress(cmd.ErrOrStderr(), "saving "+args[0])
			defer p.end()
			begun := time.Now()
			written, err := m.save(ctx, flags.timeout, args[0], p.step)
			if err != nil {
				return err
			}
			p.end()
			info, err := inspect(args[0], cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("what was written is not good: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "saved %s: %s, revision %d, from %s in %s\n",
				args[0], humanBytes(written), info.Revision, m.endpoint, time.Since(begun).Round(time.Millisecond))
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flag("timeout").Usage = "time without an answer, after which it is given up"
	return cmd
}

// save writes a backup beside the file and then gives it its name. It returns the file's size in bytes.
func (m *member) save(ctx context.Context, patience time.Duration, path string, step func(done, total int64)) (written int64, err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	silence := time.AfterFunc(patience, func() { giveUp(fmt.Errorf("%s was silent for %s", m.endpoint, printDuration(patience))) })
	defer silence.Stop()
	stream, err := m.maintenance().Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return 0, plain(err)
	}
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(part)
		}
	}()
	sum := newTailSum()
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return 0, fmt.Errorf("the backup ended early: %w", plain(err))
		}
		silence.Reset(patience)
		if _, err := file.Write(answer.Blob); err != nil {
			return 0, err
		}
		sum.write(answer.Blob)
		written += int64(len(answer.Blob))
		step(written, written+int64(answer.RemainingBytes))
	}
	if !sum.good() {
		return 0, errors.New("the backup was damaged on its way: its checksum is wrong")
	}
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return 0, err
	}
	return written, os.Rename(part, path)
}

// tailSum checks bytes whose last 32 are the SHA-256 of those before, as they go by.
type tailSum struct {
	hash hash.Hash
	tail []byte // the newest 32
}

func newTailSum() *tailSum { return &tailSum{hash: sha256.New()} }

func (s *tailSum) write(p []byte) {
	s.tail = append(s.tail, p...)
	if over := len(s.tail) - sha256.Size; over > 0 {
		s.hash.Write(s.tail[:over])
		s.tail = append(s.tail[:0], s.tail[over:]...)
	}
}

func (s *tailSum) good() bool { return string(s.hash.Sum(nil)) == string(s.tail) }

func newSnapshotStatusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "status FILE",
		Short:   "Check a backup, and show what is in it",
		Example: `  triglot snapshot status backup.db -o json`,
		Args:    named("the file of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := inspect(args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printBackup(cmd.OutOrStdout(), output, info)
		},
	}
	cmd.Flags().VarP(choice(&output, "table", "table", "json"), "output", "o", "form of the output")
	return cmd
}

// inspect reads a backup from beginning to end.
func inspect(path string, progressOut io.Writer) (core.BackupInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return core.BackupInfo{}, err
	}
	defer file.Close()
	p := newProgress(progressOut, "checking "+path)
	defer p.end()
	info, err := core.InspectBackup(file, p.step)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return info, err
}

func printBackup(out io.Writer, form string, info core.BackupInfo) error {
	if form == "json" {
		type member struct {
			ID       string   `json:"id"`
			Name     string   `json:"name"`
			PeerURLs []string `json:"peer_urls"`
			Learner  bool     `json:"learner"`
		}
		members := []member{}
		for _, m := range info.Members {
			members = append(members, member{idText(m.ID), m.Name, m.PeerURLs, m.Learner})
		}
		return printJSON(out, struct {
			ClusterID string    `json:"cluster_id"`
			MemberID  string    `json:"member_id"`
			Members   []member  `json:"members"`
			Revision  int64     `json:"revision"`
			Compacted int64     `json:"compacted_revision"`
			Keys      int64     `json:"keys"`
			Index     uint64    `json:"raft_index"`
			Term      uint64    `json:"raft_term"`
			Size      int64     `json:"size_bytes"`
			Created   time.Time `json:"created"`
			Version   string    `json:"version"`
			Digest    string    `json:"digest"`
		}{idText(info.ClusterID), idText(info.MemberID), members, info.Revision, info.Compacted, info.Keys, info.Index, info.Term,
			info.TotalBytes, info.Created, info.Version, info.Digest})
	}
	t := newTable(out, "TAKEN", "SIZE", "KEYS", "REVISION", "RAFT INDEX", "CLUSTER", "MEMBERS", "VERSION")
	var names []string
	for _, m := range info.Members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	t.row(info.Created.UTC().Format(time.RFC3339), humanBytes(info.TotalBytes), fmt.Sprint(info.Keys), fmt.Sprint(info.Revision),
		fmt.Sprint(info.Index), idText(info.ClusterID), dash(strings.Join(names, ",")), dash(info.Version))
	return t.end()
}
