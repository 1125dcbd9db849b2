package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/protocols"
)

// readyWithin is how long a linearizable read may take for the member to count as ready.
const readyWithin = time.Second

// insight answers operators and their tools over HTTP: metrics, probes, profiles. It is up before the store is, so that
// a probe during a long start gets an answer.
type insight struct {
	logger   *slog.Logger
	listener net.Listener
	http     *http.Server
	registry *prometheus.Registry
	serving  sync.WaitGroup

	store atomic.Pointer[core.Store] // nil until it is open
	ended atomic.Bool                // the member is shutting down
}

func openInsight(address string, profiles bool, logger *slog.Logger) (*insight, error) {
	listener, err := protocols.Bind("listen-metrics", address)
	if err != nil {
		return nil, err
	}
	i := &insight{logger: logger, listener: listener, registry: prometheus.NewRegistry()}
	i.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(),
	)
	i.http = &http.Server{Handler: i.routes(profiles), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	i.serving.Go(func() {
		if err := i.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the metrics address is served no more", "err", err)
		}
	})
	return i, nil
}

func (i *insight) routes(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(i.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { probe(w, i.alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { probe(w, i.servesReads(r.Context())) })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		// etcd's own form, which existing checks parse.
		w.Header().Set("Content-Type", "application/json")
		if err := i.servesReads(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "{\"health\":\"false\",\"reason\":%q}\n", err.Error())
			return
		}
		fmt.Fprintln(w, `{"health":"true","reason":""}`)
	})
	if profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func probe(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// alive fails when only a restart can help. Starting and stopping are life.
func (i *insight) alive() error {
	if store := i.store.Load(); store != nil && !i.ended.Load() {
		select {
		case <-store.Done():
			return fmt.Errorf("the store stopped: %w", store.Err())
		default:
		}
	}
	return nil
}

// servesReads fails when a client would not get an answer now.
func (i *insight) servesReads(ctx context.Context) error {
	store := i.store.Load()
	switch {
	case i.ended.Load():
		return errors.New("the member is stopping")
	case store == nil:
		return errors.New("the member is starting")
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	view, err := store.View(ctx, core.Linearizable)
	if err != nil {
		return fmt.Errorf("no linearizable read: %w", err)
	}
	view.Close()
	return nil
}

// ready adds the metrics of the store and the connections.
func (i *insight) ready(store *core.Store, server *protocols.Server) {
	i.registry.MustRegister(&collector{store: store, server: server})
	i.store.Store(store)
}

func (i *insight) stopping() { i.ended.Store(true) }

func (i *insight) addr() string { return i.listener.Addr().String() }

func (i *insight) close() {
	i.http.Close()
	i.serving.Wait()
}
