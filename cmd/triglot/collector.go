package main

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/protocols"
)

// collector reads the store's and the sockets' numbers when they are asked for; nothing is counted on the side.
type collector struct {
	store  *core.Store
	server *protocols.Server
}

// gauges is the table of metrics that come from the store's status.
var gauges = []struct {
	desc  *prometheus.Desc
	value func(core.Status) float64
}{
	{describe("store_revision", "Revision of the latest change."),
		func(s core.Status) float64 { return float64(s.Revision) }},
	{describe("store_compacted_revision", "Revisions below this one are gone."),
		func(s core.Status) float64 { return float64(s.Compacted) }},
	{describe("store_keys", "Keys, in the shared and the private spaces."),
		func(s core.Status) float64 { return float64(s.Keys) }},
	{describe("store_disk_bytes", "Size of the state engine's files."),
		func(s core.Status) float64 { return float64(s.DiskBytes) }},
	{describe("store_live_bytes", "Part of it that is in use, estimated."),
		func(s core.Status) float64 { return float64(s.LiveBytes) }},
	{describe("store_history_bytes", "Part of it that old revisions take, estimated."),
		func(s core.Status) float64 { return float64(s.HistoryBytes) }},
	{describe("raft_term", "Current term."),
		func(s core.Status) float64 { return float64(s.Term) }},
	{describe("raft_index", "Index of the latest committed entry."),
		func(s core.Status) float64 { return float64(s.RaftIndex) }},
	{describe("raft_applied_index", "Index of the latest applied entry."),
		func(s core.Status) float64 { return float64(s.AppliedIndex) }},
	{describe("raft_is_leader", "1 while this member leads."),
		func(s core.Status) float64 {
			if s.Leader == s.MemberID {
				return 1
			}
			return 0
		}},
}

var connections = prometheus.NewDesc("triglot_connections", "Open client connections.", []string{"protocol"}, nil)

func describe(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("triglot_"+name, help, nil, nil)
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gauges {
		out <- g.desc
	}
	out <- connections
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	status := c.store.Status()
	for _, g := range gauges {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, g.value(status))
	}
	for _, protocol := range protocols.All {
		out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocol)), string(protocol))
	}
	out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocols.Shared)), "unrecognised")
}

// buildInfo is the constant 1 with the version as its label, as Prometheus' own tools have it.
func buildInfo() prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "triglot_build_info", Help: "1, with the version of the server.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}
