package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
)

// Who calls must call from where its certificate is for: an address that the certificate names, or one of a host that it
// names. A certificate that names neither may come from anywhere. The rule is etcd's.

// resolver finds the names of addresses and the addresses of names.
type resolver interface {
	LookupAddr(ctx context.Context, address string) (names []string, err error)
	LookupHost(ctx context.Context, host string) (addresses []string, err error)
}

// fromItsPlace judges the certificate of a connection from remote.
func fromItsPlace(ctx context.Context, lookup resolver, certificate *x509.Certificate, remote net.Addr) error {
	if len(certificate.IPAddresses) == 0 && len(certificate.DNSNames) == 0 {
		return nil
	}
	host, _, err := net.SplitHostPort(remote.String())
	if err != nil {
		return nil // a Unix socket is on this machine
	}
	if len(certificate.IPAddresses) > 0 && certificate.VerifyHostname(host) == nil {
		return nil
	}
	if len(certificate.DNSNames) == 0 {
		return fmt.Errorf("the other member's certificate is for %v, and it calls from %s", certificate.IPAddresses, host)
	}
	if ok, err := isCalled(ctx, lookup, host, certificate.DNSNames); !ok {
		return errors.Join(fmt.Errorf("tls: %q does not match any of DNSNames %q", host, certificate.DNSNames), err)
	}
	return nil
}

// isCalled says whether an address has one of some names, which may begin with "*.".
func isCalled(ctx context.Context, lookup resolver, address string, names []string) (bool, error) {
	found, err := lookup.LookupAddr(ctx, address)
	for _, is := range found {
		is = strings.TrimSuffix(is, ".")
		for _, name := range names {
			if suffix, wild := strings.CutPrefix(name, "*"); is == name || wild && strings.HasPrefix(suffix, ".") && strings.HasSuffix(is, suffix) {
				return true, nil
			}
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		addresses, failed := lookup.LookupHost(ctx, name)
		if failed != nil {
			err = failed
		}
		for _, a := range addresses {
			if a == address {
				return true, nil
			}
		}
	}
	return false, err
}

// checkPlace adds the rule to what is asked of a caller.
func checkPlace(config *tls.Config, lookup resolver, hello *tls.ClientHelloInfo) {
	judge := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if judge != nil {
			if err := judge(state); err != nil {
				return err
			}
		}
		if len(state.PeerCertificates) == 0 {
			return nil // it need not show one
		}
		return fromItsPlace(hello.Context(), lookup, state.PeerCertificates[0], hello.Conn.RemoteAddr())
	}
}
