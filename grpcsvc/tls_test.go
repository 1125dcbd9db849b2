package grpcsvc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// handshakeListener does the handshake of each connection before it hands it over, as package protocols does.
type handshakeListener struct {
	net.Listener
	config *tls.Config
}

func (l handshakeListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	secure := tls.Server(conn, l.config)
	_ = secure.HandshakeContext(context.Background()) // what fails is told to the client
	return secure, nil
}

// selfSignedPair is a server's certificate for localhost, and whom to trust for it.
func selfSignedPair(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Over TLS one port answers gRPC, and HTTP of both versions.
func TestOverTLSOnePortAnswersEverything(t *testing.T) {
	n := startNode(t, Options{})
	certificate, trusted := selfSignedPair(t)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go n.server.Serve(handshakeListener{plain, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}})
	config := &tls.Config{RootCAs: trusted, ServerName: "localhost"}

	conn, err := grpc.NewClient(plain.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := pb.NewKVClient(conn).Put(n.ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	stream, err := pb.NewWatchClient(conn).Watch(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 1}}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"its creation", "its event"} {
		if _, err := stream.Recv(); err != nil {
			t.Errorf("a watch: %s: %v", want, err)
		}
	}
	for version, http2 := range map[int]bool{1: false, 2: true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: http2}}
		defer client.CloseIdleConnections()
		answer, err := client.Get("https://" + plain.Addr().String() + "/health")
		if err != nil {
			t.Errorf("HTTP/%d: %v", version, err)
			continue
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || string(text) != `{"health":"true","reason":""}` || answer.ProtoMajor != version {
			t.Errorf("HTTP/%d: %s, %q, %v", version, answer.Proto, text, err)
		}
	}
}
