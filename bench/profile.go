package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/google/pprof/profile"
	"golang.org/x/sync/errgroup"
)

// profileWarmupMax is all the warm-up that there is: what a JVM needs, a profile of triglot does not.
const profileWarmupMax = 2 * time.Second

// servesProfiles are flags with which triglot serves profiles.
var servesProfiles = []string{"--listen-metrics", "127.0.0.1:{{.Port `metrics`}}", "--pprof"}

// runProfile profiles triglot under the workloads of specs, for the compiler: which calls are hot enough to be inlined, and
// what is behind an interface mostly.
func runProfile(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench profile", flag.ExitOnError)
	files := flags.String("spec", "specs/etcd.json,specs/redis.json,specs/zookeeper.json", "comma-separated specs whose workloads to run")
	workloads := flags.String("workloads", "put,put-p16,get,get-p16,range100,txn,create-delete,watch,lock,lease,incr,hset,lpush",
		"comma-separated workloads to run, of the specs that have them; a server that is idle for a part of the time would tell little")
	out := flags.String("out", "../cmd/triglot/default.pgo", "file to write the profile to")
	dir := flags.String("dir", "data", "where servers keep their data; on a disk, not a tmpfs, or syncs cost nothing")
	flags.Parse(args)

	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	var profiles []*profile.Profile
	wanted := splitList(*workloads)
	fmt.Fprintln(os.Stderr, "profiling; each workload takes its duration and a start and a load before it")
	for _, file := range splitList(*files) {
		spec, err := loadSpec(file)
		if err != nil {
			return err
		}
		if err := errors.Join(spec.choose([]string{"triglot"}, nil), spec.expand()); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		server := spec.Servers[0]
		server.Command = append(slices.Clone(server.Command), servesProfiles...)
		for _, cfg := range spec.Workloads {
			if !slices.Contains(wanted, cfg.Name) {
				continue
			}
			cfg.Warmup.Duration = min(cfg.Warmup.Duration, profileWarmupMax)
			p, err := profileOne(ctx, server, cfg, *dir)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", cfg.Name, file, err)
			}
			if p == nil {
				fmt.Fprintf(os.Stderr, "%s %s is left out: requests fail\n", file, cfg.Name)
				continue
			}
			fmt.Fprintf(os.Stderr, "%s %s\n", file, cfg.Name)
			profiles = append(profiles, p)
		}
	}
	merged, err := forCompiler(profiles)
	if err != nil {
		return err
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(merged.Write(f), f.Close())
}

// profileOne profiles a freshly started server while a workload is measured on it. The profile is nil when it does not serve that.
func profileOne(ctx context.Context, server Server, cfg Config, dir string) (p *profile.Profile, err error) {
	c, end, err := server.startFresh(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer end()
	port, err := c.nodes[0].Port("metrics")
	if err != nil {
		return nil, err
	}
	cfg.Target = c.target
	profiling, ctx := errgroup.WithContext(ctx)
	begun := false
	// The meter is read when the measurement begins, and again when it ends.
	meter := func() ([]Usage, error) {
		if !begun {
			begun = true
			profiling.Go(func() (err error) {
				p, err = fetchProfile(ctx, port, int(cfg.Duration.Seconds()))
				return err
			})
		}
		return c.meter()
	}
	var result *Result
	profiling.Go(func() (err error) {
		result, err = measure(ctx, cfg, meter)
		return err
	})
	if err := profiling.Wait(); err != nil {
		return nil, fmt.Errorf("%w%s", err, c.logTail())
	}
	if result.Errors > 0 {
		return nil, nil
	}
	return p, nil
}

func fetchProfile(ctx context.Context, port, seconds int) (*profile.Profile, error) {
	url := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/profile?seconds=%d", port, max(1, seconds))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return profile.Parse(response.Body)
}

// forCompiler makes one profile of several, without what depends on the machine that they are from.
func forCompiler(profiles []*profile.Profile) (*profile.Profile, error) {
	for _, p := range profiles {
		for _, sample := range p.Sample {
			sample.Label, sample.NumLabel, sample.NumUnit = nil, nil, nil
		}
		for _, mapping := range p.Mapping {
			mapping.File, mapping.BuildID = "", ""
		}
		for _, function := range p.Function {
			function.Filename = ""
		}
		p.TimeNanos, p.Comments = 0, nil
	}
	return profile.Merge(profiles)
}
