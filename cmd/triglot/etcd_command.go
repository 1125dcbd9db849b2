package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	etcdversion "go.etcd.io/etcd/api/v3/version"
)

// `triglot etcd`, and this program under the name etcd: etcd's own command line, to start Triglot where etcd was started
// before. It only fills in a config; the server is the one of `triglot serve`.

func newEtcdCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "etcd [etcd's flags]",
		GroupID: "run",
		Short:   "Run the server with etcd's flags, in etcd's place",
		Long: `Run the server with the flags, the ETCD_ variables or the configuration file of etcd 3.7. The program does the same when it is
called by the name etcd. Flags that Triglot cannot do what they say of are refused by name; 'triglot etcd --help' lists all.

Redis, ZooKeeper and the shared listener are off unless TRIGLOT_LISTEN_RESP, TRIGLOT_LISTEN_ZK or TRIGLOT_LISTEN is set.`,
		Example: `  triglot etcd --name a --data-dir /var/lib/a --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379
  ln -s triglot etcd && ./etcd --name a`,
		DisableFlagParsing: true, // they are parsed as etcd parses them
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEtcd(args, os.Environ(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}

// calledEtcd says whether the program was started under etcd's name.
func calledEtcd(program string) bool { return filepath.Base(program) == "etcd" }

// etcdNote is what the log is told of a flag, once there is a log.
type etcdNote struct {
	warn       bool
	text, name string
}

func runEtcd(args, environ []string, stdout, stderr io.Writer) error {
	given, err := parseEtcdFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printEtcdFlags(stdout)
		return nil
	case err != nil:
		return err
	case given["version"] == "true":
		fmt.Fprintf(stdout, "etcd Version: %s\n%s", etcdversion.Version, versionText())
		return nil
	}
	var cfg config
	unknown, notes, err := cfg.loadEtcd(given, environ)
	if err != nil {
		return err
	}
	out, err := openLog(&cfg, stderr)
	if err != nil {
		return err
	}
	logger := newLogger(&cfg, out)
	for _, note := range notes {
		if note.warn {
			logger.Warn(note.text, "name", note.name)
		} else {
			logger.Debug(note.text, "name", note.name)
		}
	}
	if cfg.Discovery != nil {
		if err := cfg.discover(context.Background(), logger); err != nil {
			return err
		}
	}
	return serve(&cfg, unknown, stderr)
}

// parseEtcdFlags gives the flags of a command line by their names. Of several values the last counts.
func parseEtcdFlags(args []string) (map[string]string, error) {
	if len(args) > 0 && (args[0] == "gateway" || args[0] == "grpc-proxy") {
		return nil, fmt.Errorf("etcd %s is not supported: this is the server alone", args[0])
	}
	given := map[string]string{}
	set := flag.NewFlagSet("etcd", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range etcdFlags() {
		set.Var(etcdValue{given, f.name, f.toggle}, f.name, "")
	}
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q is not a valid flag; see 'triglot etcd --help'", set.Arg(0))
	}
	return given, nil
}

// loadEtcd fills in the settings from what the command line gave, from ETCD_ variables, or from the file alone if there is
// one. Settings that none of it says something of can be given by TRIGLOT_ variables; unknown are those with names of none.
func (c *config) loadEtcd(given map[string]string, environ []string) (unknown []string, notes []etcdNote, err error) {
	given, notes, err = gatherEtcd(given, environ)
	if err != nil {
		return nil, nil, err
	}
	flags := pflag.NewFlagSet("etcd", pflag.ContinueOnError)
	c.register(flags)
	c.AsEtcd, c.PeerOneSided = true, true
	for _, other := range []struct{ setting, value string }{
		{"listen-resp", ""}, {"listen-zk", ""}, {"listen", ""}, {"listen-metrics", ""},
		{"history-bytes", "0"}, // etcd keeps history until it is told to compact it
	} {
		if err := flags.Lookup(other.setting).Value.Set(other.value); err != nil {
			return nil, nil, err
		}
	}
	if c.Discovery, err = discoveryOf(given); err != nil {
		return nil, nil, err
	}
	if c.Discovery != nil && (given["initial-cluster"] != "" || c.Discovery.srv != nil && given["discovery-endpoints"] != "") {
		return nil, nil, errors.New(`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`)
	}
	if isOn(given["feature-gates"], gateCheckpoint) {
		if err := flags.Lookup("lease-checkpoint-interval").Value.Set(checkpointInterval); err != nil {
			return nil, nil, err
		}
	}
	completeEtcd(given)
	if c.Discovery != nil && c.Discovery.srv == nil {
		given["initial-cluster-token"] = c.Discovery.token
	}
	if err := checkEtcd(given); err != nil {
		return nil, nil, err
	}
	for _, f := range etcdFlags() {
		value, isGiven := given[f.name]
		if !isGiven {
			value = f.initial
		}
		switch f.fate {
		case etcdMapped:
			if f.name == "auto-compaction-retention" && given["auto-compaction-mode"] == modeRevision {
				f.setting, f.convert = "history-revisions", nil
				if err := flags.Lookup("history-age").Value.Set("0"); err != nil {
					return nil, nil, err
				}
			}
			if value != "" && (isGiven || value != "false") { // a toggle that is off is how Triglot has it too
				err = c.setEtcd(flags, &f, value)
			}
		case etcdRefused:
			if isGiven {
				err = f.refusal(value)
			}
		case etcdIgnored:
			if isGiven {
				notes = append(notes, etcdNote{f.toggle && value != f.initial, "a flag has no effect: " + f.note, "--" + f.name})
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	if err := checkEtcdPlace(given); err != nil {
		return nil, nil, err
	}
	unknown, err = c.load(flags, environ)
	if err == nil && c.DevCluster > 0 {
		err = errors.New("TRIGLOT_DEV_CLUSTER is for 'triglot serve' alone")
	}
	return unknown, notes, err
}

// setEtcd sets the setting that a flag is mapped to.
func (c *config) setEtcd(flags *pflag.FlagSet, f *etcdFlag, value string) error {
	if f.convert != nil {
		var err error
		if value, err = f.convert(value); err != nil {
			return err
		}
	}
	if f.setting == "advertise-etcd" {
		// Clients of etcd are told even 0.0.0.0, if that is what is given: the setting's own parser would not have it.
		if err := flags.Set(f.setting, ""); err != nil {
			return err
		}
		c.AdvertiseEtcd = value
		return nil
	}
	if err := flags.Lookup(f.setting).Value.Set(value); err != nil {
		return fmt.Errorf("%q is not possible: %w", value, err)
	}
	return flags.Set(f.setting, value) // which notes that it is given
}

// completeEtcd works out the defaults that depend on other flags, as etcd does.
func completeEtcd(given map[string]string) {
	name := givenOr(given, "name", "default")
	if given["corrupt-check-time"] == "" && asksForChecks(given["feature-gates"]) {
		given["corrupt-check-time"] = "1h"
	}
	if given["data-dir"] == "" {
		given["data-dir"] = name + ".etcd"
	}
	if given["initial-cluster"] == "" && given["discovery-endpoints"] == "" && given["discovery-srv"] == "" {
		var entries []string
		for _, u := range splitList(givenOr(given, "initial-advertise-peer-urls", "http://localhost:2380")) {
			entries = append(entries, name+"="+u)
		}
		given["initial-cluster"] = strings.Join(entries, ",")
	}
}

// givenOr is the value of a flag, or what stands for one that is not given.
func givenOr(given map[string]string, name, initial string) string {
	if v := given[name]; v != "" {
		return v
	}
	return initial
}

// checkEtcd looks at flags that only go together, and names them as etcd does.
func checkEtcd(given map[string]string) error {
	if given["listen-client-urls"] != "" && given["advertise-client-urls"] == "" {
		return errors.New("--advertise-client-urls is required when --listen-client-urls is set explicitly")
	}
	if given["cert-file"]+given["key-file"] == "" && given["auto-tls"] != "true" {
		for _, name := range []string{"listen-client-urls", "listen-client-http-urls"} {
			if asksForTLS(given[name]) {
				return fmt.Errorf("--%s: %s needs --cert-file and --key-file, or --auto-tls", name, given[name])
			}
		}
		if asksForTLS(given["listen-metrics-urls"]) {
			return errors.New("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url")
		}
	}
	peerTLS := given["peer-cert-file"] != "" || given["peer-auto-tls"] == "true"
	for _, u := range splitList(given["listen-peer-urls"]) {
		if asksForTLS(u) != peerTLS {
			return fmt.Errorf("--listen-peer-urls: %s: members talk TLS if --peer-cert-file or --peer-auto-tls is given, and not otherwise", u)
		}
	}
	if mode := givenOr(given, "auto-compaction-mode", modePeriodic); mode != modePeriodic && mode != modeRevision {
		return fmt.Errorf("--auto-compaction-mode: unknown auto-compaction-mode %q", mode)
	}
	if gates := given["feature-gates"]; isOn(gates, gateCheckpointPersist) && !isOn(gates, gateCheckpoint) {
		return errors.New("--feature-gates: enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint")
	}
	return nil
}

// asksForTLS says whether a list of URLs has one that talks TLS.
func asksForTLS(urls string) bool {
	return slices.ContainsFunc(splitList(urls), func(u string) bool {
		scheme, _ := cutScheme(u)
		return isSecuredScheme(scheme)
	})
}

// checkEtcdPlace finds two flags that disagree on where this member is, and names them as etcd does.
func checkEtcdPlace(given map[string]string) error {
	var own []string
	name := givenOr(given, "name", "default")
	for _, part := range splitList(given["initial-cluster"]) {
		if member, place, _ := strings.Cut(part, "="); member == name {
			own = append(own, place)
		}
	}
	told := splitList(givenOr(given, "initial-advertise-peer-urls", "http://localhost:2380"))
	if len(own) > 0 && !sameSet(own, told) {
		return fmt.Errorf("--initial-cluster has %s for %s, but --initial-advertise-peer-urls is %s: the members must agree on where it is",
			strings.Join(own, ","), name, strings.Join(told, ","))
	}
	return nil
}

// printEtcdFlags lists the table.
func printEtcdFlags(out io.Writer) {
	fmt.Fprint(out, "Usage:\n  triglot etcd [etcd's flags]      or this program under the name etcd\n\n"+
		"Every flag of etcd 3.7 can also be given as ETCD_<FLAG>, or in a YAML file that --config-file names.\n")
	for _, part := range []struct {
		fate  etcdFate
		title string
	}{
		{etcdMapped, "Flags that are settings of Triglot"}, {etcdFinds, "Flags that say where the members of a new cluster find each other"},
		{etcdOwn, "Flags of the command line"},
		{etcdIgnored, "Flags that are taken and have no effect"}, {etcdRefused, "Flags that are refused, unless they ask for the value here or nothing"},
	} {
		fmt.Fprintf(out, "\n%s:\n", part.title)
		for _, f := range etcdFlags() {
			if f.fate != part.fate {
				continue
			}
			about := f.note
			if f.fate == etcdMapped {
				about = "as --" + f.setting + " of 'triglot serve'"
			}
			row := fmt.Sprintf("  --%-36s %-22s %s", f.name, f.initial, about)
			fmt.Fprintln(out, strings.TrimRight(row, " "))
		}
	}
}
