package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// readResults reads the JSON lines that compare has written.
func readResults(files []string) (results []*Result, err error) {
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		more, err := decodeResults(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		results = append(results, more...)
	}
	return results, nil
}

func decodeResults(r io.Reader) (results []*Result, err error) {
	for d := json.NewDecoder(bufio.NewReader(r)); ; {
		result := &Result{}
		switch err := d.Decode(result); {
		case errors.Is(err, io.EOF):
			return results, nil
		case err != nil:
			return nil, err
		}
		results = append(results, result)
	}
}

// runReport prints one Markdown table of results, a row for each workload: what two servers did, and how they compare.
func runReport(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("bench report", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: bench report results.jsonl...\n\nEach file holds the results of two servers; the first is what the other is compared to.")
	}
	flags.Parse(args)
	t := newTable(os.Stdout, "servers", "workload", "ops/s", "ops/s", "ratio", "CPU µs/op", "CPU µs/op", "ratio", "p99", "p99",
		"peak MiB", "peak MiB")
	for _, file := range flags.Args() {
		results, err := readResults([]string{file})
		if err != nil {
			return err
		}
		if err := addRows(t, results); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	t.print()
	return nil
}

func addRows(t *table, results []*Result) error {
	byName := trials{}
	var workloads, servers []string
	for _, r := range results {
		key := [2]string{r.Name, r.Server}
		if _, known := byName[key]; !known {
			workloads, servers = addName(workloads, r.Name), addName(servers, r.Server)
		}
		byName[key] = append(byName[key], r)
	}
	if len(servers) != 2 {
		return fmt.Errorf("results of %v, not of two servers", servers)
	}
	for _, workload := range workloads {
		a, b := pair(byName[[2]string{workload, servers[0]}], byName[[2]string{workload, servers[1]}])
		if len(a) == 0 {
			continue
		}
		median := func(rounds []*Result, verb string, f figure) string {
			return fmt.Sprintf(verb, spreadOf(f.of(rounds)).Median)
		}
		latency := func(rounds []*Result) string { return Micros(spreadOf(figure(p99).of(rounds)).Median).String() }
		t.add(servers[0]+", "+servers[1], workload,
			median(a, "%.0f", opsPerSec), median(b, "%.0f", opsPerSec), ratios(figure(opsPerSec).of(a), figure(opsPerSec).of(b)).format("%.2f"),
			median(a, "%.1f", cpuPerOp), median(b, "%.1f", cpuPerOp), ratios(figure(cpuPerOp).of(a), figure(cpuPerOp).of(b)).format("%.2f"),
			latency(a), latency(b), median(a, "%.0f", peakRSS), median(b, "%.0f", peakRSS))
	}
	return nil
}

func addName(names []string, name string) []string {
	for _, known := range names {
		if known == name {
			return names
		}
	}
	return append(names, name)
}
