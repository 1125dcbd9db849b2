package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// The commands: what `triglot help` shows.

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "triglot",
		Short: "One strongly consistent store that speaks etcd, Redis and ZooKeeper",
		Long: `Triglot is one strongly consistent key-value store that speaks three wire protocols: etcd v3, Redis and ZooKeeper.
Unmodified clients of all three work on the same keys: what one writes, the others read and watch.`,
		Example: `  triglot serve                                        start with no configuration
  redis-cli -p 6379 set /greeting hello                write with one protocol …
  etcdctl --endpoints=127.0.0.1:2379 get /greeting     … read with another
  zkCli.sh -server 127.0.0.1:2181 get /greeting        … and with the third

  triglot serve --help                                 every setting, with its default`,
		SilenceErrors:         true, // run prints them
		SilenceUsage:          true,
		DisableSuggestions:    true, // they would take more than a line
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q; see 'triglot help'", args[0])
			}
			return nil
		},
		Run: func(cmd *cobra.Command, _ []string) { cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see '%s --help'", err, cmd.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: "run", Title: "Running it:"}, &cobra.Group{ID: "operate", Title: "Operating a cluster:"},
		&cobra.Group{ID: "about", Title: "About it:"})
	root.SetHelpCommandGroupID("about")
	root.SetCompletionCommandGroupID("about")
	root.AddCommand(newServeCommand(), newEtcdCommand(), newStatusCommand(), newMemberCommand(), newSnapshotCommand(), newVersionCommand())
	return root
}

func newServeCommand() *cobra.Command {
	var cfg config
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: "run",
		Short:   "Run the server",
		Long: `Run the server until SIGTERM or SIGINT, which end it cleanly; a second signal ends it at once.

Every setting can be given as a flag, as an environment variable (--listen-resp is TRIGLOT_LISTEN_RESP) or in the YAML
file that --config names (listen-resp: 127.0.0.1:6379). A flag wins over a variable, a variable over the file.
Sizes are bytes, or a number with KiB, MiB or GiB. An empty address turns a listener off.`,
		Example: `  triglot serve
  triglot serve --dev-cluster 3                   three members on this machine, to try things out
  triglot serve --data-dir /var/lib/triglot --listen-etcd 10.0.0.7:2379 --listen-zk ''
  triglot serve --name a --listen-peer 10.0.0.1:2380 --initial-cluster a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380
  TRIGLOT_HISTORY_AGE=24h triglot serve --config /etc/triglot.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("serve takes flags only, and got %q; see 'triglot serve --help'", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			unknown, err := cfg.load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			if cfg.DevCluster > 0 {
				return serveDevCluster(&cfg, cmd.Flags(), cmd.ErrOrStderr())
			}
			return serve(&cfg, unknown, cmd.ErrOrStderr())
		},
	}
	cfg.register(cmd.Flags())
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		fmt.Fprintf(out, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		printSettings(out, cmd.Flags())
		return nil
	})
	return cmd
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: "about",
		Short:   "Print the version, and the versions of the protocols it speaks",
		Args:    cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprint(cmd.OutOrStdout(), versionText())
		},
	}
}

// oneLine keeps an error that came from elsewhere from filling the screen.
func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
