package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/grpcsvc"
	"github.com/triglot/triglot/protocols"
	"github.com/triglot/triglot/raftlog/transport"
)

// insight answers operators and their tools over HTTP: metrics, probes, profiles, on an address of its own if it is given one.
// It is up before the store is, so that a probe during a long start, or while the other members are away, gets an answer.
type insight struct {
	http     *http.Server
	registry *prometheus.Registry
	grpc     *grpcMetrics
	meters   *grpcsvc.Meters
	traffic  traffic
	serving  sync.WaitGroup

	store  atomic.Pointer[core.Store] // nil until it is open
	reason atomic.Pointer[string]     // what it waits for until then
	ended  atomic.Bool                // the member is shutting down
}

func openInsight(listeners []net.Listener, profiles bool, server *protocols.Server, peers *transport.Transport, logger *slog.Logger) *insight {
	i := &insight{registry: prometheus.NewRegistry(), grpc: newGRPCMetrics(), meters: grpcsvc.NewMeters()}
	i.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		i.grpc,
		&i.traffic,
		openFiles{},
		&collector{store: &i.store, meters: i.meters, server: server, peers: peers},
	)
	i.registry.MustRegister(buildInfo()...)
	if len(listeners) == 0 {
		return i
	}
	i.http = &http.Server{Handler: i.routes(profiles), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	for _, l := range listeners {
		i.serving.Go(func() {
			if err := i.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				logger.Error("the metrics address is served no more", "address", l.Addr().String(), "err", err)
			}
		})
	}
	return i
}

func (i *insight) routes(profiles bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", i.metrics())
	grpcsvc.Probes(mux, i.serves, i.meters)
	if profiles {
		mux.Handle("/debug/pprof/", profileRoutes())
	}
	return mux
}

// profileRoutes serves profiles under /debug/pprof/.
func profileRoutes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// metrics answers with what is registered here, and with what the log's own package registers for itself.
func (i *insight) metrics() http.Handler {
	all := prometheus.Gatherers{i.registry, picked{prometheus.DefaultGatherer, logMetrics}}
	return promhttp.InstrumentMetricHandler(i.registry, promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
}

// logMetrics are the metrics of the package that the raft log is written with.
var logMetrics = []string{
	"etcd_disk_wal_fsync_duration_seconds", "etcd_disk_wal_write_duration_seconds", "etcd_disk_wal_write_bytes_total",
}

// picked gives some of what another one gathers.
type picked struct {
	from  prometheus.Gatherer
	names []string
}

func (p picked) Gather() ([]*dto.MetricFamily, error) {
	families, err := p.from.Gather()
	return slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !slices.Contains(p.names, f.GetName()) }), err
}

// serves gives the store to whoever asks how the member is, or says why there is none to look at.
func (i *insight) serves() (*core.Store, error) {
	store := i.store.Load()
	switch {
	case i.ended.Load():
		return nil, errors.New("the member is stopping")
	case store == nil:
		if reason := i.reason.Load(); reason != nil {
			return nil, fmt.Errorf("the member is starting: %s", *reason)
		}
		return nil, errors.New("the member is starting")
	}
	return store, nil
}

// waiting says why the store does not serve yet.
func (i *insight) waiting(reason string) { i.reason.Store(&reason) }

// ready says that the store serves.
func (i *insight) ready(store *core.Store) { i.store.Store(store) }

func (i *insight) stopping() { i.ended.Store(true) }

func (i *insight) close() {
	if i.http != nil {
		i.http.Close()
	}
	i.serving.Wait()
}
