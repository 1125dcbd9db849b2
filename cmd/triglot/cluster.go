package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/triglot/triglot/protocols"
)

// Which cluster this member is of, and where the others and the clients find it, as the settings have it.

// The words of --initial-cluster-state.
const (
	stateNew      = "new"
	stateExisting = "existing"
)

// electionHeartbeatsMin is how many heartbeats an election time-out has to hold: with fewer, one or two that come late
// cost the leader its place. It is etcd's bound too.
const electionHeartbeatsMin = 5

// founder is an entry of --initial-cluster.
type founder struct {
	name   string
	places []string // host:port or URLs, as they were written
}

// members takes the list of --initial-cluster.
func members(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "members", func(s string) (string, error) {
		_, err := parseInitialCluster(s)
		return s, err
	}, func(s string) string { return s }}
}

// places takes addresses to connect to: host:port or http://host:port, separated by commas.
func places(at *string, value string) pflag.Value {
	*at = value
	return parsed[string]{at, "addresses", func(s string) (string, error) {
		for _, place := range splitList(s) {
			if err := checkPlace(place); err != nil {
				return "", err
			}
		}
		return s, nil
	}, func(s string) string { return s }}
}

func splitList(s string) []string {
	var list []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// parseInitialCluster reads a=host:port,b=http://host:port. A name that comes several times has several addresses.
func parseInitialCluster(s string) ([]founder, error) {
	var founders []founder
	owner := map[string]string{}
	for _, part := range splitList(s) {
		name, place, ok := strings.Cut(part, "=")
		if !ok || name == "" {
			return nil, errors.New("it is name=host:port of every first member, like a=10.0.0.1:2380,b=10.0.0.2:2380,c=10.0.0.3:2380")
		}
		if err := checkPlace(place); err != nil {
			return nil, fmt.Errorf("member %s: %w", name, err)
		}
		_, host := cutScheme(place)
		if other, taken := owner[host]; taken {
			return nil, fmt.Errorf("%s and %s have the same address, %s", other, name, host)
		}
		owner[host] = name
		at := slices.IndexFunc(founders, func(f founder) bool { return f.name == name })
		if at < 0 {
			at, founders = len(founders), append(founders, founder{name: name})
		}
		founders[at].places = append(founders[at].places, place)
	}
	return founders, nil
}

// checkPlace accepts host:port, alone or behind http:// or https://, that can be connected to, and the path of a Unix socket
// behind unix:, unix:// or unixs://.
func checkPlace(place string) error {
	wrong := fmt.Errorf("%q is not an address to connect to: it is host:port, or a URL like http://10.0.0.1:2380", place)
	scheme, rest := cutScheme(place)
	if path, isUnix := protocols.CutUnix(place); isUnix && scheme == "" {
		scheme, rest = "unix", path
	}
	if isUnixScheme(scheme) {
		if rest == "" {
			return wrong
		}
		return nil
	}
	if scheme != "" && scheme != "http" && scheme != "https" {
		return wrong
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil || strings.ContainsAny(host, "/?#@ ") {
		return wrong
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return wrong
	}
	if isWildcard(host) {
		return fmt.Errorf("%q is an address to listen on: give one that others can connect to", place)
	}
	return nil
}

// cutScheme divides http://host:port. The scheme is empty for host:port alone.
func cutScheme(place string) (scheme, host string) {
	if scheme, host, ok := strings.Cut(place, "://"); ok {
		return scheme, strings.TrimSuffix(host, "/")
	}
	return "", place
}

func isWildcard(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// peerTLS says whether members talk TLS with each other.
func (c *config) peerTLS() bool { return c.PeerCertFile != "" || c.PeerAutoTLS }

// peerURL completes the address of a member.
func (c *config) peerURL(place string) string {
	return urlOf(place, c.peerTLS())
}

func (c *config) peerURLs(places []string) []string {
	var urls []string
	for _, place := range places {
		urls = append(urls, c.peerURL(place))
	}
	return urls
}

// founders are the members of --initial-cluster, whose form has been checked when it was set.
func (c *config) founders() []founder {
	founders, err := parseInitialCluster(c.InitialCluster)
	if err != nil {
		return nil
	}
	return founders
}

// ownFounder is this member's entry of --initial-cluster.
func (c *config) ownFounder() (founder, bool) {
	for _, f := range c.founders() {
		if f.name == c.Name {
			return f, true
		}
	}
	return founder{}, false
}

// checkCluster looks at what single values of the group cannot show.
func (c *config) checkCluster() error {
	if c.ElectionTimeout < electionHeartbeatsMin*c.HeartbeatInterval {
		return fmt.Errorf("--election-timeout (%s) is less than %d times --heartbeat-interval (%s): a heartbeat that comes late would cost the leader its place",
			printDuration(c.ElectionTimeout), electionHeartbeatsMin, printDuration(c.HeartbeatInterval))
	}
	if err := c.checkPeerTLS(); err != nil {
		return err
	}
	founders := c.founders()
	if len(founders) == 0 {
		if c.InitialClusterState == stateExisting {
			return errors.New("--initial-cluster-state existing needs --initial-cluster, with the members that are there and this one: 'triglot member add' prints it")
		}
		return nil
	}
	own, ok := c.ownFounder()
	if !ok {
		var names []string
		for _, f := range founders {
			names = append(names, f.name)
		}
		return fmt.Errorf("--name %s is not in --initial-cluster, which has %s: start this member with its name there",
			c.Name, strings.Join(names, ", "))
	}
	if c.ListenPeer == "" {
		return errors.New("--initial-cluster needs --listen-peer, which is turned off: the other members have to reach this one")
	}
	if c.AdvertisePeer != "" && !sameSet(c.peerURLs(splitList(c.AdvertisePeer)), c.peerURLs(own.places)) {
		return fmt.Errorf("--advertise-peer is %s, but --initial-cluster has %s for %s: the members must agree on where it is",
			c.AdvertisePeer, strings.Join(own.places, ","), c.Name)
	}
	return nil
}

func (c *config) checkPeerTLS() error {
	files := []struct{ flag, path string }{
		{"--peer-cert-file", c.PeerCertFile}, {"--peer-key-file", c.PeerKeyFile}, {"--peer-trusted-ca-file", c.PeerTrustedCAFile},
	}
	var given, missing []string
	for _, f := range files {
		if f.path == "" {
			missing = append(missing, f.flag)
		} else {
			given = append(given, f.flag)
		}
	}
	oneSided := c.PeerOneSided && c.PeerCertFile != "" && c.PeerKeyFile != ""
	if len(given) > 0 && len(missing) > 0 && !oneSided {
		return fmt.Errorf("%s is given without %s: TLS between members is mutual and takes all three files",
			strings.Join(given, " and "), strings.Join(missing, " and "))
	}
	switch {
	case (c.PeerClientCertFile == "") != (c.PeerClientKeyFile == ""):
		return errors.New("--peer-client-cert-file and --peer-client-key-file go together")
	case len(given) == 0 && c.PeerClientCertFile+c.PeerCRLFile+c.PeerAllowedNames+c.PeerAllowedHosts != "":
		return errors.New("--peer-client-cert-file, --peer-crl-file, --peer-cert-allowed-cn and --peer-cert-allowed-hostname need --peer-cert-file, --peer-key-file and --peer-trusted-ca-file")
	}
	all := splitList(c.AdvertisePeer)
	for _, f := range c.founders() {
		all = append(all, f.places...)
	}
	for _, place := range all {
		scheme, _ := cutScheme(place)
		if isSecuredScheme(scheme) && !c.peerTLS() {
			return fmt.Errorf("%s needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", place)
		}
		if (scheme == "http" || scheme == "unix") && c.peerTLS() {
			return fmt.Errorf("%s is without TLS, but --peer-cert-file is given: use %ss:// or leave %s:// out", place, scheme, scheme)
		}
	}
	return nil
}

func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

// hostOf is the host of a URL or host:port; empty for a Unix socket.
func hostOf(place string) string {
	if isLocalSocket(place) {
		return ""
	}
	_, rest := cutScheme(place)
	host, _, err := net.SplitHostPort(rest)
	if err != nil {
		return ""
	}
	if u, err := url.PathUnescape(host); err == nil {
		return u
	}
	return host
}

// devMembersMax is how many members fit between the default ports when each is portStep above the one before.
const devMembersMax = 9

func (c *config) checkDevCluster() error {
	switch {
	case c.DevCluster > devMembersMax:
		return fmt.Errorf("--dev-cluster %d: it is %d at most", c.DevCluster, devMembersMax)
	case c.InitialCluster != "" || c.InitialClusterState != stateNew || c.AdvertisePeer != "" || c.AdvertiseEtcd != "":
		return errors.New("--dev-cluster makes up --initial-cluster and the like by itself: leave them out")
	case c.LogDir != "":
		return errors.New("--dev-cluster keeps everything in --data-dir: leave --log-dir out")
	case c.ListenPeer == "":
		return errors.New("--dev-cluster needs --listen-peer")
	}
	seen := map[string]bool{}
	for _, l := range append(c.clientListeners(), c.innerListeners()...) {
		if _, address := cutSecurity(l.address); seen[l.flag] || isLocalSocket(address) {
			return fmt.Errorf("--dev-cluster counts the members' ports up from one host:port: --%s cannot have %s", l.flag, l.address)
		}
		seen[l.flag] = true
	}
	return nil
}
