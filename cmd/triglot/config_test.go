package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// surroundings are what a process would be given.
type surroundings struct {
	args []string
	env  []string
	file string // content; "" = no file
}

func load(t *testing.T, s surroundings) (cfg config, unknown []string, err error) {
	t.Helper()
	unknown, err = loadInto(t, &cfg, pflag.NewFlagSet("serve", pflag.ContinueOnError), s)
	return cfg, unknown, err
}

func loadInto(t *testing.T, cfg *config, flags *pflag.FlagSet, s surroundings) (unknown []string, err error) {
	t.Helper()
	cfg.register(flags)
	if s.file != "" {
		path := filepath.Join(t.TempDir(), "triglot.yaml")
		if err := os.WriteFile(path, []byte(s.file), 0o600); err != nil {
			t.Fatal(err)
		}
		s.args = append(s.args, "--config", path)
	}
	if err := flags.Parse(s.args); err != nil {
		return nil, err
	}
	return cfg.load(flags, s.env)
}

func TestAFlagWinsOverAVariableOverTheFileOverTheDefault(t *testing.T) {
	const flag, env, file = "flag:1", "env:1", "file:1"
	args, environ, content := []string{"--listen-zk", flag}, []string{"TRIGLOT_LISTEN_ZK=" + env}, "listen-zk: "+file+"\n"
	cases := []struct {
		name  string
		given surroundings
		want  string
	}{
		{"nothing", surroundings{}, "127.0.0.1:2181"},
		{"file", surroundings{file: content}, file},
		{"variable", surroundings{env: environ}, env},
		{"variable and file", surroundings{env: environ, file: content}, env},
		{"flag", surroundings{args: args}, flag},
		{"flag and file", surroundings{args: args, file: content}, flag},
		{"flag and variable", surroundings{args: args, env: environ}, flag},
		{"all", surroundings{args: args, env: environ, file: content}, flag},
		{"flag turns off what the others turn on", surroundings{args: []string{"--listen-zk="}, env: environ, file: content}, ""},
		{"variable turns off what the file turns on", surroundings{env: []string{"TRIGLOT_LISTEN_ZK="}, file: content}, ""},
		{"file turns off the default", surroundings{file: "listen-zk:\n"}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg, _, err := load(t, c.given)
			if err != nil || cfg.ListenZK != c.want {
				t.Fatalf("%q, %v; want %q", cfg.ListenZK, err, c.want)
			}
		})
	}
}

func TestEverySettingWorksAsFlagVariableAndLineOfTheFile(t *testing.T) {
	values := map[string]string{
		"string": "other", "address": "10.0.0.1:99", "number": "1234", "size": "3MiB", "duration": "7s", "bool": "true",
		"debug|info|warn|error": "debug", "text|json": "json", "letters": "KEx", "new|existing": "existing",
		"TLS1.2|TLS1.3": "TLS1.2", "|TLS1.2|TLS1.3": "TLS1.2",
		"members": "default=10.0.0.1:2380,b=10.0.0.2:2380", "addresses": "10.0.0.1:99", "places": "stdout,/var/log/triglot.log",
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	specially := map[string]string{
		"heartbeat-interval": "20ms", "dev-cluster": "3", "bcrypt-cost": "12",
		"cipher-suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "tls-min-version": "TLS1.3",
		"auth-token": "jwt,sign-method=HS256,priv-key=" + secret,
	}
	peerFiles := []string{"--peer-cert-file=c", "--peer-key-file=k", "--peer-trusted-ca-file=ca"}
	needs := map[string][]string{ // what a setting makes no sense without
		"name":                         {"--initial-cluster="},
		"initial-cluster-state":        {"--initial-cluster=default=10.0.0.1:2380,b=10.0.0.2:2380"},
		"cert-file":                    {"--key-file=k"},
		"key-file":                     {"--cert-file=c"},
		"trusted-ca-file":              {"--auto-tls"},
		"client-cert-auth":             {"--auto-tls"},
		"client-crl-file":              {"--auto-tls"},
		"client-cert-allowed-hostname": {"--auto-tls"},
		"peer-client-cert-file":        append([]string{"--peer-client-key-file=k"}, peerFiles...),
		"peer-client-key-file":         append([]string{"--peer-client-cert-file=c"}, peerFiles...),
		"peer-crl-file":                peerFiles,
		"peer-cert-allowed-cn":         peerFiles,
		"peer-cert-allowed-hostname":   peerFiles,
		"peer-cert-file":               {"--peer-key-file=k", "--peer-trusted-ca-file=ca"},
		"peer-key-file":                {"--peer-cert-file=c", "--peer-trusted-ca-file=ca"},
		"peer-trusted-ca-file":         {"--peer-cert-file=c", "--peer-key-file=k"},
	}
	for _, s := range (&config{}).settings() {
		if s.name == "config" {
			continue
		}
		value, ok := values[s.value.Type()]
		if !ok {
			t.Fatalf("%s: no example of a %s", s.name, s.value.Type())
		}
		if special, ok := specially[s.name]; ok {
			value = special
		}
		for how, given := range map[string]surroundings{
			"flag":     {args: []string{"--" + s.name + "=" + value}},
			"variable": {env: []string{variable(s.name) + "=" + value}},
			"file":     {file: "# a comment\n" + s.name + ": " + value + "\n"},
		} {
			var cfg config
			flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
			given.args = append(given.args, needs[s.name]...)
			unknown, err := loadInto(t, &cfg, flags, given)
			if got := flags.Lookup(s.name).Value.String(); got != value || err != nil || len(unknown) > 0 {
				t.Errorf("%s as a %s is %q, want %q; error %v, unknown %v", s.name, how, got, value, err, unknown)
			}
		}
	}
}

func TestTheDocumentedDefaults(t *testing.T) {
	cfg, _, err := load(t, surroundings{})
	if err != nil {
		t.Fatal(err)
	}
	want := config{
		Name: "default", DataDir: "triglot-data",
		InitialClusterState: "new",
		HeartbeatInterval:   100 * time.Millisecond, ElectionTimeout: 800 * time.Millisecond, RequestTimeout: 7 * time.Second,
		SnapshotRate: 64 << 20, CatchUpBytes: 64 << 20, MaxLearners: 1, HashCheckInterval: time.Hour,
		ListenRESP: "127.0.0.1:6379", ListenEtcd: "127.0.0.1:2379", ListenZK: "127.0.0.1:2181", Listen: "127.0.0.1:7379",
		ListenPeer: "127.0.0.1:2380", ListenMetrics: "127.0.0.1:7380",
		MaxRequestBytes: 1572864, MaxTxnOps: 128, MaxConnections: 10000, HandshakeTimeout: 10 * time.Second,
		ZKMaxPacketBytes: 1048575, ZKMinSession: 4 * time.Second, ZKMaxSession: 40 * time.Second,
		ZKMaxWatches: 100_000, ZKMaxInFlight: 256, RESPMaxArguments: 1 << 20, RESPMaxQuery: 64 << 20, RESPMaxNames: 1 << 20,
		RESPMaxOutput: 32 << 20, RESPMaxTracked: 1_000_000,
		TLSMinVersion: "TLS1.2", SelfSignedYears: 1, MaxStreams: math.MaxUint32, ClientPingMin: 5 * time.Second, ServerPing: 2 * time.Hour, ServerPingWait: 20 * time.Second,
		ProgressInterval: 10 * time.Minute, Gateway: true, CORS: "*", HostWhitelist: "*", AuthToken: "simple", AuthTokenTTL: 5 * time.Minute, BcryptCost: 10,
		HistoryAge: time.Hour, HistoryBytes: 1 << 30, WatchRingEvents: 1 << 16, WatchRingBytes: 8 << 20,
		BlockCacheBytes: 32 << 20, RowCacheBytes: 32 << 20, MemtableBytes: 8 << 20, LogLevel: "info", LogOutput: "stderr", LogFormat: "text",
	}
	if cfg != want {
		t.Errorf("defaults are\n%+v, want\n%+v", cfg, want)
	}
}

func TestVariablesThatNameNoSettingAreReportedAndNotRefused(t *testing.T) {
	// Kubernetes puts the first one into every pod beside a service named triglot.
	_, unknown, err := load(t, surroundings{env: []string{"TRIGLOT_PORT=tcp://10.0.0.1:2379", "TRIGLOT_LISTEN=:1", "PATH=/bin", "TRIGLOT_A"}})
	if err != nil || !slices.Equal(unknown, []string{"TRIGLOT_A", "TRIGLOT_PORT"}) {
		t.Fatalf("%v, %v", unknown, err)
	}
}

func TestWrongSettingsSayWhereAndWhy(t *testing.T) {
	cases := []struct {
		name  string
		given surroundings
		want  []string
	}{
		{"unknown name in the file", surroundings{file: "name: a\nlisten-reps: x\n"}, []string{"triglot.yaml:2", `"listen-reps"`, "--help"}},
		{"underscores in the file", surroundings{file: "listen_resp: x:1\n"}, []string{`"listen_resp"`}},
		{"config in the file", surroundings{file: "config: x\n"}, []string{`"config"`}},
		{"help in the file", surroundings{file: "help: true\n"}, []string{`"help"`}},
		{"bad value in the file", surroundings{file: "history-age: soon\n"}, []string{"triglot.yaml:1", "history-age", `"soon"`, "30s"}},
		{"nested value in the file", surroundings{file: "listen:\n  resp: x\n"}, []string{"triglot.yaml:1", "single value"}},
		{"set twice in the file", surroundings{file: "name: a\nname: b\n"}, []string{"triglot.yaml:2", "second time"}},
		{"list as the file", surroundings{file: "- a\n"}, []string{"triglot.yaml:1", "name: value"}},
		{"no YAML", surroundings{file: "a: b: c\n"}, []string{"triglot.yaml"}},
		{"no such file", surroundings{args: []string{"--config", "/does/not/exist"}}, []string{"--config", "/does/not/exist", "no such file"}},
		{"bad variable", surroundings{env: []string{"TRIGLOT_MAX_CONNECTIONS=many"}}, []string{"TRIGLOT_MAX_CONNECTIONS", `"many"`, "whole number"}},
		{"bad size", surroundings{args: []string{"--history-bytes", "1GB"}}, []string{"--history-bytes", "KiB, MiB or GiB"}},
		{"size too small", surroundings{args: []string{"--max-request-bytes", "10"}}, []string{"--max-request-bytes", "1KiB or more"}},
		{"bad address", surroundings{args: []string{"--listen-resp", "6379"}}, []string{"--listen-resp", "host:port"}},
		{"a socket without a path", surroundings{args: []string{"--listen-resp", "127.0.0.1:1,unix:"}}, []string{"--listen-resp", "unix:/run/triglot.sock"}},
		{"a socket as a URL", surroundings{args: []string{"--listen-etcd", "unix:///run/a"}}, []string{"--listen-etcd", "unix:/run/triglot.sock"}},
		{"one socket twice", surroundings{args: []string{"--listen-etcd", "unix:a,tls:unix:a", "--auto-tls"}}, []string{"--listen-etcd has unix:a twice"}},
		{"TLS that is not there", surroundings{args: []string{"--listen-metrics", "tls:127.0.0.1:1"}}, []string{"--listen-metrics: tls:127.0.0.1:1 needs --cert-file"}},
		{"TLS before members", surroundings{args: []string{"--listen-peer", "tls:127.0.0.1:1", "--auto-tls"}}, []string{"--listen-peer", "leave tls: out"}},
		{"metrics both ways", surroundings{args: []string{"--listen-metrics", "both:127.0.0.1:1", "--auto-tls"}}, []string{"--listen-metrics: both:127.0.0.1:1"}},
		{"a peer's socket without TLS", surroundings{args: []string{"--advertise-peer", "unix:///a", "--peer-auto-tls"}}, []string{"unix:///a", "use unixs://"}},
		{"a dev cluster of sockets", surroundings{args: []string{"--dev-cluster=3", "--listen-etcd=unix:a"}}, []string{"--dev-cluster", "unix:a"}},
		{"bad word", surroundings{args: []string{"--log-level", "loud"}}, []string{"--log-level", "debug, info, warn, error"}},
		{"bad switch", surroundings{args: []string{"--pprof=perhaps"}}, []string{"--pprof", "true or false"}},
		{"no name", surroundings{args: []string{"--name="}}, []string{"--name"}},
		{"no directory", surroundings{args: []string{"--data-dir="}}, []string{"--data-dir"}},
		{"no listener", surroundings{args: []string{"--listen=", "--listen-resp=", "--listen-etcd=", "--listen-zk="}}, []string{"turned off", "--listen-resp"}},
		{"time-outs crossed", surroundings{args: []string{"--zk-min-session-timeout=1m"}}, []string{"--zk-min-session-timeout (1m)", "--zk-max-session-timeout (40s)"}},
		{"profiles without an address", surroundings{args: []string{"--pprof", "--listen-metrics="}}, []string{"--pprof", "--listen-metrics"}},
		{"one address twice", surroundings{args: []string{"--listen-zk=127.0.0.1:6379"}}, []string{"--listen-resp", "--listen-zk", "127.0.0.1:6379"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.given)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
}

func TestAFileWithCommentsAloneIsFine(t *testing.T) {
	if _, _, err := load(t, surroundings{file: "# nothing yet\n"}); err != nil {
		t.Fatal(err)
	}
}

func TestAListenerMayHaveSeveralAddresses(t *testing.T) {
	cfg, _, err := load(t, surroundings{args: []string{"--listen-etcd=127.0.0.1:1, unix:/run/a:0", "--listen-peer=10.0.0.1:2,unix:b", "--listen-metrics=tls:[::]:3,unix:c", "--auto-tls"}})
	if err != nil {
		t.Fatal(err)
	}
	if hosts := cfg.listenHosts(); !slices.Equal(hosts, []string{"localhost", "127.0.0.1", "10.0.0.1", "::"}) {
		t.Errorf("a certificate of its own is for %v", hosts)
	}
}

func TestFreePortsMayBeAskedForSeveralTimes(t *testing.T) {
	if _, _, err := load(t, surroundings{args: []string{"--listen-zk=127.0.0.1:0", "--listen-resp=127.0.0.1:0"}}); err != nil {
		t.Fatal(err)
	}
}
