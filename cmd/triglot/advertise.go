package main

import (
	"log/slog"
	"net"
	"os"
)

// What this member tells others of where it is. An address to listen on may be a wildcard, and nobody can connect to
// 0.0.0.0: what is told has a host that others reach.

// advertised is where members and clients are told to find this member.
type advertised struct {
	peerURLs   []string
	clientURLs []string          // of etcd clients
	listeners  map[string]string // host:port by resp, etcd, zk, all, metrics
}

// advertise works out what to tell from the settings and from where the listeners ended up.
func (c *config) advertise(at addresses, logger *slog.Logger) advertised {
	var a advertised
	own, founder := c.ownFounder()
	switch {
	case c.AdvertisePeer != "":
		a.peerURLs = c.peerURLs(splitList(c.AdvertisePeer))
	case founder:
		a.peerURLs = c.peerURLs(own.places)
	}
	host := ""
	if len(a.peerURLs) > 0 {
		host = hostOf(a.peerURLs[0])
	} else if at.peer != "" {
		host = outwardHost()
		a.peerURLs = []string{c.peerURL(concrete(at.peer, host))}
	}
	if host == "" {
		host = outwardHost()
	}
	a.listeners = map[string]string{}
	for name, address := range map[string]string{"resp": at.resp, "etcd": at.etcd, "zk": at.zk, "all": at.shared, "metrics": at.metrics} {
		if address != "" && !isLocalSocket(address) {
			a.listeners[name] = concrete(address, host)
		}
	}
	switch {
	case c.AdvertiseEtcd != "":
		for _, place := range splitList(c.AdvertiseEtcd) {
			a.clientURLs = append(a.clientURLs, urlOf(place, c.talksTLS(c.ListenEtcd)))
		}
	case at.etcd != "":
		a.clientURLs = []string{urlOf(concrete(at.etcd, host), c.talksTLS(c.ListenEtcd))}
	case at.shared != "":
		a.clientURLs = []string{urlOf(concrete(at.shared, host), c.talksTLS(c.Listen))}
	}
	c.warnOfUnreachable(a, at, logger)
	return a
}

// concrete replaces the host of an address that is a wildcard.
func concrete(address, host string) string {
	if isLocalSocket(address) {
		return address
	}
	bound, port, err := net.SplitHostPort(address)
	if err != nil || !isWildcard(bound) {
		return address
	}
	return net.JoinHostPort(host, port)
}

// outwardHost is this machine's address on its way out, which its network most likely knows it by. No packet is sent for
// it: connecting a UDP socket only looks up the route, here to an address that is reserved for examples.
func outwardHost() string {
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok && !local.IP.IsUnspecified() {
			return local.IP.String()
		}
	}
	if name, err := os.Hostname(); err == nil {
		if _, err := net.LookupHost(name); err == nil {
			return name
		}
	}
	return "127.0.0.1"
}

// warnOfUnreachable finds what is likely a mistake and may be meant: a proxy on this machine can stand in between.
func (c *config) warnOfUnreachable(a advertised, at addresses, logger *slog.Logger) {
	if at.peer != "" && len(a.peerURLs) > 0 && isLocal(at.peer) && !isLocal(a.peerURLs[0]) {
		logger.Warn("other members are told an address that this one does not listen on; set --listen-peer",
			"told", a.peerURLs[0], "listen-peer", at.peer)
	}
	for _, f := range c.founders() {
		if f.name != c.Name && !isLocal(f.places[0]) && len(a.peerURLs) > 0 && isLocal(a.peerURLs[0]) {
			logger.Warn("other members are told a loopback address, which only this machine reaches; set --advertise-peer",
				"told", a.peerURLs[0], "other", f.places[0])
			break
		}
	}
}

// isLocal says whether only this machine reaches an address.
func isLocal(place string) bool {
	host := hostOf(place)
	ip := net.ParseIP(host)
	return isLocalSocket(place) || host == "localhost" || ip != nil && ip.IsLoopback()
}
