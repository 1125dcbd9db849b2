package grpcsvc

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"expvar"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/version"

	"github.com/triglot/triglot/core"
)

// What etcd's port answers beside gRPC: the JSON gateway, probes, the version, metrics. Who may ask is looked at first, as
// etcd does: the host name of plain requests, the origin of browsers' pages.

const (
	httpHeaderBytesMax = 64 << 10
	httpIdleTimeout    = 2 * time.Minute
)

// front is the HTTP side of a Server.
type front struct {
	*Server
	mux     *http.ServeMux
	server  *http.Server
	gateway *gateway // nil: turned off

	bridges sync.WaitGroup  // requests that net/http knows no more of: websockets
	cutoff  context.Context // ends when those are to be cut
	cut     context.CancelFunc
}

func newFront(s *Server) (*front, error) {
	f := &front{Server: s, mux: http.NewServeMux()}
	f.cutoff, f.cut = context.WithCancel(context.Background())
	Probes(f.mux, func() (*core.Store, error) { return s.store, nil }, s.opts.Meters)
	f.mux.HandleFunc("/version", onlyGet(serveVersion))
	f.mux.HandleFunc("/debug/vars", onlyGet(expvar.Handler().ServeHTTP))
	if s.opts.Metrics != nil {
		f.mux.Handle("/metrics", s.opts.Metrics)
	}
	if s.opts.Profiles != nil {
		f.mux.Handle("/debug/pprof/", s.opts.Profiles)
	}
	if !s.opts.NoGateway {
		var err error
		if f.gateway, err = newGateway(f); err != nil {
			return nil, err
		}
		f.mux.Handle(gatewayRoot, f.gateway)
	}
	f.server = &http.Server{
		Handler:           f,
		ReadHeaderTimeout: s.opts.HandshakeTimeout,
		IdleTimeout:       httpIdleTimeout,
		MaxHeaderBytes:    httpHeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(s.opts.Logger.Handler(), slog.LevelDebug), // of clients' mistakes
		Protocols:         new(http.Protocols),
		ConnContext:       withTLSState,
	}
	f.server.Protocols.SetHTTP1(true)
	return f, nil
}

// shutdown ends it: requests that run are waited for until the context ends, and cut then.
func (f *front) shutdown(ctx context.Context) {
	defer context.AfterFunc(ctx, f.cut)()
	if f.server.Shutdown(ctx) != nil {
		f.server.Close()
	}
	f.bridges.Wait()
	f.cut()
}

type tlsStateKey struct{}

// withTLSState keeps what a connection over TLS says of itself, for its requests.
func withTLSState(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(overTLS); ok {
		state := secure.ConnectionState()
		return context.WithValue(ctx, tlsStateKey{}, &state)
	}
	return ctx
}

// ServeHTTP is where each request comes in.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if state, ok := r.Context().Value(tlsStateKey{}).(*tls.ConnectionState); ok {
		r.TLS = state
	}
	if rest, old := strings.CutPrefix(r.URL.Path, "/v3beta/"); old {
		r.URL.Path = gatewayRoot + rest
	}
	if r.TLS == nil {
		if host := hostName(r.Host); !listed(f.opts.Hosts, host) {
			f.opts.Logger.Warn("a request over HTTP names a host that is not allowed", "host", host)
			http.Error(w, unknownHost(host), http.StatusMisdirectedRequest)
			return
		}
	} else if f.namesAnotherCaller(r) {
		http.Error(w, "CommonName of client sending a request against gateway will be ignored and not used as expected", http.StatusBadRequest)
		return
	}
	if listed(f.opts.Origins, "*") {
		allowOrigin(w, "*")
	} else if origin := r.Header.Get("Origin"); listed(f.opts.Origins, origin) {
		allowOrigin(w, origin)
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	f.mux.ServeHTTP(w, r)
}

// namesAnotherCaller says whether a request for the gateway comes with a certificate that gRPC would take its user from,
// which the gateway cannot pass on.
func (f *front) namesAnotherCaller(r *http.Request) bool {
	if f.gateway == nil || !f.opts.ClientCertAuth || !strings.HasPrefix(r.URL.Path, gatewayRoot) {
		return false
	}
	if enabled, _ := f.store.AuthEnabled(); !enabled {
		return false
	}
	for _, chain := range r.TLS.VerifiedChains {
		if len(chain) > 0 && chain[0].Subject.CommonName != "" {
			return true
		}
	}
	return false
}

// listed says whether a list has a name. An empty one, and one with "*", has all.
func listed(list []string, name string) bool {
	return len(list) == 0 || slices.Contains(list, "*") || slices.Contains(list, name)
}

// hostName takes the port off a Host header.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// allowOrigin lets pages of an origin read the answer, with the headers that etcd gives.
func allowOrigin(w http.ResponseWriter, origin string) {
	header := w.Header()
	header.Add("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE")
	header.Add("Access-Control-Allow-Origin", origin)
	header.Add("Access-Control-Allow-Headers", "accept, content-type, authorization")
}

// unknownHost explains a refusal. Its second line is etcd's.
func unknownHost(host string) string {
	return fmt.Sprintf(`
etcd received your request, but the Host header was unrecognized.

Use TLS, where every host name is taken, or allow this one: --host-whitelist %q
It is asked for so that pages from elsewhere cannot reach this server under a name of their own ("DNS rebinding").
`, host)
}

// onlyGet refuses other methods as etcd does.
func onlyGet(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		handle(w, r)
	}
}

func serveVersion(w http.ResponseWriter, _ *http.Request) {
	answer, err := json.Marshal(version.Versions{Server: APIVersion, Cluster: storageVersion, Storage: storageVersion})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // to a client that may be gone
}
