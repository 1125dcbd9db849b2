package main

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/resp"
	"github.com/triglot/triglot/zkcompat"
)

// What each layer is told of the settings: the one place where their options are filled in.

func openStore(cfg *config, logger *slog.Logger) (*core.Store, error) {
	store, err := core.Open(core.Config{
		Dir: cfg.DataDir, Name: cfg.Name, Logger: logger,
		HistoryAge: unbounded(cfg.HistoryAge), HistoryBytes: unbounded(cfg.HistoryBytes),
		CommandBytesMax: commandBytesMax(cfg),
		CacheBytes:      cfg.BlockCacheBytes, MemtableBytes: cfg.MemtableBytes, EngineWAL: cfg.EngineWAL,
		RingEvents: cfg.WatchRingEvents, RingBytes: cfg.WatchRingBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", cfg.DataDir, err)
	}
	return store, nil
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

func newAdapters(cfg *config, store *core.Store, at addresses, logger *slog.Logger) map[protocols.Protocol]adapter {
	return map[protocols.Protocol]adapter{
		protocols.RESP: resp.New(store, resp.Options{
			MaxRequestBytes: int(cfg.MaxRequestBytes), LocalReads: cfg.RESPLocalReads,
			MaxArguments: cfg.RESPMaxArguments, MaxQueryBytes: int(cfg.RESPMaxQuery), MaxNames: cfg.RESPMaxNames,
			MaxOutputBytes: int(cfg.RESPMaxOutput), MaxTrackedKeys: cfg.RESPMaxTracked,
			NotifyKeyspaceEvents: cfg.RESPEvents, Version: version, Logger: logger,
		}),
		protocols.Etcd: grpcsvc.New(store, grpcsvc.Options{
			Name: cfg.Name, PeerURLs: urls(at.peer), ClientURLs: urls(at.etcd),
			MaxRequestBytes: int(cfg.MaxRequestBytes), MaxTxnOps: cfg.MaxTxnOps, Logger: logger,
		}),
		protocols.ZK: zkcompat.New(store, zkcompat.Options{
			PacketBytesMax: int(cfg.ZKMaxPacketBytes), HandshakeTimeout: cfg.HandshakeTimeout,
			SessionTimeoutMin: cfg.ZKMinSession, SessionTimeoutMax: cfg.ZKMaxSession,
			WatchesMax: cfg.ZKMaxWatches, InFlightMax: cfg.ZKMaxInFlight, LinearizableReads: cfg.ZKLinearizable,
			Settings: zooKeeperSettings(cfg, at.zk),
			Version:  version, Logger: logger,
		}),
	}
}

// zooKeeperSettings are the lines that the conf word has of what zkcompat does not know.
func zooKeeperSettings(cfg *config, address string) []zkcompat.Setting {
	settings := []zkcompat.Setting{{Name: "dataDir", Value: cfg.DataDir}}
	if host, port, err := net.SplitHostPort(address); err == nil {
		settings = append(settings, zkcompat.Setting{Name: "clientPort", Value: port}, zkcompat.Setting{Name: "clientPortAddress", Value: host})
	}
	return settings
}

// urls is how etcd clients are told an address.
func urls(address string) []string {
	if address == "" {
		return nil
	}
	return []string{"http://" + address}
}
