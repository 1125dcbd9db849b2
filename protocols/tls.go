package protocols

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// TLS says how connections of clients are secured: the files, and what is asked of clients. The files are looked at with
// every connection and read again when they have changed, so that certificates are replaced while the server runs. A file that
// cannot be read then leaves what there was in force.
type TLS struct {
	CertFile, KeyFile string // of the server; both are needed
	TrustedCAFile     string // authorities of clients' certificates; with it every client needs one
	ClientCertAuth    bool   // every client needs a certificate, also without TrustedCAFile: then of the system's authorities
	CRLFile           string // revoked certificates of clients
	// AllowedHostnames are those of which a client's certificate must name one; empty = any.
	AllowedHostnames []string
	CipherSuites     []uint16 // up to TLS 1.2; empty = Go's choice
	MinVersion       uint16   // 0 = TLS 1.2
	MaxVersion       uint16   // 0 = the newest

	Logger *slog.Logger // told of files that cannot be read any more

	mu      sync.Mutex // guards the fields below
	current *tls.Config
	stamps  [4]stamp
}

// The protocols that TLS clients may ask for by name (ALPN): gRPC's, and that of HTTP without it.
var applicationProtocols = []string{"h2", "http/1.1"}

// Valid says what is wrong with the settings, whatever is in the files. Its errors name the flags.
func (t *TLS) Valid() error {
	switch {
	case t.MaxVersion != 0 && t.MinVersion > t.MaxVersion:
		return fmt.Errorf("--tls-min-version is above --tls-max-version (%s, %s)", tls.VersionName(t.MinVersion), tls.VersionName(t.MaxVersion))
	case len(t.CipherSuites) > 0 && t.MinVersion == tls.VersionTLS13:
		return errors.New("--cipher-suites cannot be set for TLS 1.3 alone: it has its own")
	}
	return nil
}

// Check reads the files once, so that an operator hears of a mistake at the start.
func (t *TLS) Check() error {
	_, err := t.config()
	return err
}

// serverConfig is for the connections of a port.
func (t *TLS) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion:         max(t.MinVersion, tls.VersionTLS12),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.config() },
	}
}

// Listener makes a listener of one whose connections are to talk TLS, with a handshake at their first read or write.
func (t *TLS) Listener(plain net.Listener) net.Listener {
	return tls.NewListener(plain, t.serverConfig())
}

// stamp tells a file that has changed.
type stamp struct {
	modified time.Time
	size     int64
}

func stampOf(name string) stamp {
	if name == "" {
		return stamp{}
	}
	info, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}

// config gives what the files say now.
func (t *TLS) config() (*tls.Config, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var stamps [4]stamp
	for i, name := range []string{t.CertFile, t.KeyFile, t.TrustedCAFile, t.CRLFile} {
		stamps[i] = stampOf(name)
	}
	if t.current != nil && stamps == t.stamps {
		return t.current, nil
	}
	fresh, err := t.read()
	if err != nil && t.current != nil {
		if t.Logger != nil && stamps != t.stamps {
			t.Logger.Warn("changed TLS files cannot be used; those before them stay in force", "err", err)
		}
		t.stamps = stamps // said once for each change
		return t.current, nil
	}
	if err == nil {
		t.current, t.stamps = fresh, stamps
	}
	return fresh, err
}

func (t *TLS) read() (*tls.Config, error) {
	certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("--cert-file %s, --key-file %s: %w", t.CertFile, t.KeyFile, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{certificate},
		NextProtos:   applicationProtocols,
		MinVersion:   max(t.MinVersion, tls.VersionTLS12),
		MaxVersion:   t.MaxVersion,
		CipherSuites: t.CipherSuites,
	}
	if t.TrustedCAFile != "" || t.ClientCertAuth {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if t.TrustedCAFile != "" {
		if config.ClientCAs, err = authorities(t.TrustedCAFile); err != nil {
			return nil, fmt.Errorf("--trusted-ca-file: %w", err)
		}
	}
	var revoked *x509.RevocationList
	if t.CRLFile != "" {
		if revoked, err = revocations(t.CRLFile); err != nil {
			return nil, fmt.Errorf("--client-crl-file: %w", err)
		}
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { return t.acceptable(state, revoked) }
	return config, nil
}

// acceptable judges a client's certificate beyond its signature.
func (t *TLS) acceptable(state tls.ConnectionState, revoked *x509.RevocationList) error {
	if len(state.PeerCertificates) == 0 {
		return nil
	}
	if revoked != nil {
		for _, certificate := range state.PeerCertificates {
			if slices.ContainsFunc(revoked.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool {
				return e.SerialNumber.Cmp(certificate.SerialNumber) == 0
			}) {
				return fmt.Errorf("the client's certificate with the serial number %x is revoked", certificate.SerialNumber)
			}
		}
	}
	if len(t.AllowedHostnames) > 0 && !slices.ContainsFunc(t.AllowedHostnames, func(name string) bool {
		return state.PeerCertificates[0].VerifyHostname(name) == nil
	}) {
		return fmt.Errorf("client certificate authentication failed: it names none of %s", strings.Join(t.AllowedHostnames, ", "))
	}
	return nil
}

func authorities(name string) (*x509.CertPool, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no certificate in it", name)
	}
	return pool, nil
}

// revocations reads a list in PEM or DER.
func revocations(name string) (*x509.RevocationList, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		text = block.Bytes
	}
	list, err := x509.ParseRevocationList(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return list, nil
}

// shortSuites are names that etcd takes too, from before the suites had their hash in theirs.
var shortSuites = map[string]string{
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
}

// ParseCipherSuites reads Go's names of cipher suites.
func ParseCipherSuites(names []string) (ids []uint16, err error) {
	known := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	for _, name := range names {
		if full, short := shortSuites[name]; short {
			name = full
		}
		i := slices.IndexFunc(known, func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unexpected TLS cipher suite %q", name)
		}
		ids = append(ids, known[i].ID)
	}
	return ids, nil
}

// tlsVersions are those that can be asked for, as etcd names them.
var tlsVersions = map[string]uint16{"": 0, "TLS1.2": tls.VersionTLS12, "TLS1.3": tls.VersionTLS13}

// ParseTLSVersion reads TLS1.2 or TLS1.3; empty is 0.
func ParseTLSVersion(name string) (uint16, error) {
	version, ok := tlsVersions[name]
	if !ok {
		return 0, fmt.Errorf("unexpected TLS version %q: there are TLS1.2 and TLS1.3", name)
	}
	return version, nil
}
