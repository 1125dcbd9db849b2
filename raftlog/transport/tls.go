package transport

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// alpn is what members agree on in the handshake of TLS: a server of something else refuses there.
const alpn = "triglot-member"

// TLSConfig names the files that members know each other by. All three are needed. The certificate serves in both
// directions: it is presented to those who call and to those who are called, and the other side's is checked against
// TrustedCAFile each time. Files are read again for each new connection, so that they can be replaced while members run.
type TLSConfig struct {
	CertFile, KeyFile, TrustedCAFile string

	// SelfSigned says that the certificate is of the member's own making: connections are secret, and nobody is known by
	// them. TrustedCAFile is then not needed.
	SelfSigned bool

	// OneSided says that TrustedCAFile may be missing: who is called is then known by the system's authorities, and who calls
	// is not known.
	OneSided bool

	// What else is asked of the other side's certificate: not to be on a list of revoked ones, one of several common names,
	// one of several host names. Empty asks nothing.
	CRLFile          string
	AllowedNames     []string
	AllowedHostnames []string

	// SkipCallerCheck lets who calls do so from anywhere, and not only from where its certificate is for (caller_name.go).
	SkipCallerCheck bool

	// ClientCertFile and ClientKeyFile are shown to those who are called, in place of the certificate above.
	ClientCertFile, ClientKeyFile string
}

// check reads the files once, so that an operator hears of a mistake at the start.
func (c *TLSConfig) check() error {
	for _, file := range []struct{ flag, name string }{
		{"--peer-cert-file", c.CertFile}, {"--peer-key-file", c.KeyFile}, {"--peer-trusted-ca-file", c.TrustedCAFile},
	} {
		if file.name == "" && !((c.SelfSigned || c.OneSided) && file.flag == "--peer-trusted-ca-file") {
			return fmt.Errorf("TLS between members needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file: %s is missing", file.flag)
		}
	}
	if _, err := c.config(); err != nil {
		return err
	}
	_, err := c.client("")
	return err
}

func (c *TLSConfig) authorities() (*x509.CertPool, error) {
	pem, err := os.ReadFile(c.TrustedCAFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-trusted-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--peer-trusted-ca-file %s: there is no certificate in it", c.TrustedCAFile)
	}
	return pool, nil
}

// server is for accepted connections.
func (c *TLSConfig) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{alpn},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			config, err := c.config()
			if err == nil && !c.SkipCallerCheck {
				checkPlace(config, net.DefaultResolver, hello)
			}
			return config, err
		},
	}
}

// client is for a connection to a host.
func (c *TLSConfig) client(host string) (*tls.Config, error) {
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	config.ServerName = host
	if c.ClientCertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.ClientCertFile, c.ClientKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--peer-client-cert-file %s, --peer-client-key-file %s: %w", c.ClientCertFile, c.ClientKeyFile, err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

func (c *TLSConfig) config() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-cert-file %s, --peer-key-file %s: %w", c.CertFile, c.KeyFile, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		Certificates: []tls.Certificate{certificate},
	}
	if c.SelfSigned {
		config.InsecureSkipVerify = true
		return config, nil
	}
	if c.OneSided && c.TrustedCAFile == "" {
		return config, nil
	}
	authorities, err := c.authorities()
	if err != nil {
		return nil, err
	}
	config.RootCAs, config.ClientCAs, config.ClientAuth = authorities, authorities, tls.RequireAndVerifyClientCert
	revoked, err := c.revocations()
	if err != nil {
		return nil, err
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { return c.acceptable(state.PeerCertificates, revoked) }
	return config, nil
}

// revocations reads the list of revoked certificates, in PEM or DER; nil when there is none to read.
func (c *TLSConfig) revocations() (*x509.RevocationList, error) {
	if c.CRLFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.CRLFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-crl-file: %w", err)
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return nil, fmt.Errorf("--peer-crl-file %s: %w", c.CRLFile, err)
	}
	return list, nil
}

// acceptable judges the other side's certificate beyond its signature.
func (c *TLSConfig) acceptable(chain []*x509.Certificate, revoked *x509.RevocationList) error {
	if len(chain) == 0 {
		return errors.New("the other member shows no certificate")
	}
	if revoked != nil {
		for _, entry := range revoked.RevokedCertificateEntries {
			for _, certificate := range chain {
				if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
					return fmt.Errorf("the other member's certificate with the serial number %x is revoked", certificate.SerialNumber)
				}
			}
		}
	}
	if len(c.AllowedNames) > 0 && !slices.Contains(c.AllowedNames, chain[0].Subject.CommonName) {
		return fmt.Errorf("client certificate authentication failed: it is for %q, which is none of %v", chain[0].Subject.CommonName, c.AllowedNames)
	}
	if len(c.AllowedHostnames) > 0 && !slices.ContainsFunc(c.AllowedHostnames, func(name string) bool { return chain[0].VerifyHostname(name) == nil }) {
		return fmt.Errorf("client certificate authentication failed: it names none of %v", c.AllowedHostnames)
	}
	return nil
}
