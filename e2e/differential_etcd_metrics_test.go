package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestMetricsOfEtcdAreServedWithTheirTypesAndLabels compares what etcd shows after a few requests. What is not served has a
// row in the manual that says so.
func TestMetricsOfEtcdAreServedWithTheirTypesAndLabels(t *testing.T) {
	s := startServer(t)
	for _, address := range []string{startEtcd(t), s.etcd} {
		conn := dialEtcd(t, address)
		kv, lease := pb.NewKVClient(conn), pb.NewLeaseClient(conn)
		if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Range(t.Context(), &pb.RangeRequest{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		if _, err := lease.LeaseGrant(t.Context(), &pb.LeaseGrantRequest{TTL: 60}); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/health", "/readyz", "/metrics"} {
			response, err := http.Get("http://" + address + path)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
		}
	}
	etcds, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + s.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	ours, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/compatibility/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, etcds := range etcds {
		name := etcds.GetName()
		if !strings.HasPrefix(name, "etcd_") && !strings.HasPrefix(name, "grpc_server_") && !strings.HasPrefix(name, "os_") {
			continue
		}
		ours := ours[name]
		if ours == nil {
			if !strings.Contains(string(page), "| `"+name+"` | not there: ") {
				t.Errorf("%s is not served, and the manual does not say why", name)
			}
			continue
		}
		compared++
		if ours.GetType() != etcds.GetType() {
			t.Errorf("%s is a %s, and etcd's a %s", name, ours.GetType(), etcds.GetType())
		}
		if got, want := labels(ours), labels(etcds); got != want {
			t.Errorf("%s has the labels %s, and etcd's %s", name, got, want)
		}
		if ours.GetType() != dto.MetricType_HISTOGRAM || strings.HasPrefix(ours.GetHelp(), "Nothing: ") {
			continue
		}
		got, want := len(ours.GetMetric()[0].GetHistogram().GetBucket()), len(etcds.GetMetric()[0].GetHistogram().GetBucket())
		if got != want+1 {
			t.Errorf("%s has %d buckets with that of all, and etcd's %d without it", name, got, want)
		}
	}
	if compared < 80 {
		t.Errorf("only %d metrics were compared", compared)
	}
}

func labels(f *dto.MetricFamily) string {
	var names []string
	for _, l := range f.GetMetric()[0].GetLabel() {
		names = append(names, l.GetName())
	}
	return strings.Join(names, ",") // they are sorted
}
