package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// fakeNames is a domain name system of a few names.
type fakeNames struct {
	records map[string][]*net.SRV
	hosts   map[string]string
}

func (f fakeNames) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	found := f.records["_"+service+"._"+proto+"."+name]
	if found == nil {
		return "", nil, fmt.Errorf("no such record: %s", service)
	}
	return "", found, nil
}

func (f fakeNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ip, ok := f.hosts[host]
	if !ok {
		return nil, fmt.Errorf("no such host: %s", host)
	}
	return []netip.Addr{netip.MustParseAddr(ip)}, nil
}

func TestMembersAreFoundInTheDomainNameSystem(t *testing.T) {
	in := fakeNames{
		hosts: map[string]string{"a.example": "10.0.0.1", "b.example": "10.0.0.2", "c.example": "10.0.0.3"},
		records: map[string][]*net.SRV{
			"_etcd-server._tcp.example": {
				{Target: "a.example.", Port: 2380}, {Target: "b.example.", Port: 2380}, {Target: "gone.example.", Port: 2380},
			},
			"_etcd-server-ssl._tcp.example":     {{Target: "c.example.", Port: 2380}},
			"_etcd-server-ssl-two._tcp.example": {{Target: "a.example.", Port: 2380}},
			"_etcd-server._tcp.alone":           {{Target: "10.0.0.1", Port: 2380}},
		},
	}
	for _, c := range []struct {
		domain, suffix, name, url string
		want                      string // the list, or words of the error
	}{
		{"example", "", "b", "http://b.example:2380", "0=https://c.example:2380,1=http://a.example:2380,b=http://b.example:2380"},
		{"example", "", "0", "http://a.example:2380", "1=https://c.example:2380,0=http://a.example:2380,2=http://b.example:2380"},
		{"example", "two", "x", "https://a.example:2380", "x=https://a.example:2380"},
		{"alone", "", "x", "http://10.0.0.1:2380", "x=http://10.0.0.1:2380"},
		{"example", "", "x", "http://10.0.0.9:2380", `cannot find local etcd member "x" in SRV records`},
		{"example", "", "x", "http://10.0.0.1:2380", "--initial-advertise-peer-urls"},
		{"example", "", "x", "https://a.example:2380", "--initial-advertise-peer-urls"},
		{"nowhere", "", "x", "http://10.0.0.1:2380", "no such record"},
	} {
		got, err := (&srvDiscovery{c.domain, c.suffix}).find(t.Context(), in, c.name, []string{c.url})
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
			t.Errorf("%s in %s: %s, want %s", c.url, c.domain, got, c.want)
		}
	}
}
