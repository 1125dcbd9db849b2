package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// gRPC's own probes, for connections that pings do not go over. 10 s is the least that gRPC lets a client have; data that
// is not acknowledged ends a connection after keepaliveTimeout already (it sets TCP_USER_TIMEOUT).
const (
	keepaliveTime    = 10 * time.Second
	keepaliveTimeout = 3 * time.Second
	writeBufferBytes = 128 << 10
	readBufferBytes  = 128 << 10
)

// place is where a peer URL leads, as net.Dial takes it.
type place struct{ network, address string }

// parseURL says where a peer URL leads: http://host:port, or https://host:port if members use TLS, to a TCP address;
// unix://path, or unixs://path with TLS, to a Unix socket. The path of a socket is everything behind the slashes, as etcd has
// it: unix://a:1 is a file of the working directory. Behind a host there is no path.
func parseURL(text string, withTLS bool) (place, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host+u.Path == "" || u.RawQuery != "" || u.User != nil {
		return place{}, badURL(text)
	}
	at := place{"tcp", u.Host}
	secured := u.Scheme == "https" || u.Scheme == "unixs"
	switch u.Scheme {
	case "http", "https":
		if u.Port() == "" || u.Path != "" && u.Path != "/" {
			return place{}, badURL(text)
		}
	case "unix", "unixs":
		at = place{"unix", u.Host + u.Path}
	case "":
		return place{}, badURL(text)
	default:
		return place{}, fmt.Errorf("peer URL %q: the scheme is http or https, or unix or unixs", text)
	}
	switch {
	case secured && !withTLS:
		return place{}, fmt.Errorf("peer URL %q: %s needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", text, u.Scheme)
	case !secured && withTLS:
		return place{}, fmt.Errorf("peer URL %q: with --peer-cert-file members are called by %ss", text, u.Scheme)
	}
	return at, nil
}

func badURL(text string) error {
	return fmt.Errorf("peer URL %q: it has the form http://host:port, https://host:port or unix://path", text)
}

// name is what the certificate of whoever is at a place has to be for: the host, or the last part of a socket's path up to
// a colon, as clients of etcd have it.
func (p place) name() string {
	address := p.address
	if p.network == "unix" {
		address = path.Base(address)
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// way is a connection to a member, with gRPC on it.
type way struct {
	conn *grpc.ClientConn

	mu      sync.Mutex // guards what follows
	failure error      // of the last attempt to dial; nil if it succeeded
	reached string     // the URL that was connected to last
}

// connect prepares a way to one of the addresses. Nothing is dialed before it is used. first says which address is
// tried first.
func (t *Transport) connect(urls []string, first *atomic.Uint32) (*way, error) {
	w := &way{}
	conn, err := grpc.NewClient("passthrough:///member",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, at, err := t.dialAny(ctx, urls, int(first.Load()))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failure, w.reached = err, at
			return conn, err
		}),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // what dialAny returns is TLS already, if it is to be
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}),
			grpc.MaxCallRecvMsgSize(t.receiveMax()), grpc.MaxCallSendMsgSize(t.receiveMax())),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: t.timing.pause, Multiplier: 2, Jitter: 0.2, MaxDelay: t.timing.pauseMax,
			},
			MinConnectTimeout: t.timing.connect,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: keepaliveTime, Timeout: keepaliveTimeout, PermitWithoutStream: true,
		}),
		grpc.WithWriteBufferSize(writeBufferBytes), grpc.WithReadBufferSize(readBufferBytes),
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithDisableHealthCheck(),
		grpc.WithIdleTimeout(0),
	)
	if err != nil {
		return nil, fmt.Errorf("peer connection: %w", err)
	}
	w.conn = conn
	return w, nil
}

// receiveMax is what is accepted of one gRPC message: MessageBytesMax, and a frame's worth of what is around it.
func (t *Transport) receiveMax() int { return t.opts.MessageBytesMax + frameBytesMax }

func (w *way) address() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reached
}

// explain words an error of a call on this way for an operator: without gRPC's terms, and with the cause when it is that
// there is no connection. A refusal stays what it is.
func (w *way) explain(err error) error {
	w.mu.Lock()
	failure := w.failure
	w.mu.Unlock()
	s, ok := status.FromError(err)
	switch {
	case err == nil, !ok, refusalOf(err) != nil:
		return err
	case s.Code() == codes.Unavailable && failure != nil:
		return failure
	}
	return errors.New(s.Message())
}

// dialAny tries one address after the other, each with an equal share of the time that is left.
func (t *Transport) dialAny(ctx context.Context, urls []string, first int) (net.Conn, string, error) {
	if len(urls) == 0 {
		return nil, "", errors.New("no peer URL is known of it")
	}
	var failures []error
	for i := range urls {
		at := urls[(first+i)%len(urls)]
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok {
			share := time.Until(deadline) / time.Duration(len(urls)-i)
			attempt, cancel = context.WithTimeout(ctx, share)
		}
		conn, err := t.dial(attempt, at)
		cancel()
		if err == nil {
			return conn, at, nil
		}
		failures = append(failures, err)
	}
	return nil, "", errors.Join(failures...)
}

func (t *Transport) dial(ctx context.Context, at string) (net.Conn, error) {
	to, err := parseURL(at, t.opts.TLS != nil)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, to.network, to.address)
	if err != nil || t.opts.TLS == nil {
		return conn, err
	}
	config, err := t.opts.TLS.client(to.name())
	if err != nil {
		conn.Close()
		return nil, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: TLS: %w", at, err)
	}
	return secured, nil
}
