package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Clusters of real processes. What they promise to clients is tested in e2e; here it is about what an operator does and sees.

// clusterMember is a member's settings, and its process while it runs.
type clusterMember struct {
	*process
	name, dir, peer string
	args            []string
}

// clusterOf prepares members that have not been started.
func clusterOf(t *testing.T, names ...string) []*clusterMember {
	t.Helper()
	var members []*clusterMember
	var list []string
	for _, name := range names {
		m := newClusterMember(t, name)
		members = append(members, m)
		list = append(list, name+"="+m.peer)
	}
	for _, m := range members {
		m.args = append(m.args, "--initial-cluster", strings.Join(list, ","))
	}
	return members
}

func newClusterMember(t *testing.T, name string) *clusterMember {
	m := &clusterMember{name: name, dir: t.TempDir(), peer: steadyAddress(t)}
	m.args = append(anywhere(m.dir), "--name", name, "--listen-peer", m.peer)
	return m
}

// steadyAddress is free, and below those that the system takes for outgoing connections: a member that is down must find
// it free when it comes back.
func steadyAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	panic("unreachable")
}

func (m *clusterMember) begin(t *testing.T) {
	t.Helper()
	m.process = begin(t, exec.Command(binary, m.args...))
}

// start starts members together and waits for all: alone they have no quorum.
func start(t *testing.T, members ...*clusterMember) {
	t.Helper()
	for _, m := range members {
		m.begin(t)
	}
	for _, m := range members {
		m.await(t, "msg=ready")
	}
}

// endpoints are the etcd addresses of members, as --endpoints takes them.
func endpoints(members ...*clusterMember) string {
	var list []string
	for _, m := range members {
		list = append(list, m.address("etcd"))
	}
	return strings.Join(list, ",")
}

// redis sends a command and returns the first line of its answer.
func (m *clusterMember) redis(t *testing.T, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", m.address("resp"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatalf("%s: %s: %v\n%s", m.name, command, err, m.stderr())
	}
	text := strings.TrimSpace(string(answer[:n]))
	if strings.HasPrefix(text, "$") && !strings.HasPrefix(text, "$-1") { // a bulk string behind its length
		_, text, _ = strings.Cut(text, "\r\n")
	}
	return text
}

// command runs the program and returns what it prints and its exit code.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	var out, err bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &err
	timer := time.AfterFunc(2*patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Run()
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// succeeds runs a command that must end well, and returns what it prints.
func succeeds(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := command(t, args...)
	if code != 0 {
		t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// statusOf is triglot status -o json when the cluster is whole.
func statusOf(t *testing.T, endpoints string) *clusterView {
	t.Helper()
	view := &clusterView{}
	out := succeeds(t, "status", "--endpoints", endpoints, "--wait", "1m", "-o", "json")
	if err := json.Unmarshal([]byte(out), view); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return view
}

func (c *clusterView) roles() map[string]string {
	roles := map[string]string{}
	for _, m := range c.Members {
		roles[m.Name] = m.Role
	}
	return roles
}

// leader finds who leads among members that run.
func leader(t *testing.T, members []*clusterMember) *clusterMember {
	t.Helper()
	roles := statusOf(t, endpoints(members...)).roles()
	for _, m := range members {
		if roles[m.name] == "leader" {
			return m
		}
	}
	t.Fatalf("nobody leads: %v", roles)
	panic("unreachable")
}

func TestThreeMembersGoOnWithoutOneOfThem(t *testing.T) {
	members := clusterOf(t, "a", "b", "c")
	start(t, members...)
	if got := members[0].redis(t, "SET /greeting hello"); got != "+OK" {
		t.Fatal(got)
	}
	for _, m := range members {
		if got := m.redis(t, "GET /greeting"); got != "hello" {
			t.Errorf("%s: %q", m.name, got)
		}
	}
	victim := leader(t, members)
	rest := slices.DeleteFunc(slices.Clone(members), func(m *clusterMember) bool { return m == victim })
	gone := victim.address("etcd")
	victim.end(t, syscall.SIGKILL)
	if got := rest[0].redis(t, "SET /greeting bonjour"); got != "+OK" {
		t.Errorf("after the leader died: %q", got)
	}
	if got := rest[1].redis(t, "GET /greeting"); got != "bonjour" {
		t.Errorf("after the leader died: %q", got)
	}
	stdout, stderr, code := command(t, "status", "--endpoints", endpoints(rest...))
	if code != 1 || !strings.Contains(stderr, victim.name+" does not answer at "+gone) || !regexp.MustCompile(victim.name+` .*unreachable`).MatchString(stdout) {
		t.Errorf("status while one is away: exit code %d\n%s%s", code, stdout, stderr)
	}
	start(t, victim)
	if got := victim.redis(t, "GET /greeting"); got != "bonjour" {
		t.Errorf("after its return: %q", got)
	}
	if view := statusOf(t, endpoints(members...)); len(view.Members) != 3 || view.Members[0].Version != version {
		t.Errorf("%+v", view)
	}
	for _, m := range members {
		if code := m.end(t, syscall.SIGTERM); code != 0 {
			t.Errorf("%s ended with %d\n%s", m.name, code, m.stderr())
		}
	}
}

func TestAMemberThatIsLeftGoesOnAloneWhenItIsForced(t *testing.T) {
	members := clusterOf(t, "a", "b", "c")
	start(t, members...)
	if got := members[0].redis(t, "SET /greeting hello"); got != "+OK" {
		t.Fatal(got)
	}
	for _, m := range members {
		m.end(t, syscall.SIGKILL)
	}
	left := members[0]
	usual := left.args
	left.args = append(slices.Clone(usual), "--force-new-cluster")
	start(t, left)
	if got := left.redis(t, "GET /greeting"); got != "hello" {
		t.Errorf("forced: %q", got)
	}
	if roles := statusOf(t, endpoints(left)).roles(); len(roles) != 1 || roles["a"] != "leader" {
		t.Errorf("the members are %v", roles)
	}
	left.end(t, syscall.SIGTERM)
	left.args = usual
	start(t, left)
	members[1].begin(t)
	if code := members[1].exitCode(t); code != 1 || !strings.Contains(members[1].stderr(), "was removed for good") {
		t.Errorf("a member that comes back ends with %d\n%s", code, members[1].stderr())
	}
	if got := left.redis(t, "SET /greeting bonjour"); got != "+OK" {
		t.Errorf("as usual: %q", got)
	}
}

func TestWhileItWaitsForAQuorumAMemberAnswersProbesAndCanBeEnded(t *testing.T) {
	members := clusterOf(t, "a", "b", "c")
	m := members[0]
	metrics := steadyAddress(t) // it is told where it listens only when it is ready
	m.args = append(m.args, "--listen-metrics", metrics)
	m.begin(t)
	m.addrs["metrics"] = metrics
	m.await(t, "cannot be reached yet")
	get(t, m.process, "/livez", http.StatusOK)
	get(t, m.process, "/readyz", http.StatusServiceUnavailable)
	if body := get(t, m.process, "/health", http.StatusServiceUnavailable); !strings.Contains(body, `"health":"false"`) {
		t.Error(body)
	}
	if body := get(t, m.process, "/metrics", http.StatusOK); !strings.Contains(body, "\netcd_server_has_leader 0\n") {
		t.Errorf("etcd_server_has_leader 0 is not in\n%s", body)
	}
	if code := m.end(t, syscall.SIGTERM); code != 0 || !strings.Contains(m.stderr(), "msg=stopped") {
		t.Errorf("exit code %d\n%s", code, m.stderr())
	}
	start(t, members...) // its directory is as good as new
}

func TestAMemberIsReplacedWithWhatAddPrints(t *testing.T) {
	members := clusterOf(t, "a", "b", "c")
	start(t, members...)
	members[0].redis(t, "SET /greeting hello")
	at := endpoints(members[:2]...)
	statusOf(t, at)

	old := members[2]
	succeeds(t, "member", "remove", "c", "--endpoints", at)
	if code := old.exitCode(t); code != 1 || !strings.Contains(old.stderr(), "removed") {
		t.Errorf("the removed member ended with %d\n%s", code, old.stderr())
	}
	fails(t, old.args, nil, "removed") // with its data

	next := newClusterMember(t, "d")
	fails(t, append(next.args, "--initial-cluster-state", "existing", "--initial-cluster",
		"a="+members[0].peer+",b="+members[1].peer+",d="+next.peer), nil, "triglot member add d --peer-urls http://"+next.peer)

	printed := succeeds(t, "member", "add", "d", "--peer-urls", "http://"+next.peer, "--endpoints", at)
	_, line, ok := strings.Cut(printed, "triglot serve ")
	if !ok {
		t.Fatalf("no command in\n%s", printed)
	}
	if _, stderr, code := command(t, "status", "--endpoints", at); code != 1 || !strings.Contains(stderr, "was added and not started") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	args := strings.Fields(strings.ReplaceAll(line, "\\\n", " "))
	next.args = append(next.args, slices.DeleteFunc(args, func(a string) bool { return a == "" })...)
	next.args = append(next.args, "--data-dir", next.dir)
	start(t, next)
	if got := next.redis(t, "GET /greeting"); got != "hello" {
		t.Errorf("the new member: %q", got)
	}
	members = []*clusterMember{members[0], members[1], next}
	if roles := statusOf(t, endpoints(members...)).roles(); len(roles) != 3 || roles["d"] == "" {
		t.Errorf("%v", roles)
	}
}

func TestALearnerIsPromotedAndLeadershipMoves(t *testing.T) {
	members := clusterOf(t, "a")
	start(t, members...)
	at := endpoints(members...)
	next := newClusterMember(t, "b")
	out := succeeds(t, "member", "add-learner", "b", "--peer-urls", next.peer, "--endpoints", at)
	if !strings.Contains(out, "learner b (") {
		t.Error(out)
	}
	next.args = append(next.args, "--initial-cluster-state", "existing", "--initial-cluster", "a="+members[0].peer+",b="+next.peer)
	start(t, next)
	if roles := statusOf(t, at).roles(); roles["b"] != "learner" {
		t.Errorf("%v", roles)
	}
	succeeds(t, "member", "promote", "b", "--endpoints", at)
	fails(t, []string{"member", "promote", "b", "--endpoints", at}, nil, "learner")
	succeeds(t, "member", "move-leader", "b", "--endpoints", at)
	if roles := statusOf(t, at).roles(); roles["b"] != "leader" || roles["a"] != "follower" {
		t.Errorf("%v", roles)
	}
	moved := steadyAddress(t)
	succeeds(t, "member", "update", "b", "--peer-urls", moved, "--endpoints", at)
	if list := succeeds(t, "member", "list", "--endpoints", at); !strings.Contains(list, "http://"+moved) {
		t.Error(list)
	}
}

func TestMistakenIdentitiesAreRefusedWithWhatToDo(t *testing.T) {
	members := clusterOf(t, "a", "b", "c")
	start(t, members...)
	statusOf(t, endpoints(members...))
	a, b, c := members[0], members[1], members[2]

	c.end(t, syscall.SIGTERM)
	fails(t, append(c.args, "--initial-cluster-token", "another"), nil, "token")
	lost := slices.Clone(c.args)
	fails(t, append(lost, "--data-dir", t.TempDir()), nil, "has been started before", "triglot member add c")
	list := fmt.Sprintf("a=%s,b=%s,x=%s", a.peer, b.peer, c.peer)
	fails(t, append(anywhere(c.dir), "--name", "x", "--listen-peer", c.peer, "--initial-cluster", list), nil, c.dir, `"c"`)
	stranger := newClusterMember(t, "s")
	fails(t, append(stranger.args, "--initial-cluster", fmt.Sprintf("a=%s,s=%s", a.peer, stranger.peer)), nil, "another cluster")
}

func TestABackupIsRestoredIntoANewCluster(t *testing.T) {
	members := clusterOf(t, "a")
	start(t, members...)
	members[0].redis(t, "SET /greeting hello")
	file := filepath.Join(t.TempDir(), "backup.db")
	if out := succeeds(t, "snapshot", "save", file, "--endpoints", endpoints(members...)); !strings.Contains(out, "saved "+file) {
		t.Error(out)
	}
	if out := succeeds(t, "snapshot", "status", file); !strings.Contains(out, "REVISION") {
		t.Error(out)
	}
	damaged := file + ".damaged"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(damaged, content, 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, []string{"snapshot", "status", damaged}, nil, damaged)
	fails(t, []string{"snapshot", "status", file + ".none"}, nil, "no such file")

	restored := clusterOf(t, "x", "y", "z")
	for _, m := range restored {
		list := m.args[slices.Index(m.args, "--initial-cluster")+1]
		args := []string{"snapshot", "restore", file, "--name", m.name, "--data-dir", m.dir, "--initial-cluster", list}
		succeeds(t, args...)
		fails(t, args, nil, m.dir) // it is there now
	}
	start(t, restored...)
	for _, m := range restored {
		if got := m.redis(t, "GET /greeting"); got != "hello" {
			t.Errorf("%s: %q", m.name, got)
		}
	}
	statusOf(t, endpoints(restored...))
}

func TestStatusSaysWhatToTryWhenNobodyAnswers(t *testing.T) {
	nobody := steadyAddress(t)
	fails(t, []string{"status", "--endpoints", nobody}, nil, nobody, "refused", "triglot serve", "--endpoints")
	fails(t, []string{"member", "list", "--endpoints", "https://" + nobody}, nil, "https")
	fails(t, []string{"member", "add", "x", "--endpoints", nobody}, nil, "--peer-urls is missing")
	fails(t, []string{"member", "remove"}, nil, "one argument")
	fails(t, []string{"member", "forget"}, nil, `"forget"`)
}

var devRow = regexp.MustCompile(`(?m)^  (node\d) +(\d+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$`)

func TestADevClusterStartsShowsAndEndsItsMembers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	p := launch(t, exec.Command(binary, append(anywhere(dir), "--dev-cluster", "3")...), "Ctrl-C ends all of them")
	rows := devRow.FindAllStringSubmatch(p.stderr(), -1)
	if len(rows) != 3 {
		t.Fatalf("%d members in\n%s", len(rows), p.stderr())
	}
	at := rows[1][4]
	if view := statusOf(t, at); len(view.Members) != 3 {
		t.Errorf("%+v", view)
	}
	succeeds(t, "member", "list", "--endpoints", at)
	var pid int
	fmt.Sscan(rows[0][2], &pid)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.await(t, "node1 ended (signal: killed)")
	bring := regexp.MustCompile(`(?m)^  .* serve --config (\S+)$`).FindStringSubmatch(p.stderr())
	if bring == nil {
		t.Fatalf("no command in\n%s", p.stderr())
	}
	back := launchServer(t, "serve", "--config", bring[1])
	statusOf(t, at)
	if code := back.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the one that was brought back ended with %d\n%s", code, back.stderr())
	}
	if code := p.end(t, syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr())
	}
	for _, row := range rows {
		fmt.Sscan(row[2], &pid)
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("%s lives on", row[1])
		}
	}
	if !strings.Contains(p.stderr(), "node2 | ") {
		t.Errorf("lines without names:\n%s", p.stderr())
	}
	fails(t, append(anywhere(dir), "--dev-cluster", "5"), nil, "of 3")
}

func TestMembersTalkTLSWithEachOther(t *testing.T) {
	files := peerCertificates(t)
	members := clusterOf(t, "a", "b", "c")
	for _, m := range members {
		m.args = append(m.args, files...)
	}
	start(t, members...)
	members[0].redis(t, "SET /greeting hello")
	if got := members[1].redis(t, "GET /greeting"); got != "hello" {
		t.Errorf("%q", got)
	}
	if list := succeeds(t, "member", "list", "--endpoints", endpoints(members...)); strings.Count(list, "https://127.0.0.1:") != 3 {
		t.Error(list)
	}
	alone := newClusterMember(t, "d")
	fails(t, append(alone.args, "--peer-cert-file", "/none", "--peer-key-file", "/none", "--peer-trusted-ca-file", "/none"), nil, "--peer-", "/none")
}

// peerCertificates makes an authority and a certificate for 127.0.0.1, and returns the flags that name their files.
func peerCertificates(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cluster CA"}, IsCA: true, BasicConstraintsValid: true,
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(cryptorand.Reader, ca, ca, caKey.Public(), caKey)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(cryptorand.Reader, leaf, ca, key.Public(), caKey)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	return []string{
		"--peer-cert-file", write("member.crt", "CERTIFICATE", der), "--peer-key-file", write("member.key", "EC PRIVATE KEY", keyDER),
		"--peer-trusted-ca-file", write("ca.crt", "CERTIFICATE", caDER),
	}
}

func TestADevClusterWithATakenPortSaysWhoseItIs(t *testing.T) {
	base := steadyAddress(t)
	second, err := steppedAddress(base, 1)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", second)
	if err != nil {
		t.Skip("the address was taken in between")
	}
	defer taken.Close()
	args := append(anywhere(filepath.Join(t.TempDir(), "data")), "--dev-cluster", "3", "--listen-zk", base)
	_, stderr, code := command(t, args...)
	for _, want := range []string{"node2 | triglot: --listen-zk: " + second + " is already in use", "triglot: node2 did not start"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in\n%s", want, stderr)
		}
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}
