package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc/etcdfile"
)

// `triglot snapshot restore` makes the data directory of a member of a new cluster, without any server.

func newSnapshotRestoreCommand() *cobra.Command {
	var cfg config
	var skipHashCheck, markCompacted bool
	var bump int64
	table := map[string]setting{}
	for _, s := range cfg.settings() { // sets the defaults, too
		table[s.name] = s
	}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the data directory of a member of a new cluster from a backup",
		Long: `Make the data directory of a member of a new cluster from a backup, which is checked first.

Run it once for every member of the new cluster, with the same file, the same --initial-cluster and the member's own
--name and --data-dir, which must be empty or not there; then start the members with the same flags. The new cluster has
an identity of its own: members of the old one are refused. Revisions go on from that of the backup. Where clients remember
revisions, as Kubernetes does, --bump-revision with --mark-compacted passes over those that they may have seen since.

Without --initial-cluster the new cluster has this one member. Where members talk TLS with each other, write the addresses
as https://host:port.

FILE may be a snapshot of an etcd cluster ('etcdctl snapshot save'): keys keep their revisions, versions and leases, and
users their passwords. With --skip-hash-check it may be the file member/snap/db of an etcd that is stopped.`,
		Example: `  triglot snapshot restore backup.db
  triglot snapshot restore backup.db --name a --data-dir a --initial-cluster a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380
  triglot serve --name a --data-dir a --initial-cluster a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380`,
		Args: named("the file of a backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cfg.checkRestore(); err != nil {
				return err
			}
			if (bump > 0) != markCompacted {
				return errors.New("--bump-revision and --mark-compacted go together: revisions that are passed over can have no history")
			}
			info, err := restore(cmd.Context(), &cfg, args[0], skipHashCheck, bump, cmd.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("restoring %s into %s: %w", args[0], cfg.DataDir, hint(err))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "restored %s into %s: member %s, revision %d, keys: %d\n",
				args[0], cfg.DataDir, cfg.Name, info.Revision, info.Keys)
			return nil
		},
	}
	for _, name := range []string{"name", "data-dir", "initial-cluster", "initial-cluster-token", "advertise-peer"} {
		cmd.Flags().Var(table[name].value, name, table[name].help)
	}
	registerSkipHashCheck(cmd, &skipHashCheck)
	cmd.Flags().Int64Var(&bump, "bump-revision", 0, "let revisions go on so much later than they would, past those that clients saw after the backup was made")
	cmd.Flags().BoolVar(&markCompacted, "mark-compacted", false, "count all history as compacted, so that watches begin anew; with --bump-revision")
	cmd.Flag("data-dir").Usage = "directory to make"
	cmd.Flag("advertise-peer").Usage = "where other members reach this one, if there is no --initial-cluster"
	cmd.Flag("advertise-peer").DefValue = ""
	return cmd
}

// checkRestore is what of check concerns a restore.
func (c *config) checkRestore() error {
	founders := c.founders()
	if c.Name == "" || c.DataDir == "" {
		return c.check()
	}
	if len(founders) == 0 {
		return nil
	}
	own, ok := c.ownFounder()
	switch {
	case !ok:
		var names []string
		for _, f := range founders {
			names = append(names, f.name)
		}
		return fmt.Errorf("--name %s is not in --initial-cluster, which has %s", c.Name, strings.Join(names, ", "))
	case c.AdvertisePeer != "" && !sameSet(c.peerURLs(splitList(c.AdvertisePeer)), c.peerURLs(own.places)):
		return fmt.Errorf("--advertise-peer is %s, but --initial-cluster has %s for %s", c.AdvertisePeer, strings.Join(own.places, ","), c.Name)
	}
	return nil
}

// restore makes the data directory, which is there when all of the file has been checked.
func restore(ctx context.Context, cfg *config, path string, skipHashCheck bool, bump int64, progressOut io.Writer) (info core.BackupInfo, err error) {
	members := initialMembers(cfg)
	if len(members) == 0 {
		place := cfg.AdvertisePeer
		if place == "" {
			place = firstListener(cfg.ListenPeer)
		}
		members = []core.Member{{Name: cfg.Name, PeerURLs: cfg.peerURLs(splitList(place))}}
	}
	p := newProgress(progressOut, "restoring "+path)
	defer p.end()
	into := core.RestoreConfig{DataDir: cfg.DataDir, Name: cfg.Name, InitialCluster: members, ClusterToken: cfg.ClusterToken, BumpRevision: bump}
	if etcdfile.Is(path) {
		options := etcdfile.ReadOptions{SkipHashCheck: skipHashCheck, Progress: p.step}
		err = etcdfile.Read(ctx, path, options, func(contents *core.Contents) error {
			into.Contents = contents
			info, err = core.Restore(ctx, into)
			return err
		})
		return info, err
	}
	file, err := os.Open(path)
	if err != nil {
		return core.BackupInfo{}, err
	}
	defer file.Close()
	into.Backup, into.Progress = file, p.step
	return core.Restore(ctx, into)
}
