package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
)

// Metrics under etcd's names, with its units and labels, so that dashboards and alerts that are made for etcd work. Each is
// measured here, or counts what never happens here and then stands at nothing, as it does in etcd while it does not happen.
// docs/compatibility/etcd.md has a row for each metric of etcd.

func gauge(name, help string, value func(sample) float64) single {
	return single{describe(name, help), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(sample) float64) single {
	return single{describe(name, help), prometheus.CounterValue, value}
}

// never counts what does not happen here.
func never(kind prometheus.ValueType, name, why string) single {
	return single{describe(name, "0: "+why), kind, func(sample) float64 { return 0 }}
}

const (
	noProxy = "the server is no proxy."
	noV2    = "there is no v2 store."
)

// etcdNumbers are those that are one number.
var etcdNumbers = []single{
	gauge("etcd_server_has_leader", "1 while this member knows a leader.", func(s sample) float64 { return oneIf(s.Leader != 0) }),
	gauge("etcd_server_is_leader", "1 while this member leads.", func(s sample) float64 { return oneIf(s.leads()) }),
	gauge("etcd_server_is_learner", "1 while this member has no vote.", func(s sample) float64 { return oneIf(s.Role == core.RoleLearner) }),
	counter("etcd_server_leader_changes_seen_total", "Changes of the leader that this member saw.",
		func(s sample) float64 { return float64(s.numbers.LeaderChanges) }),
	counter("etcd_server_learner_promote_successes", "Learners that became voters because this member was asked for it.",
		func(s sample) float64 { return float64(s.numbers.Promotions) }),
	counter("etcd_server_heartbeat_send_failures_total", "Heartbeats that this member, leading, sent too late because it was overloaded.",
		func(s sample) float64 { return float64(s.numbers.BeatsLate) }),
	counter("etcd_server_slow_apply_total", "Commands that took longer than 100 ms to be applied.",
		func(s sample) float64 { return float64(s.numbers.SlowApplies) }),
	counter("etcd_server_slow_read_indexes_total", "Rounds of reads that this member had to ask the leader for again.",
		func(s sample) float64 { return float64(s.numbers.ReadsRepeated) }),
	counter("etcd_server_read_indexes_failed_total", "Linearizable reads that were given up.",
		func(s sample) float64 { return float64(s.numbers.ReadsFailed) }),
	gauge("etcd_server_snapshot_apply_in_progress_total", "1 while a snapshot of another member is being installed.",
		func(s sample) float64 { return oneIf(s.numbers.Installing) }),
	gauge("etcd_server_proposals_committed_total", "Index of the latest committed entry.", func(s sample) float64 { return float64(s.RaftIndex) }),
	gauge("etcd_server_proposals_applied_total", "Index of the latest applied entry.", func(s sample) float64 { return float64(s.AppliedIndex) }),
	gauge("etcd_server_proposals_pending", "Commands of this member that wait to be applied.",
		func(s sample) float64 { return float64(s.numbers.ProposalsPending) }),
	counter("etcd_server_proposals_failed_total", "Commands of this member that were given up.",
		func(s sample) float64 { return float64(s.numbers.ProposalsDropped + s.numbers.ProposalsLost) }),
	gauge("etcd_server_quota_backend_bytes", "Size beyond which writes are refused, 0 for none.",
		func(s sample) float64 { return float64(s.QuotaBytes) }),
	counter("etcd_server_health_success", "Answers of /health that were good.", func(s sample) float64 { return float64(s.api.Healthy) }),
	counter("etcd_server_health_failures", "Answers of /health that were bad.", func(s sample) float64 { return float64(s.api.Failing) }),

	gauge("etcd_mvcc_db_total_size_in_bytes", "Size of the state, as the quota counts it.", func(s sample) float64 { return float64(s.SizeBytes) }),
	gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Part of it that is in use, estimated.", func(s sample) float64 { return float64(s.InUseBytes) }),
	gauge("etcd_mvcc_db_open_read_transactions", "Snapshots of the state engine that readers hold: many share one.",
		func(s sample) float64 { return float64(s.numbers.Storage.OpenSnapshots) }),
	counter("etcd_mvcc_range_total", "Ranges that etcd clients read of this member, alone and in transactions.",
		func(s sample) float64 { return float64(s.api.Ranges) }),
	counter("etcd_mvcc_txn_total", "Transactions that etcd clients were answered by this member.",
		func(s sample) float64 { return float64(s.api.Txns) }),
	counter("etcd_mvcc_put_total", "Puts that this member has applied.", func(s sample) float64 { return float64(s.numbers.Puts) }),
	counter("etcd_mvcc_delete_total", "Deletes of keys that this member has applied.", func(s sample) float64 { return float64(s.numbers.Deletes) }),
	gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Keys and values of the puts that this member has applied.",
		func(s sample) float64 { return float64(s.numbers.PutBytes) }),
	gauge("etcd_debugging_mvcc_keys_total", "Keys, in the shared and the private spaces.", func(s sample) float64 { return float64(s.Keys) }),
	gauge("etcd_debugging_mvcc_current_revision", "Revision of the latest change.", func(s sample) float64 { return float64(s.Revision) }),
	gauge("etcd_debugging_mvcc_compact_revision", "Revisions below this one are gone.", func(s sample) float64 { return float64(s.Compacted) }),
	counter("etcd_debugging_mvcc_db_compaction_keys_total", "Events, with their versions of keys, that were removed after compactions.",
		func(s sample) float64 { return float64(s.numbers.Storage.PurgedRows) }),
	gauge("etcd_debugging_mvcc_db_compaction_last", "When that was done last, in seconds since 1970; 0 for not yet.", func(s sample) float64 {
		if s.numbers.PurgedAt.IsZero() {
			return 0
		}
		return float64(s.numbers.PurgedAt.Unix())
	}),
	gauge("etcd_debugging_mvcc_watcher_total", "Watches, of all protocols.", func(s sample) float64 { return float64(s.numbers.Watching.Watches) }),
	gauge("etcd_debugging_mvcc_watch_stream_total", "Streams and connections that watches belong to.",
		func(s sample) float64 { return float64(s.numbers.Watching.Feeds) }),
	gauge("etcd_debugging_mvcc_slow_watcher_total", "Watches that have not been told all yet.",
		func(s sample) float64 { return float64(s.numbers.Watching.Due) }),
	counter("etcd_debugging_mvcc_events_total", "Events that etcd clients were sent.", func(s sample) float64 { return float64(s.api.EventsSent) }),
	gauge("etcd_debugging_mvcc_pending_events_total", "Events on their way to etcd clients.",
		func(s sample) float64 { return float64(s.api.EventsWaiting) }),
	gauge("etcd_disk_defrag_inflight", "Defragmentations that are running.", func(s sample) float64 { return float64(s.numbers.Defragmenting) }),
	gauge("etcd_debugging_auth_revision", "Revision of users and roles.", func(s sample) float64 { return float64(s.numbers.AuthRevision) }),

	counter("etcd_debugging_lease_granted_total", "Leases and sessions that were begun, as this member applied it.",
		func(s sample) float64 { return float64(s.numbers.LeasesGranted) }),
	counter("etcd_debugging_lease_revoked_total", "Leases and sessions that ended, as this member applied it.",
		func(s sample) float64 { return float64(s.numbers.LeasesEnded) }),
	counter("etcd_debugging_lease_renewed_total", "Renewals of leases and sessions, while this member led.",
		func(s sample) float64 { return float64(s.numbers.LeasesRenewed) }),
	counter("etcd_debugging_server_lease_expired_total", "Leases and sessions that this member ended, while it led, because their time was over.",
		func(s sample) float64 { return float64(s.numbers.LeasesExpired) }),

	never(prometheus.CounterValue, "etcd_debugging_store_expires_total", noV2),
	never(prometheus.CounterValue, "etcd_debugging_store_watch_requests_total", noV2),
	never(prometheus.GaugeValue, "etcd_debugging_store_watchers", noV2),
	never(prometheus.GaugeValue, "etcd_grpc_proxy_cache_hits_total", noProxy),
	never(prometheus.GaugeValue, "etcd_grpc_proxy_cache_keys_total", noProxy),
	never(prometheus.GaugeValue, "etcd_grpc_proxy_cache_misses_total", noProxy),
	never(prometheus.CounterValue, "etcd_grpc_proxy_events_coalescing_total", noProxy),
	never(prometheus.GaugeValue, "etcd_grpc_proxy_watchers_coalescing_total", noProxy),
}

// times is a metric that is one histogram.
type times struct {
	desc   *prometheus.Desc
	millis bool // in milliseconds, where etcd has it so
	value  func(sample) core.Histogram
}

func (t times) scale() float64 {
	if t.millis {
		return 1000
	}
	return 1
}

func (t times) scaled(bounds []float64) []float64 {
	out := make([]float64, len(bounds))
	for i, b := range bounds {
		out[i] = b * t.scale()
	}
	return out
}

// nothing counts what does not happen here.
func nothing(name, why string) times {
	return times{describe(name, "Nothing: "+why), false, func(sample) core.Histogram { return core.Histogram{} }}
}

// etcdTimes are those that are one histogram.
var etcdTimes = []times{
	{describe("etcd_disk_backend_commit_duration_seconds", "Commits of the state engine: one for each step of applied entries."), false,
		func(s sample) core.Histogram { return s.numbers.Commit }},
	{describe("etcd_debugging_disk_backend_commit_write_duration_seconds", "The same: a commit is one write."), false,
		func(s sample) core.Histogram { return s.numbers.Commit }},
	nothing("etcd_debugging_disk_backend_commit_rebalance_duration_seconds", "the state engine has no tree that would be balanced."),
	nothing("etcd_debugging_disk_backend_commit_spill_duration_seconds", "the state engine has no tree that would be spilled."),
	{describe("etcd_disk_backend_defrag_duration_seconds", "Defragmentations."), false,
		func(s sample) core.Histogram { return s.numbers.Defragment }},
	{describe("etcd_disk_backend_snapshot_duration_seconds", "Backups that clients were sent whole."), false,
		func(s sample) core.Histogram { return s.numbers.Backup }},
	{describe("etcd_mvcc_hash_duration_seconds", "Hashes of the whole state, by which members are compared."), false,
		func(s sample) core.Histogram { return s.numbers.StateHash }},
	{describe("etcd_mvcc_hash_rev_duration_seconds", "Hashes of the keyspace at a revision."), false,
		func(s sample) core.Histogram { return s.numbers.HashAt }},
	{describe("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "Removals of what compactions have made garbage."), true,
		func(s sample) core.Histogram { return s.numbers.Purge }},
	{describe("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds", "Pieces of them, each one batch of the state engine."), true,
		func(s sample) core.Histogram { return s.numbers.PurgeStep }},
	nothing("etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", "there is no index in memory that would be compacted."),
	{describe("etcd_debugging_lease_ttl_total", "TTLs of leases and sessions that were begun, in seconds."), false,
		func(s sample) core.Histogram { return s.numbers.LeaseTTLs }},
	{describe("etcd_snap_db_save_total_duration_seconds", "Snapshots of other members, from their beginning until they are whole and on disk."), false,
		func(s sample) core.Histogram { return s.numbers.Receive }},
	{describe("etcd_snap_db_fsync_duration_seconds", "Syncs of the files of such snapshots."), false,
		func(s sample) core.Histogram { return s.numbers.ReceiveSync }},
	nothing("etcd_snap_fsync_duration_seconds", "the state engine's files are the snapshot, and no other is saved."),
	nothing("etcd_debugging_snap_save_total_duration_seconds", "the state engine's files are the snapshot, and no other is saved."),
	nothing("etcd_debugging_snap_save_marshalling_duration_seconds", "the state engine's files are the snapshot, and no other is saved."),
	{describe("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", "Sending a watcher what it is owed."), false,
		func(s sample) core.Histogram { return s.api.SendEvents }},
	{describe("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds", "The same, divided by the events."), false,
		func(s sample) core.Histogram { return s.api.SendEach }},
	{describe("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", "Creating and cancelling a watcher."), false,
		func(s sample) core.Histogram { return s.api.SendControl }},
	{describe("etcd_debugging_server_watch_send_loop_progress_duration_seconds", "Telling a stream's progress."), false,
		func(s sample) core.Histogram { return s.api.SendProgress }},
}

// Those with labels.
var (
	applyTimes   = describe("etcd_server_apply_duration_seconds", "Commands being applied, by what they ask for.", "version", "op", "success")
	requestTimes = describe("etcd_server_request_duration_seconds", "Writes of etcd clients, until they are in effect on this member.", "type", "success")
	rangeTimes   = describe("etcd_server_range_duration_seconds", "Ranges that etcd clients read.", "success")
	serverID     = describe("etcd_server_id", "1, with this member's id.", "server_id")
	checkPasses  = describe("etcd_server_healthcheck", "1 if the check of a probe passed the last time.", "type", "name")
	checkCounts  = describe("etcd_server_healthchecks_total", "Checks of probes, by what came of them.", "type", "name", "status")
	alarmsRaised = describe("etcd_debugging_server_alarms", "1 for each alarm that is raised.", "server_id", "alarm_type")
	knownPeers   = describe("etcd_network_known_peers", "1 for each member that this one knows.", "Local", "Remote")
	activePeers  = describe("etcd_network_active_peers", "1 while there is a connection to a member.", "Local", "Remote")

	etcdLabelled = []*prometheus.Desc{
		applyTimes, requestTimes, rangeTimes, serverID, checkPasses, checkCounts, alarmsRaised, knownPeers, activePeers,
	}
)

// applyVersion is the API whose commands etcd's metric tells of.
const applyVersion = "v3"

func collectLabelled(out chan<- prometheus.Metric, now sample) {
	for _, a := range now.numbers.Applies {
		out <- histogram(applyTimes, a.Took.Bounds, a.Took.Counts, a.Took.Sum, applyVersion, a.Op, word(a.OK))
	}
	for _, r := range now.api.Requests {
		out <- histogram(requestTimes, r.Took.Bounds, r.Took.Counts, r.Took.Sum, r.Op, word(r.OK))
	}
	for _, r := range []struct {
		ok   bool
		took core.Histogram
	}{{true, now.api.RangesDone}, {false, now.api.RangesFailed}} {
		out <- histogram(rangeTimes, r.took.Bounds, r.took.Counts, r.took.Sum, word(r.ok))
	}
	for _, c := range now.api.Checks {
		collectCheck(out, c)
	}
}

func collectCheck(out chan<- prometheus.Metric, c grpcsvc.CheckReading) {
	out <- prometheus.MustNewConstMetric(checkPasses, prometheus.GaugeValue, oneIf(c.Passes), c.Probe, c.Name)
	for _, result := range []struct {
		status string
		count  uint64
	}{{"success", c.Passed}, {"error", c.Failures}} {
		if result.count > 0 {
			out <- prometheus.MustNewConstMetric(checkCounts, prometheus.CounterValue, float64(result.count), c.Probe, c.Name, result.status)
		}
	}
}

// collectMembers tells of this member and the others.
func collectMembers(out chan<- prometheus.Metric, store *core.Store) {
	self := idHex(store.MemberID())
	out <- prometheus.MustNewConstMetric(serverID, prometheus.GaugeValue, 1, self)
	for _, m := range store.Members() {
		out <- prometheus.MustNewConstMetric(knownPeers, prometheus.GaugeValue, 1, self, idHex(m.ID))
	}
	for _, a := range store.Alarms() {
		out <- prometheus.MustNewConstMetric(alarmsRaised, prometheus.GaugeValue, 1, idHex(a.Member), a.Kind.String())
	}
}

// word is a label that is true or false.
func word(is bool) string {
	if is {
		return "true"
	}
	return "false"
}
