package protocols

import (
	"context"
	"crypto/tls"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func dialUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func TestAUnixSocketServesAsAPortDoes(t *testing.T) {
	r := start(t, Options{})
	dir := t.TempDir()
	own, all := filepath.Join(dir, "own:1"), filepath.Join(dir, "all")
	for path, protocol := range map[string]Protocol{own: RESP, all: Shared} {
		s := NewServer(Options{Logger: r.logger})
		addr, err := s.Listen(protocol, "listen", "unix:"+path, Security{})
		if err != nil {
			t.Fatal(err)
		}
		if got := FormatAddress(addr); got != "unix:"+path {
			t.Errorf("it listens on %q", got)
		}
		(&rig{Server: s, logs: r.logs}).echo(t, RESP)
		s.Start()
		conn := dialUnix(t, path)
		send(t, conn, "*1\r\n")
		receive(t, conn, "resp:*1\r\n")
		if infos := s.Conns(); len(infos) != 1 || infos[0].Protocol != RESP || infos[0].Local != path {
			t.Errorf("listed %+v", infos)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		s.Shutdown(ended)
		closedByServer(t, conn)
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("the socket is left behind: %v", err)
		}
	}
}

func TestAUnixSocketTakesTLS(t *testing.T) {
	a := newAuthority(t)
	path := filepath.Join(t.TempDir(), "socket")
	s := NewServer(Options{})
	if _, err := s.Listen(RESP, "listen", "unix:"+path, Security{TLS: serverFiles(a, t), Plain: true}); err != nil {
		t.Fatal(err)
	}
	r := &rig{Server: s, logs: &logs{}}
	r.echo(t, RESP)
	s.Start()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(ended)
	})
	secured := tls.Client(dialUnix(t, path), a.client("", ""))
	send(t, secured, "hello")
	receive(t, secured, "resp:hello")
	plain := dialUnix(t, path)
	send(t, plain, "hello")
	receive(t, plain, "resp:hello")
}

// leave makes the socket file of a process that is gone.
func leave(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
}

func TestASocketThatIsLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	leave(t, path)
	l, err := Bind("listen-etcd", "unix:"+path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
		}
	}()
	closedByServer(t, dialUnix(t, path))
}

func TestASocketInUseAndAnotherFileAreKept(t *testing.T) {
	dir := t.TempDir()
	used, file := filepath.Join(dir, "used"), filepath.Join(dir, "file")
	l, err := Bind("listen-etcd", "unix:"+used, false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, says := range map[string]string{
		used: "already in use", file: "no socket", filepath.Join(dir, "none", "socket"): "no such file",
	} {
		_, err := Bind("listen-etcd", "unix:"+path, false)
		if err == nil || !strings.Contains(err.Error(), "--listen-etcd: ") || !strings.Contains(err.Error(), path) ||
			!strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file has %q, %v", content, err)
	}
	if info, err := os.Lstat(used); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("the socket in use: %v, %v", info, err)
	}
	dialUnix(t, used)
}

func TestAPortIsSharedIfBothAskForIt(t *testing.T) {
	first, err := Bind("listen", "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Bind("listen", first.Addr().String(), true)
	if err != nil {
		t.Fatalf("with the option: %v", err)
	}
	second.Close()
	if third, err := Bind("listen", first.Addr().String(), false); err == nil {
		third.Close()
		t.Error("it is shared with one who did not ask")
	}
}

func TestATLSListenerOfItsOwnTakesTheClientsCertificates(t *testing.T) {
	a := newAuthority(t)
	files := serverFiles(a, t)
	plain, err := Bind("listen-metrics", "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	l := files.Listener(plain)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(conn, conn)
		}
	}()
	if got, err := askTLS(l.Addr().String(), a.client("", ""), "hello"); err != nil || got != "hello" {
		t.Errorf("answered %q, %v", got, err)
	}
}
