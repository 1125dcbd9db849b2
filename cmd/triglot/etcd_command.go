package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	etcdversion "go.etcd.io/etcd/api/v3/version"
	"gopkg.in/yaml.v3"
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
	logger := newLogger(&cfg, stderr)
	for _, note := range notes {
		if note.warn {
			logger.Warn(note.text, "name", note.name)
		} else {
			logger.Debug(note.text, "name", note.name)
		}
	}
	return serve(&cfg, unknown, stderr)
}

// etcdValue takes a flag of etcd as text. What it means is looked at later, together with variables and the file.
type etcdValue struct {
	at     map[string]string
	name   string
	toggle bool
}

func (v etcdValue) String() string   { return "" }
func (v etcdValue) IsBoolFlag() bool { return v.toggle }
func (v etcdValue) Set(text string) error {
	if v.toggle {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("it is true or false")
		}
		text = strconv.FormatBool(on)
	}
	v.at[v.name] = text
	return nil
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
	c.AsEtcd = true
	for _, name := range []string{"listen-resp", "listen-zk", "listen", "listen-metrics", "history-bytes"} {
		off := ""
		if name == "history-bytes" {
			off = "0" // etcd keeps history until it is told to compact it
		}
		if err := flags.Lookup(name).Value.Set(off); err != nil {
			return nil, nil, err
		}
	}
	completeEtcd(given)
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
			if value != "" && (isGiven || !f.toggle) {
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
	switch f.setting {
	case "listen-etcd":
		first, more, _ := strings.Cut(value, ",")
		value, c.ListenEtcdToo = first, more
	case "advertise-etcd":
		c.AdvertiseEtcd = value // clients of etcd are told even 0.0.0.0, if that is what is given
		return nil
	}
	if err := flags.Lookup(f.setting).Value.Set(value); err != nil {
		return fmt.Errorf("%q is not possible: %w", value, err)
	}
	return flags.Set(f.setting, value) // which notes that it is given
}

// completeEtcd works out the defaults that depend on other flags, as etcd does.
func completeEtcd(given map[string]string) {
	name := value(given, "name", "default")
	if given["data-dir"] == "" {
		given["data-dir"] = name + ".etcd"
	}
	if given["initial-cluster"] == "" {
		var entries []string
		for _, u := range splitList(value(given, "initial-advertise-peer-urls", "http://localhost:2380")) {
			entries = append(entries, name+"="+u)
		}
		given["initial-cluster"] = strings.Join(entries, ",")
	}
}

func value(given map[string]string, name, initial string) string {
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
	for _, name := range []string{"listen-client-urls", "listen-metrics-urls"} {
		if strings.Contains(given[name], "https://") {
			return fmt.Errorf("--%s: %s is not supported: %s", name, given[name], noClientTLS)
		}
	}
	if given["auto-compaction-mode"] == "revision" && value(given, "auto-compaction-retention", "0") != "0" {
		return errors.New("--auto-compaction-mode: revision is not supported: history is bounded by age alone")
	}
	if given["enable-pprof"] == "true" && given["listen-metrics-urls"] == "" {
		return errors.New("--enable-pprof needs --listen-metrics-urls, where profiles are served")
	}
	return nil
}

// checkEtcdPlace finds two flags that disagree on where this member is, and names them as etcd does.
func checkEtcdPlace(given map[string]string) error {
	var own []string
	name := value(given, "name", "default")
	for _, part := range splitList(given["initial-cluster"]) {
		if member, place, _ := strings.Cut(part, "="); member == name {
			own = append(own, place)
		}
	}
	told := splitList(value(given, "initial-advertise-peer-urls", "http://localhost:2380"))
	if len(own) > 0 && !sameSet(own, told) {
		return fmt.Errorf("--initial-cluster has %s for %s, but --initial-advertise-peer-urls is %s: the members must agree on where it is",
			strings.Join(own, ","), name, strings.Join(told, ","))
	}
	return nil
}

const etcdVariablePrefix = "ETCD_"

func etcdVariable(name string) string {
	return etcdVariablePrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// gatherEtcd brings flags and ETCD_ variables together: a flag wins over a variable, and a file over both.
func gatherEtcd(given map[string]string, environ []string) (map[string]string, []etcdNote, error) {
	names := map[string]etcdFlag{}
	for _, f := range etcdFlags() {
		names[etcdVariable(f.name)] = f
	}
	all, notes := map[string]string{}, []etcdNote{}
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		variable, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(variable, etcdVariablePrefix) {
			continue
		}
		f, known := names[variable]
		switch {
		case !known || f.name == "version":
			notes = append(notes, etcdNote{true, "an environment variable names no flag of etcd and is ignored", variable})
		case text != "":
			if err := (etcdValue{all, f.name, f.toggle}).Set(text); err != nil {
				return nil, nil, fmt.Errorf("environment variable %s: %q is not possible: %w", variable, text, err)
			}
		}
	}
	for name, text := range given {
		all[name] = text
	}
	file := all["config-file"]
	if file == "" {
		return all, notes, nil
	}
	all, more, err := readEtcdFile(file)
	return all, append(notes, more...), err
}

// etcdSections are the nested parts of etcd's file, and the flags that their keys are.
var etcdSections = map[string]map[string]string{
	"client-transport-security": {
		"cert-file": "cert-file", "key-file": "key-file", "client-cert-file": "client-cert-file", "client-key-file": "client-key-file",
		"client-cert-auth": "client-cert-auth", "trusted-ca-file": "trusted-ca-file", "auto-tls": "auto-tls",
		"allowed-hostname": "client-cert-allowed-hostname",
	},
	"peer-transport-security": {
		"cert-file": "peer-cert-file", "key-file": "peer-key-file", "client-cert-file": "peer-client-cert-file",
		"client-key-file": "peer-client-key-file", "client-cert-auth": "peer-client-cert-auth", "trusted-ca-file": "peer-trusted-ca-file",
		"auto-tls": "peer-auto-tls", "allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname",
		"skip-client-san-verification": "peer-skip-client-san-verification",
	},
}

// readEtcdFile reads etcd's YAML file: flags by their names, and two nested sections. Keys that etcd has not are told.
func readEtcdFile(path string) (map[string]string, []etcdNote, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("--config-file: %w", err)
	}
	var document map[string]yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, nil, fmt.Errorf("--config-file: %s: %w", path, err)
	}
	names := map[string]etcdFlag{}
	for _, f := range etcdFlags() {
		names[f.name] = f
	}
	all, notes := map[string]string{}, []etcdNote{}
	set := func(name, key string, node *yaml.Node) error {
		f, known := names[name]
		if !known || f.fate == etcdOwn {
			notes = append(notes, etcdNote{true, "the configuration file has a key that etcd has not, which is ignored", key})
			return nil
		}
		text, err := etcdScalar(node)
		if err == nil && text != "" {
			err = etcdValue{all, name, f.toggle}.Set(text)
		}
		if err != nil {
			return fmt.Errorf("--config-file: %s:%d: %s: %w", path, node.Line, key, err)
		}
		return nil
	}
	for key, node := range document {
		section, nested := etcdSections[key]
		if !nested {
			if err := set(key, key, &node); err != nil {
				return nil, nil, err
			}
			continue
		}
		var inner map[string]yaml.Node
		if err := node.Decode(&inner); err != nil {
			return nil, nil, fmt.Errorf("--config-file: %s:%d: %s: %w", path, node.Line, key, err)
		}
		for sub, value := range inner {
			if err := set(section[sub], key+"."+sub, &value); err != nil {
				return nil, nil, err
			}
		}
	}
	return all, notes, nil
}

// etcdScalar is a value of the file as the flag takes it: a list has commas.
func etcdScalar(node *yaml.Node) (string, error) {
	if node.Kind == yaml.SequenceNode {
		var list []string
		err := node.Decode(&list)
		return strings.Join(list, ","), err
	}
	if node.Kind != yaml.ScalarNode {
		return "", errors.New("it is a single value or a list")
	}
	if node.Tag == "!!null" {
		return "", nil
	}
	return node.Value, nil
}

// printEtcdFlags lists the table.
func printEtcdFlags(out io.Writer) {
	fmt.Fprint(out, "Usage:\n  triglot etcd [etcd's flags]      or this program under the name etcd\n\n"+
		"Every flag of etcd 3.7 can also be given as ETCD_<FLAG>, or in a YAML file that --config-file names.\n")
	for _, part := range []struct {
		fate  etcdFate
		title string
	}{
		{etcdMapped, "Flags that are settings of Triglot"}, {etcdOwn, "Flags of the command line"},
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
