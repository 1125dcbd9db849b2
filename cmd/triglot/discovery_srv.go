package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// How the first members of a cluster are found in the domain name system: --discovery-srv. As in etcd the records
// _etcd-server-ssl._tcp and _etcd-server._tcp of the domain, behind whose name --discovery-srv-name is put, have the peer
// addresses, with TLS and without. This member finds itself among them by its own address; the others get numbers for names,
// until they say who they are.

// names is what is asked of the domain name system; net.Resolver does it.
type names interface {
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// srvDiscovery is what the flags say of it.
type srvDiscovery struct{ domain, suffix string }

// find gives --initial-cluster for a member that is found at peer URLs.
func (d *srvDiscovery) find(ctx context.Context, in names, name string, urls []string) (string, error) {
	suffix := ""
	if d.suffix != "" {
		suffix = "-" + d.suffix
	}
	own, err := placesOf(ctx, in, urls)
	if err != nil {
		return "", err
	}
	var list []string
	var failures []error
	next, found := 0, false
	for _, service := range []struct{ scheme, name string }{{"https", "etcd-server-ssl" + suffix}, {"http", "etcd-server" + suffix}} {
		_, records, err := in.LookupSRV(ctx, service.name, "tcp", d.domain)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		for _, r := range records {
			host, port := strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))
			url := service.scheme + "://" + net.JoinHostPort(host, port)
			at, err := placesOf(ctx, in, []string{url})
			if err != nil {
				failures = append(failures, err) // as one that has left, and so is no member
				continue
			}
			member := ""
			switch {
			case slices.ContainsFunc(at, func(p string) bool { return slices.Contains(own, p) }):
				if !slices.Contains(urls, url) {
					return "", fmt.Errorf("the records have %s for this member, but --initial-advertise-peer-urls is %s", url, strings.Join(urls, ","))
				}
				member, found = name, true
			default:
				if strconv.Itoa(next) == name {
					next++
				}
				member = strconv.Itoa(next)
				next++
			}
			list = append(list, member+"="+url)
		}
	}
	switch {
	case len(list) == 0:
		return "", errors.Join(fmt.Errorf("no records of %s name a member", d.domain), errors.Join(failures...))
	case !found:
		return "", errors.Join(fmt.Errorf("cannot find local etcd member %q in SRV records", name), errors.Join(failures...))
	}
	return strings.Join(list, ","), nil
}

// placesOf resolves URLs to addresses with ports.
func placesOf(ctx context.Context, in names, urls []string) (places []string, err error) {
	for _, u := range urls {
		_, address := cutScheme(u)
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		found, err := in.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, err
		}
		for _, ip := range found {
			places = append(places, net.JoinHostPort(ip.Unmap().String(), port))
		}
	}
	return places, nil
}
