package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/raftlog/transport"
	"github.com/triglot/triglot/resp"
	"github.com/triglot/triglot/zkcompat"
)

// What each layer is told of the settings: the one place where their options are filled in.

func openStore(cfg *config, told advertised, peers *transport.Transport, stop <-chan struct{},
	waiting func(reason string), logger *slog.Logger,
) (*core.Store, error) {
	c := core.Config{
		Dir: cfg.DataDir, LogDir: cfg.LogDir, Name: cfg.Name, Logger: logger,
		HistoryAge: unbounded(cfg.HistoryAge), HistoryBytes: unbounded(cfg.HistoryBytes), HistoryRevisions: int64(cfg.HistoryRevisions), LeaseCheckpointInterval: cfg.LeaseCheckpoints,
		CommandBytesMax: commandBytesMax(cfg), QuotaBytes: cfg.QuotaBytes,
		CacheBytes: cfg.BlockCacheBytes, RowCacheBytes: cfg.RowCacheBytes, MemtableBytes: cfg.MemtableBytes, EngineWAL: cfg.EngineWAL, NoSync: cfg.NoSync,
		RingEvents: cfg.WatchRingEvents, RingBytes: cfg.WatchRingBytes,

		InitialCluster: initialMembers(cfg), Join: cfg.InitialClusterState == stateExisting, ClusterToken: cfg.ClusterToken,
		ForceNewCluster: cfg.ForceNewCluster, AwaitOthers: cfg.AsEtcd,
		PeerURLs:       told.peerURLs,
		Published:      core.Member{ClientURLs: told.clientURLs, Listeners: told.listeners, Version: version},
		TokenTTL:       cfg.AuthTokenTTL,
		RequestTimeout: cfg.RequestTimeout, CatchUpBytes: cfg.CatchUpBytes, MaxLearners: cfg.MaxLearners,
		MembersSettle:     cfg.MembersSettle,
		HashCheckInterval: unbounded(cfg.HashCheckInterval), Interrupt: stop, OnWaiting: waiting,
	}
	c.TickInterval, c.HeartbeatTicks, c.ElectionTicks = ticks(cfg)
	if peers != nil {
		c.Transport = peers
	}
	store, err := core.Open(c)
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", cfg.DataDir, err)
	}
	return store, nil
}

// ticks turns times into raft's clock, which counts ticks. Two of them to a heartbeat are fine enough: elections are spread
// over as many ticks as their time-out has.
func ticks(cfg *config) (interval time.Duration, heartbeat, election int) {
	const perHeartbeat = 2
	interval = cfg.HeartbeatInterval / perHeartbeat
	return interval, perHeartbeat, int((cfg.ElectionTimeout + interval - 1) / interval)
}

// initialMembers are those of --initial-cluster, as core has them.
func initialMembers(cfg *config) []core.Member {
	var list []core.Member
	for _, f := range cfg.founders() {
		list = append(list, core.Member{Name: f.name, PeerURLs: cfg.peerURLs(f.places)})
	}
	return list
}

func openTransport(cfg *config, told advertised, listeners []net.Listener, logger *slog.Logger) (*transport.Transport, error) {
	options := transport.Options{
		Listeners: listeners, PeerURLs: told.peerURLs, SnapshotBytesPerSecond: cfg.SnapshotRate, Logger: logger,
		MessageBytesMax: max(64<<20, 2*commandBytesMax(cfg)), // an entry, and what is around it
	}
	if cfg.peerTLS() {
		var err error
		if options.TLS, err = peerTLS(cfg); err != nil {
			return nil, err
		}
	}
	return transport.New(options)
}

// peerTLS gives the files that members know each other by; they win over a certificate of the member's own, which is made
// here.
func peerTLS(cfg *config) (*transport.TLSConfig, error) {
	t := &transport.TLSConfig{
		CertFile: cfg.PeerCertFile, KeyFile: cfg.PeerKeyFile, TrustedCAFile: cfg.PeerTrustedCAFile, CRLFile: cfg.PeerCRLFile,
		AllowedNames: splitList(cfg.PeerAllowedNames), AllowedHostnames: splitList(cfg.PeerAllowedHosts),
		SkipCallerCheck: cfg.PeerSkipSAN, OneSided: cfg.PeerOneSided, ClientCertFile: cfg.PeerClientCertFile, ClientKeyFile: cfg.PeerClientKeyFile,
	}
	if t.CertFile != "" {
		return t, nil
	}
	var err error
	t.SelfSigned = true
	if t.CertFile, t.KeyFile, err = selfSigned(filepath.Join(cfg.DataDir, "peer-tls"), cfg.listenHosts(), cfg.SelfSignedYears); err != nil {
		return nil, fmt.Errorf("--peer-auto-tls: %w", err)
	}
	return t, nil
}

// commandBytesMax is the largest command that a request of any protocol can become: keys and values stay as long as they
// are, and what is around them grows by half at most. The constant is for small limits: the server's own commands.
func commandBytesMax(cfg *config) int {
	request := max(cfg.MaxRequestBytes, cfg.ZKMaxPacketBytes)
	return int(request + request/2 + 64<<10)
}

// unbounded turns the 0 of a setting, which means no bound, into core's way of saying so.
func unbounded[T time.Duration | int64](limit T) T {
	if limit == 0 {
		return -1
	}
	return limit
}

// leaderElections is how many election time-outs the leader may be missing before streams that want one are ended, as in
// etcd.
const leaderElections = 3

func newAdapters(cfg *config, store *core.Store, at addresses, insight *insight, logger *slog.Logger) (map[protocols.Protocol]adapter, error) {
	tokens, unknown, err := grpcsvc.ParseTokens(cfg.AuthToken)
	if err != nil {
		return nil, fmt.Errorf("--auth-token: %w", err)
	}
	if len(unknown) > 0 {
		logger.Warn("options of --auth-token that there are not are ignored", "options", unknown)
	}
	var profiles http.Handler
	if cfg.PProf && cfg.AsEtcd { // which has them on the port of its clients
		profiles = profileRoutes()
	}
	return map[protocols.Protocol]adapter{
		protocols.RESP: resp.New(store, resp.Options{
			MaxRequestBytes: int(cfg.MaxRequestBytes), LocalReads: cfg.RESPLocalReads, AlwaysMaster: cfg.RESPAlwaysMaster,
			MaxArguments: cfg.RESPMaxArguments, MaxQueryBytes: int(cfg.RESPMaxQuery), MaxNames: cfg.RESPMaxNames,
			MaxOutputBytes: int(cfg.RESPMaxOutput), MaxTrackedKeys: cfg.RESPMaxTracked,
			NotifyKeyspaceEvents: cfg.RESPEvents, Version: version, Logger: logger,
		}),
		protocols.Etcd: grpcsvc.New(store, grpcsvc.Options{
			MaxRequestBytes: int(cfg.MaxRequestBytes), MaxTxnOps: cfg.MaxTxnOps,
			LeaderPatience: leaderElections * cfg.ElectionTimeout, Version: version, Logger: logger,
			Unary:      []grpc.UnaryServerInterceptor{insight.grpc.unary},
			Stream:     []grpc.StreamServerInterceptor{insight.grpc.stream},
			ScratchDir: cfg.DataDir,
			Tokens:     tokens, BcryptCost: cfg.BcryptCost, ClientCertAuth: cfg.ClientCertAuth,
			HandshakeTimeout: cfg.HandshakeTimeout, Metrics: insight.metrics(), Profiles: profiles, Meters: insight.meters, NoGateway: !cfg.Gateway,
			MaxStreams: uint32(cfg.MaxStreams), ProgressInterval: cfg.ProgressInterval,
			ClientPingMin: cfg.ClientPingMin, ServerPing: cfg.ServerPing, ServerPingTimeout: cfg.ServerPingWait,
			Origins: splitList(cfg.CORS), Hosts: splitList(cfg.HostWhitelist),
		}),
		protocols.ZK: zkcompat.New(store, zkcompat.Options{
			PacketBytesMax: int(cfg.ZKMaxPacketBytes), HandshakeTimeout: cfg.HandshakeTimeout,
			SessionTimeoutMin: cfg.ZKMinSession, SessionTimeoutMax: cfg.ZKMaxSession,
			WatchesMax: cfg.ZKMaxWatches, InFlightMax: cfg.ZKMaxInFlight, LinearizableReads: cfg.ZKLinearizable,
			Settings: zooKeeperSettings(cfg, at.zk),
			Version:  version, Logger: logger,
		}),
	}, nil
}

// zooKeeperSettings are the lines that the conf word has of what zkcompat does not know.
func zooKeeperSettings(cfg *config, address string) []zkcompat.Setting {
	settings := []zkcompat.Setting{{Name: "dataDir", Value: cfg.DataDir}}
	if host, port, err := net.SplitHostPort(address); err == nil && !isLocalSocket(address) {
		settings = append(settings, zkcompat.Setting{Name: "clientPort", Value: port}, zkcompat.Setting{Name: "clientPortAddress", Value: host})
	}
	return settings
}
