package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// These tests run the built program and look at what a person or a supervisor sees: text, files, exit codes.

const patience = 60 * time.Second // a failure, not a pace

var binary string

func TestMain(m *testing.M) {
	if os.Getenv(signalsAloneVariable) != "" {
		waitForSignals()
	}
	dir, err := os.MkdirTemp("", "triglot")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "triglot")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building triglot:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// anywhere are flags for a server whose ports do not matter.
func anywhere(dataDir string) []string {
	args := []string{"serve", "--data-dir", dataDir}
	for _, flag := range []string{"listen-resp", "listen-etcd", "listen-zk", "listen", "listen-peer", "listen-metrics"} {
		args = append(args, "--"+flag, "127.0.0.1:0")
	}
	return args
}

// process is a running triglot.
type process struct {
	cmd   *exec.Cmd
	addrs map[string]string // by the protocol of its "listening" lines

	read sync.WaitGroup // the goroutine that reads stderr, until the process ends
	news chan struct{}  // a note that there is more; capacity 1
	over atomic.Bool    // there will be no more
	mu   sync.Mutex
	log  bytes.Buffer
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

var listening = regexp.MustCompile(`msg=listening protocol=(\w+) address=(\S+)`)

// launch starts a command and waits until its stderr has the text.
func launch(t *testing.T, cmd *exec.Cmd, until string) *process {
	t.Helper()
	p := begin(t, cmd)
	p.await(t, until)
	return p
}

// begin starts a command.
func begin(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, addrs: map[string]string{}, news: make(chan struct{}, 1)}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.read.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				p.addrs[m[1]] = m[2]
			}
			p.mu.Unlock()
			p.told()
		}
		p.over.Store(true)
		p.told()
	})
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return p
}

func (p *process) told() {
	select {
	case p.news <- struct{}{}:
	default: // one note is enough: what is there is looked up
	}
}

// await waits until stderr has the text.
func (p *process) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(p.stderr(), text) {
		if p.over.Load() {
			t.Fatalf("%v ended without saying %q:\n%s", p.cmd.Args, text, p.stderr())
		}
		select {
		case <-p.news:
		case <-late:
			t.Fatalf("%v did not say %q:\n%s", p.cmd.Args, text, p.stderr())
		}
	}
}

// address is where a running process listens, by protocol.
func (p *process) address(protocol string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addrs[protocol]
}

func launchServer(t *testing.T, args ...string) *process {
	t.Helper()
	return launch(t, exec.Command(binary, args...), "msg=ready")
}

// end sends a signal and answers the exit code.
func (p *process) end(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return p.exitCode(t)
}

// exitCode waits for the end.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		p.read.Wait()
		p.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("did not end:\n%s", p.stderr())
	}
	return p.cmd.ProcessState.ExitCode()
}

// fails runs a command that must end with exit code 1 and one line on stderr that has the words.
func fails(t *testing.T, args []string, env []string, words ...string) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("%v: exit code %d, want 1\n%s", args, code, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	last := lines[len(lines)-1]
	if !strings.HasPrefix(last, "triglot: ") || stdout.Len() > 0 {
		t.Errorf("%v: stderr %q, stdout %q", args, stderr.String(), stdout.String())
	}
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "time=") { // log lines may come first
			t.Errorf("%v: more than one line on stderr:\n%s", args, stderr.String())
		}
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("%v: %q is not in: %s", args, word, last)
		}
	}
}

func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(binary, args...).Output()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return string(out)
}

func TestVersionNamesTheProtocolsToo(t *testing.T) {
	got := output(t, "version")
	for _, want := range []string{"triglot " + version, "go1.", "etcd API 3.7.3", "Redis 7.4-compatible RESP", "ZooKeeper 3.8 protocol"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in:\n%s", want, got)
		}
	}
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {}} {
		got := output(t, args...)
		for _, want := range []string{"triglot serve", "redis-cli", "etcdctl", "zkCli.sh", "Running it:", "version"} {
			if !strings.Contains(got, want) {
				t.Errorf("%v: %q is not in:\n%s", args, want, got)
			}
		}
	}
	got := output(t, "serve", "--help")
	for _, s := range (&config{}).settings() {
		if !strings.Contains(got, "--"+s.name+" ") || !strings.Contains(got, s.group+":") {
			t.Errorf("--%s or its group is not in:\n%s", s.name, got)
		}
	}
}

func TestMistakesEndWithOneLineAndExitCodeOne(t *testing.T) {
	serve := anywhere(t.TempDir())
	fails(t, []string{"sevre"}, nil, `"sevre"`, "triglot help")
	fails(t, []string{"serve", "now"}, nil, `"now"`)
	fails(t, append(serve, "--listen-rest", "x"), nil, "--listen-rest", "serve --help")
	fails(t, append(serve, "--history-bytes", "1GB"), nil, "--history-bytes", "GiB")
	fails(t, serve, []string{"TRIGLOT_MAX_TXN_OPS=0"}, "TRIGLOT_MAX_TXN_OPS", "1 or more")
	fails(t, append(serve, "--config", "/does/not/exist"), nil, "--config", "/does/not/exist")
	fails(t, append(serve, "--listen-zk", "192.0.2.1:0"), nil, "--listen-zk", "192.0.2.1:0") // an address of nobody's
}

func TestATakenPortIsNamedWithItsFlag(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, flag := range []string{"listen-resp", "listen-etcd", "listen-zk", "listen", "listen-peer", "listen-metrics"} {
		dir := t.TempDir()
		fails(t, append(anywhere(dir), "--"+flag, taken.Addr().String()), nil, "--"+flag, taken.Addr().String(), "in use")
		if entries, _ := os.ReadDir(dir); len(entries) > 0 {
			t.Errorf("--%s: the data directory was touched", flag)
		}
	}
}

func TestSignalsEndTheServerCleanly(t *testing.T) {
	dir := t.TempDir()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := launchServer(t, anywhere(dir)...)
		idle, err := net.Dial("tcp", p.addrs["resp"])
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(idle, "PING\r\n")
		if _, err := io.ReadFull(idle, make([]byte, len("+PONG\r\n"))); err != nil { // it is served by now
			t.Fatal(err)
		}
		if code := p.end(t, signal); code != 0 || !strings.Contains(p.stderr(), "msg=stopped") {
			t.Errorf("%v: exit code %d\n%s", signal, code, p.stderr())
		}
		if _, err := io.Copy(io.Discard, idle); err != nil {
			t.Errorf("the idle client: %v", err)
		}
		idle.Close()
	}
}

func TestTheSummaryComesWhenEverythingListens(t *testing.T) {
	p := launch(t, exec.Command(binary, anywhere(t.TempDir())...), "curl http://")
	for name, protocol := range map[string]string{"Redis": "resp", "etcd": "etcd", "ZooKeeper": "zk", "all three": "all", "peers": "peer", "metrics": "metrics"} {
		address := p.addrs[protocol]
		if address == "" || !regexp.MustCompile(`(?m)^  `+name+` +`+regexp.QuoteMeta(address)).MatchString(p.stderr()) {
			t.Errorf("%s is not shown:\n%s", name, p.stderr())
		}
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
}

func TestAnEmptyAddressTurnsAListenerOff(t *testing.T) {
	p := launch(t, exec.Command(binary, append(anywhere(t.TempDir()), "--listen-zk=", "--listen=", "--listen-peer=", "--listen-metrics=")...), "  metrics ")
	if len(p.addrs) != 2 || p.addrs["resp"] == "" || p.addrs["etcd"] == "" || !strings.Contains(p.stderr(), "ZooKeeper  off") {
		t.Errorf("listening on %v:\n%s", p.addrs, p.stderr())
	}
}

func TestLogLinesInJSONAreNotMixedWithASummary(t *testing.T) {
	p := launch(t, exec.Command(binary, append(anywhere(t.TempDir()), "--log-format=json")...), `"msg":"ready"`)
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(p.stderr()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestTheLogGoesWhereItIsSent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte("of an earlier run\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, exec.Command(binary, append(anywhere(t.TempDir()), "--log-output=stderr,"+file)...), "msg=ready")
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"of an earlier run\n", "msg=ready", "msg=stopped"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %q in the file:\n%s", want, text)
		}
	}
	if !strings.Contains(p.stderr(), "msg=stopped") {
		t.Errorf("nothing of it is on stderr:\n%s", p.stderr())
	}
	fails(t, append(anywhere(t.TempDir()), "--log-output="+filepath.Join(file, "below")), nil, "--log-output", "not a directory")
}

func TestADataDirectoryServesOneProcess(t *testing.T) {
	dir := t.TempDir()
	p := launchServer(t, anywhere(dir)...)
	fails(t, anywhere(dir), nil, "--data-dir", dir, "in use by another process")
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the first one ended with %d:\n%s", code, p.stderr())
	}
}

func TestADataDirectoryOfANewerVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	launchServer(t, anywhere(dir)...).end(t, syscall.SIGTERM)
	path := filepath.Join(dir, "state", "FORMAT")
	format, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	newer := regexp.MustCompile(`\d+`).ReplaceAll(format, []byte("999"))
	if err := os.WriteFile(path, newer, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, anywhere(dir), nil, "--data-dir", dir, "newer version")
}

// A disk that goes away under the server is the plainest way for its store to fail.
func TestAServerWhoseStoreFailsSaysWhyAndEnds(t *testing.T) {
	dir := t.TempDir()
	p := launchServer(t, append(anywhere(dir), "--memtable-bytes=1MiB")...)
	if err := os.RemoveAll(filepath.Join(dir, "state")); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", p.addrs["resp"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	go io.Copy(io.Discard, conn) // until conn is closed
	value := strings.Repeat("x", 1000)
	for i := range 100_000 { // far more than a memtable holds
		if _, err := fmt.Fprintf(conn, "SET %d %s\r\n", i, value); err != nil {
			break
		}
	}
	if code := p.exitCode(t); code != 1 || !strings.Contains(p.stderr(), "\ntriglot: the store stopped: ") {
		t.Errorf("exit code %d\n%s", code, p.stderr())
	}
}

func TestMetricsAndProbesAreServed(t *testing.T) {
	p := launchServer(t, anywhere(t.TempDir())...)
	client, err := net.Dial("tcp", p.addrs["etcd"])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	metrics := get(t, p, "/metrics", http.StatusOK)
	for _, name := range []string{
		"triglot_store_revision ", "triglot_store_disk_bytes ", "triglot_raft_term ", "triglot_raft_applied_index ",
		`triglot_connections{protocol="resp"} 0`, "etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_server_is_learner 0",
		"etcd_server_leader_changes_seen_total ", "etcd_server_proposals_committed_total ", "etcd_server_proposals_applied_total ",
		"etcd_server_proposals_pending ", "etcd_server_proposals_failed_total 0", "etcd_disk_wal_fsync_duration_seconds_bucket{",
		"etcd_disk_backend_commit_duration_seconds_bucket{", "etcd_mvcc_db_total_size_in_bytes ", "etcd_mvcc_db_total_size_in_use_in_bytes ",
		"etcd_debugging_mvcc_keys_total ", "etcd_network_client_grpc_received_bytes_total ",
		`triglot_build_info{`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("%s is not in:\n%s", name, metrics)
		}
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if body := get(t, p, path, http.StatusOK); body != "ok\n" {
			t.Errorf("%s: %q", path, body)
		}
	}
	if body := get(t, p, "/health", http.StatusOK); !strings.Contains(body, `"health":"true"`) {
		t.Errorf("/health: %q", body)
	}
	get(t, p, "/debug/pprof/", http.StatusNotFound)
}

func TestProfilesAreServedWhenAskedFor(t *testing.T) {
	p := launchServer(t, append(anywhere(t.TempDir()), "--pprof")...)
	if body := get(t, p, "/debug/pprof/", http.StatusOK); !strings.Contains(body, "goroutine") {
		t.Errorf("no profiles in %q", body)
	}
}

func get(t *testing.T, p *process, path string, status int) string {
	t.Helper()
	response, err := http.Get("http://" + p.addrs["metrics"] + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s: %s, %v, want %d", path, response.Status, err, status)
	}
	return string(body)
}
