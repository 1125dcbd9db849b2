// Package kubernetes runs the storage layer of Kubernetes' API server, with the tests that Kubernetes has for it, on a real
// process of Triglot. It is a module of its own, so that the many modules of Kubernetes are dependencies of nothing else.
package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"
)

// binary is the server under test, built once from the checkout, or the one that TRIGLOT_BINARY names.
var binary string

// patience bounds every wait for an event.
const patience = 60 * time.Second

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary = os.Getenv("TRIGLOT_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "triglot-kubernetes")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "triglot")
	build := exec.Command("go", "build", "-o", binary, "./cmd/triglot")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// output is what a process said.
type output struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startServer runs an empty server until the test ends and gives the address of its etcd port.
func startServer(t testing.TB, args ...string) string {
	t.Helper()
	said := &output{}
	process := exec.Command(binary, append([]string{
		"serve", "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen-etcd", "127.0.0.1:0", "--listen-resp=", "--listen-zk=",
		"--listen=", "--listen-metrics=", "--listen-peer=",
	}, args...)...)
	process.Stdout, process.Stderr = said, said
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		if err := process.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the server said:\n%s", said)
		}
	})
	address := ""
	eventually(t, "the server says where it listens", func() bool {
		if found := listening.FindStringSubmatch(said.String()); found != nil {
			address = found[1]
		}
		return address != ""
	})
	return address
}

// listening is where the server says that it takes etcd clients. It has picked the port itself, so that servers that are
// started at the same time cannot pick the same.
var listening = regexp.MustCompile(`msg=listening protocol=etcd address=(\S+)`)

// connect makes the client that the API server makes, with the recorders of Kubernetes' tests.
func connect(t testing.TB, address string) *kubernetes.Client {
	t.Helper()
	client, err := kubernetes.New(clientv3.Config{Endpoints: []string{address}, DialTimeout: patience, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	// The first read waits until the server serves.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := client.KV.Get(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	lists := storagetesting.NewKubernetesRecorder(client.Kubernetes)
	client.KV, client.Kubernetes = storagetesting.NewKVRecorder(client.KV, lists), lists
	return client
}
