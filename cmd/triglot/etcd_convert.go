package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// How etcd writes the values of its flags, and how the settings of Triglot that they are mapped to take them.

// etcdURLs reads URLs as etcd does: scheme, host and port, no path; or, of a Unix socket, a path that begins where a host
// would.
func etcdURLs(s string) ([]*url.URL, error) {
	var urls []*url.URL
	for _, text := range splitList(s) {
		u, err := url.Parse(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%q is not a URL", text)
		case u.Scheme != "http" && u.Scheme != "https" && !isUnixScheme(u.Scheme):
			return nil, fmt.Errorf("%s is not a URL that starts with http://, https://, unix:// or unixs://", text)
		case u.RawQuery != "" || u.User != nil || u.Path != "" && !isUnixScheme(u.Scheme):
			return nil, fmt.Errorf("%s has more than scheme, host and port", text)
		case isUnixScheme(u.Scheme) && u.Host+u.Path == "":
			return nil, fmt.Errorf("%s is without a path: it is like unix:///run/etcd.sock", text)
		}
		if _, _, err := net.SplitHostPort(u.Host); err != nil && !isUnixScheme(u.Scheme) {
			return nil, fmt.Errorf("%s is without a port: it is like http://10.0.0.1:2379", text)
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// bindURL is where a URL to listen on leads: host:port, where the host is an IP address, or localhost, as in etcd; or
// unix:path.
func bindURL(u *url.URL) (string, error) {
	if isUnixScheme(u.Scheme) {
		return "unix:" + u.Host + u.Path, nil
	}
	if host := u.Hostname(); host != "localhost" && net.ParseIP(host) == nil {
		return "", fmt.Errorf("%s has the host name %s: an address to listen on has an IP, or localhost", u, host)
	}
	if err := checkAddress(u.Host); err != nil {
		return "", fmt.Errorf("%s: %w", u, err)
	}
	return u.Host, nil
}

// listenURLs turns URLs to listen on into addresses, with what mark puts before each.
func listenURLs(s string, mark func(schemes []string) string) (string, error) {
	urls, err := etcdURLs(s)
	if err != nil {
		return "", err
	}
	var places []string
	schemes := map[string][]string{}
	for _, u := range urls {
		place, err := bindURL(u)
		if err != nil {
			return "", err
		}
		if schemes[place] == nil {
			places = append(places, place)
		}
		schemes[place] = append(schemes[place], u.Scheme)
	}
	for i, place := range places {
		places[i] = mark(schemes[place]) + place
	}
	return strings.Join(places, ","), nil
}

// clientURLs turns URLs to listen on for clients into addresses that say whether they take TLS: https:// does, http://
// does not, and where both have the same host and port one port takes both. It is the same with unixs:// and unix://.
func clientURLs(s string) (string, error) {
	return listenURLs(s, func(schemes []string) string {
		secured := slices.ContainsFunc(schemes, isSecuredScheme)
		plain := slices.ContainsFunc(schemes, func(scheme string) bool { return !isSecuredScheme(scheme) })
		switch {
		case secured && plain:
			return securityBoth
		case secured:
			return securityTLS
		}
		return securityPlain
	})
}

// peerURLs turns URLs to listen on for members into addresses. Whether members talk TLS is said by other flags.
func peerURLs(s string) (string, error) {
	return listenURLs(s, func([]string) string { return "" })
}

// connectURLs checks URLs that others connect to, and keeps them as they are: they are shown and hashed so.
func connectURLs(s string) (string, error) {
	if _, err := etcdURLs(s); err != nil {
		return "", err
	}
	return strings.Join(splitList(s), ","), nil
}

// clusterURLs checks the URLs of --initial-cluster.
func clusterURLs(s string) (string, error) {
	for _, part := range splitList(s) {
		name, place, _ := strings.Cut(part, "=")
		if _, err := etcdURLs(place); err != nil {
			return "", fmt.Errorf("member %s: %w", name, err)
		}
	}
	return s, nil
}

func milliseconds(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return "", errors.New("it is a number of milliseconds")
	}
	return (time.Duration(n) * time.Millisecond).String(), nil
}

// nanoseconds takes a duration, and its number of nanoseconds, which etcd's file has.
func nanoseconds(s string) (string, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Duration(n).String(), nil
	}
	return s, nil
}

// retention reads --auto-compaction-retention of the mode periodic: a duration, or hours. 0 keeps every revision.
func retention(s string) (string, error) {
	if hours, err := strconv.ParseUint(s, 10, 20); err == nil {
		return (time.Duration(hours) * time.Hour).String(), nil
	}
	if d, err := time.ParseDuration(s); err != nil || d < 0 {
		return "", errors.New("it is a duration like 30m, or a number of hours")
	}
	return s, nil
}

// quotaBytes reads --quota-backend-bytes, where 0 is etcd's default and a negative number none.
func quotaBytes(s string) (string, error) {
	const etcdDefault = 2 << 30
	switch n, err := strconv.ParseInt(s, 10, 64); {
	case err != nil:
		return "", errors.New("it is a number of bytes")
	case n < 0:
		return "0", nil
	case n == 0:
		return strconv.Itoa(etcdDefault), nil
	}
	return s, nil
}

// progressInterval reads --watch-progress-notify-interval, where 0 is etcd's default.
func progressInterval(s string) (string, error) {
	if d, err := time.ParseDuration(s); err == nil && d == 0 {
		return "10m", nil
	}
	return nanoseconds(s)
}

// settleTime reads --strict-reconfig-check: with it etcd changes no members before all are connected for 5 s.
func settleTime(s string) (string, error) {
	if strict, err := strconv.ParseBool(s); err != nil {
		return "", errors.New("it is true or false")
	} else if strict {
		return "5s", nil
	}
	return "0s", nil
}

// tokenSeconds reads --auth-token-ttl; etcd takes 0 as its default.
func tokenSeconds(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return "", errors.New("it is a number of seconds")
	}
	return (time.Duration(cmp.Or(n, 300)) * time.Second).String(), nil
}

// bcryptCost takes what is out of range as the default, as etcd does.
func bcryptCost(s string) (string, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return "", errors.New("it is a number from 4 to 31")
	}
	if n < 4 || n > 31 {
		return "10", nil
	}
	return s, nil
}

func logLevel(s string) (string, error) {
	if s == "panic" || s == "fatal" || s == "dpanic" {
		return "error", nil // the most severe there is here
	}
	return s, nil
}

// logOutputs are places of the log: "default" is etcd's word for stderr.
func logOutputs(s string) (string, error) {
	all := splitList(s)
	for i, to := range all {
		switch to {
		case "default":
			all[i] = logToStderr
		case "systemd/journal":
			return "", errors.New("systemd/journal is not supported: systemd takes stderr to its journal")
		}
	}
	return strings.Join(all, ","), nil
}

func logFormat(s string) (string, error) {
	if s == "console" {
		return "text", nil
	}
	if s != "json" {
		return "", errors.New("it is json or console")
	}
	return s, nil
}
