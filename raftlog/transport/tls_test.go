package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

// authority signs certificates of members.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "members"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue writes a certificate for 127.0.0.1 that is signed by a, and lets its holder trust those of trusted.
func (a *authority) issue(t *testing.T, trusted *authority) *TLSConfig {
	return a.issueFor(t, trusted, net.IPv4(127, 0, 0, 1))
}

func (a *authority) issueFor(t *testing.T, trusted *authority, address net.IP) *TLSConfig {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial + 1), Subject: pkix.Name{CommonName: "member"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{address},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &TLSConfig{
		CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"), TrustedCAFile: filepath.Join(dir, "ca.pem"),
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{c.CertFile, "CERTIFICATE", der}, {c.KeyFile, "EC PRIVATE KEY", keyDER}, {c.TrustedCAFile, "CERTIFICATE", trusted.certificate.Raw}} {
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func TestMembersTalkOverMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	a := start(t, newNode(1), Options{TLS: ca.issue(t, ca)})
	b := start(t, newNode(2), Options{TLS: ca.issue(t, ca)})
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "connected to member", 1)
	a.Send([]*raftpb.Message{app(1, 2, 1, make([]byte, 2<<20)), message(raftpb.MsgHeartbeat, 1, 2, 1)})
	await(t, "a message", b.node.received)
	await(t, "a message", b.node.received)
	if answer, err := a.Call(t.Context(), 2, []byte("hello")); err != nil || string(answer) != "1 to 2: hello" {
		t.Errorf("answered %q, %v", answer, err)
	}
	if text, err := a.Describe(t.Context(), b.url); err != nil || len(text) == 0 {
		t.Errorf("described as %q, %v", text, err)
	}
}

func TestACertificateOfAnotherAuthorityIsRefused(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	b := start(t, newNode(2), Options{TLS: ours.issue(t, ours)})

	// Its own certificate is not trusted by the member that it calls.
	a := start(t, newNode(1), Options{TLS: theirs.issue(t, ours)})
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "member cannot be reached yet", 1)
	b.log.await(t, "a call of another member was refused", 1)
	b.log.await(t, "unknown authority", 1)

	// It does not trust the member that it calls.
	c := start(t, newNode(3), Options{TLS: ours.issue(t, theirs)})
	c.SetPeers([]raftlog.Peer{b.peer()})
	c.log.await(t, "unknown authority", 1)
	if len(b.node.received) != 0 {
		t.Error("a message was taken")
	}
	if n := a.log.count("level=INFO"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestPlainConnectionsAndTLSDoNotMix(t *testing.T) {
	ca := newAuthority(t)
	secured := start(t, newNode(2), Options{TLS: ca.issue(t, ca)})
	plain := start(t, newNode(1), Options{})

	plain.SetPeers([]raftlog.Peer{secured.peer()})
	plain.log.await(t, "https needs --peer-cert-file", 1)
	secured.SetPeers([]raftlog.Peer{plain.peer()})
	secured.log.await(t, "members are called by https", 1)

	// One that lies about it finds no one either.
	plain.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{strings.Replace(secured.url, "https", "http", 1)}}})
	secured.log.await(t, "does not look like a TLS handshake", 1)
	secured.SetPeers([]raftlog.Peer{{ID: 1, URLs: []string{strings.Replace(plain.url, "http", "https", 1)}}})
	secured.log.await(t, "TLS: ", 2)
}

func TestCertificatesMayBeReplacedWhileMembersRun(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	ofA, ofB := old.issue(t, old), old.issue(t, old)
	a := start(t, newNode(1), Options{TLS: ofA})
	b := start(t, newNode(2), Options{TLS: ofB})
	replace := func(from, to *TLSConfig) {
		for _, f := range [][2]string{{from.CertFile, to.CertFile}, {from.KeyFile, to.KeyFile}, {from.TrustedCAFile, to.TrustedCAFile}} {
			if err := os.Rename(f[0], f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace(next.issue(t, next), ofB)
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "unknown authority", 1)
	replace(next.issue(t, next), ofA)
	a.log.await(t, "connected to member", 1)
}

func TestTLSFilesAreCheckedAtTheStart(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, ca)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]TLSConfig{
		"--peer-cert-file is missing":         {KeyFile: good.KeyFile, TrustedCAFile: good.TrustedCAFile},
		"--peer-key-file is missing":          {CertFile: good.CertFile, TrustedCAFile: good.TrustedCAFile},
		"--peer-trusted-ca-file is missing":   {CertFile: good.CertFile, KeyFile: good.KeyFile},
		"--peer-cert-file " + empty:           {CertFile: empty, KeyFile: good.KeyFile, TrustedCAFile: good.TrustedCAFile},
		"there is no certificate in it":       {CertFile: good.CertFile, KeyFile: good.KeyFile, TrustedCAFile: empty},
		"--peer-trusted-ca-file: open /no/ca": {CertFile: good.CertFile, KeyFile: good.KeyFile, TrustedCAFile: "/no/ca"},
	} {
		if err := c.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
}

// Members with certificates of their own making know nobody by them, and still talk in secret.
func TestMembersWithCertificatesOfTheirOwnTalk(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	own := func(a *authority) *TLSConfig {
		files := a.issue(t, a)
		return &TLSConfig{CertFile: files.CertFile, KeyFile: files.KeyFile, SelfSigned: true}
	}
	a := start(t, newNode(1), Options{TLS: own(ours)})
	b := start(t, newNode(2), Options{TLS: own(theirs)})
	a.SetPeers([]raftlog.Peer{b.peer()})
	if answer, err := a.Call(t.Context(), 2, []byte("hello")); err != nil || string(answer) != "1 to 2: hello" {
		t.Errorf("answered %q, %v", answer, err)
	}
}

func TestACertificateIsRefusedForItsNameAndWhenItIsRevoked(t *testing.T) {
	ca := newAuthority(t)
	for _, test := range []struct {
		name   string
		change func(b *TLSConfig)
		says   string // empty: it is taken
	}{
		{"one of several names", func(b *TLSConfig) { b.AllowedNames = []string{"other", "member"} }, ""},
		{"another name", func(b *TLSConfig) { b.AllowedNames = []string{"other"} }, "is for"},
		{"another host", func(b *TLSConfig) { b.AllowedHostnames = []string{"other"} }, "names none of"},
		{"another one is revoked", func(b *TLSConfig) { b.CRLFile = ca.revoke(t, 9999) }, ""},
		{"revoked", func(b *TLSConfig) { b.CRLFile = ca.revoke(t, ca.serial+1) }, "is revoked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			callee, caller := ca.issue(t, ca), ca.issue(t, ca) // the caller's is the last
			test.change(callee)
			b := start(t, newNode(2), Options{TLS: callee})
			a := start(t, newNode(1), Options{TLS: caller})
			a.SetPeers([]raftlog.Peer{b.peer()})
			if test.says == "" {
				a.log.await(t, "connected to member", 1)
				return
			}
			b.log.await(t, test.says, 1)
		})
	}
}

// revoke writes a list with one serial number.
func (a *authority) revoke(t *testing.T, serial int64) string {
	list := &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: time.Now()}},
	}
	issuer := *a.certificate
	issuer.KeyUsage |= x509.KeyUsageCRLSign
	if len(issuer.SubjectKeyId) == 0 {
		issuer.SubjectKeyId = []byte{1}
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, &issuer, a.key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "crl")
	if err := os.WriteFile(path, der, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
