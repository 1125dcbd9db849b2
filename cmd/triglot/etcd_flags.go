package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The flags of etcd 3.7, and what each is here: another name of a setting of Triglot, something without a meaning here,
// or something that is refused, because a server that took it and did not do it would not be what was asked for.

// etcdFate is what becomes of a flag of etcd.
type etcdFate int

const (
	etcdMapped  etcdFate = iota // it is a setting of Triglot
	etcdIgnored                 // its work is done in another way, or there is none: no client can tell
	etcdRefused                 // only values that ask for nothing are taken
	etcdOwn                     // the command line itself takes it: --version
	etcdFinds                   // it says where the members of a new cluster are found
)

// etcdFlag is a flag of etcd. What is not given is taken as initial, etcd's own default.
type etcdFlag struct {
	name    string
	toggle  bool // it takes true or false, and needs no value
	initial string
	fate    etcdFate
	setting string                       // mapped: the setting's name
	convert func(string) (string, error) // mapped: etcd's text as the setting takes it; nil if that is the same
	allowed []string                     // refused: values beside initial that ask for nothing
	note    string                       // why
}

func mapsTo(name, initial, setting string, convert func(string) (string, error)) etcdFlag {
	return etcdFlag{name: name, initial: initial, fate: etcdMapped, setting: setting, convert: convert}
}

func ignores(why string, names ...string) []etcdFlag {
	var rows []etcdFlag
	for _, name := range names {
		rows = append(rows, etcdFlag{name: name, fate: etcdIgnored, note: why})
	}
	return rows
}

func refuses(name, initial, why string, allowed ...string) etcdFlag {
	return etcdFlag{name: name, initial: initial, fate: etcdRefused, note: why, allowed: allowed}
}

func finds(name, initial, what string) etcdFlag {
	return etcdFlag{name: name, initial: initial, fate: etcdFinds, note: what}
}

// switched makes rows of flags that are true or false.
func switched(initial string, rows ...etcdFlag) []etcdFlag {
	for i := range rows {
		rows[i].toggle, rows[i].initial = true, initial
	}
	return rows
}

// How --auto-compaction-retention is meant: as an age, or as a number of revisions.
const (
	modePeriodic = "periodic"
	modeRevision = "revision"
)

const noTracing = "there is no tracing"

// etcdFlags is the table.
func etcdFlags() []etcdFlag {
	return slices.Concat([]etcdFlag{
		mapsTo("name", "default", "name", nil),
		mapsTo("data-dir", "", "data-dir", nil),
		mapsTo("wal-dir", "", "log-dir", nil),
		mapsTo("listen-client-urls", "http://localhost:2379", "listen-etcd", clientURLs),
		mapsTo("listen-client-http-urls", "", "listen-etcd-http", clientURLs),
		mapsTo("advertise-client-urls", "http://localhost:2379", "advertise-etcd", connectURLs),
		mapsTo("listen-peer-urls", "http://localhost:2380", "listen-peer", peerURLs),
		mapsTo("initial-advertise-peer-urls", "http://localhost:2380", "advertise-peer", connectURLs),
		mapsTo("initial-cluster", "", "initial-cluster", clusterURLs),
		mapsTo("initial-cluster-state", stateNew, "initial-cluster-state", nil),
		mapsTo("initial-cluster-token", "etcd-cluster", "initial-cluster-token", nil),
		mapsTo("heartbeat-interval", "100", "heartbeat-interval", milliseconds),
		mapsTo("election-timeout", "1000", "election-timeout", milliseconds),
		mapsTo("max-request-bytes", "1572864", "max-request-bytes", nil),
		mapsTo("quota-backend-bytes", "0", "quota-bytes", quotaBytes),
		mapsTo("max-txn-ops", "128", "max-txn-ops", nil),
		mapsTo("max-concurrent-streams", "4294967295", "max-concurrent-streams", nil),
		mapsTo("grpc-keepalive-min-time", "5s", "grpc-keepalive-min-time", nil),
		mapsTo("grpc-keepalive-interval", "2h", "grpc-keepalive-interval", nil),
		mapsTo("grpc-keepalive-timeout", "20s", "grpc-keepalive-timeout", nil),
		mapsTo("watch-progress-notify-interval", "0s", "watch-progress-notify-interval", progressInterval),
		mapsTo("max-learners", "1", "max-learners", nil),
		mapsTo("corrupt-check-time", "", "hash-check-interval", nanoseconds),
		mapsTo("peer-cert-file", "", "peer-cert-file", nil),
		mapsTo("peer-key-file", "", "peer-key-file", nil),
		mapsTo("peer-trusted-ca-file", "", "peer-trusted-ca-file", nil),
		mapsTo("peer-client-cert-file", "", "peer-client-cert-file", nil),
		mapsTo("peer-client-key-file", "", "peer-client-key-file", nil),
		mapsTo("peer-crl-file", "", "peer-crl-file", nil),
		mapsTo("peer-cert-allowed-cn", "", "peer-cert-allowed-cn", nil),
		mapsTo("peer-cert-allowed-hostname", "", "peer-cert-allowed-hostname", nil),
		mapsTo("listen-metrics-urls", "", "listen-metrics", clientURLs),
		mapsTo("auto-compaction-retention", "0", "history-age", retention),
		mapsTo("auth-token", "simple", "auth-token", nil),
		mapsTo("auth-token-ttl", "300", "auth-token-ttl", tokenSeconds),
		mapsTo("bcrypt-cost", "10", "bcrypt-cost", bcryptCost),
		mapsTo("cert-file", "", "cert-file", nil),
		mapsTo("key-file", "", "key-file", nil),
		mapsTo("trusted-ca-file", "", "trusted-ca-file", nil),
		mapsTo("client-crl-file", "", "client-crl-file", nil),
		mapsTo("client-cert-allowed-hostname", "", "client-cert-allowed-hostname", nil),
		mapsTo("self-signed-cert-validity", "1", "self-signed-cert-validity", nil),
		mapsTo("cipher-suites", "", "cipher-suites", nil),
		mapsTo("tls-min-version", "TLS1.2", "tls-min-version", nil),
		mapsTo("tls-max-version", "", "tls-max-version", nil),
		mapsTo("cors", "*", "cors", nil),
		mapsTo("host-whitelist", "*", "host-whitelist", nil),
		mapsTo("log-level", "info", "log-level", logLevel),
		mapsTo("log-format", "json", "log-format", logFormat),
		mapsTo("log-outputs", "default", "log-output", logOutputs),

		refuses("discovery-fallback", "exit", "there are no proxies"),
		refuses("logger", "zap", "there is one logger"),
		{name: "feature-gates", fate: etcdRefused, note: "LeaseCheckpoint is `--lease-checkpoint-interval`; what etcd's inside has besides cannot be switched"},

		finds("discovery-srv", "", "a domain whose SRV records name the members"),
		finds("discovery-srv-name", "", "what follows etcd-server in their name"),
		finds("discovery-endpoints", "", "members of the cluster that has the registry"),
		finds("discovery-token", "", "which cluster of it; also the token of the new one, as in etcd"),
		finds("discovery-dial-timeout", "2s", "of a request, together with the next one"),
		finds("discovery-request-timeout", "5s", "of a request, together with the one before"),
		finds("discovery-keepalive-time", "2s", "how often the connection is tried"),
		finds("discovery-keepalive-timeout", "6s", "how long it may take to answer"),
		finds("discovery-cert", "", "certificate to show"),
		finds("discovery-key", "", "and its key"),
		finds("discovery-cacert", "", "authority of the registry's certificate"),
		finds("discovery-user", "", "name, or name:password"),
		finds("discovery-password", "", "the password alone"),

		{name: "auto-compaction-mode", initial: modePeriodic, fate: etcdOwn, note: "revision: the retention is `--history-revisions`"},
		{name: "config-file", fate: etcdOwn, note: "the file wins over every other flag and variable, as in etcd"},
		{name: "version", fate: etcdOwn, toggle: true},
	},
		switched("false",
			mapsTo("socket-reuse-port", "", "socket-reuse-port", nil),
			refuses("enable-log-rotation", "", "files of the log are appended to, and may be truncated by what rotates them"),
			refuses("enable-distributed-tracing", "", noTracing),
			refuses("memory-mlock", "", "memory is not locked"),
			mapsTo("unsafe-no-fsync", "", "unsafe-no-fsync", nil),
			mapsTo("force-new-cluster", "", "force-new-cluster", nil),
			mapsTo("enable-pprof", "", "pprof", nil),
			mapsTo("peer-skip-client-san-verification", "", "peer-skip-client-san-verification", nil),
			mapsTo("auto-tls", "", "auto-tls", nil),
			mapsTo("peer-auto-tls", "", "peer-auto-tls", nil),
			mapsTo("client-cert-auth", "", "client-cert-auth", nil),
		),
		switched("true", finds("discovery-insecure-transport", "", "no TLS, unless another flag asks for it")),
		switched("false", finds("discovery-insecure-skip-tls-verify", "", "take any certificate")),
		switched("true", mapsTo("strict-reconfig-check", "", "members-settle", settleTime)),
		switched("true", ignores("a member always asks before it stands for election", "pre-vote")...),
		switched("true", ignores("an election needs no waiting at start", "initial-election-tick-advance")...),
		switched("true", mapsTo("enable-grpc-gateway", "", "enable-grpc-gateway", nil)),
		switched("false", ignores("addresses in TIME_WAIT are always taken again", "socket-reuse-address")...),
		switched("false", ignores("certificates of members are always checked", "peer-client-cert-auth")...),
		ignores("the log is cut by size (TRIGLOT_CATCH_UP_BYTES)", "snapshot-count", "snapshot-catchup-entries", "max-snapshots", "max-wals"),
		ignores("only for etcd's backend", "backend-bbolt-freelist-type", "backend-batch-interval", "backend-batch-limit",
			"bootstrap-defrag-threshold-megabytes", "compaction-batch-limit", "compaction-sleep-interval"),
		ignores("the members' whole states are compared (--corrupt-check-time)", "compact-hash-check-time"),
		ignores("connections between members are watched by pings", "raft-read-timeout", "raft-write-timeout"),
		ignores("there are no mixed versions to watch", "downgrade-check-time", "v2-deprecation"),
		ignores("every metric is always there", "metrics"),
		ignores("slow requests are in the metrics", "warning-apply-duration", "warning-unary-request-duration"),
		ignores("only for tracing", "distributed-tracing-address", "distributed-tracing-service-name", "distributed-tracing-instance-id",
			"distributed-tracing-sampling-rate"),
		ignores("only for log rotation", "log-rotation-config-json"),
		ignores("the gateway from JSON to gRPC is within the server", "client-cert-file", "client-key-file"),
		ignores("etcd ignores it too", "cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force",
			"max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot",
			"v", "vv", "test.coverprofile", "test.outputdir"),
	)
}

// etcdGates are etcd's feature gates and their defaults, which are the only values taken of those that clients could tell.
var etcdGates = map[string]bool{
	"AllAlpha": false, "AllBeta": false, "SetMemberLocalAddr": false, "StopGRPCServiceOnDefrag": false,
}

// etcdInnerGates are those that no client can tell, and so may have any value, and those that are followed.
var etcdInnerGates = []string{
	"FastLeaseKeepAlive", "PriorityRequest", "TxnModeWriteWithSharedBuffer", gateInitialCheck, gateCompactCheck, gateCheckpoint, gateCheckpointPersist,
}

// The gates that ask for notes of what is left of leases. They are always on disk here.
const (
	gateCheckpoint        = "LeaseCheckpoint"
	gateCheckpointPersist = "LeaseCheckpointPersist"
	checkpointInterval    = "5m" // etcd's
)

// isOn says whether feature gates have one on.
func isOn(gates, name string) bool {
	on := false
	for _, gate := range splitList(gates) {
		if given, state, _ := strings.Cut(gate, "="); given == name {
			on, _ = strconv.ParseBool(state) // what is neither was refused
		}
	}
	return on
}

// The gates that ask for comparisons of the members' states. Here all of the state is compared, every hour unless
// --corrupt-check-time says otherwise.
const (
	gateInitialCheck = "InitialCorruptCheck"
	gateCompactCheck = "CompactHashCheck"
)

// asksForChecks says whether feature gates ask for the members' states to be compared.
func asksForChecks(gates string) bool {
	return isOn(gates, gateInitialCheck) || isOn(gates, gateCompactCheck)
}

// refusal says why a value of a refused flag is not taken; nil if it asks for nothing.
func (f *etcdFlag) refusal(value string) error {
	if f.name == "feature-gates" {
		for _, gate := range splitList(value) {
			name, state, _ := strings.Cut(gate, "=")
			on, err := strconv.ParseBool(state)
			if err == nil && slices.Contains(etcdInnerGates, name) {
				continue
			}
			initial, known := etcdGates[name]
			if !known || err != nil || on != initial {
				return fmt.Errorf("%s is not supported: %s", gate, f.note)
			}
		}
		return nil
	}
	if value == f.initial || slices.Contains(f.allowed, value) {
		return nil
	}
	return fmt.Errorf("%q is not supported: %s", value, f.note)
}
