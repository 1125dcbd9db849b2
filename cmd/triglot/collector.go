package main

import (
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/raftlog/transport"
)

// collector reads the numbers of the store, the sockets and the way to the peers when they are asked for; nothing is
// counted on the side. Our own names begin with triglot_. What etcd has too goes by etcd's names: see etcd_metrics.go.
type collector struct {
	store  *atomic.Pointer[core.Store] // nil until the member serves
	meters *grpcsvc.Meters
	server *protocols.Server
	peers  *transport.Transport // nil: alone
}

// sample is one look at a member. That of one that waits for a quorum has no numbers of a store.
type sample struct {
	core.Status
	numbers core.Metrics
	api     grpcsvc.Readings
}

// single is a metric that is one number.
type single struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(sample) float64
}

// storeMetrics are our own.
var storeMetrics = []single{
	{describe("triglot_store_revision", "Revision of the latest change."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Revision) }},
	{describe("triglot_store_compacted_revision", "Revisions below this one are gone."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Compacted) }},
	{describe("triglot_store_keys", "Keys, in the shared and the private spaces."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Keys) }},
	{describe("triglot_store_disk_bytes", "Size of the state engine's files."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.DiskBytes) }},
	{describe("triglot_store_live_bytes", "Part of it that is in use, estimated."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.LiveBytes) }},
	{describe("triglot_store_history_bytes", "Part of it that old revisions take, estimated."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.HistoryBytes) }},
	{describe("triglot_raft_term", "Current term."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Term) }},
	{describe("triglot_raft_index", "Index of the latest committed entry."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.RaftIndex) }},
	{describe("triglot_raft_applied_index", "Index of the latest applied entry."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.AppliedIndex) }},
	{describe("triglot_raft_is_leader", "1 while this member leads."), prometheus.GaugeValue,
		func(s sample) float64 { return oneIf(s.leads()) }},
	{describe("triglot_raft_voters", "Members with a vote."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Voters) }},
	{describe("triglot_raft_learners", "Members without a vote."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Learners) }},
	{describe("triglot_raft_snapshots_received_total", "Snapshots that this member was sent and took over."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.SnapshotsReceived) }},
	{describe("triglot_leases_expired_total", "Leases and sessions that this member ended, while it led, because their time was over."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.LeasesExpired) }},
	{describe("triglot_keys_reaped_total", "Keys past their deadline that this member removed, while it led."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.KeysReaped) }},
}

func (s sample) leads() bool { return s.Leader != 0 && s.Leader == s.MemberID }

// peerMetrics is the table of metrics that are one number of a peer. label is etcd's: To or From.
var peerMetrics = []struct {
	desc  *prometheus.Desc
	value func(transport.PeerStats) uint64
}{
	{describe("etcd_network_peer_sent_bytes_total", "Bytes sent to a member.", "To"),
		func(p transport.PeerStats) uint64 { return p.SentBytes + p.SnapshotSentBytes }},
	{describe("etcd_network_peer_received_bytes_total", "Bytes received from a member.", "From"),
		func(p transport.PeerStats) uint64 { return p.ReceivedBytes + p.SnapshotReceivedBytes }},
	{describe("etcd_network_peer_sent_failures_total", "Messages to a member that could not be sent.", "To"),
		func(p transport.PeerStats) uint64 { return p.DroppedMessages }},
	{describe("etcd_network_snapshot_send_success", "Snapshots that a member was sent.", "To"),
		func(p transport.PeerStats) uint64 { return p.SnapshotsSent }},
	{describe("etcd_network_snapshot_send_failures", "Snapshots to a member that were given up.", "To"),
		func(p transport.PeerStats) uint64 { return p.SnapshotsSendFailed }},
	{describe("etcd_network_snapshot_receive_success", "Snapshots that a member sent to their end.", "From"),
		func(p transport.PeerStats) uint64 { return p.SnapshotsReceived }},
	{describe("etcd_network_snapshot_receive_failures", "Snapshots of a member that broke off.", "From"),
		func(p transport.PeerStats) uint64 { return p.SnapshotsReceiveFailed }},
}

var (
	connections = describe("triglot_connections", "Open client connections.", "protocol")
	connected   = describe("triglot_peer_connected", "1 while there is a connection to a member.", "To")
	roundTrips  = describe("etcd_network_peer_round_trip_time_seconds", "Round trips of probes to a member.", "To")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range slices.Concat(storeMetrics, etcdNumbers) {
		out <- m.desc
	}
	for _, m := range etcdTimes {
		out <- m.desc
	}
	for _, m := range peerMetrics {
		out <- m.desc
	}
	for _, desc := range slices.Concat(etcdLabelled, []*prometheus.Desc{connections, connected, roundTrips}) {
		out <- desc
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	now := sample{api: c.meters.Read()}
	store := c.store.Load()
	if store != nil {
		now.Status, now.numbers = store.Status(), store.Metrics()
	}
	for _, m := range slices.Concat(storeMetrics, etcdNumbers) {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(now))
	}
	for _, m := range etcdTimes {
		h := m.value(now)
		out <- histogram(m.desc, m.scaled(h.Bounds), h.Counts, h.Sum*m.scale())
	}
	collectLabelled(out, now)
	for _, protocol := range protocols.All {
		out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocol)), string(protocol))
	}
	out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocols.Shared)), "unrecognised")
	if store != nil {
		collectMembers(out, store)
	}
	if c.peers == nil {
		return
	}
	for _, peer := range c.peers.Stats() {
		id := idHex(peer.ID)
		for _, m := range peerMetrics {
			out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(peer)), id)
		}
		out <- prometheus.MustNewConstMetric(connected, prometheus.GaugeValue, oneIf(peer.Connected), id)
		out <- histogram(roundTrips, peer.RoundTrips.BoundsSeconds, peer.RoundTrips.Counts, peer.RoundTrips.SumSeconds, id)
		if store != nil {
			out <- prometheus.MustNewConstMetric(activePeers, prometheus.GaugeValue, oneIf(peer.Connected), idHex(now.MemberID), id)
		}
	}
}

// idHex is an id as etcd writes it.
func idHex(id uint64) string { return strconv.FormatUint(id, 16) }

// histogram turns counts per bucket into Prometheus' counts of all buckets up to each.
func histogram(desc *prometheus.Desc, bounds []float64, counts []uint64, sum float64, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	total := uint64(0)
	for i, n := range counts {
		total += n
		if i < len(bounds) {
			buckets[bounds[i]] = total
		}
	}
	return prometheus.MustNewConstHistogram(desc, total, sum, buckets, labels...)
}

// buildInfo is the constant 1 with the version as its label, as Prometheus' own tools have it.
func buildInfo() []prometheus.Collector {
	return []prometheus.Collector{
		fixed("triglot_build_info", "1, with the version of the server.", prometheus.Labels{"version": version, "goversion": runtime.Version()}),
		fixed("etcd_server_go_version", "1, with the version of Go that the server was built with.", prometheus.Labels{"server_go_version": runtime.Version()}),
		fixed("etcd_server_version", "1, with the version of etcd whose API is served.", prometheus.Labels{"server_version": grpcsvc.APIVersion}),
		fixed("etcd_cluster_version", "1, with the version of etcd that the cluster is taken for.", prometheus.Labels{"cluster_version": grpcsvc.ClusterVersion}),
	}
}

// fixed is a metric whose labels say all there is to say.
func fixed(name, help string, labels prometheus.Labels) prometheus.Collector {
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	gauge.Set(1)
	return gauge
}
