package main

import (
	"context"
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/metadata"
)

// versionCounts counts requests by the version of the API that the client says it uses. What clients say is theirs to
// choose: it becomes a label only if it looks like a version, and only so many of them do.
type versionCounts struct {
	counts *prometheus.CounterVec

	mu   sync.RWMutex // guards seen
	seen map[string]bool
}

const (
	versionUnknown  = "unknown" // etcd's word
	clientVersions  = 64
	versionBytesMax = 16
)

var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

func newVersionCounts() *versionCounts {
	return &versionCounts{
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_client_requests_total", Help: "Requests of etcd clients, by the version that they say they use."},
			[]string{"type", "client_api_version"}),
		seen: map[string]bool{},
	}
}

// count counts a request; kind is unary or stream.
func (v *versionCounts) count(ctx context.Context, kind string) {
	said := versionUnknown
	if values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(values) == 1 && v.takes(values[0]) {
		said = values[0]
	}
	v.counts.WithLabelValues(kind, said).Inc()
}

func (v *versionCounts) takes(version string) bool {
	v.mu.RLock()
	seen, full := v.seen[version], len(v.seen) >= clientVersions
	v.mu.RUnlock()
	if seen || full || len(version) > versionBytesMax || !versionForm.MatchString(version) {
		return seen
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.seen) < clientVersions {
		v.seen[version] = true
	}
	return v.seen[version]
}
