package transport

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/triglot/triglot/raftlog"
)

// socket listens on a Unix socket with the given name.
func socket(t *testing.T, name string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMembersTalkOverUnixSockets(t *testing.T) {
	ca := newAuthority(t)
	for name, secured := range map[string]func() *TLSConfig{
		"plain": func() *TLSConfig { return nil },
		"TLS":   func() *TLSConfig { return ca.issue(t, ca) },
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, newNode(1), Options{Listeners: []net.Listener{socket(t, "127.0.0.1:1")}, TLS: secured()})
			b := start(t, newNode(2), Options{Listeners: []net.Listener{socket(t, "127.0.0.1:2")}, TLS: secured()})
			a.SetPeers([]raftlog.Peer{b.peer()})
			a.log.await(t, "connected to member", 1)
			if answer, err := a.Call(t.Context(), 2, []byte("hello")); err != nil || string(answer) != "1 to 2: hello" {
				t.Errorf("answered %q, %v", answer, err)
			}
		})
	}
}

func TestAMemberIsReachedAtEachOfItsListeners(t *testing.T) {
	places := []net.Listener{listen(t, "127.0.0.1:0"), socket(t, "second"), listen(t, "127.0.0.1:0")}
	b := start(t, newNode(2), Options{Listeners: places})
	a := start(t, newNode(1), Options{})
	for _, url := range []string{
		"http://" + places[0].Addr().String(), "unix://" + places[1].Addr().String(), "http://" + places[2].Addr().String(),
	} {
		if _, err := a.Describe(t.Context(), url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	b.Stop()
	for _, l := range places {
		if conn, err := net.Dial(l.Addr().Network(), l.Addr().String()); err == nil {
			conn.Close()
			t.Errorf("%s is still served", l.Addr())
		}
	}
}
