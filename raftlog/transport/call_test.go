package transport

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/triglot/triglot/raftlog"
)

func TestAQuestionIsAnswered(t *testing.T) {
	a, b := pair(t, Options{MessageBytesMax: 8 << 20})
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			answer, err := a.Call(t.Context(), 2, []byte("how are you"))
			if err != nil || string(answer) != "1 to 2: how are you" {
				t.Errorf("answered %q, %v", answer, err)
			}
		})
	}
	asking.Wait()
	b.node.serve = func(_ context.Context, _ uint64, request []byte) []byte { return request }
	large := bytes.Repeat([]byte("large"), 1<<20)
	if answer, err := a.Call(t.Context(), 2, large); err != nil || !bytes.Equal(answer, large) {
		t.Errorf("%d bytes answered with %d, %v", len(large), len(answer), err)
	}
	if _, err := a.Call(t.Context(), 2, make([]byte, 9<<20)); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("a question that is too large: %v", err)
	}
}

func TestAQuestionEndsWithItsContext(t *testing.T) {
	a, b := pair(t, Options{})
	asked := make(chan struct{}, 1)
	b.node.serve = func(ctx context.Context, _ uint64, _ []byte) []byte {
		asked <- struct{}{}
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.Call(ctx, 2, nil)
		done <- err
	}()
	await(t, "the question", asked)
	cancel()
	if err := await(t, "the end", done); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

func TestAQuestionToAMemberThatIsAwayFails(t *testing.T) {
	a, b := pair(t, Options{})
	address := b.opts.Listeners[0].Addr().String()
	b.Stop()
	if _, err := a.Call(t.Context(), 2, nil); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("answered %v", err)
	}
	again := start(t, newNode(2), Options{Listeners: []net.Listener{listen(t, address)}})
	a.log.await(t, "connected to member", 2)
	again.SetPeers([]raftlog.Peer{a.peer()})
	again.log.await(t, "connected to member", 1)
	// The connection for questions is made anew in the background, and reports that it is not there until then.
	for {
		if answer, err := a.Call(t.Context(), 2, nil); err == nil {
			if string(answer) != "1 to 2: " {
				t.Errorf("answered %q", answer)
			}
			return
		}
	}
}

func TestWhoeverIsAtAnAddressDescribesItself(t *testing.T) {
	b := start(t, newNode(2), Options{})
	l := listen(t, "127.0.0.1:0")
	stranger, err := New(Options{Listeners: []net.Listener{l}}) // not started, and of no cluster
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Stop()
	if text, err := stranger.Describe(t.Context(), b.url); err != nil || string(text) != "member 2 of cluster c1" {
		t.Errorf("described as %q, %v", text, err)
	}
	nobody := listen(t, "127.0.0.1:0")
	nobody.Close()
	_, err = stranger.Describe(t.Context(), "http://"+nobody.Addr().String())
	if !errors.Is(err, raftlog.ErrUnreachable) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = stranger.Describe(ctx, b.url); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPeerURLsAreChecked(t *testing.T) {
	for _, c := range []struct {
		url     string
		withTLS bool
		want    string // the address, or a part of the error
	}{
		{"http://a:1", false, "tcp a:1"},
		{"https://a:1", true, "tcp a:1"},
		{"http://[::1]:2380/", false, "tcp [::1]:2380"},
		{"http://a:1", true, "called by https"},
		{"https://a:1", false, "--peer-cert-file"},
		{"a:1", false, "http://host:port"},
		{"http://a", false, "http://host:port"},
		{"http://a:1/path", false, "http://host:port"},
		{"http://u@a:1", false, "http://host:port"},
		{"unix://a:1", false, "unix a:1"},
		{"unix:///run/a", false, "unix /run/a"},
		{"unixs://b/a:1", true, "unix b/a:1"},
		{"unix://a:1", true, "called by unixs"},
		{"unixs://a:1", false, "--peer-cert-file"},
		{"unix:a", false, "unix://path"},
		{"ftp://a:1", false, "scheme"},
		{"", false, "http://host:port"},
	} {
		at, err := parseURL(c.url, c.withTLS)
		got := at.network + " " + at.address
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || err != nil && !strings.Contains(got, `"`+c.url+`"`) {
			t.Errorf("%s: %s", c.url, got)
		}
	}
}
