// Command triglot runs the server, operates a cluster of them and explains itself: `triglot serve`, `triglot status`,
// `triglot member`, `triglot snapshot`, `triglot help`.
//
// The server's part knows flags, wiring and signals, and no protocol's semantics. Goroutines of its own: the signal
// watcher (signals.go), one Serve per adapter (serve.go) and the HTTP server of the metrics address (insight.go). serve
// starts them all and waits for all but the signal watcher, which lives as long as the process. The commands that operate a
// cluster (client.go and what uses it) are etcd clients, and talk to it over the network alone. --dev-cluster runs servers
// as processes below this one (dev_cluster.go, which draws its goroutines).
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	args := os.Args[1:]
	if calledEtcd(os.Args[0]) {
		args = append([]string{"etcd"}, args...)
	}
	os.Exit(run(args, os.Stdout, os.Stderr))
}

// run is main with its surroundings as arguments. Every error ends here: one line on stderr and exit code 1.
func run(args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		fmt.Fprintf(stderr, "triglot: %s\n", oneLine(err))
		return 1
	}
	return 0
}
