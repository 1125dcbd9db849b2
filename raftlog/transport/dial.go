package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
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

// ParseURL says where a peer URL leads: http://host:port, or https://host:port if members use TLS. A path is refused.
func ParseURL(text string, withTLS bool) (hostPort string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Port() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("peer URL %q: it has the form http://host:port or https://host:port", text)
	}
	switch {
	case u.Scheme == "https" && withTLS, u.Scheme == "http" && !withTLS:
		return u.Host, nil
	case u.Scheme == "https":
		return "", fmt.Errorf("peer URL %q: https needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file", text)
	case u.Scheme == "http":
		return "", fmt.Errorf("peer URL %q: with --peer-cert-file members are called by https", text)
	}
	return "", fmt.Errorf("peer URL %q: the scheme is http or https", text)
}

// way is a TCP connection to a member, with gRPC on it.
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
	hostPort, err := ParseURL(at, t.opts.TLS != nil)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort)
	if err != nil || t.opts.TLS == nil {
		return conn, err
	}
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		conn.Close()
		return nil, err
	}
	config, err := t.opts.TLS.client(host)
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
