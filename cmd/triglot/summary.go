package main

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// announce says that the member serves: a line in the log for every listener, and a summary for people.
func (n *node) announce(stderr io.Writer) {
	for _, l := range []struct{ protocol, address string }{
		{"resp", n.addrs.resp}, {"etcd", n.addrs.etcd}, {"zk", n.addrs.zk}, {"all", n.addrs.shared},
		{"peer", n.addrs.peer}, {"metrics", n.addrs.metrics},
	} {
		if l.address != "" {
			n.logger.Info("listening", "protocol", l.protocol, "address", l.address)
		}
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
	row("ZooKeeper", at.zk, "zkCli.sh -server "+reachable(at.zk)+" get /greeting")
	row("all three", at.shared, "any client: the protocol is recognised by its first bytes")
	row("peers", at.peer, "")
	row("metrics", at.metrics, "curl http://"+reachable(at.metrics)+"/metrics")
	b.WriteString("\n")
	return b.String()
}

// etcdEndpoint is where etcdctl finds the listener.
func etcdEndpoint(cfg *config, address string) string {
	if cfg.talksTLS(cfg.ListenEtcd) {
		return "https://" + reachable(address)
	}
	return reachable(address)
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
	host, port, err := net.SplitHostPort(reachable(address))
	if err != nil {
		return ""
	}
	if host == "127.0.0.1" {
		return "-p " + port
	}
	return "-h " + host + " -p " + port
}
