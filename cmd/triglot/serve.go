package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/protocols"
)

// What bounds an end: clients that have not finished by then are cut off. Acknowledged writes are in the log either way.
// After a failure there is nothing that clients could still be given.
const (
	shutdownTimeout = 10 * time.Second
	failureTimeout  = time.Second
)

// adapter is what serve needs of resp, grpcsvc and zkcompat.
type adapter interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
}

// node is everything that runs, from the sockets down to the store.
type node struct {
	cfg    *config
	logger *slog.Logger

	addrs    addresses
	server   *protocols.Server
	peer     *peerPort
	insight  *insight
	store    *core.Store
	adapters map[protocols.Protocol]adapter

	failed  chan error // an adapter's Serve that ended by itself; room for each, so that none waits to say so
	serving sync.WaitGroup
}

// addresses are where the listeners ended up, which differs from the settings for port 0. Empty is off.
type addresses struct {
	resp, etcd, zk, shared, peer, metrics string
}

// serve runs a member in this process until a signal ends it or its store fails.
func serve(cfg *config, unknownVariables []string, stderr io.Writer) error {
	tuneMemory()
	logger := newLogger(cfg, stderr)
	if len(unknownVariables) > 0 {
		logger.Warn("environment variables with names of no setting are ignored", "variables", unknownVariables)
	}
	stop := stopSignal(logger)
	n := &node{cfg: cfg, logger: logger, failed: make(chan error, len(protocols.All))}
	return n.run(stop, stderr)
}

// run is the life of a node. It returns nil after a clean end that stop asked for.
func (n *node) run(stop <-chan struct{}, stderr io.Writer) error {
	if err := n.start(); err != nil {
		return n.abandon(err)
	}
	n.announce(stderr)

	select {
	case <-stop:
	case <-n.store.Done():
		return n.abandon(fmt.Errorf("the store stopped: %w", n.store.Err()))
	case err := <-n.failed:
		return n.abandon(err)
	}
	if err := n.close(shutdownTimeout); err != nil {
		return err
	}
	n.logger.Info("stopped")
	return nil
}

// abandon ends a node that has failed. The cause is what counts; what it leads to while closing is for the log.
func (n *node) abandon(cause error) error {
	if err := n.close(failureTimeout); err != nil {
		n.logger.Warn("after the failure", "err", err)
	}
	return cause
}

// start brings everything up, from the outside in. Ports are bound before the store is opened, because a taken one is the
// likeliest mistake and the quickest to find; clients are accepted once the store is ready. What is up when start fails
// is left to close.
func (n *node) start() error {
	if err := n.bind(); err != nil {
		return err
	}
	store, err := openStore(n.cfg, n.logger)
	if err != nil {
		return err
	}
	n.store = store
	n.adapters = newAdapters(n.cfg, n.store, n.addrs, n.logger)
	for protocol, adapter := range n.adapters {
		n.serving.Go(func() {
			// The listener ends when the server stops accepting, which is no failure.
			if err := adapter.Serve(n.server.Listener(protocol)); err != nil && !errors.Is(err, net.ErrClosed) {
				n.failed <- fmt.Errorf("the %s adapter stopped: %w", protocol, err)
			}
		})
	}
	n.server.Start()
	if n.insight != nil {
		n.insight.ready(n.store, n.server)
	}
	return nil
}

// bind takes every port.
func (n *node) bind() (err error) {
	n.server = protocols.NewServer(protocols.Options{
		HandshakeTimeout: n.cfg.HandshakeTimeout, MaxConnections: n.cfg.MaxConnections, Logger: n.logger,
	})
	for _, l := range []struct {
		protocol protocols.Protocol
		flag     string
		address  string
		bound    *string
	}{
		{protocols.RESP, "listen-resp", n.cfg.ListenRESP, &n.addrs.resp},
		{protocols.Etcd, "listen-etcd", n.cfg.ListenEtcd, &n.addrs.etcd},
		{protocols.ZK, "listen-zk", n.cfg.ListenZK, &n.addrs.zk},
		{protocols.Shared, "listen", n.cfg.Listen, &n.addrs.shared},
	} {
		if l.address == "" {
			continue
		}
		addr, err := n.server.Listen(l.protocol, l.flag, l.address)
		if err != nil {
			return err
		}
		*l.bound = addr.String()
	}
	if n.cfg.ListenPeer != "" {
		if n.peer, err = openPeerPort(n.cfg.ListenPeer, n.logger); err != nil {
			return err
		}
		n.addrs.peer = n.peer.addr()
	}
	if n.cfg.ListenMetrics != "" {
		if n.insight, err = openInsight(n.cfg.ListenMetrics, n.cfg.PProf, n.logger); err != nil {
			return err
		}
		n.addrs.metrics = n.insight.addr()
	}
	return nil
}

// close ends what start has begun: no new clients, then the adapters in their protocol's own way, then the connections
// that are left, then the store. Probes are answered until the store is closed.
func (n *node) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if n.insight != nil {
		n.insight.stopping()
	}
	if n.peer != nil {
		n.peer.close()
	}
	n.server.StopAccepting()
	var ending sync.WaitGroup
	for protocol, adapter := range n.adapters {
		ending.Go(func() {
			if err := adapter.Shutdown(ctx); err != nil {
				n.logger.Warn("clients were cut off", "protocol", protocol, "err", err)
			}
		})
	}
	ending.Wait()
	if err := n.server.Shutdown(ctx); err != nil {
		n.logger.Warn("clients were cut off", "err", err)
	}
	n.serving.Wait()
	var err error
	if n.store != nil {
		if err = n.store.Close(); err != nil {
			err = fmt.Errorf("closing the store: %w", err)
		}
	}
	if n.insight != nil {
		n.insight.close()
	}
	return err
}
