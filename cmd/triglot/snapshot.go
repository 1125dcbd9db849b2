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
	"google.golang.org/grpc/metadata"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/grpcsvc/etcdfile"
)

// `triglot snapshot …`: backups. They are taken over etcd's API, so that the file is the one that etcdctl gets.

func newSnapshotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "snapshot",
		GroupID: "operate",
		Short:   "Back the cluster up, and restore a backup",
		Long: `Back the cluster up, and restore a backup into a new cluster of any size.

A backup is one file with the whole state as of one moment, with checksums over all of it. Databases of etcd, as 'etcdctl
snapshot save' writes them, are made and restored too: they hold what etcd's API shows.`,
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
	var format string
	cmd := &cobra.Command{
		Use:   "save FILE",
		Short: "Take a backup of the cluster while it serves",
		Long: `Take a backup of the cluster while it serves, from the member that answers first, and check it. The file gets its name when
all of it is on disk; one that has the name already is replaced.

With --format etcd it is a database that 'etcdutl snapshot restore' and etcd 3.4 to 3.7 take, as 'etcdctl snapshot save'
writes it: keys with their history, leases, users and roles. Lists, hashes and Redis' other databases are not in it, nor
the times at which keys expire.`,
		Example: `  triglot snapshot save backup.db
  triglot snapshot save --endpoints 10.0.0.2:2379 /backup/$(date +%F).db
  triglot snapshot save --format etcd etcd.db`,
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
			written, err := m.save(ctx, flags.timeout, format, args[0], p.step)
			if err != nil {
				return err
			}
			p.end()
			info, err := inspect(cmd.Context(), args[0], false, cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("what was written is not good: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "saved %s: %s, revision %d, from %s in %s\n",
				args[0], humanBytes(written), info.Revision, m.endpoint, time.Since(begun).Round(time.Millisecond))
			return nil
		},
	}
	flags.register(cmd)
	cmd.Flags().Var(choice(&format, formatBackup, formatBackup, formatEtcd), "format", "what to write")
	cmd.Flag("timeout").Usage = "time without an answer, after which it is given up"
	return cmd
}

// The formats of what is saved.
const (
	formatBackup = "backup"
	formatEtcd   = "etcd"
)

// save writes a backup beside the file and then gives it its name. It returns the file's size in bytes.
func (m *member) save(ctx context.Context, patience time.Duration, format, path string, step func(done, total int64)) (written int64, err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	silence := time.AfterFunc(patience, func() { giveUp(fmt.Errorf("%s was silent for %s", m.endpoint, printDuration(patience))) })
	defer silence.Stop()
	if format == formatBackup {
		ctx = metadata.AppendToOutgoingContext(ctx, grpcsvc.FormMetadata, grpcsvc.FormBackup)
	}
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
	var skipHashCheck bool
	cmd := &cobra.Command{
		Use:     "status FILE",
		Short:   "Check a backup or an etcd database, and show what is in it",
		Example: `  triglot snapshot status backup.db -o json`,
		Args:    named("the file of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := inspect(cmd.Context(), args[0], skipHashCheck, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printBackup(cmd.OutOrStdout(), output, info)
		},
	}
	cmd.Flags().VarP(choice(&output, "table", "table", "json"), "output", "o", "form of the output")
	registerSkipHashCheck(cmd, &skipHashCheck)
	return cmd
}

func registerSkipHashCheck(cmd *cobra.Command, skip *bool) {
	cmd.Flags().BoolVar(skip, "skip-hash-check", false, "take an etcd database that was copied from a data directory and has no hash")
}

// inspect reads a backup or an etcd database from beginning to end.
func inspect(ctx context.Context, path string, skipHashCheck bool, progressOut io.Writer) (info core.BackupInfo, err error) {
	p := newProgress(progressOut, "checking "+path)
	defer p.end()
	if etcdfile.Is(path) {
		info, err = etcdfile.Inspect(ctx, path, etcdfile.ReadOptions{SkipHashCheck: skipHashCheck, Progress: p.step})
	} else {
		var file *os.File
		if file, err = os.Open(path); err != nil {
			return info, err
		}
		defer file.Close()
		info, err = core.InspectBackup(file, p.step)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", path, hint(err))
	}
	return info, err
}

// hint adds what can be done.
func hint(err error) error {
	if errors.Is(err, etcdfile.ErrNoHash) {
		return fmt.Errorf("%w: --skip-hash-check takes it as it is", err)
	}
	return err
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
			Created   time.Time `json:"created,omitzero"`
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
	t.row(printTaken(info.Created), humanBytes(info.TotalBytes), fmt.Sprint(info.Keys), fmt.Sprint(info.Revision),
		fmt.Sprint(info.Index), idText(info.ClusterID), dash(strings.Join(names, ",")), dash(info.Version))
	return t.end()
}

// printTaken says when a backup was made; an etcd database does not tell.
func printTaken(at time.Time) string {
	if at.IsZero() {
		return dash("")
	}
	return at.UTC().Format(time.RFC3339)
}
