package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// getBySocket asks over HTTP, or over HTTPS of anybody, at a Unix socket.
func getBySocket(t *testing.T, path, url string) string {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// putBySocket puts a key as an etcd client at a Unix socket does.
func putBySocket(t *testing.T, path string, secured credentials.TransportCredentials) {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(secured))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func TestEachAddressOfAListenerIsServed(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	anyone := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	p := launchServer(t, append(anywhere(in("data")), "--auto-tls",
		"--listen-etcd=plain:127.0.0.1:0,unix:"+in("etcd")+",both:unix:"+in("both"), "--listen-resp=plain:unix:"+in("resp"),
		"--listen-peer=127.0.0.1:0,unix:"+in("peer"), "--listen-metrics=tls:unix:"+in("metrics")+",unix:"+in("open")+",tls:127.0.0.1:0")...)
	putBySocket(t, in("etcd"), anyone)
	putBySocket(t, in("both"), anyone)
	putBySocket(t, in("both"), insecure.NewCredentials())
	for url, path := range map[string]string{
		"https://localhost/metrics": in("metrics"), "http://localhost/metrics": in("open"), "https://localhost/health": in("etcd"),
	} {
		if body := getBySocket(t, path, url); !strings.Contains(body, "etcd_server_has_leader 1") && !strings.Contains(body, `"health":"true"`) {
			t.Errorf("%s answers %q", path, body)
		}
	}
	redis, err := net.Dial("unix", in("resp"))
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	if _, err := io.WriteString(redis, "CLIENT INFO\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(redis)
	for answers.Scan() && answers.Text() != "+PONG" {
	}
	if answers.Text() != "+PONG" {
		t.Errorf("Redis answers %q, %v", answers.Text(), answers.Err())
	}
	if code := p.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.stderr())
	}
	for _, name := range []string{"etcd", "both", "resp", "peer", "metrics", "open"} {
		if _, err := os.Lstat(in(name)); !os.IsNotExist(err) {
			t.Errorf("%s is left behind: %v", name, err)
		}
	}
}

// TestEtcdSocketsAreWhereEtcdHasThem starts the program as scripts start etcd, on sockets in the working directory, of which
// the first process leaves its own behind.
func TestEtcdSocketsAreWhereEtcdHasThem(t *testing.T) {
	dir := t.TempDir()
	start := func() *process {
		cmd := exec.Command(binary, "etcd", "--listen-client-urls=unix://localhost:1", "--advertise-client-urls=unix://localhost:1",
			"--listen-peer-urls=unix://localhost:2", "--initial-advertise-peer-urls=unix://localhost:2",
			"--initial-cluster=default=unix://localhost:2", "--listen-metrics-urls=unix://localhost:3")
		cmd.Dir = dir
		return launch(t, cmd, "ready to serve client requests")
	}
	p := start()
	putBySocket(t, filepath.Join(dir, "localhost:1"), insecure.NewCredentials())
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.read.Wait()
	p.cmd.Wait()

	p = start()
	for _, name := range []string{"localhost:1", "localhost:2", "localhost:3"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode().Type() != os.ModeSocket {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	putBySocket(t, filepath.Join(dir, "localhost:1"), insecure.NewCredentials())
	if text := output(t, "member", "list", "--endpoints", "unix:"+filepath.Join(dir, "localhost:1")); !strings.Contains(text, "unix://localhost:2") {
		t.Errorf("the members are\n%s", text)
	}
	p.end(t, syscall.SIGTERM)
}
