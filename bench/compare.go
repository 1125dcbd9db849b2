package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// runCompare measures the servers of a spec in turn, each time freshly started,
// for as many rounds as asked, and reports how they compare.
func runCompare(ctx context.Context, args []string) error {
	var override Config
	flags := flag.NewFlagSet("bench compare", flag.ExitOnError)
	file := flags.String("spec", "", "file that says which servers to start and what to run on them")
	servers := flags.String("servers", "", "comma-separated servers of the spec, the one to compare to first (default all)")
	workloads := flags.String("workloads", "", "comma-separated workloads of the spec (default all)")
	rounds := flags.Int("rounds", 0, "measurements per server and workload (default the spec's, or 3)")
	out := flags.String("out", "", "file to add a JSON line to for every measurement")
	quiet := flags.Float64("quiet", 100, "repeat, up to 3 times, a measurement during which other processes took more than this % of the CPU, and keep the quietest")
	dir := flags.String("dir", "data", "where servers keep their data; on a disk, not a tmpfs, or syncs cost nothing")
	override.bindTimes(flags)
	clients := flags.String("clients", "", "comma-separated numbers of clients to run each workload with, instead of the spec's")
	keys := flags.String("keys", "", "comma-separated sizes of the keyspace, likewise")
	flags.Parse(args)

	spec, err := loadSpec(*file)
	if err != nil {
		return err
	}
	if err := spec.choose(splitList(*servers), splitList(*workloads)); err != nil {
		return err
	}
	if err := spec.expand(); err != nil {
		return err
	}
	if err := spec.vary(splitList(*clients), splitList(*keys)); err != nil {
		return err
	}
	if *rounds > 0 {
		spec.Rounds = *rounds
	}
	flags.Visit(func(f *flag.Flag) {
		for i := range spec.Workloads {
			switch f.Name {
			case "warmup":
				spec.Workloads[i].Warmup = override.Warmup
			case "duration":
				spec.Workloads[i].Duration = override.Duration
			}
		}
	})
	lines := io.Discard
	if *out != "" {
		f, err := os.OpenFile(*out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		lines = f
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	disk, err := syncLatency(*dir)
	if err != nil {
		return err
	}
	results, err := compare(ctx, spec, *dir, *quiet, json.NewEncoder(lines))
	fmt.Printf("%d cores, %s, fdatasync of 4 KiB p50 %s p99 %s\n\n", runtime.NumCPU(), runtime.Version(), disk.P50, disk.P99)
	report(os.Stdout, spec, results)
	return err
}

// syncLatency is how long the disk takes to store a page durably, which bounds
// what servers can do.
func syncLatency(dir string) (s Summary, err error) {
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		return s, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := []byte(noise[:4096])
	rec, span := newRecorder(), window{time.Now(), time.Now().Add(time.Minute)}
	for range 300 {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return s, err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return s, err
		}
		rec.record(span, start, time.Now(), 1, nil)
	}
	return recorders{rec}.summarize(span), nil
}

func splitList(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// trials holds the results of all rounds by workload and server name.
type trials map[[2]string][]*Result

func compare(ctx context.Context, spec *Spec, dir string, quiet float64, out *json.Encoder) (trials, error) {
	results := trials{}
	var failed error
	total, done := spec.Rounds*len(spec.Servers)*len(spec.Workloads), 0
	fmt.Fprintf(os.Stderr, "%d measurements, of %s altogether, and a start and a load before each\n", total, spec.measuredTime())
	for _, cfg := range spec.Workloads {
		for round := range spec.Rounds {
			for _, server := range spec.Servers {
				if ctx.Err() != nil {
					return results, errors.Join(failed, ctx.Err())
				}
				result, err := tryQuietly(ctx, server, cfg, dir, quiet)
				done++
				if err != nil {
					err = fmt.Errorf("%s on %s: %w", cfg.Name, server.Name, err)
					fmt.Fprintln(os.Stderr, err)
					failed = errors.Join(failed, err)
					continue
				}
				result.Round = round + 1
				fmt.Fprintf(os.Stderr, "%d/%d %-12s %s\n", done, total, server.Name, result)
				if err := out.Encode(result); err != nil {
					return results, err
				}
				key := [2]string{cfg.Name, server.Name}
				results[key] = append(results[key], result)
			}
		}
	}
	return results, failed
}

// tryQuietly returns the first measurement that others disturbed by no more than
// quiet per cent of the CPU or, after the last attempt, the least disturbed.
func tryQuietly(ctx context.Context, server Server, cfg Config, dir string, quiet float64) (best *Result, err error) {
	const attempts = 4
	for range attempts {
		result, err := try(ctx, server, cfg, dir)
		if err != nil {
			return nil, err
		}
		if best == nil || result.Others < best.Others {
			best = result
		}
		if best.Others <= quiet {
			break
		}
	}
	return best, nil
}

// try measures a freshly started server.
func try(ctx context.Context, server Server, cfg Config, dir string) (*Result, error) {
	c, end, err := server.startFresh(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer end()
	cfg.Target = c.target
	result, err := measure(ctx, cfg, c.meter)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, c.logTail())
	}
	result.Server = server.Name
	result.Cost.DataBytes, err = c.dataBytes()
	return result, err
}

// report prints Markdown tables: what was measured, how fan-out fared, and how
// every server compares to the first.
func report(out io.Writer, spec *Spec, results trials) {
	measured := newTable(out, "workload", "server", "ops/s", "p50", "p99", "p99.9", "server CPU µs/op", "client CPU µs/op",
		"peak RSS MiB", "written B/op", "data MiB", "errors", "others' CPU %")
	fanOut := newTable(out, "workload", "server", "writes/s", "write p99", "lag p50", "lag p99", "delivered %")
	for _, cfg := range spec.Workloads {
		for _, server := range spec.Servers {
			rounds := results[[2]string{cfg.Name, server.Name}]
			if len(rounds) == 0 {
				continue
			}
			over := func(f figure) Spread { return spreadOf(f.of(rounds)) }
			median := func(verb string, f figure) string { return fmt.Sprintf(verb, over(f).Median) }
			latency := func(f figure) string { return Micros(over(f).Median).String() }
			measured.add(cfg.Name, server.Name, over(opsPerSec).format("%.0f"), latency(p50), latency(p99), latency(p999),
				over(cpuPerOp).format("%.1f"), median("%.1f", clientCPU), median("%.0f", peakRSS), median("%.0f", writtenPerOp),
				median("%.1f", dataBytes), fmt.Sprintf("%.0f", over(errorCount).Max), over(others).format("%.0f"))
			if rounds[0].Lag != nil {
				fanOut.add(cfg.Name, server.Name, over(writesPerSec).format("%.0f"), latency(writeP99),
					latency(lagP50), latency(lagP99), median("%.1f", delivered))
			}
		}
	}
	ratio := newTable(out, "workload", "ratio", "ops/s", "p50", "p99", "server CPU/op", "peak RSS", "written/op")
	base := spec.Servers[0]
	for _, cfg := range spec.Workloads {
		for _, server := range spec.Servers[1:] {
			a, b := pair(results[[2]string{cfg.Name, base.Name}], results[[2]string{cfg.Name, server.Name}])
			if len(a) == 0 {
				continue
			}
			cells := []string{cfg.Name, server.Name + " ÷ " + base.Name}
			for _, f := range []figure{opsPerSec, p50, p99, cpuPerOp, peakRSS, writtenPerOp} {
				cells = append(cells, ratios(f.of(a), f.of(b)).format("%.2f"))
			}
			ratio.add(cells...)
		}
	}
	measured.print()
	fanOut.print()
	ratio.print()
}

// pair keeps the results of rounds that both servers came through.
func pair(a, b []*Result) (pairedA, pairedB []*Result) {
	for _, ra := range a {
		for _, rb := range b {
			if ra.Round == rb.Round {
				pairedA, pairedB = append(pairedA, ra), append(pairedB, rb)
			}
		}
	}
	return pairedA, pairedB
}

// table is a Markdown table with its columns aligned.
type table struct {
	out  io.Writer
	rows [][]string
}

func newTable(out io.Writer, columns ...string) *table {
	rule := slices.Repeat([]string{"-"}, len(columns))
	return &table{out, [][]string{columns, rule}}
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print leaves out a table that got no rows.
func (t *table) print() {
	if len(t.rows) == 2 {
		return
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 1, ' ', 0)
	for _, cells := range t.rows {
		fmt.Fprintln(w, "| "+strings.Join(cells, "\t| ")+"\t|")
	}
	w.Flush()
	fmt.Fprintln(t.out)
}

// format prints the median and, if rounds differ, the range.
func (s Spread) format(verb string) string {
	if s.Min == s.Max {
		return fmt.Sprintf(verb, s.Median)
	}
	return fmt.Sprintf(verb+" ("+verb+"–"+verb+")", s.Median, s.Min, s.Max)
}

// A figure is one number of a result.
type figure func(*Result) float64

func (f figure) of(rounds []*Result) []float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = f(r)
	}
	return values
}

func opsPerSec(r *Result) float64    { return r.OpsPerSec }
func p50(r *Result) float64          { return float64(r.P50) }
func p99(r *Result) float64          { return float64(r.P99) }
func p999(r *Result) float64         { return float64(r.P999) }
func clientCPU(r *Result) float64    { return r.ClientCPU }
func cpuPerOp(r *Result) float64     { return r.Cost.CPUPerOp }
func peakRSS(r *Result) float64      { return float64(r.Cost.peakRSS()) / (1 << 20) }
func writtenPerOp(r *Result) float64 { return r.Cost.WrittenPerOp }
func dataBytes(r *Result) float64    { return float64(r.Cost.DataBytes) / (1 << 20) }
func errorCount(r *Result) float64   { return float64(r.Errors) }
func others(r *Result) float64       { return r.Others }
func writesPerSec(r *Result) float64 { return r.Writes.OpsPerSec }
func writeP99(r *Result) float64     { return float64(r.Writes.P99) }
func lagP50(r *Result) float64       { return float64(r.Lag.P50) }
func lagP99(r *Result) float64       { return float64(r.Lag.P99) }
func delivered(r *Result) float64    { return r.Delivered }
