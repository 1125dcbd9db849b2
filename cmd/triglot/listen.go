package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/triglot/triglot/protocols"
)

// Addresses to listen on: host:port, or unix:path for a Unix socket, with what stands before it on TLS. A setting may have
// several, with a comma between; the first is the one that others are told.

// listener is one address of a setting.
type listener struct{ flag, address string }

// clientListeners are the addresses for clients.
func (c *config) clientListeners() []listener {
	return listenersOf([][2]string{
		{"listen-resp", c.ListenRESP}, {"listen-etcd", c.ListenEtcd}, {"listen-etcd-http", c.ListenEtcdHTTP},
		{"listen-zk", c.ListenZK}, {"listen", c.Listen},
	})
}

// innerListeners are those for members and operators.
func (c *config) innerListeners() []listener {
	return listenersOf([][2]string{{"listen-peer", c.ListenPeer}, {"listen-metrics", c.ListenMetrics}})
}

func listenersOf(settings [][2]string) (all []listener) {
	for _, s := range settings {
		for _, address := range splitList(s[1]) {
			all = append(all, listener{s[0], address})
		}
	}
	return all
}

// firstListener is the address that others are told, of those of a setting.
func firstListener(setting string) string {
	first, _, _ := strings.Cut(setting, ",")
	return strings.TrimSpace(first)
}

// parseAddresses accepts addresses to listen on, and nothing at all.
func parseAddresses(s string) (string, error) {
	for _, address := range splitList(s) {
		if err := checkAddress(address); err != nil {
			return "", err
		}
	}
	return s, nil
}

// checkAddress accepts host:port with a numeric port, and unix:path.
func checkAddress(s string) error {
	_, address := cutSecurity(s)
	if path, isUnix := protocols.CutUnix(address); isUnix {
		if path == "" || strings.HasPrefix(path, "//") {
			return errors.New("a Unix socket is unix: and its path, like unix:/run/triglot.sock")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return errors.New("it is host:port, like 127.0.0.1:6379, or unix:path, or empty")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("its port is a number from 0 to 65535")
	}
	return nil
}

// checkListeners finds addresses that are given twice, and words that make no sense before an address.
func (c *config) checkListeners() error {
	for _, l := range c.innerListeners() {
		if security, _ := cutSecurity(l.address); l.flag == "listen-peer" && security != "" {
			return fmt.Errorf("--listen-peer: members talk TLS when --peer-cert-file is given: leave %s out", security)
		} else if security == securityBoth {
			return fmt.Errorf("--listen-metrics: %s: it is with TLS or without", l.address)
		}
	}
	taken := map[string]string{}
	for _, l := range append(c.clientListeners(), c.innerListeners()...) {
		_, address := cutSecurity(l.address)
		if strings.HasSuffix(address, ":0") { // the system picks a free port for each 0
			continue
		}
		switch other := taken[address]; other {
		case "":
			taken[address] = l.flag
		case l.flag:
			return fmt.Errorf("--%s has %s twice", l.flag, address)
		default:
			return fmt.Errorf("--%s and --%s have the same address, %s", other, l.flag, address)
		}
	}
	return nil
}

// urlOf is the URL of an address: of http or https for host:port, and of unix or unixs for a socket. One that is a URL
// already stays as it is.
func urlOf(place string, secured bool) string {
	if scheme, _ := cutScheme(place); scheme != "" {
		return strings.TrimSuffix(place, "/")
	}
	scheme := "http"
	path, isUnix := protocols.CutUnix(place)
	if isUnix {
		scheme, place = "unix", path
	}
	if secured {
		scheme += "s"
	}
	return scheme + "://" + place
}

// isUnixScheme says whether a URL is of a Unix socket.
func isUnixScheme(scheme string) bool { return scheme == "unix" || scheme == "unixs" }

// isSecuredScheme says whether what a URL leads to talks TLS.
func isSecuredScheme(scheme string) bool { return scheme == "https" || scheme == "unixs" }

// isLocalSocket says whether an address or a URL is of a Unix socket.
func isLocalSocket(place string) bool {
	scheme, _ := cutScheme(place)
	_, isUnix := protocols.CutUnix(place)
	return isUnix || isUnixScheme(scheme)
}
