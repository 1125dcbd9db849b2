package h2

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// shaken does the handshake of each connection before it hands it over, as whoever calls Serve has to.
type shaken struct{ net.Listener }

func (l shaken) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	_ = nc.(*tls.Conn).HandshakeContext(context.Background()) // what fails is seen by whoever reads
	return nc, nil
}

// startTLS is start over TLS. Clients know the certificate by the client that it gives.
func startTLS(t *testing.T, opts Options, s *service) (*harness, *tls.Config) {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of a certificate
	defer lender.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := startOn(t, shaken{tls.NewListener(l, &tls.Config{Certificates: lender.TLS.Certificates, NextProtos: []string{"h2"}})}, opts, s)
	trust := lender.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trust.NextProtos = []string{"h2"}
	return h, trust
}

func TestCallsComeOverTLS(t *testing.T) {
	peers := make(chan *peer.Peer, 1)
	h, trust := startTLS(t, Options{}, &service{unary: func(ctx context.Context, in []byte) ([]byte, error) {
		p, _ := peer.FromContext(ctx)
		peers <- p
		return in, nil
	}})
	conn := h.dial(grpc.WithTransportCredentials(credentials.NewTLS(trust)))
	if _, err := invoke(patient(t), conn, echoPath, nil); err != nil {
		t.Fatal(err)
	}
	info, ok := await(t, peers).AuthInfo.(credentials.TLSInfo)
	if !ok || !info.State.HandshakeComplete || info.State.NegotiatedProtocol != "h2" || info.SecurityLevel != credentials.PrivacyAndIntegrity {
		t.Errorf("got %+v", info)
	}
}

func TestCallsAndRequestsShareAConnectionOverTLS(t *testing.T) {
	h, trust := startTLS(t, Options{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || !r.TLS.HandshakeComplete || r.ProtoMajor != 2 {
			t.Errorf("the request is %+v", r)
		}
		_, _ = io.WriteString(w, "plain")
	})}, &service{})
	nc, err := tls.Dial("tcp", h.addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := newRaw(t, nc)
	c.greet()
	c.wantEcho(1)
	c.open(3, true, ":method", "GET", ":scheme", "https", ":path", "/", ":authority", "test")
	if r := c.answer(3); string(r.body) != "plain" {
		t.Errorf("got %+v", r)
	}
	c.wantEcho(5)
}

func TestTheClientOfNetHTTPTalksOverTLS(t *testing.T) {
	h, trust := startTLS(t, Options{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })}, &service{})
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequestWithContext(patient(t), "POST", "https://"+h.addr, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, _ := h.send(&http.Client{Transport: transport}, r); response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Errorf("got %+v", response)
	}
}

// The reason for an end is the last that a client can read, over TLS too.
func TestAConnectionOverTLSIsToldWhyItEnds(t *testing.T) {
	h, trust := startTLS(t, Options{}, &service{})
	nc, err := tls.Dial("tcp", h.addr, trust)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := newRaw(t, nc)
	c.greet()
	c.must(c.WriteData(1, false, nil))
	c.goAway()
	c.over()
}
