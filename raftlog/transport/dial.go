package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"time"
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
	if err != nil {
		return nil, err
	}
	keepAlive(conn)
	if t.opts.TLS == nil {
		return conn, nil
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
