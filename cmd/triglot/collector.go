package main

import (
	"runtime"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/raftlog/transport"
)

// collector reads the numbers of the store, the sockets and the way to the peers when they are asked for; nothing is
// counted on the side. Our own names begin with triglot_. What etcd has too goes by etcd's names as well, with its units
// and labels, so that the dashboards and alerts that are made for etcd work.
type collector struct {
	store  *atomic.Pointer[core.Store] // nil until the member serves
	server *protocols.Server
	peers  *transport.Transport // nil: alone
}

// sample is one look at a store. Its zero value is a member that waits for a quorum.
type sample struct {
	core.Status
	numbers core.Metrics
}

// storeMetrics is the table of metrics that are one number of the store.
var storeMetrics = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(sample) float64
}{
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

	{describe("etcd_server_has_leader", "1 while this member knows a leader."), prometheus.GaugeValue,
		func(s sample) float64 { return oneIf(s.Leader != 0) }},
	{describe("etcd_server_is_leader", "1 while this member leads."), prometheus.GaugeValue,
		func(s sample) float64 { return oneIf(s.leads()) }},
	{describe("etcd_server_is_learner", "1 while this member has no vote."), prometheus.GaugeValue,
		func(s sample) float64 { return oneIf(s.Role == core.RoleLearner) }},
	{describe("etcd_server_leader_changes_seen_total", "Changes of the leader that this member saw."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.LeaderChanges) }},
	{describe("etcd_server_proposals_committed_total", "Index of the latest committed entry."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.RaftIndex) }},
	{describe("etcd_server_proposals_applied_total", "Index of the latest applied entry."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.AppliedIndex) }},
	{describe("etcd_server_proposals_pending", "Commands of this member that wait to be applied."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.numbers.ProposalsPending) }},
	{describe("etcd_server_proposals_failed_total", "Commands of this member that were given up."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.ProposalsDropped + s.numbers.ProposalsLost) }},
	{describe("etcd_mvcc_db_total_size_in_bytes", "Size of the state, as the quota counts it."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.SizeBytes) }},
	{describe("etcd_mvcc_db_total_size_in_use_in_bytes", "Part of it that is in use, estimated."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.InUseBytes) }},
	{describe("etcd_server_quota_backend_bytes", "Size beyond which writes are refused, 0 for none."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.QuotaBytes) }},
	{describe("etcd_mvcc_put_total", "Puts that this member has applied."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.Puts) }},
	{describe("etcd_mvcc_delete_total", "Deletes of keys that this member has applied."), prometheus.CounterValue,
		func(s sample) float64 { return float64(s.numbers.Deletes) }},
	{describe("etcd_debugging_mvcc_keys_total", "Keys, in the shared and the private spaces."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Keys) }},
	{describe("etcd_debugging_mvcc_current_revision", "Revision of the latest change."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Revision) }},
	{describe("etcd_debugging_mvcc_compact_revision", "Revisions below this one are gone."), prometheus.GaugeValue,
		func(s sample) float64 { return float64(s.Compacted) }},
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
}

var (
	connections = describe("triglot_connections", "Open client connections.", "protocol")
	connected   = describe("triglot_peer_connected", "1 while there is a connection to a member.", "To")
	roundTrips  = describe("etcd_network_peer_round_trip_time_seconds", "Round trips of probes to a member.", "To")
	fsyncs      = describe("etcd_disk_wal_fsync_duration_seconds", "Syncs of the raft log.")
	commits     = describe("etcd_disk_backend_commit_duration_seconds", "Commits of the state engine: one for each step of applied entries.")
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
	for _, m := range storeMetrics {
		out <- m.desc
	}
	for _, m := range peerMetrics {
		out <- m.desc
	}
	for _, desc := range []*prometheus.Desc{connections, connected, roundTrips, fsyncs, commits} {
		out <- desc
	}
}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	var now sample
	if store := c.store.Load(); store != nil {
		now = sample{store.Status(), store.Metrics()}
		out <- histogram(fsyncs, now.numbers.Sync.Bounds, now.numbers.Sync.Counts, now.numbers.Sync.Sum)
		out <- histogram(commits, now.numbers.Commit.Bounds, now.numbers.Commit.Counts, now.numbers.Commit.Sum)
	}
	for _, m := range storeMetrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(now))
	}
	for _, protocol := range protocols.All {
		out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocol)), string(protocol))
	}
	out <- prometheus.MustNewConstMetric(connections, prometheus.GaugeValue, float64(c.server.Count(protocols.Shared)), "unrecognised")
	if c.peers == nil {
		return
	}
	for _, peer := range c.peers.Stats() {
		id := strconv.FormatUint(peer.ID, 16) // as etcd writes it
		for _, m := range peerMetrics {
			out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(peer)), id)
		}
		out <- prometheus.MustNewConstMetric(connected, prometheus.GaugeValue, oneIf(peer.Connected), id)
		out <- histogram(roundTrips, peer.RoundTrips.BoundsSeconds, peer.RoundTrips.Counts, peer.RoundTrips.SumSeconds, id)
	}
}

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
