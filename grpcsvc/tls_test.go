package grpcsvc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/net/http2"
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

// serveTLS gives a node a port with TLS, and clients what they need for it.
func serveTLS(t *testing.T, n *node) (address string, config *tls.Config) {
	t.Helper()
	certificate, trusted := selfSignedPair(t)
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go n.server.Serve(handshakeListener{plain, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}})
	return plain.Addr().String(), &tls.Config{RootCAs: trusted, ServerName: "localhost"}
}

// A client that is silent is asked whether it is there, and cut off when it does not answer: with TLS and without.
func TestASilentClientIsPingedAndCutOff(t *testing.T) {
	n := startNode(t, Options{ServerPing: 10 * time.Millisecond, ServerPingTimeout: 10 * time.Millisecond})
	address, config := serveTLS(t, n)
	config.NextProtos = []string{"h2"}
	for name, dial := range map[string]func() (net.Conn, error){
		"with TLS": func() (net.Conn, error) { return tls.Dial("tcp", address, config) },
		"without":  func() (net.Conn, error) { return n.dial(n.ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			patience, _ := n.ctx.Deadline()
			conn.SetDeadline(patience)
			if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			framer := http2.NewFramer(conn, conn)
			if err := framer.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			pings := 0
			for {
				frame, err := framer.ReadFrame()
				if n.ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal("it is not cut off")
				}
				if err != nil {
					break
				}
				if ping, ok := frame.(*http2.PingFrame); ok && !ping.IsAck() {
					pings++
				}
			}
			if pings == 0 {
				t.Error("it was not asked first")
			}
		})
	}
}

// Over TLS one port answers gRPC, and HTTP of both versions.
func TestOverTLSOnePortAnswersEverything(t *testing.T) {
	n := startNode(t, Options{})
	address, config := serveTLS(t, n)

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
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
	for version, second := range map[int]bool{1: false, 2: true} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: second}}
		defer client.CloseIdleConnections()
		answer, err := client.Get("https://" + address + "/health")
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
