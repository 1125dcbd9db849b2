package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/triglot/triglot/protocols"
)

// TLS of clients: which listeners talk it, and the certificate that the server makes for itself when it is asked to.

// What may stand before an address to listen on. Without it a listener talks TLS if the server has a certificate.
const (
	securityTLS   = "tls:"
	securityPlain = "plain:"
	securityBoth  = "both:" // told apart by the first byte
)

// cutSecurity parts an address to listen on from what stands before it.
func cutSecurity(s string) (security, address string) {
	for _, word := range []string{securityTLS, securityPlain, securityBoth} {
		if rest, ok := strings.CutPrefix(s, word); ok {
			return word, rest
		}
	}
	return "", s
}

// clientTLS says whether there is a certificate for clients.
func (c *config) clientTLS() bool { return c.CertFile != "" || c.KeyFile != "" || c.AutoTLS }

// talksTLS says whether the first address of a setting for clients takes connections with TLS.
func (c *config) talksTLS(setting string) bool {
	security, address := cutSecurity(firstListener(setting))
	switch security {
	case securityPlain:
		return false
	case "":
		return address != "" && c.clientTLS()
	}
	return true
}

// checkClientTLS looks at what single settings cannot show.
func (c *config) checkClientTLS() error {
	for _, l := range append(c.clientListeners(), c.innerListeners()...) {
		if security, _ := cutSecurity(l.address); (security == securityTLS || security == securityBoth) && !c.clientTLS() {
			return fmt.Errorf("--%s: %s needs --cert-file and --key-file, or --auto-tls", l.flag, l.address)
		}
	}
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("--cert-file and --key-file go together")
	case !c.clientTLS() && (c.TrustedCAFile != "" || c.ClientCertAuth || c.ClientCRLFile != "" || c.ClientCertAllowedHostname != ""):
		return errors.New("--trusted-ca-file, --client-cert-auth, --client-crl-file and --client-cert-allowed-hostname need --cert-file and --key-file")
	}
	secured, err := c.clientTLSOptions()
	if err == nil {
		err = secured.Valid()
	}
	return err
}

// openClientTLS gives what listeners need, nil without a certificate. The files win over a certificate of the server's own,
// which is made here.
func (c *config) openClientTLS(logger *slog.Logger) (*protocols.TLS, error) {
	if !c.clientTLS() {
		return nil, nil
	}
	t, err := c.clientTLSOptions()
	if err != nil {
		return nil, err
	}
	t.Logger = logger
	if c.CertFile == "" {
		if t.CertFile, t.KeyFile, err = selfSigned(filepath.Join(c.DataDir, "client-tls"), c.listenHosts(), c.SelfSignedYears); err != nil {
			return nil, fmt.Errorf("--auto-tls: %w", err)
		}
	}
	return t, t.Check()
}

func (c *config) clientTLSOptions() (*protocols.TLS, error) {
	suites, err := protocols.ParseCipherSuites(splitList(c.CipherSuites))
	if err != nil {
		return nil, fmt.Errorf("--cipher-suites: %w", err)
	}
	least, err := protocols.ParseTLSVersion(c.TLSMinVersion)
	if err != nil {
		return nil, fmt.Errorf("--tls-min-version: %w", err)
	}
	most, err := protocols.ParseTLSVersion(c.TLSMaxVersion)
	if err != nil {
		return nil, fmt.Errorf("--tls-max-version: %w", err)
	}
	return &protocols.TLS{
		CertFile: c.CertFile, KeyFile: c.KeyFile, TrustedCAFile: c.TrustedCAFile, ClientCertAuth: c.ClientCertAuth,
		CRLFile: c.ClientCRLFile, AllowedHostnames: splitList(c.ClientCertAllowedHostname),
		CipherSuites: suites, MinVersion: least, MaxVersion: most,
	}, nil
}

// securityOf says what a listener takes.
func securityOf(listener string, secured *protocols.TLS) protocols.Security {
	security, _ := cutSecurity(listener)
	switch {
	case security == securityPlain || secured == nil:
		return protocols.Security{}
	case security == securityBoth:
		return protocols.Security{TLS: secured, Plain: true}
	}
	return protocols.Security{TLS: secured}
}

// listenHosts are the hosts that clients may know this server by.
func (c *config) listenHosts() (hosts []string) {
	hosts = []string{"localhost"}
	for _, l := range append(c.clientListeners(), c.innerListeners()...) {
		_, address := cutSecurity(l.address)
		if _, isUnix := protocols.CutUnix(address); isUnix {
			continue
		}
		if host, _, err := net.SplitHostPort(address); err == nil && host != "" && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// selfSigned gives a certificate that nobody vouches for, made when there is none yet.
func selfSigned(dir string, hosts []string, years int) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if certErr == nil && keyErr == nil {
		return certFile, keyFile, nil
	}
	if err := errors.Join(ignoreMissing(certErr), ignoreMissing(keyErr), os.MkdirAll(dir, 0o700)); err != nil {
		return "", "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"triglot"}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(years, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	// The certificate comes last: with it both are there.
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
