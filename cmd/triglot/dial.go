package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// dialer is how the commands that talk to a cluster reach a member, and who they are to it: by etcdctl's flags.
type dialer struct {
	caFile, certFile, keyFile string
	skipVerify                bool
	user                      string // name:password; empty = nobody
	always                    bool   // TLS where an endpoint does not say, too
	options                   []grpc.DialOption
}

const userVariable = variablePrefix + "USER"

func (d *dialer) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&d.caFile, "cacert", "", "authority of the members' certificates, for endpoints that begin with https://; empty: the system's")
	flags.StringVar(&d.certFile, "cert", "", "certificate to show them")
	flags.StringVar(&d.keyFile, "key", "", "and its key")
	flags.BoolVar(&d.skipVerify, "insecure-skip-tls-verify", false, "take any certificate, and so anybody for a member")
	flags.StringVar(&d.user, "user", os.Getenv(userVariable), "name:password, while authentication is on ("+userVariable+")")
}

// dial connects to one member and asks how it is.
func (d *dialer) dial(ctx context.Context, endpoint string) (*member, error) {
	conn, err := d.connect(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	_, address := cutScheme(urlOf(endpoint, d.always))
	m := &member{endpoint: address, conn: conn, dialer: d}
	if err := m.ask(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return m, nil
}

// connect makes a connection, logged in if there is somebody to be. What it is for may still not be there.
func (d *dialer) connect(ctx context.Context, endpoint string) (*grpc.ClientConn, error) {
	scheme, address := cutScheme(urlOf(endpoint, d.always))
	target := "passthrough:///" + address
	if isUnixScheme(scheme) {
		target = "unix:" + address
	} else if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, errors.New("an endpoint is host:port, https://host:port or unix:path")
	}
	secured := insecure.NewCredentials()
	if isSecuredScheme(scheme) {
		config, err := d.tls()
		if err != nil {
			return nil, err
		}
		secured = credentials.NewTLS(config)
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(secured), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(snapshotMessageMax)),
	}, d.options...)
	login := &login{}
	if d.user != "" {
		options = append(options, grpc.WithUnaryInterceptor(login.unary), grpc.WithStreamInterceptor(login.stream))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, err
	}
	if err = login.in(ctx, conn, d.user); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func (d *dialer) tls() (*tls.Config, error) {
	config := &tls.Config{InsecureSkipVerify: d.skipVerify} // which only whoever asks for it gets
	if d.caFile != "" {
		text, err := os.ReadFile(d.caFile)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("--cacert: there is no certificate in %s", d.caFile)
		}
	}
	if d.certFile != "" || d.keyFile != "" {
		certificate, err := tls.LoadX509KeyPair(d.certFile, d.keyFile)
		if err != nil {
			return nil, fmt.Errorf("--cert, --key: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, nil
}

// login is what the requests of one connection carry once a password was checked.
type login struct{ token string }

// in logs in, if there is somebody to be. While authentication is off nobody needs to.
func (l *login) in(ctx context.Context, conn *grpc.ClientConn, user string) error {
	if user == "" {
		return nil
	}
	name, password, _ := strings.Cut(user, ":")
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	answer, err := pb.NewAuthClient(conn).Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		err = plain(err)
		if strings.Contains(err.Error(), "authentication is not enabled") {
			return nil
		}
		return err
	}
	l.token = answer.Token
	return nil
}

func (l *login) of(ctx context.Context) context.Context {
	if l.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", l.token)
}

func (l *login) unary(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	return invoke(l.of(ctx), method, request, reply, conn, options...)
}

func (l *login) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, options ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(l.of(ctx), desc, conn, method, options...)
}
