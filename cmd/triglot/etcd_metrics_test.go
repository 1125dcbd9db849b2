package main

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// described are the names of all metrics that a member can have beside those of Go and of the process, ours left out.
func described(t *testing.T) []string {
	t.Helper()
	all := make(chan *prometheus.Desc, 1000)
	for _, c := range append(buildInfo(), newGRPCMetrics(), &traffic{}, openFiles{}, &collector{}) {
		c.Describe(all)
	}
	close(all)
	names := append([]string{"promhttp_metric_handler_requests_in_flight", "promhttp_metric_handler_requests_total"}, logMetrics...)
	for desc := range all {
		name := regexp.MustCompile(`fqName: "([^"]*)"`).FindStringSubmatch(desc.String())[1]
		if !strings.HasPrefix(name, "triglot_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestTheManualHasEveryMetricOfEtcd(t *testing.T) {
	page, err := os.ReadFile("../../docs/compatibility/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z]+_[a-z0-9_]+)` \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		if !strings.HasPrefix(row[2], "not there: ") {
			told = append(told, row[1])
		}
	}
	slices.Sort(told)
	for _, name := range described(t) {
		if !slices.Contains(told, name) {
			t.Errorf("%s is served, and the page does not say so", name)
		}
	}
	for _, name := range told {
		if !slices.Contains(described(t), name) {
			t.Errorf("the page has %s, which is not served", name)
		}
	}
}

func TestVersionsThatClientsSayBecomeLabelsOnlyIfTheyLookLikeOnes(t *testing.T) {
	v := newVersionCounts()
	unknown := v.counter(versionKey{"unary", versionUnknown})
	for said, want := range map[string]bool{"3.7": true, "": false, "3.7.1": false, "x": false, "3.77777777777777777": false} {
		if got := v.counter(versionKey{"unary", said}) != unknown; got != want {
			t.Errorf("%q: %v", said, got)
		}
	}
	for i := range 4 * clientVersions {
		v.counter(versionKey{"unary", "9." + strconv.Itoa(i)})
	}
	if len(v.seen) != 2*clientVersions {
		t.Errorf("%d versions are labels, want %d", len(v.seen), 2*clientVersions)
	}
}
