package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
)

// config is every setting of `triglot serve`, after flags, variables, file and defaults have been brought together.
type config struct {
	Name    string
	DataDir string
	LogDir  string
	File    string

	InitialCluster      string
	InitialClusterState string
	ClusterToken        string
	ForceNewCluster     bool
	AdvertisePeer       string
	AdvertiseEtcd       string
	HeartbeatInterval   time.Duration
	ElectionTimeout     time.Duration
	RequestTimeout      time.Duration
	SnapshotRate        int64
	CatchUpBytes        int64
	MaxLearners         int
	MembersSettle       time.Duration
	HashCheckInterval   time.Duration
	PeerCertFile        string
	PeerKeyFile         string
	PeerTrustedCAFile   string
	PeerClientCertFile  string
	PeerClientKeyFile   string
	PeerCRLFile         string
	PeerAllowedNames    string
	PeerSkipSAN         bool
	PeerAllowedHosts    string
	PeerAutoTLS         bool
	DevCluster          int

	ListenRESP string
	ListenEtcd string
	ListenZK   string

	ListenEtcdHTTP string
	Listen         string
	ListenPeer     string
	ListenMetrics  string
	ReusePort      bool

	QuotaBytes       int64
	MaxRequestBytes  int64
	MaxTxnOps        int
	MaxConnections   int
	HandshakeTimeout time.Duration
	ZKMaxPacketBytes int64
	ZKMinSession     time.Duration
	ZKMaxSession     time.Duration
	ZKMaxWatches     int
	ZKMaxInFlight    int
	RESPMaxArguments int
	RESPMaxQuery     int64
	RESPMaxNames     int
	RESPMaxOutput    int64
	RESPMaxTracked   int
	CertFile         string
	KeyFile          string
	TrustedCAFile    string
	ClientCertAuth   bool
	ClientCRLFile    string
	CipherSuites     string
	TLSMinVersion    string
	TLSMaxVersion    string
	AutoTLS          bool
	SelfSignedYears  int
	MaxStreams       int
	ProgressInterval time.Duration
	ClientPingMin    time.Duration
	ServerPing       time.Duration
	ServerPingWait   time.Duration
	Gateway          bool
	CORS             string
	HostWhitelist    string
	AuthToken        string

	ClientCertAllowedHostname string
	AuthTokenTTL              time.Duration
	BcryptCost                int
	ZKLinearizable            bool
	RESPLocalReads            bool
	RESPAlwaysMaster          bool
	HistoryAge                time.Duration
	HistoryBytes              int64
	HistoryRevisions          int
	LeaseCheckpoints          time.Duration
	BlockCacheBytes           int64
	RowCacheBytes             int64
	MemtableBytes             int64
	EngineWAL                 bool
	NoSync                    bool
	WatchRingEvents           int
	WatchRingBytes            int64
	RESPEvents                string
	LogLevel                  string
	LogFormat                 string
	LogOutput                 string
	PProf                     bool

	// What only etcd's command line sets.
	Discovery    *discovery // nil = the members are those of --initial-cluster
	AsEtcd       bool       // say what etcd says when it is ready
	PeerOneSided bool       // members' certificates may be of the system's authorities, and those who call then show none
}

const (
	groupMember    = "Member"
	groupCluster   = "Cluster"
	groupListeners = "Listeners (host:port or unix:path, or several with a comma between; empty turns one off; tls:, plain: or both: before it says what it takes)"
	groupTLS       = "TLS of clients (member to member: see Cluster)"
	groupLimits    = "Limits"
	groupHTTP      = "HTTP beside etcd's gRPC"
	groupUsers     = "Users"
	groupReads     = "Reads and roles"
	groupHistory   = "History and watches"
	groupStorage   = "Storage"
	groupInsight   = "Insight"
)

// settings is the table that flags, variables and the file are read by. Making it sets c to the defaults.
func (c *config) settings() []setting {
	return []setting{
		{groupMember, "name", text(&c.Name, "default"), "name of this member"},
		{groupMember, "data-dir", text(&c.DataDir, "triglot-data"), "directory for everything that is kept; one process at a time"},
		{groupMember, "log-dir", text(&c.LogDir, ""), "directory for the raft log, on a disk of its own perhaps; empty: in --data-dir"},
		{groupMember, "config", text(&c.File, ""), "YAML file with settings, by the names of these flags"},

		{groupCluster, "initial-cluster", members(&c.InitialCluster, ""), "first members of a new cluster, this one too: a=host:port,b=host:port (peer addresses); empty for a cluster of its own"},
		{groupCluster, "initial-cluster-state", choice(&c.InitialClusterState, stateNew, stateNew, stateExisting), "existing: join a cluster that has been told of this member ('triglot member add' prints the flags)"},
		{groupCluster, "initial-cluster-token", text(&c.ClusterToken, ""), "tells clusters apart that have the same addresses: the same on all first members; looked at again later if it is given"},
		{groupCluster, "force-new-cluster", toggle(&c.ForceNewCluster, false), "go on as the only member, with what this one has: for when the quorum is lost for good. The others are removed"},
		{groupCluster, "advertise-peer", places(&c.AdvertisePeer, ""), "where other members reach this one; empty: what --initial-cluster says, or else --listen-peer"},
		{groupCluster, "advertise-etcd", places(&c.AdvertiseEtcd, ""), "where etcd clients are told to reach this member; empty: --listen-etcd, with a wildcard replaced by this machine's address"},
		{groupCluster, "heartbeat-interval", duration(&c.HeartbeatInterval, 100*time.Millisecond, 10*time.Millisecond), "time between the leader's heartbeats: about the round trip between members, or more"},
		{groupCluster, "election-timeout", duration(&c.ElectionTimeout, 800*time.Millisecond, 50*time.Millisecond), "a member that hears of no leader for one to two times as long asks for votes"},
		{groupCluster, "request-timeout", duration(&c.RequestTimeout, 7*time.Second, 100*time.Millisecond), "requests that wait so long for a quorum fail"},
		{groupCluster, "snapshot-rate", size(&c.SnapshotRate, 64<<20, 0), "bytes per second that a snapshot for another member is sent with; 0 for no bound"},
		{groupCluster, "catch-up-bytes", size(&c.CatchUpBytes, 64<<20, 1<<20), "log held in memory for members that lag; those further behind get a snapshot"},
		{groupCluster, "max-learners", number(&c.MaxLearners, 1, 1), "most members without a vote at a time"},
		{groupCluster, "members-settle", duration(&c.MembersSettle, 0, 0), "voters have to have been connected for so long before members are added or removed"},
		{groupCluster, "hash-check-interval", duration(&c.HashCheckInterval, time.Hour, 0), "how often the members' states are compared; 0 for never"},
		{groupCluster, "lease-checkpoint-interval", duration(&c.LeaseCheckpoints, 0, time.Second), "how often the leader notes what is left of longer leases, so that the next one does not give them their full time again; 0 for never"},
		{groupCluster, "peer-cert-file", text(&c.PeerCertFile, ""), "TLS between members, both ways: this member's certificate"},
		{groupCluster, "peer-key-file", text(&c.PeerKeyFile, ""), "and its key"},
		{groupCluster, "peer-trusted-ca-file", text(&c.PeerTrustedCAFile, ""), "and the authority that the others' certificates are from"},
		{groupCluster, "peer-client-cert-file", text(&c.PeerClientCertFile, ""), "certificate that is shown to members that this one calls, in place of --peer-cert-file"},
		{groupCluster, "peer-client-key-file", text(&c.PeerClientKeyFile, ""), "and its key"},
		{groupCluster, "peer-crl-file", text(&c.PeerCRLFile, ""), "revoked certificates of members"},
		{groupCluster, "peer-skip-client-san-verification", toggle(&c.PeerSkipSAN, false), "let members call from addresses that their certificates are not for"},
		{groupCluster, "peer-cert-allowed-cn", text(&c.PeerAllowedNames, ""), "common names that members' certificates may have, with a comma between; empty for any"},
		{groupCluster, "peer-cert-allowed-hostname", text(&c.PeerAllowedHosts, ""), "host names of which a member's certificate has to name one, with a comma between"},
		{groupCluster, "peer-auto-tls", toggle(&c.PeerAutoTLS, false), "TLS between members with certificates that nobody vouches for: what is said is secret, who says it is not known"},
		{groupCluster, "dev-cluster", number(&c.DevCluster, 0, 0), "run so many members on this machine, to try things out; the ports of each are 100 above the one before"},

		{groupListeners, "listen-resp", address(&c.ListenRESP, "127.0.0.1:6379"), "Redis clients"},
		{groupListeners, "listen-etcd", address(&c.ListenEtcd, "127.0.0.1:2379"), "etcd clients"},
		{groupListeners, "listen-etcd-http", address(&c.ListenEtcdHTTP, ""), "etcd's HTTP alone, JSON and probes, which --listen-etcd then takes no more; empty: it takes both"},
		{groupListeners, "listen-zk", address(&c.ListenZK, "127.0.0.1:2181"), "ZooKeeper clients"},
		{groupListeners, "listen", address(&c.Listen, "127.0.0.1:7379"), "clients of any of the three: the protocol is recognised by its first bytes"},
		{groupListeners, "listen-peer", address(&c.ListenPeer, "127.0.0.1:2380"), "other members of the cluster"},
		{groupListeners, "listen-metrics", address(&c.ListenMetrics, "127.0.0.1:7380"), "HTTP: /metrics, /health, /livez, /readyz; tls: before it takes the certificates of clients' TLS"},
		{groupListeners, "socket-reuse-port", toggle(&c.ReusePort, false), "let other processes of the same user listen on the same TCP ports"},

		{groupTLS, "cert-file", text(&c.CertFile, ""), "certificate of this server; with it every client listener talks TLS, unless plain: or both: stands before its address"},
		{groupTLS, "key-file", text(&c.KeyFile, ""), "and its key; both files are read again when they change"},
		{groupTLS, "auto-tls", toggle(&c.AutoTLS, false), "make a certificate that nobody vouches for, when there is no --cert-file"},
		{groupTLS, "self-signed-cert-validity", number(&c.SelfSignedYears, 1, 1), "years that it is good for"},
		{groupTLS, "trusted-ca-file", text(&c.TrustedCAFile, ""), "authorities of clients' certificates; with it every client needs one"},
		{groupTLS, "client-cert-auth", toggle(&c.ClientCertAuth, false), "every client needs a certificate, and its common name is the user of etcd clients that show no token"},
		{groupTLS, "client-crl-file", text(&c.ClientCRLFile, ""), "revoked certificates of clients"},
		{groupTLS, "client-cert-allowed-hostname", text(&c.ClientCertAllowedHostname, ""), "host names of which a client's certificate has to name one, with a comma between"},
		{groupTLS, "cipher-suites", text(&c.CipherSuites, ""), "cipher suites up to TLS 1.2, by Go's names, with a comma between; empty for Go's choice"},
		{groupTLS, "tls-min-version", choice(&c.TLSMinVersion, "TLS1.2", "TLS1.2", "TLS1.3"), "oldest version that is taken"},
		{groupTLS, "tls-max-version", choice(&c.TLSMaxVersion, "", "", "TLS1.2", "TLS1.3"), "newest version that is taken; empty for the newest there is"},

		{groupLimits, "quota-bytes", size(&c.QuotaBytes, 0, 0), "size of the state beyond which writes are refused, on every member, until there is room and the NOSPACE alarm is cleared; 0 for no bound"},
		{groupLimits, "max-request-bytes", size(&c.MaxRequestBytes, 1572864, 1<<10), "largest request, and so the largest value"},
		{groupLimits, "max-txn-ops", number(&c.MaxTxnOps, 128, 1), "most operations in one etcd transaction"},
		{groupLimits, "max-concurrent-streams", numberTo(&c.MaxStreams, math.MaxUint32, 1, math.MaxUint32), "most calls and streams of an etcd connection at a time; further ones wait"},
		{groupLimits, "grpc-keepalive-min-time", duration(&c.ClientPingMin, 5*time.Second, 0), "least time between two pings of an etcd client, lest its connection be ended"},
		{groupLimits, "grpc-keepalive-interval", duration(&c.ServerPing, 2*time.Hour, 0), "an etcd client that is silent for so long is pinged"},
		{groupLimits, "grpc-keepalive-timeout", duration(&c.ServerPingWait, 20*time.Second, 0), "and its connection ended when it does not answer in this time"},
		{groupLimits, "max-connections", number(&c.MaxConnections, protocols.DefaultMaxConnections, 1), "most client connections, over all listeners"},
		{groupLimits, "handshake-timeout", duration(&c.HandshakeTimeout, protocols.DefaultHandshakeTimeout, time.Millisecond), "time for a client of --listen to show its protocol"},
		{groupLimits, "zk-max-packet-bytes", size(&c.ZKMaxPacketBytes, 1048575, 1<<10), "largest ZooKeeper packet (jute.maxbuffer)"},
		{groupLimits, "zk-min-session-timeout", duration(&c.ZKMinSession, 4*time.Second, time.Millisecond), "shortest time-out that a ZooKeeper session can ask for"},
		{groupLimits, "zk-max-session-timeout", duration(&c.ZKMaxSession, 40*time.Second, time.Millisecond), "longest time-out that a ZooKeeper session can ask for"},
		{groupLimits, "resp-max-arguments", number(&c.RESPMaxArguments, 1<<20, 1), "most arguments of one Redis command"},
		{groupLimits, "resp-max-query-bytes", size(&c.RESPMaxQuery, 64<<20, 1<<16), "largest Redis request with all its arguments, and most that MULTI queues"},
		{groupLimits, "resp-max-names", number(&c.RESPMaxNames, 1<<20, 1), "most keys that a Redis connection watches, and channels that it subscribes to"},
		{groupLimits, "resp-max-output-bytes", size(&c.RESPMaxOutput, 32<<20, 1<<16), "what may wait for a slow Redis subscriber before it is disconnected"},
		{groupLimits, "resp-max-tracked-keys", number(&c.RESPMaxTracked, 1_000_000, 1), "most keys remembered for CLIENT TRACKING, over all clients"},
		{groupLimits, "zk-max-in-flight", number(&c.ZKMaxInFlight, 256, 1), "most requests of one ZooKeeper connection that wait for their answers"},
		{groupLimits, "zk-max-watches", number(&c.ZKMaxWatches, 100_000, 1), "most watches of one ZooKeeper connection"},

		{groupHTTP, "enable-grpc-gateway", toggle(&c.Gateway, true), "answer etcd's calls as JSON over HTTP, on the etcd listener"},
		{groupHTTP, "cors", text(&c.CORS, "*"), "origins whose pages may read answers over HTTP, with a comma between; * for all"},
		{groupHTTP, "host-whitelist", text(&c.HostWhitelist, "*"), "host names that requests over HTTP without TLS may be for, with a comma between; * for all"},

		{groupUsers, "auth-token", text(&c.AuthToken, "simple"), "what etcd clients log in with: simple, or jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m"},
		{groupUsers, "auth-token-ttl", duration(&c.AuthTokenTTL, 5*time.Minute, time.Second), "a simple token ends when it was not used for so long"},
		{groupUsers, "bcrypt-cost", numberTo(&c.BcryptCost, 10, 4, 31), "strength of the hashes of new passwords; one more is twice the work"},

		{groupReads, "resp-local-reads", toggle(&c.RESPLocalReads, false), "answer Redis reads from this member's state, without asking whether it is the newest"},
		{groupReads, "resp-always-master", toggle(&c.RESPAlwaysMaster, false), "tell Redis clients that this member is a master, whoever leads: for clients that would not write to a replica"},
		{groupReads, "zk-linearizable-reads", toggle(&c.ZKLinearizable, false), "make every ZooKeeper read see all acknowledged writes, as after a sync"},

		{groupHistory, "history-age", duration(&c.HistoryAge, time.Hour, 0), "old revisions are kept this long; 0 for no bound by age"},
		{groupHistory, "history-bytes", size(&c.HistoryBytes, 1<<30, 0), "old revisions are kept up to this size; 0 for no bound by size"},
		{groupHistory, "history-revisions", number(&c.HistoryRevisions, 0, 0), "so many old revisions are kept, looked at every five minutes; 0 for no bound by number"},
		{groupHistory, "watch-progress-notify-interval", duration(&c.ProgressInterval, 10*time.Minute, 100*time.Millisecond), "how often etcd watchers that asked for it are told that nothing has happened"},
		{groupHistory, "watch-ring-events", number(&c.WatchRingEvents, 1<<16, 16), "newest events held in memory for watchers; slower ones read from disk"},
		{groupHistory, "watch-ring-bytes", size(&c.WatchRingBytes, 8<<20, 1<<16), "memory for those events"},
		{groupHistory, "resp-notify-keyspace-events", eventClasses(&c.RESPEvents, ""), "which changes of keys Redis clients are told on channels, as the server starts; Redis' letters, like KEA; empty for none"},

		{groupStorage, "block-cache-bytes", size(&c.BlockCacheBytes, 32<<20, 1<<20), "memory for blocks read from disk"},
		{groupStorage, "row-cache-bytes", size(&c.RowCacheBytes, 32<<20, 1<<20), "memory for keys read or written lately"},
		{groupStorage, "memtable-bytes", size(&c.MemtableBytes, 8<<20, 1<<20), "writes that gather in memory before they are written out together; the log keeps what is in it"},
		{groupStorage, "engine-wal", toggle(&c.EngineWAL, false), "give the state engine a write-ahead log of its own, beside the raft log"},
		{groupStorage, "unsafe-no-fsync", toggle(&c.NoSync, false), "do not sync the log: when the power fails, what was acknowledged is lost, and maybe all; for tests that are in a hurry"},

		{groupInsight, "log-level", choice(&c.LogLevel, "info", "debug", "info", "warn", "error"), "least severe lines that are logged"},
		{groupInsight, "log-output", logOutput(&c.LogOutput, logToStderr), "where the log goes: stderr, stdout or files, which are appended to, with a comma between"},
		{groupInsight, "log-format", choice(&c.LogFormat, "text", "text", "json"), "form of log lines; json leaves the summary at start out"},
		{groupInsight, "pprof", toggle(&c.PProf, false), "serve profiles under /debug/pprof/ of --listen-metrics"},
	}
}

// register makes the table's flags.
func (c *config) register(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, s := range c.settings() {
		flag := flags.VarPF(s.value, s.name, "", s.help)
		if s.value.Type() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

const variablePrefix = "TRIGLOT_"

// variable is the environment variable of a setting: TRIGLOT_LISTEN_RESP of listen-resp.
func variable(name string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// load fills in what no flag has set, from the variables and then from the file, and checks the whole. It answers the
// TRIGLOT_ variables that name no setting: an orchestrator may have put them there, so they are told and not refused.
func (c *config) load(flags *pflag.FlagSet, environ []string) (unknown []string, err error) {
	env := map[string]string{}
	for _, pair := range environ {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, variablePrefix) {
			env[name] = value
		}
	}
	settled := map[string]bool{}
	flags.Visit(func(flag *pflag.Flag) { settled[flag.Name] = true })
	flags.VisitAll(func(flag *pflag.Flag) {
		name := variable(flag.Name)
		value, given := env[name]
		delete(env, name)
		if !given || settled[flag.Name] || err != nil {
			return
		}
		settled[flag.Name] = true
		if problem := flag.Value.Set(value); problem != nil {
			err = fmt.Errorf("environment variable %s: %q is not possible: %w", name, value, problem)
		}
	})
	if err == nil && c.File != "" {
		err = c.loadFile(flags, settled)
	}
	if err == nil {
		err = c.check()
	}
	for name := range env {
		unknown = append(unknown, name)
	}
	slices.Sort(unknown)
	return unknown, err
}

// loadFile reads a flat YAML mapping of setting names to values.
func (c *config) loadFile(flags *pflag.FlagSet, settled map[string]bool) error {
	raw, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return fmt.Errorf("--config: %s: %w", c.File, err)
	}
	if len(document.Content) == 0 {
		return nil // empty, or comments alone
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode {
		return fmt.Errorf("--config: %s:%d: the file is a list of 'name: value' lines", c.File, mapping.Line)
	}
	seen := map[string]bool{}
	for i := 0; i < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		where := fmt.Sprintf("--config: %s:%d", c.File, key.Line)
		flag := flags.Lookup(key.Value)
		switch {
		case flag == nil || key.Value == "help" || key.Value == "config":
			return fmt.Errorf("%s: there is no setting %q; see 'triglot serve --help'", where, key.Value)
		case seen[key.Value]:
			return fmt.Errorf("%s: %s is set a second time", where, key.Value)
		case value.Kind != yaml.ScalarNode:
			return fmt.Errorf("%s: %s takes a single value", where, key.Value)
		}
		seen[key.Value] = true
		if settled[key.Value] {
			continue
		}
		text := value.Value
		if value.Tag == "!!null" {
			text = ""
		}
		if err := flag.Value.Set(text); err != nil {
			return fmt.Errorf("%s: %s: %q is not possible: %w", where, key.Value, text, err)
		}
	}
	return nil
}

// check looks at what single values cannot show.
func (c *config) check() error {
	switch {
	case c.Name == "":
		return errors.New("--name: a member needs a name")
	case c.DataDir == "":
		return errors.New("--data-dir: a member needs a directory")
	case c.ListenRESP+c.ListenEtcd+c.ListenZK+c.Listen == "":
		return errors.New("every client listener is turned off; set one of --listen-resp, --listen-etcd, --listen-zk, --listen")
	case c.ZKMinSession > c.ZKMaxSession:
		return fmt.Errorf("--zk-min-session-timeout (%s) is longer than --zk-max-session-timeout (%s)",
			printDuration(c.ZKMinSession), printDuration(c.ZKMaxSession))
	case c.PProf && c.ListenMetrics == "" && !c.AsEtcd:
		return errors.New("--pprof needs --listen-metrics, which is turned off")
	}
	if err := c.checkClientTLS(); err != nil {
		return err
	}
	if _, _, err := grpcsvc.ParseTokens(c.AuthToken); err != nil {
		return fmt.Errorf("--auth-token: %w", err)
	}
	if err := c.checkCluster(); err != nil {
		return err
	}
	if c.DevCluster > 0 {
		return c.checkDevCluster()
	}
	return c.checkListeners()
}
