package transport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// TLSConfig names the files that members know each other by. All three are needed. The certificate serves in both
// directions: it is presented to those who call and to those who are called, and the other side's is checked against
// TrustedCAFile each time. Files are read again for each new connection, so that they can be replaced while members run.
type TLSConfig struct {
	CertFile, KeyFile, TrustedCAFile string
}

// check reads the files once, so that an operator hears of a mistake at the start.
func (c *TLSConfig) check() error {
	for _, file := range []struct{ flag, name string }{
		{"--peer-cert-file", c.CertFile}, {"--peer-key-file", c.KeyFile}, {"--peer-trusted-ca-file", c.TrustedCAFile},
	} {
		if file.name == "" {
			return fmt.Errorf("TLS between members needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file: %s is missing", file.flag)
		}
	}
	if _, err := c.certificate(); err != nil {
		return err
	}
	_, err := c.authorities()
	return err
}

func (c *TLSConfig) certificate() (*tls.Certificate, error) {
	certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("--peer-cert-file %s, --peer-key-file %s: %w", c.CertFile, c.KeyFile, err)
	}
	return &certificate, nil
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
		NextProtos: []string{"h2"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.config()
		},
	}
}

// client is for a connection to a host.
func (c *TLSConfig) client(host string) (*tls.Config, error) {
	config, err := c.config()
	if err == nil {
		config.ServerName = host
	}
	return config, err
}

func (c *TLSConfig) config() (*tls.Config, error) {
	certificate, err := c.certificate()
	if err != nil {
		return nil, err
	}
	authorities, err := c.authorities()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{"h2"},
		Certificates: []tls.Certificate{*certificate},
		RootCAs:      authorities,
		ClientCAs:    authorities,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	}, nil
}
