package main

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The requests of etcd clients, under the names that go-grpc-prometheus gave them and etcd's dashboards use.

// grpcMetrics counts requests by method. What a method counts with is looked up once.
type grpcMetrics struct {
	started  *prometheus.CounterVec
	handled  *prometheus.CounterVec
	handling *prometheus.HistogramVec
	received *prometheus.CounterVec
	sent     *prometheus.CounterVec
	versions *versionCounts
	methods  sync.Map // full method → *methodMetrics
}

// codesMax is one more than the largest code of gRPC.
const codesMax = int(codes.Unauthenticated) + 1

type methodMetrics struct {
	started  prometheus.Counter
	handled  [codesMax]prometheus.Counter
	handling prometheus.Observer
	received prometheus.Counter
	sent     prometheus.Counter
}

func newGRPCMetrics() *grpcMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	return &grpcMetrics{
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total", Help: "Requests of etcd clients that were begun."}, labels),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total", Help: "Requests of etcd clients that ended, by gRPC's code."}, append(labels, "grpc_code")),
		handling: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "grpc_server_handling_seconds", Help: "Time that requests of etcd clients took, streams left out.",
			Buckets: prometheus.DefBuckets}, labels),
		received: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_msg_received_total", Help: "Messages received from etcd clients, streams' each for itself."}, labels),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_msg_sent_total", Help: "Messages sent to etcd clients, streams' each for itself."}, labels),
		versions: newVersionCounts(),
	}
}

func (g *grpcMetrics) Describe(out chan<- *prometheus.Desc) {
	g.started.Describe(out)
	g.handled.Describe(out)
	g.handling.Describe(out)
	g.received.Describe(out)
	g.sent.Describe(out)
	g.versions.counts.Describe(out)
}

func (g *grpcMetrics) Collect(out chan<- prometheus.Metric) {
	g.started.Collect(out)
	g.handled.Collect(out)
	g.handling.Collect(out)
	g.received.Collect(out)
	g.sent.Collect(out)
	g.versions.counts.Collect(out)
}

// unary counts calls.
func (g *grpcMetrics) unary(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	m, begun := g.method(info.FullMethod, "unary"), time.Now()
	m.started.Inc()
	m.received.Inc()
	g.versions.count(ctx, "unary")
	answer, err := handle(ctx, r)
	m.handling.Observe(time.Since(begun).Seconds())
	if err == nil {
		m.sent.Inc()
	}
	m.end(err)
	return answer, err
}

// stream counts streams.
func (g *grpcMetrics) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	kind := "server_stream"
	if info.IsClientStream {
		kind = "bidi_stream"
	}
	m := g.method(info.FullMethod, kind)
	m.started.Inc()
	g.versions.count(stream.Context(), "stream")
	err := handle(server, countedStream{stream, m})
	m.end(err)
	return err
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	m *methodMetrics
}

func (s countedStream) SendMsg(message any) error {
	err := s.ServerStream.SendMsg(message)
	if err == nil {
		s.m.sent.Inc()
	}
	return err
}

func (s countedStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	if err == nil {
		s.m.received.Inc()
	}
	return err
}

func (m *methodMetrics) end(err error) {
	code := int(status.Code(err))
	if code >= codesMax {
		code = int(codes.Unknown)
	}
	m.handled[code].Inc()
}

// method gives what /etcdserverpb.KV/Range counts with.
func (g *grpcMetrics) method(full, kind string) *methodMetrics {
	if m, ok := g.methods.Load(full); ok {
		return m.(*methodMetrics)
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	m := &methodMetrics{
		started:  g.started.WithLabelValues(kind, service, name),
		handling: g.handling.WithLabelValues(kind, service, name),
		received: g.received.WithLabelValues(kind, service, name),
		sent:     g.sent.WithLabelValues(kind, service, name),
	}
	for code := range codesMax {
		m.handled[code] = g.handled.WithLabelValues(kind, service, name, codes.Code(code).String())
	}
	kept, _ := g.methods.LoadOrStore(full, m)
	return kept.(*methodMetrics)
}
