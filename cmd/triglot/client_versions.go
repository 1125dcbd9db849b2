package main

import (
	"context"
	"regexp"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/triglot/triglot/grpcsvc/h2"
)

// versionCounts counts requests by the version of the API that the client says it uses. What clients say is theirs to
// choose: it becomes a label only if it looks like a version, and only so many of them do.
type versionCounts struct {
	counts *prometheus.CounterVec

	mu   sync.RWMutex // guards seen
	seen map[versionKey]prometheus.Counter
}

type versionKey struct{ kind, version string }

const (
	versionUnknown  = "unknown" // etcd's word
	clientVersions  = 64        // on the average of the two kinds of requests
	versionBytesMax = 16
)

var versionForm = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

func newVersionCounts() *versionCounts {
	return &versionCounts{
		counts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_client_requests_total", Help: "Requests of etcd clients, by the version that they say they use."},
			[]string{"type", "client_api_version"}),
		seen: map[versionKey]prometheus.Counter{},
	}
}

// count counts a request; kind is unary or stream.
func (v *versionCounts) count(ctx context.Context, kind string) {
	said, ok := h2.Field(ctx, rpctypes.MetadataClientAPIVersionKey)
	if !ok {
		said = versionUnknown
	}
	v.counter(versionKey{kind, said}).Inc()
}

// counter gives the counter of a version, which is that of unknown ones when it is none or one too many.
func (v *versionCounts) counter(key versionKey) prometheus.Counter {
	v.mu.RLock()
	counter := v.seen[key]
	v.mu.RUnlock()
	if counter != nil {
		return counter
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	isVersion := len(key.version) <= versionBytesMax && versionForm.MatchString(key.version)
	if !isVersion || len(v.seen) >= 2*clientVersions {
		key.version = versionUnknown
	}
	if v.seen[key] == nil {
		v.seen[key] = v.counts.WithLabelValues(key.kind, key.version)
	}
	return v.seen[key]
}
