package protocols

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority issues certificates for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
	last int64
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writePEM(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, SubjectKeyId: []byte{1},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.file = writePEM(t, filepath.Join(t.TempDir(), "ca.pem"), "CERTIFICATE", der)
	a.last = 1
	return a
}

// issue writes a certificate for a host into files.
func (a *authority) issue(dir, host string, ends time.Time) (certFile, keyFile string) {
	a.t.Helper()
	a.last++
	key := newKey(a.t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.last), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
		DNSNames: []string{host}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return writePEM(a.t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", der), writePEM(a.t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", private)
}

// revoke writes a list of serial numbers.
func (a *authority) revoke(path string, serials ...int64) string {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, serial := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: big.NewInt(serial), RevocationTime: time.Now(),
		})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return writePEM(a.t, path, "X509 CRL", der)
}

// client is a client's side, with a certificate if one is given.
func (a *authority) client(certFile, keyFile string) *tls.Config {
	a.t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "server"}
	config.RootCAs.AddCert(a.cert)
	if certFile != "" {
		certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			a.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config
}

// startSecure serves one port, whose adapter answers each connection with its first line.
func startSecure(t *testing.T, protocol Protocol, security Security, handshake time.Duration) (address string, accepted <-chan net.Conn) {
	t.Helper()
	s := NewServer(Options{HandshakeTimeout: handshake})
	addr, err := s.Listen(protocol, "listen", "127.0.0.1:0", security)
	if err != nil {
		t.Fatal(err)
	}
	conns := make(chan net.Conn, 100)
	for _, p := range All {
		go func() {
			for {
				conn, err := s.Listener(p).Accept()
				if err != nil {
					return
				}
				conns <- conn
				go func() {
					line, _ := bufio.NewReader(conn).ReadString('\n')
					io.WriteString(conn, string(p)+" "+line)
				}()
			}
		}()
	}
	s.Start()
	t.Cleanup(func() {
		s.StopAccepting()
		s.registry.closeWhere(func(*Conn) bool { return true })
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return addr.String(), conns
}

// ask sends a line and gives what comes back.
func ask(conn net.Conn, line string) (string, error) {
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, line); err != nil {
		return "", err
	}
	buf := make([]byte, 200)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func askTLS(address string, config *tls.Config, line string) (string, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return ask(conn, line)
}

func askPlain(t *testing.T, address, line string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return ask(conn, line)
}

func serverFiles(a *authority, t *testing.T) *TLS {
	certFile, keyFile := a.issue(t.TempDir(), "server", time.Now().Add(time.Hour))
	return &TLS{CertFile: certFile, KeyFile: keyFile}
}

func TestAPortTakesWhatItsSecuritySays(t *testing.T) {
	a := newAuthority(t)
	for _, test := range []struct {
		name         string
		protocol     Protocol
		plain        bool
		line, answer string
		withoutTLS   string
	}{
		{"TLS alone", RESP, false, "hello\n", "resp hello\n", ""},
		{"both", RESP, true, "hello\n", "resp hello\n", "resp hello\n"},
		{"shared, TLS alone", Shared, false, "PING\r\n", "resp PING\r\n", ""},
		{"shared, both", Shared, true, "ruok\n", "zk ruok\n", "zk ruok\n"},
		{"shared, HTTP within TLS", Shared, true, "GET / HTTP/1.1\r\n", "etcd GET / HTTP/1.1\r\n", "etcd GET / HTTP/1.1\r\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, _ := startSecure(t, test.protocol, Security{TLS: serverFiles(a, t), Plain: test.plain}, 5*time.Second)
			if got, err := askTLS(address, a.client("", ""), test.line); err != nil || got != test.answer {
				t.Errorf("with TLS: %q, %v", got, err)
			}
			if got, err := askPlain(t, address, test.line); strings.HasPrefix(got, "resp") != strings.HasPrefix(test.withoutTLS, "resp") ||
				test.withoutTLS != "" && (err != nil || got != test.withoutTLS) {
				t.Errorf("without: %q, %v", got, err)
			}
		})
	}
}

// Somebody who connects and says nothing, or not TLS, holds up nobody and is cut off.
func TestASilentHandshakeBlocksNobodyAndEnds(t *testing.T) {
	a := newAuthority(t)
	address, _ := startSecure(t, RESP, Security{TLS: serverFiles(a, t)}, 300*time.Millisecond)
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if got, err := askTLS(address, a.client("", ""), "hello\n"); err != nil || got != "resp hello\n" {
		t.Errorf("beside it: %q, %v", got, err)
	}
	silent.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it was not cut off: %v", err)
	}
}

func TestClientsNeedTheCertificateThatIsAskedFor(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	t1, t2, t3 := t.TempDir(), t.TempDir(), t.TempDir()
	good, goodKey := a.issue(t1, "worker", time.Now().Add(time.Hour))
	goodSerial := a.last
	old, oldKey := a.issue(t2, "worker", time.Now().Add(-time.Minute))
	foreign, foreignKey := stranger.issue(t3, "worker", time.Now().Add(time.Hour))
	foreignClient := stranger.client(foreign, foreignKey)
	foreignClient.RootCAs.AddCert(a.cert)
	clients := map[string]*tls.Config{
		"good": a.client(good, goodKey), "none": a.client("", ""), "old": a.client(old, oldKey), "foreign": foreignClient,
	}
	dir := t.TempDir()
	for _, test := range []struct {
		name   string
		change func(*TLS)
		taken  string
	}{
		{"nothing", func(*TLS) {}, "good none old foreign"},
		{"a trusted authority", func(s *TLS) { s.TrustedCAFile = a.file }, "good"},
		{"one of the system's authorities", func(s *TLS) { s.ClientCertAuth = true }, ""},
		{"not to be revoked", func(s *TLS) { s.TrustedCAFile, s.CRLFile = a.file, a.revoke(filepath.Join(dir, "crl"), 999) }, "good"},
		{"not to be revoked, and it is", func(s *TLS) { s.TrustedCAFile, s.CRLFile = a.file, a.revoke(filepath.Join(dir, "crl2"), goodSerial) }, ""},
		{"a name that it has", func(s *TLS) { s.TrustedCAFile, s.AllowedHostnames = a.file, []string{"other", "worker"} }, "good"},
		{"a name that it has not", func(s *TLS) { s.TrustedCAFile, s.AllowedHostnames = a.file, []string{"other"} }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			secured := serverFiles(a, t)
			test.change(secured)
			if err := secured.Check(); err != nil {
				t.Fatal(err)
			}
			address, _ := startSecure(t, RESP, Security{TLS: secured}, 5*time.Second)
			for name, config := range clients {
				_, err := askTLS(address, config, "hello\n")
				if taken := strings.Contains(test.taken, name); (err == nil) != taken {
					t.Errorf("%s: %v, want it taken: %v", name, err, taken)
				}
			}
		})
	}
}

func TestACertificateIsReplacedWhileTheServerRuns(t *testing.T) {
	a := newAuthority(t)
	dir := t.TempDir()
	certFile, keyFile := a.issue(dir, "server", time.Now().Add(time.Hour))
	address, _ := startSecure(t, RESP, Security{TLS: &TLS{CertFile: certFile, KeyFile: keyFile}}, 5*time.Second)
	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", address, a.client("", ""))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	first := serial()
	a.issue(dir, "server", time.Now().Add(2*time.Hour))
	later := time.Now().Add(time.Minute) // whatever the clock's steps are
	if err := os.Chtimes(certFile, later, later); err != nil {
		t.Fatal(err)
	}
	if second := serial(); second != first+1 {
		t.Errorf("the certificate %d was replaced, and shown is %d", first, second)
	}
	if err := os.WriteFile(certFile, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third := serial(); third != first+1 {
		t.Errorf("a broken file takes away the certificate before it: %d", third)
	}
}

func TestWhatIsAgreedOnIsKnownToTheAdapter(t *testing.T) {
	a := newAuthority(t)
	cert, key := a.issue(t.TempDir(), "worker", time.Now().Add(time.Hour))
	secured := serverFiles(a, t)
	secured.TrustedCAFile = a.file
	address, accepted := startSecure(t, RESP, Security{TLS: secured}, 5*time.Second)
	if _, err := askTLS(address, a.client(cert, key), "hello\n"); err != nil {
		t.Fatal(err)
	}
	state := (<-accepted).(*SecureConn).ConnectionState()
	if !state.HandshakeComplete || len(state.VerifiedChains) == 0 || state.VerifiedChains[0][0].Subject.CommonName != "worker" {
		t.Errorf("the adapter sees %+v", state)
	}
}

func TestVersionsAndCipherSuitesThatAreNotTakenAreRefused(t *testing.T) {
	a := newAuthority(t)
	for _, test := range []struct {
		name   string
		change func(*TLS)
		client func(*tls.Config)
		taken  bool
	}{
		{"new enough", func(s *TLS) { s.MinVersion = tls.VersionTLS13 }, func(*tls.Config) {}, true},
		{"too old", func(s *TLS) { s.MinVersion = tls.VersionTLS13 }, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, false},
		{"too new", func(s *TLS) { s.MaxVersion = tls.VersionTLS12 }, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, false},
		{"another suite", func(s *TLS) {
			s.MaxVersion, s.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		},
			func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384} }, false},
	} {
		secured := serverFiles(a, t)
		test.change(secured)
		address, _ := startSecure(t, RESP, Security{TLS: secured}, 5*time.Second)
		config := a.client("", "")
		test.client(config)
		if _, err := askTLS(address, config, "hello\n"); (err == nil) != test.taken {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTLSFilesThatCannotBeUsedAreNamed(t *testing.T) {
	a := newAuthority(t)
	good := serverFiles(a, t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, secured := range map[string]*TLS{
		"--cert-file /nowhere":          {CertFile: "/nowhere", KeyFile: good.KeyFile},
		"--key-file " + text:            {CertFile: good.CertFile, KeyFile: text},
		"--trusted-ca-file: " + text:    {CertFile: good.CertFile, KeyFile: good.KeyFile, TrustedCAFile: text},
		"--client-crl-file: " + text:    {CertFile: good.CertFile, KeyFile: good.KeyFile, CRLFile: text},
		"--client-crl-file: open /none": {CertFile: good.CertFile, KeyFile: good.KeyFile, CRLFile: "/none"},
	} {
		if err := secured.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
