package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"syscall"
	"time"
)

// Kept is what a server needs for the keys that it holds.
type Kept struct {
	Server       string  `json:"server"`
	Keys         int     `json:"keys"`
	Value        int     `json:"val"`
	IdleCPU      float64 `json:"idle_cpu_pct"`   // of one core, of the server without keys
	IdleRSS      int64   `json:"idle_rss_bytes"` // likewise
	LoadPerSec   float64 `json:"loaded_keys_per_s"`
	RSSLoaded    int64   `json:"rss_loaded_bytes"` // right after the load
	RSS          int64   `json:"rss_bytes"`        // after a pause
	Data         int64   `json:"data_bytes"`       // disk space then
	AfterStop    float64 `json:"restart_s"`        // from start until the first answer, after SIGTERM; the median
	AfterKill    float64 `json:"restart_kill_s"`   // likewise after SIGKILL
	RSSRestarted int64   `json:"rss_restarted_b"`  // after the last of these starts
}

const restarts = 3 // after each of the two signals

// rests are how long a server is left alone.
type rests struct {
	idle    time.Duration // when it is new: its CPU time then counts
	settle  time.Duration // after the load
	between time.Duration // after each start
}

var defaultRests = rests{idle: 10 * time.Second, settle: 5 * time.Second, between: time.Second}

// runRestart loads keys into each server of a spec, and measures what holding them costs and how long a start with them takes.
func runRestart(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench restart", flag.ExitOnError)
	file := flags.String("spec", "", "file that says which servers to start")
	servers := flags.String("servers", "", "comma-separated servers of the spec (default all)")
	out := flags.String("out", "", "file to add a JSON line to for every server")
	dir := flags.String("dir", "data", "where servers keep their data")
	cfg := defaultConfig
	cfg.Keys, cfg.Value = 1_000_000, 256
	flags.IntVar(&cfg.Keys, "keys", cfg.Keys, "keys to load")
	flags.IntVar(&cfg.Value, "val", cfg.Value, "bytes per value")
	flags.Parse(args)
	spec, err := loadSpec(*file)
	if err != nil {
		return err
	}
	if err := spec.choose(splitList(*servers), nil); err != nil {
		return err
	}
	if err := spec.expand(); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	t := newTable(os.Stdout, "server", "keys", "idle CPU %", "idle RSS MiB", "loaded/s", "RSS MiB, loaded", "a little later", "data MiB",
		"restart", "after kill", "RSS MiB, restarted")
	var failed error
	for _, server := range spec.Servers {
		kept, err := keep(ctx, server, cfg, *dir, defaultRests)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", server.Name, err))
			continue
		}
		if *out != "" {
			if err := appendLine(*out, kept); err != nil {
				return err
			}
		}
		mib := func(n int64) string { return fmt.Sprintf("%.0f", float64(n)/(1<<20)) }
		t.add(kept.Server, fmt.Sprint(kept.Keys), fmt.Sprintf("%.2f", kept.IdleCPU), mib(kept.IdleRSS), fmt.Sprintf("%.0f", kept.LoadPerSec),
			mib(kept.RSSLoaded), mib(kept.RSS), mib(kept.Data), fmt.Sprintf("%.2fs", kept.AfterStop), fmt.Sprintf("%.2fs", kept.AfterKill),
			mib(kept.RSSRestarted))
	}
	t.print()
	return failed
}

func appendLine(file string, v any) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	return json.NewEncoder(f).Encode(v)
}

// keep measures one server. It takes no clusters: every start has new ports, by which members would look for each other in
// vain.
func keep(ctx context.Context, server Server, cfg Config, dir string, rests rests) (*Kept, error) {
	if server.Nodes > 1 {
		return nil, fmt.Errorf("%d nodes: restarts are measured of single servers", server.Nodes)
	}
	dir, err := freshDir(dir)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c, err := server.start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { c.stop() }()
	cfg.Target = c.target
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	kept := &Kept{Server: server.Name, Keys: cfg.Keys, Value: cfg.Value}

	fmt.Fprintf(os.Stderr, "%s: idle for %s\n", server.Name, rests.idle)
	before, err := c.used()
	if err != nil {
		return nil, err
	}
	pause(ctx, rests.idle)
	after, err := c.used()
	if err != nil {
		return nil, err
	}
	kept.IdleCPU = 100 * (after.CPU - before.CPU) / rests.idle.Seconds()
	kept.IdleRSS = after.RSS

	fmt.Fprintf(os.Stderr, "%s: loading %d keys\n", server.Name, cfg.Keys)
	d, err := dial(cfg)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	err = load(ctx, d, cfg)
	d.close()
	if err != nil {
		return nil, err
	}
	kept.LoadPerSec = float64(cfg.Keys) / time.Since(begun).Seconds()
	if after, err = c.used(); err != nil {
		return nil, err
	}
	kept.RSSLoaded = after.RSS
	pause(ctx, rests.settle)
	if after, err = c.used(); err != nil {
		return nil, err
	}
	kept.RSS = after.RSS
	if kept.Data, err = c.dataBytes(); err != nil {
		return nil, err
	}

	restart := func(signal syscall.Signal) (float64, error) {
		var took []float64
		for range restarts {
			c.signal(signal)
			c.stop()
			begun := time.Now()
			next, err := server.start(ctx, dir)
			if err != nil {
				return 0, err
			}
			c = next
			took = append(took, time.Since(begun).Seconds())
			fmt.Fprintf(os.Stderr, "%s: answers %.2f s after its start, %s before\n", server.Name, took[len(took)-1], signal)
			pause(ctx, rests.between)
		}
		return spreadOf(took).Median, nil
	}
	if kept.AfterStop, err = restart(syscall.SIGTERM); err != nil {
		return nil, err
	}
	if kept.AfterKill, err = restart(syscall.SIGKILL); err != nil {
		return nil, err
	}
	after, err = c.used()
	kept.RSSRestarted = after.RSS
	return kept, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// used is what the only node has used.
func (c *cluster) used() (Usage, error) { return usageOf(c.nodes[0].cmd.Process.Pid) }

func (c *cluster) signal(s syscall.Signal) {
	for _, n := range c.nodes {
		if n.running() {
			syscall.Kill(-n.cmd.Process.Pid, s)
		}
	}
}
