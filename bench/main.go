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

	command, args := runOnce, os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "compare":
			command, args = runCompare, args[1:]
		case "list":
			command, args = runList, args[1:]
		case "restart":
			command, args = runRestart, args[1:]
		case "report":
			command, args = runReport, args[1:]
		case "plot":
			command, args = runPlot, args[1:]
		}
	}
	if err := command(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
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
