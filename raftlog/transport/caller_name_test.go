package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/triglot/triglot/raftlog"
)

var errNoSuchHost = errors.New("no such host")

// phoneBook is a resolver that knows what is in it.
type phoneBook struct{ names, addresses map[string][]string }

func (b phoneBook) LookupAddr(_ context.Context, address string) ([]string, error) {
	return b.find(b.names, address)
}

func (b phoneBook) LookupHost(_ context.Context, host string) ([]string, error) {
	return b.find(b.addresses, host)
}

func (phoneBook) find(in map[string][]string, key string) ([]string, error) {
	if found := in[key]; found != nil {
		return found, nil
	}
	return nil, errNoSuchHost
}

func TestWhoCallsCallsFromWhereItsCertificateIsFor(t *testing.T) {
	lookup := phoneBook{
		names:     map[string][]string{"10.0.0.1": {"a.example."}, "10.0.0.9": {"other.net."}},
		addresses: map[string][]string{"b.example": {"10.0.0.2", "10.0.0.3"}},
	}
	ips := []net.IP{net.IPv4(10, 0, 0, 5)}
	for _, c := range []struct {
		from  string
		ips   []net.IP
		names []string
		wrong string // what the refusal says; empty = it is let in
	}{
		{"10.0.0.9", nil, nil, ""},
		{"10.0.0.5", ips, nil, ""},
		{"10.0.0.6", ips, nil, "calls from 10.0.0.6"},
		{"10.0.0.5", ips, []string{"unknown"}, ""},
		{"10.0.0.1", ips, []string{"a.example"}, ""}, // by the name of the address
		{"10.0.0.1", ips, []string{"*.example"}, ""}, // which a wildcard covers
		{"10.0.0.3", nil, []string{"b.example"}, ""}, // by an address of the name
		{"10.0.0.4", nil, []string{"b.example"}, `"10.0.0.4" does not match any of DNSNames ["b.example"]`},
		{"10.0.0.9", nil, []string{"*.example"}, "does not match"},
		{"10.0.0.9", nil, []string{"*net"}, "does not match"},
		{"10.0.0.7", nil, []string{"c.example"}, "no such host"},
	} {
		err := fromItsPlace(t.Context(), lookup, &x509.Certificate{IPAddresses: c.ips, DNSNames: c.names}, &net.TCPAddr{IP: net.ParseIP(c.from), Port: 1})
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("a certificate for %v %q from %s: %v", c.ips, c.names, c.from, err)
		}
	}
	if err := fromItsPlace(t.Context(), lookup, &x509.Certificate{IPAddresses: ips}, &net.UnixAddr{Name: "@", Net: "unix"}); err != nil {
		t.Errorf("by a Unix socket: %v", err)
	}
}

// The member that calls has a certificate for another address. Whom it calls has one for its own.
func TestACallerFromElsewhereIsRefused(t *testing.T) {
	ca := newAuthority(t)
	elsewhere := ca.issueFor(t, ca, net.IPv4(10, 0, 0, 1))
	for _, skip := range []bool{false, true} {
		secured := ca.issue(t, ca)
		secured.SkipCallerCheck = skip
		b := start(t, newNode(2), Options{TLS: secured})
		a := start(t, newNode(1), Options{TLS: elsewhere})
		a.SetPeers([]raftlog.Peer{b.peer()})
		if skip {
			a.log.await(t, "connected to member", 1)
		} else {
			b.log.await(t, "calls from 127.0.0.1", 1)
		}
	}
}
