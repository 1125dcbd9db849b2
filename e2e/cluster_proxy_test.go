package e2e

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// The proxies themselves: what they let through, and in whose name.

// startLink makes a proxy before a port of this process, through which this process, as member a, connects to member b.
func startLink(t *testing.T) (n *links, dial func() (near, far net.Conn)) {
	t.Helper()
	n = newLinks(t, func() map[string]int { return map[string]int{"a": os.Getpid()} })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	front := n.proxy("b", listener.Addr().String())
	return n, func() (near, far net.Conn) {
		t.Helper()
		near = must[net.Conn](t)(net.Dial("tcp", front))
		t.Cleanup(func() { near.Close() })
		accepted := make(chan net.Conn, 1)
		go func() {
			if conn, err := listener.Accept(); err == nil {
				accepted <- conn
			}
		}()
		far = await(t, accepted, "the connection")
		t.Cleanup(func() { far.Close() })
		return near, far
	}
}

// passes sends bytes and says whether they come within the time.
func passes(t *testing.T, from, to net.Conn, text string, within time.Duration) bool {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	return comes(to, text, within)
}

func comes(to net.Conn, text string, within time.Duration) bool {
	got := make([]byte, len(text))
	_ = to.SetReadDeadline(time.Now().Add(within))
	_, err := io.ReadFull(to, got)
	return err == nil && bytes.Equal(got, []byte(text))
}

func TestALinkIsCutInOneDirectionAndGivesEverythingOnceItIsWhole(t *testing.T) {
	n, dial := startLink(t)
	near, far := dial()
	if !passes(t, near, far, "one", patience) || !passes(t, far, near, "two", patience) {
		t.Fatal("a whole link holds bytes back")
	}
	n.cut("a", "b")
	if passes(t, near, far, "held", 50*time.Millisecond) {
		t.Error("a cut link lets bytes through")
	}
	if !passes(t, far, near, "three", patience) {
		t.Error("the other direction is cut too")
	}
	n.heal()
	if !comes(far, "held", patience) {
		t.Error("what was held did not come")
	}
	if n.passed("a", "b") != 7 || n.passed("b", "a") != 8 {
		t.Errorf("counted %d and %d bytes", n.passed("a", "b"), n.passed("b", "a"))
	}
}

func TestALinkThatRefusesClosesWhatIsThereAndWhatComes(t *testing.T) {
	n, dial := startLink(t)
	near, far := dial()
	n.refuse("a", "b")
	for _, end := range []net.Conn{near, far} {
		_ = end.SetReadDeadline(time.Now().Add(patience))
		if _, err := end.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("the connection is there: %v", err)
		}
	}
	n.mu.Lock()
	front := n.listeners[0].Addr().String()
	n.mu.Unlock()
	again := must[net.Conn](t)(net.Dial("tcp", front))
	defer again.Close()
	_ = again.SetReadDeadline(time.Now().Add(patience))
	if _, err := again.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("a new connection lives: %v", err)
	}
	n.heal()
	near, far = dial()
	if !passes(t, near, far, "one", patience) {
		t.Error("a healed link holds bytes back")
	}
}

func TestASlowLinkDelaysAndBounds(t *testing.T) {
	n, dial := startLink(t)
	near, far := dial()
	n.slow("a", "b", 80*time.Millisecond, 0)
	begin := time.Now()
	if !passes(t, near, far, "one", patience) || time.Since(begin) < 80*time.Millisecond {
		t.Errorf("bytes with a delay of 80 ms took %v", time.Since(begin))
	}
	n.slow("a", "b", 0, 64<<10)
	text := string(bytes.Repeat([]byte("x"), 32<<10))
	begin = time.Now()
	if !passes(t, near, far, text, patience) || time.Since(begin) < 200*time.Millisecond {
		t.Errorf("32 KiB at 64 KiB/s took %v", time.Since(begin))
	}
}
