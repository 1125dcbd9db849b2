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
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/raftlog/transport"
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
	told     advertised
	bound    []servedAt
	server   *protocols.Server
	peers    *transport.Transport // nil if --listen-peer is off
	insight  *insight
	store    *core.Store
	adapters map[protocols.Protocol]adapter

	failed  chan error // an adapter's Serve that ended by itself; room for each, so that none waits to say so
	serving sync.WaitGroup
}

// addresses are where the listeners ended up, which differs from the settings for port 0: the first of each setting. Empty
// is off.
type addresses struct {
	resp, etcd, zk, shared, peer, metrics string
}

// servedAt is an address that is listened on, and for what.
type servedAt struct{ protocol, address string }

// serve runs a member in this process until a signal ends it or its store fails.
func serve(cfg *config, unknownVariables []string, stderr io.Writer) error {
	out, err := openLog(cfg, stderr)
	if err != nil {
		return err
	}
	logger := newLogger(cfg, out)
	logLibraries(logger)
	if len(unknownVariables) > 0 {
		logger.Warn("environment variables with names of no setting are ignored", "variables", unknownVariables)
	}
	paceCollector()
	stop := stopSignal(logger)
	n := &node{cfg: cfg, logger: logger, failed: make(chan error, len(protocols.All)+1)}
	return n.run(stop, stderr)
}

// run is the life of a node. It returns nil after a clean end that stop asked for.
func (n *node) run(stop <-chan struct{}, stderr io.Writer) error {
	if err := n.start(stop); err != nil {
		select {
		case <-stop:
			if errors.Is(err, core.ErrInterrupted) { // it was asked to, while it waited for the others
				return n.end()
			}
		default:
		}
		return n.abandon(err)
	}
	n.announce(stderr)
	notifySupervisor(notifyReady, n.logger)

	select {
	case <-stop:
	case <-n.store.Done():
		return n.abandon(fmt.Errorf("the store stopped: %w", n.store.Err()))
	case err := <-n.failed:
		return n.abandon(err)
	}
	return n.end()
}

// end is the clean end.
func (n *node) end() error {
	notifySupervisor(notifyStopping, n.logger)
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
// likeliest mistake and the quickest to find; clients are accepted once the store is ready, which in a cluster takes a
// quorum of members; until then stop ends the wait, and probes are answered. What is up when start fails
// is left to close.
func (n *node) start(stop <-chan struct{}) error {
	if err := n.bind(); err != nil {
		return err
	}
	store, err := openStore(n.cfg, n.told, n.peers, stop, n.waiting, n.logger)
	if err != nil {
		return err
	}
	n.store = store
	if n.adapters, err = newAdapters(n.cfg, n.store, n.addrs, n.insight, n.logger); err != nil {
		return err
	}
	for protocol, adapter := range n.adapters {
		n.serving.Go(func() {
			listener := n.server.Listener(protocol)
			if protocol == protocols.Etcd {
				listener = n.insight.traffic.of(listener)
			}
			serve := adapter.Serve
			if protocol == protocols.Etcd && n.cfg.ListenEtcdHTTP != "" {
				serve = adapter.(*grpcsvc.Server).ServeGRPC
			}
			// The listener ends when the server stops accepting, which is no failure.
			if err := serve(listener); err != nil && !errors.Is(err, net.ErrClosed) {
				n.failed <- fmt.Errorf("the %s adapter stopped: %w", protocol, err)
			}
		})
	}
	if n.cfg.ListenEtcdHTTP != "" {
		n.serving.Go(func() {
			if err := n.adapters[protocols.Etcd].(*grpcsvc.Server).ServeHTTP(n.server.Listener(protocols.EtcdHTTP)); err != nil && !errors.Is(err, net.ErrClosed) {
				n.failed <- fmt.Errorf("the HTTP side of the etcd adapter stopped: %w", err)
			}
		})
	}
	n.server.Start()
	n.insight.ready(n.store)
	return nil
}

// waiting is told what the store waits for before it serves.
func (n *node) waiting(reason string) {
	if n.insight != nil {
		n.insight.waiting(reason)
	}
}

// bind takes every port.
func (n *node) bind() (err error) {
	secured, err := n.cfg.openClientTLS(n.logger)
	if err != nil {
		return err
	}
	n.server = protocols.NewServer(protocols.Options{
		HandshakeTimeout: n.cfg.HandshakeTimeout, MaxConnections: n.cfg.MaxConnections, ReusePort: n.cfg.ReusePort, Logger: n.logger,
	})
	for _, l := range []struct {
		protocol protocols.Protocol
		name     string // in the log
		flag     string
		setting  string
		first    *string
	}{
		{protocols.RESP, "resp", "listen-resp", n.cfg.ListenRESP, &n.addrs.resp},
		{protocols.Etcd, "etcd", "listen-etcd", n.cfg.ListenEtcd, &n.addrs.etcd},
		{protocols.EtcdHTTP, "etcd-http", "listen-etcd-http", n.cfg.ListenEtcdHTTP, new(string)},
		{protocols.ZK, "zk", "listen-zk", n.cfg.ListenZK, &n.addrs.zk},
		{protocols.Shared, "all", "listen", n.cfg.Listen, &n.addrs.shared},
	} {
		for _, address := range splitList(l.setting) {
			_, place := cutSecurity(address)
			at, err := n.server.Listen(l.protocol, l.flag, place, securityOf(address, secured))
			if err != nil {
				return err
			}
			n.listens(l.name, at, l.first)
		}
	}
	peers, err := n.bindInner("peer", "listen-peer", n.cfg.ListenPeer, nil, &n.addrs.peer)
	if err != nil {
		return err
	}
	metrics, err := n.bindInner("metrics", "listen-metrics", n.cfg.ListenMetrics, secured, &n.addrs.metrics)
	if err != nil {
		return errors.Join(err, closeListeners(peers))
	}
	n.told = n.cfg.advertise(n.addrs, n.logger) // which takes all addresses
	if len(peers) > 0 {
		if n.peers, err = openTransport(n.cfg, n.told, peers, n.logger); err != nil {
			return errors.Join(err, closeListeners(peers), closeListeners(metrics))
		}
	}
	n.insight = openInsight(metrics, n.cfg.PProf, n.server, n.peers, n.logger)
	return nil
}

// bindInner takes the addresses of a setting that is not for clients. Those with tls: before them get the clients' TLS.
func (n *node) bindInner(name, flag, setting string, secured *protocols.TLS, first *string) (all []net.Listener, err error) {
	for _, address := range splitList(setting) {
		security, place := cutSecurity(address)
		l, err := protocols.Bind(flag, place, n.cfg.ReusePort)
		if err != nil {
			return nil, errors.Join(err, closeListeners(all))
		}
		n.listens(name, l.Addr(), first)
		if security == securityTLS {
			l = secured.Listener(l)
		}
		all = append(all, l)
	}
	return all, nil
}

// listens notes where a listener ended up.
func (n *node) listens(protocol string, at net.Addr, first *string) {
	address := protocols.FormatAddress(at)
	if *first == "" {
		*first = address
	}
	n.bound = append(n.bound, servedAt{protocol, address})
}

func closeListeners(all []net.Listener) (err error) {
	for _, l := range all {
		err = errors.Join(err, l.Close())
	}
	return err
}

// close ends what start has begun: no new clients, then the adapters in their protocol's own way, then the connections
// that are left, then the store. Probes are answered until the store is closed.
func (n *node) close(within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if n.insight != nil {
		n.insight.stopping()
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
	if n.peers != nil {
		n.peers.Stop() // the store has done so, if it ever had it
	}
	if n.insight != nil {
		n.insight.close()
	}
	return err
}
