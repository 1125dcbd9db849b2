package main

import (
	"strings"
	"testing"
)

func TestTheSummarySaysWhatListensWhereAndWhatToTry(t *testing.T) {
	cfg := &config{Name: "default", DataDir: "triglot-data"}
	got := summary(cfg, addresses{
		resp: "0.0.0.0:6379", etcd: "127.0.0.1:2379", zk: "", shared: "[::]:7379", peer: "127.0.0.1:2380", metrics: "[::]:7380",
	})
	want := `
triglot ` + version + ` is ready: member "default", data in triglot-data

  Redis      0.0.0.0:6379           redis-cli -p 6379 set /greeting hello
  etcd       127.0.0.1:2379         etcdctl --endpoints=127.0.0.1:2379 get /greeting
  ZooKeeper  off
  all three  [::]:7379              any client: the protocol is recognised by its first bytes
  peers      127.0.0.1:2380
  metrics    [::]:7380              curl http://127.0.0.1:7380/metrics

`
	if got != want {
		t.Errorf("summary:\n%s\nwant:\n%s", got, want)
	}
}

func TestTheSummaryKnowsUnixSockets(t *testing.T) {
	cfg := &config{ListenEtcd: "both:unix:/run/etcd", ListenMetrics: "tls:unix:/run/metrics", CertFile: "c"}
	got := summary(cfg, addresses{etcd: "unix:/run/etcd", zk: "unix:/run/zk", metrics: "unix:/run/metrics"})
	for _, want := range []string{
		"etcdctl --endpoints=unixs:///run/etcd get", "ZooKeeper  unix:/run/zk\n", "curl --unix-socket /run/metrics https://localhost/metrics\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}

func TestExampleCommandsReachTheAddress(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:6379": "-p 6379", ":6380": "-p 6380", "[::]:6379": "-p 6379", "10.1.2.3:6379": "-h 10.1.2.3 -p 6379",
		"[::1]:6379": "-h ::1 -p 6379", "unix:/run/resp": "-s /run/resp",
	} {
		if got := redisAddress(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
