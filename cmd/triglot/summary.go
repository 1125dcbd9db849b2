package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/triglot/triglot/protocols"
)

// announce says that the member serves: a line in the log for every listener, and a summary for people.
func (n *node) announce(stderr io.Writer) {
	for _, l := range n.bound {
		n.logger.Info("listening", "protocol", l.protocol, "address", l.address)
	}
	status := n.store.Status()
	n.logger.Info("ready", "name", n.cfg.Name, "data-dir", n.cfg.DataDir, "version", version, "revision", status.Revision,
		"cluster", idText(status.ClusterID), "member", idText(status.MemberID), "members", len(n.store.Members()),
		"clients-are-told", n.told.clientURLs, "peers-are-told", n.told.peerURLs)
	if n.cfg.AsEtcd {
		n.logger.Info("ready to serve client requests") // what scripts that start etcd wait for
	}
	if n.cfg.LogFormat != "json" && !supervised() {
		io.WriteString(stderr, summary(n.cfg, n.addrs))
	}
}

// summary is what a person wants to know at the first start: where things are, and what to try.
func summary(cfg *config, at addresses) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\ntriglot %s is ready: member %q, data in %s\n\n", version, cfg.Name, cfg.DataDir)
	row := func(what, address, try string) {
		if address == "" {
			address, try = "off", ""
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-10s %-22s %s", what, address, try), " ") + "\n")
	}
	row("Redis", at.resp, "redis-cli "+redisAddress(at.resp)+tlsFlag(cfg)+" set /greeting hello")
	row("etcd", at.etcd, "etcdctl --endpoints="+etcdEndpoint(cfg, at.etcd)+" get /greeting")
	row("ZooKeeper", at.zk, zooKeeperTry(at.zk))
	row("all three", at.shared, "any client: the protocol is recognised by its first bytes")
	row("peers", at.peer, "")
	row("metrics", at.metrics, metricsTry(cfg, at.metrics))
	b.WriteString("\n")
	return b.String()
}

// etcdEndpoint is where etcdctl finds the listener.
func etcdEndpoint(cfg *config, address string) string {
	if secured := cfg.talksTLS(cfg.ListenEtcd); secured || isLocalSocket(address) {
		return urlOf(reachable(address), secured)
	}
	return reachable(address)
}

// zooKeeperTry is empty for a Unix socket, which zkCli.sh cannot connect to.
func zooKeeperTry(address string) string {
	if isLocalSocket(address) {
		return ""
	}
	return "zkCli.sh -server " + reachable(address) + " get /greeting"
}

// metricsTry asks with curl, which takes a Unix socket as a flag.
func metricsTry(cfg *config, address string) string {
	security, _ := cutSecurity(firstListener(cfg.ListenMetrics))
	if path, isUnix := protocols.CutUnix(address); isUnix {
		return "curl --unix-socket " + path + " " + urlOf("localhost", security == securityTLS) + "/metrics"
	}
	return "curl " + urlOf(reachable(address), security == securityTLS) + "/metrics"
}

// tlsFlag is what redis-cli needs for a listener with TLS.
func tlsFlag(cfg *config) string {
	if cfg.talksTLS(cfg.ListenRESP) {
		return " --tls"
	}
	return ""
}

// reachable turns an address to listen on into one to connect to: a wildcard becomes this machine.
func reachable(address string) string {
	if isLocalSocket(address) {
		return address
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// redisAddress is reachable in the flags of redis-cli, which is on 127.0.0.1 by itself.
func redisAddress(address string) string {
	if path, isUnix := protocols.CutUnix(address); isUnix {
		return "-s " + path
	}
	host, port, err := net.SplitHostPort(reachable(address))
	if err != nil {
		return ""
	}
	if host == "127.0.0.1" {
		return "-p " + port
	}
	return "-h " + host + " -p " + port
}
