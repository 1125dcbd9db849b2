// Command bench measures etcd, Redis and ZooKeeper servers, and anything that
// speaks their protocols, one workload at a time. See README.md.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	// The load generator shares the machine with the servers it measures: fewer
	// collections leave them more of it.
	debug.SetGCPercent(400)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var commands = map[string]func(ctx context.Context, args []string) error{
	"compare": runCompare,
	"list":    runList,
	"plot":    runPlot,
	"profile": runProfile,
	"report":  runReport,
	"restart": runRestart,
}

// run takes the name of a command and its flags, or those of runOnce alone.
func run(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return runOnce(ctx, args)
	}
	command := commands[args[0]]
	if command == nil {
		return fmt.Errorf("no command %q, have %s", args[0], strings.Join(sortedKeys(commands), ", "))
	}
	return command(ctx, args[1:])
}

// runOnce measures one workload on a server that is already running.
func runOnce(ctx context.Context, args []string) error {
	cfg := defaultConfig
	var pids pidList
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	cfg.bind(flags)
	flags.StringVar(&cfg.Target, "target", "", "servers to measure: etcd://, redis:// or zk:// and host:port[,host:port...]")
	flags.StringVar(&cfg.Workload, "workload", "", "what to run; 'bench list' names the workloads of each scheme")
	flags.Var(&pids, "pid", "comma-separated server processes whose CPU and memory to report")
	flags.Parse(args)

	var meter meter
	if len(pids) > 0 {
		meter = processes(pids)
	}
	result, err := measure(ctx, cfg, meter)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, result)
	return json.NewEncoder(os.Stdout).Encode(result)
}

// runList prints the workloads that each scheme has.
func runList(context.Context, []string) error {
	for _, scheme := range sortedKeys(schemes) {
		d, err := schemes[scheme](Config{}, nil)
		if err != nil {
			return err
		}
		fmt.Printf("%-6s %s\n", scheme, strings.Join(sortedKeys(d.workloads()), " "))
	}
	return nil
}

// pidList is a flag holding comma-separated process numbers.
type pidList []int

func (p *pidList) String() string { return fmt.Sprint(*p) }

func (p *pidList) Set(s string) error {
	for field := range strings.SplitSeq(s, ",") {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return err
		}
		*p = append(*p, pid)
	}
	return nil
}
