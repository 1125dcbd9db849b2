package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// everyEtcdFlag is what `etcd --help` of 3.7.3 has, and the flags it takes without saying so.
const everyEtcdFlag = `advertise-client-urls auth-token auth-token-ttl auto-compaction-mode auto-compaction-retention auto-tls
backend-batch-interval backend-batch-limit backend-bbolt-freelist-type bcrypt-cost bootstrap-defrag-threshold-megabytes cert-file
cipher-suites client-cert-allowed-hostname client-cert-auth client-cert-file client-crl-file client-key-file
compact-hash-check-time compaction-batch-limit compaction-sleep-interval config-file corrupt-check-time cors data-dir discovery-cacert
discovery-cert discovery-dial-timeout discovery-endpoints discovery-fallback discovery-insecure-skip-tls-verify
discovery-insecure-transport discovery-keepalive-time discovery-keepalive-timeout discovery-key discovery-password
discovery-request-timeout discovery-srv discovery-srv-name discovery-token discovery-user distributed-tracing-address
distributed-tracing-instance-id distributed-tracing-sampling-rate distributed-tracing-service-name downgrade-check-time
election-timeout enable-distributed-tracing enable-grpc-gateway enable-log-rotation enable-pprof feature-gates force-new-cluster
grpc-keepalive-interval grpc-keepalive-min-time grpc-keepalive-timeout heartbeat-interval host-whitelist
initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token initial-election-tick-advance key-file
listen-client-http-urls listen-client-urls listen-metrics-urls listen-peer-urls log-format log-level log-outputs
log-rotation-config-json logger max-concurrent-streams max-learners max-request-bytes max-snapshots max-txn-ops max-wals
memory-mlock metrics name peer-auto-tls peer-cert-allowed-cn peer-cert-allowed-hostname peer-cert-file peer-client-cert-auth
peer-client-cert-file peer-client-key-file peer-crl-file peer-key-file peer-skip-client-san-verification peer-trusted-ca-file
pre-vote quota-backend-bytes raft-read-timeout raft-write-timeout self-signed-cert-validity snapshot-catchup-entries snapshot-count
socket-reuse-address socket-reuse-port strict-reconfig-check tls-max-version tls-min-version trusted-ca-file unsafe-no-fsync
v2-deprecation version wal-dir warning-apply-duration warning-unary-request-duration watch-progress-notify-interval`

func TestEtcdFlagsHaveARowEachAndNoneTwice(t *testing.T) {
	rows := map[string]bool{}
	for _, f := range etcdFlags() {
		if rows[f.name] {
			t.Errorf("--%s has two rows", f.name)
		}
		rows[f.name] = true
		if f.fate == etcdRefused && f.note == "" || f.fate == etcdIgnored && f.note == "" {
			t.Errorf("--%s does not say why", f.name)
		}
	}
	for _, name := range strings.Fields(everyEtcdFlag) {
		if !rows[name] {
			t.Errorf("--%s has no row", name)
		}
	}
}

func TestEtcdFlagsAreMappedToSettingsThatThereAre(t *testing.T) {
	var known []string
	for _, s := range (&config{}).settings() {
		known = append(known, s.name)
	}
	for _, f := range etcdFlags() {
		if f.fate == etcdMapped && !slices.Contains(known, f.setting) {
			t.Errorf("--%s is mapped to %q, which is no setting", f.name, f.setting)
		}
		if f.fate == etcdRefused {
			if err := f.refusal(f.initial); err != nil {
				t.Errorf("--%s refuses etcd's default: %v", f.name, err)
			}
		}
	}
}

func TestTheManualHasEveryEtcdFlag(t *testing.T) {
	page, err := os.ReadFile("../../docs/compatibility/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range etcdFlags() {
		row := "| `--" + f.name + "` | "
		if f.initial != "" {
			row += "`" + f.initial + "`"
		}
		row += " | " + f.note
		if f.fate == etcdMapped {
			row += "`--" + f.setting + "`"
		}
		if !strings.Contains(string(page), row) {
			t.Errorf("the page has no line that begins with %s", row)
		}
	}
}

// etcdLine is the configuration that a command line of etcd gives.
func etcdLine(environ []string, args ...string) (*config, []etcdNote, error) {
	given, err := parseEtcdFlags(args)
	if err != nil {
		return nil, nil, err
	}
	var c config
	_, notes, err := c.loadEtcd(given, environ)
	return &c, notes, err
}

func TestEtcdDefaultsAreEtcds(t *testing.T) {
	c, _, err := etcdLine(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Name, c.DataDir, c.ListenEtcd, c.AdvertiseEtcd, c.ListenPeer, c.AdvertisePeer, c.InitialCluster, c.ClusterToken,
		c.ElectionTimeout, c.HistoryAge, c.HistoryBytes, c.ListenRESP + c.ListenZK + c.Listen + c.ListenMetrics, c.LogFormat,
		c.QuotaBytes, c.AuthToken, c.AuthTokenTTL, c.BcryptCost, c.MembersSettle, c.Gateway}
	want := []any{"default", "default.etcd", "plain:localhost:2379", "http://localhost:2379", "localhost:2380", "http://localhost:2380",
		"default=http://localhost:2380", "etcd-cluster", time.Second, time.Duration(0), int64(0), "", "json",
		int64(2 << 30), "simple", 5 * time.Minute, 10, 5 * time.Second, true}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEtcdFlagsAreMapped(t *testing.T) {
	urls := []string{"--listen-client-urls=http://127.0.0.1:20000,http://[::1]:20000", "--advertise-client-urls", "http://0.0.0.0:20000"}
	c, _, err := etcdLine([]string{"TRIGLOT_LISTEN_RESP=127.0.0.1:6379", "TRIGLOT_NAME=no", "TRIGLOT_ADVERTISE_ETCD=http://10.0.0.1:1", "ETCD_NAME=no", "ETCD_MAX_TXN_OPS=7"},
		append(urls, "--name", "x", "-name=a", "--listen-peer-urls=http://127.0.0.1:20001", "--initial-advertise-peer-urls=http://localhost:20001",
			"--initial-cluster=a=http://localhost:20001,b=http://localhost:20006", "--initial-cluster-token=new", "--heartbeat-interval=50",
			"--election-timeout", "500", "--auto-compaction-retention=2", "--log-format=console", "--log-level=fatal", "--log-outputs=default,stdout,/a", "--snapshot-count=100",
			"--quota-backend-bytes=-1", "--auth-token-ttl=60", "--bcrypt-cost=99", "--auto-tls=false", "--strict-reconfig-check=false", "--feature-gates=FastLeaseKeepAlive=true")...)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.Name, c.DataDir, c.ListenEtcd, c.AdvertiseEtcd, c.ListenPeer, c.AdvertisePeer, c.InitialCluster,
		c.ClusterToken, c.HeartbeatInterval, c.ElectionTimeout, c.HistoryAge, c.LogFormat, c.LogLevel, c.ListenRESP, c.ListenZK, c.MaxTxnOps,
		c.QuotaBytes, c.AuthTokenTTL, c.BcryptCost, c.LogOutput}
	want := []any{"a", "a.etcd", "plain:127.0.0.1:20000,plain:[::1]:20000", "http://0.0.0.0:20000", "127.0.0.1:20001", "http://localhost:20001",
		"a=http://localhost:20001,b=http://localhost:20006", "new", 50 * time.Millisecond, 500 * time.Millisecond, 2 * time.Hour, "text",
		"error", "127.0.0.1:6379", "", 7, int64(0), time.Minute, 10, "stderr,stdout,/a"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEtcdURLsBecomeAddresses(t *testing.T) {
	c, _, err := etcdLine(nil, "--auto-tls", "--socket-reuse-port", "--socket-reuse-address",
		"--listen-client-urls=unix://localhost:1,unixs://localhost:1,unixs:///run/etcd.sock,http://localhost:2,https://[::]:3",
		"--advertise-client-urls=unix://localhost:1,unixs:///run/etcd.sock",
		"--listen-client-http-urls=http://localhost:4,https://localhost:5",
		"--listen-peer-urls=unix://peers,http://127.0.0.1:6", "--initial-advertise-peer-urls=unix://peers",
		"--listen-metrics-urls=http://localhost:7,https://localhost:8,unixs://metrics")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.ListenEtcd, c.AdvertiseEtcd, c.ListenEtcdHTTP, c.ListenPeer, c.AdvertisePeer, c.InitialCluster, c.ListenMetrics, c.ReusePort}
	want := []any{
		"both:unix:localhost:1,tls:unix:/run/etcd.sock,plain:localhost:2,tls:[::]:3", "unix://localhost:1,unixs:///run/etcd.sock",
		"plain:localhost:4,tls:localhost:5", "unix:peers,127.0.0.1:6", "unix://peers", "default=unix://peers",
		"plain:localhost:7,tls:localhost:8,tls:unix:metrics", true,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEtcdFlagsThatWouldNotBeKeptAreRefusedByName(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"--quota-backend-bytes=8GiB", "--quota-backend-bytes: "},
		{"--auth-token-ttl=5m", "--auth-token-ttl: "},
		{"--auth-token=paper", "--auth-token: "},
		{"--bcrypt-cost=high", "--bcrypt-cost: "},
		{"--memory-mlock", "--memory-mlock: "},
		{"--cert-file=x", "--cert-file and --key-file"},
		{"--peer-crl-file=x", "--peer-crl-file"},
		{"--trusted-ca-file=ca", "--cert-file and --key-file"},
		{"--cipher-suites=ROT13 --auto-tls", "ROT13"},
		{"--auth-token=jwt,pub-key=x", "--auth-token: "},
		{"--feature-gates=SetMemberLocalAddr=true", "--feature-gates: SetMemberLocalAddr=true"},
		{"--feature-gates=LeaseCheckpoint=maybe", "--feature-gates: LeaseCheckpoint=maybe"},
		{"--feature-gates=LeaseCheckpointPersist=true", "requires enabling feature gate LeaseCheckpoint"},
		{"--log-outputs=stderr,systemd/journal", "--log-outputs: "},
		{"--auto-compaction-mode=revision --auto-compaction-retention=5m", "--auto-compaction-retention: "},
		{"--auto-compaction-mode=sometimes", "--auto-compaction-mode: "},
		{"--listen-client-urls=https://localhost:1 --advertise-client-urls=https://localhost:1", "--listen-client-urls: "},
		{"--listen-client-urls=unixs://localhost:1 --advertise-client-urls=unixs://localhost:1", "--listen-client-urls: "},
		{"--listen-client-urls=unix:// --advertise-client-urls=unix://a", "--listen-client-urls: unix://"},
		{"--listen-client-http-urls=https://localhost:1", "--listen-client-http-urls: "},
		{"--listen-client-http-urls=http://localhost:2379", "same address, localhost:2379"},
		{"--listen-metrics-urls=https://localhost:1", "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"},
		{"--listen-metrics-urls=https://localhost:1,http://localhost:1 --auto-tls", "--listen-metrics: "},
		{"--listen-client-urls=http://example.com:1 --advertise-client-urls=http://example.com:1", "--listen-client-urls: "},
		{"--listen-client-urls=http://localhost:1", "--advertise-client-urls is required"},
		{"--listen-peer-urls=http://127.0.0.1:1,http://example.com:1", "--listen-peer-urls: http://example.com:1"},
		{"--listen-peer-urls=http://127.0.0.1:1,unixs://a", "--listen-peer-urls: unixs://a"},
		{"--listen-peer-urls=http://127.0.0.1:1 --peer-auto-tls", "--listen-peer-urls: http://127.0.0.1:1"},
		{"--listen-peer-urls=unix://a?b", "--listen-peer-urls: unix://a?b"},
		{"--initial-cluster=default=http://localhost:9", "--initial-advertise-peer-urls"},
		{"--initial-cluster=default=http://localhost:2380/x", "--initial-cluster: "},
		{"--initial-cluster-state=old", "--initial-cluster-state: "},
		{"--election-timeout=400", "--election-timeout"},
		{"--heartbeat-interval=1s", "--heartbeat-interval: "},
		{"--no-such-flag", "no-such-flag"},
		{"gateway start", "etcd gateway"},
		{"stray", `"stray" is not a valid flag`},
	} {
		_, _, err := etcdLine(nil, strings.Fields(c.args)...)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.args, err, c.says)
		}
	}
}

func TestEtcdNotesWhatIsLeftOfLeasesWhenItsGateIsOpen(t *testing.T) {
	for args, want := range map[string]time.Duration{
		"":                                      0,
		"--feature-gates=LeaseCheckpoint=false": 0,
		"--feature-gates=LeaseCheckpoint=true":  5 * time.Minute,
		"--feature-gates=LeaseCheckpoint=true,LeaseCheckpointPersist=true": 5 * time.Minute,
	} {
		got, _, err := etcdLine(nil, strings.Fields(args)...)
		if err != nil || got.LeaseCheckpoints != want {
			t.Errorf("%q: %v, %v", args, err, got.LeaseCheckpoints)
		}
	}
}

func TestEtcdCompactsByAgeOrByRevisions(t *testing.T) {
	for _, c := range []struct {
		args      string
		age       time.Duration
		revisions int
	}{
		{"", 0, 0},
		{"--auto-compaction-mode=revision", 0, 0},
		{"--auto-compaction-retention=1", time.Hour, 0},
		{"--auto-compaction-mode=periodic --auto-compaction-retention=10m", 10 * time.Minute, 0},
		{"--auto-compaction-mode=revision --auto-compaction-retention=1000", 0, 1000},
	} {
		got, _, err := etcdLine(nil, strings.Fields(c.args)...)
		if err != nil || got.HistoryAge != c.age || got.HistoryRevisions != c.revisions || got.HistoryBytes != 0 {
			t.Errorf("%q: %v, age %v, %d revisions, %d bytes", c.args, err, got.HistoryAge, got.HistoryRevisions, got.HistoryBytes)
		}
	}
}

func TestEtcdVariablesThatNameNoFlagAreOnlyWarnedOf(t *testing.T) {
	_, notes, err := etcdLine([]string{"ETCD_UNSUPPORTED_ARCH=arm", "ETCD_VERIFY=all", "ETCD_NAME="})
	if err != nil || len(notes) != 2 || !notes[0].warn || notes[1].name != "ETCD_VERIFY" {
		t.Errorf("notes %v, error %v", notes, err)
	}
}

func TestEtcdFileWinsOverFlagsAndVariables(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("name: f\nmax-txn-ops: 9\nlog-outputs: [stderr]\nquota-backend-bytes: 0\ncorrupt-check-time: 60000000000\nodd: 1\n" +
		"client-transport-security:\n  auto-tls: false\n  cert-file:\npeer-transport-security:\n  client-cert-auth: true\n")
	c, notes, err := etcdLine([]string{"ETCD_NAME=v"}, "--config-file", path, "--name=a", "--data-dir=/ignored")
	if err != nil {
		t.Fatal(err)
	}
	if c.Name != "f" || c.DataDir != "f.etcd" || c.MaxTxnOps != 9 || c.HashCheckInterval != time.Minute {
		t.Errorf("got %+v", c)
	}
	if !slices.ContainsFunc(notes, func(n etcdNote) bool { return n.warn && n.name == "odd" }) {
		t.Errorf("the unknown key is not told: %v", notes)
	}
	write("discovery-config:\n  token: tok\n  client:\n    endpoints: [a:1, b:1]\n    request-timeout: 3000000000\n    odd: 1\n" +
		"    secure:\n      cacert: ca\n    auth:\n      username: me\n      password: pw\n")
	c, notes, err = etcdLine(nil, "--config-file", path)
	if err != nil {
		t.Fatal(err)
	}
	if d := c.Discovery; d.token != "tok" || len(d.endpoints) != 2 || d.within != 5*time.Second || d.dialer.caFile != "ca" || d.dialer.user != "me:pw" {
		t.Errorf("discovery: %+v", d)
	}
	if !slices.ContainsFunc(notes, func(n etcdNote) bool { return n.warn && n.name == "discovery-config.client.odd" }) {
		t.Errorf("the unknown nested key is not told: %v", notes)
	}
	write("client-transport-security:\n  cert-file: x\n")
	if _, _, err := etcdLine(nil, "--config-file", path); err == nil || !strings.Contains(err.Error(), "--cert-file and --key-file") {
		t.Errorf("a certificate in the file: %v", err)
	}
}

func TestEtcdVersionIsOnTheFirstLine(t *testing.T) {
	var out bytes.Buffer
	if code := run([]string{"etcd", "--version"}, &out, &out); code != 0 || !strings.HasPrefix(out.String(), "etcd Version: 3.7.3\ntriglot ") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
	out.Reset()
	if code := run([]string{"etcd", "--help"}, &out, &out); code != 0 || !strings.Contains(out.String(), "--unsafe-no-fsync") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
}

// freePort is a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestEtcdByNameServesAndKeepsItsData starts the program under etcd's name, twice on one directory with one command line.
func TestEtcdByNameServesAndKeepsItsData(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "etcd")
	if err := os.Symlink(binary, program); err != nil {
		t.Fatal(err)
	}
	client, peer := "http://localhost:"+freePort(t), "http://localhost:"+freePort(t)
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	start := func() (*process, *grpc.ClientConn) {
		cmd := exec.Command(program, "--name=m0", "--data-dir", data, "--listen-client-urls", client, "--advertise-client-urls="+client,
			"--listen-peer-urls="+peer, "--initial-advertise-peer-urls", peer, "--initial-cluster=m0="+peer, "--initial-cluster-state=new",
			"--initial-cluster-token=t", "--snapshot-count=10000", "--enable-pprof")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ETCD_VERIFY=all"}
		p := launch(t, cmd, "ready to serve client requests")
		conn, err := grpc.NewClient(strings.TrimPrefix(client, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return p, conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()

	p, conn := start()
	if profiles, err := http.Get(client + "/debug/pprof/"); err != nil || profiles.StatusCode != http.StatusOK {
		t.Errorf("profiles on the port of clients: %v %v", profiles, err)
	} else {
		profiles.Body.Close()
	}
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	list, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	m := list.Members[0]
	if m.Name != "m0" || fmt.Sprint(m.PeerURLs, m.ClientURLs) != fmt.Sprint([]string{peer}, []string{client}) {
		t.Errorf("the member list has %v", m)
	}
	if sum := sha1.Sum([]byte(peer + "t")); fmt.Sprintf("%016x", m.ID) != fmt.Sprintf("%x", sum[:8]) { // etcd's rule for URLs and token
		t.Errorf("the member's id is %x", m.ID)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.read.Wait()
	p.cmd.Wait()

	_, conn = start()
	got, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" || got.Header.MemberId != m.ID {
		t.Errorf("after the restart: %v, %v", got, err)
	}
}
