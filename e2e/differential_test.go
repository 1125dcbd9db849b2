package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// The differential tests send the same requests to this server and to the real peer of a protocol, and compare the
// replies. The peer is the judge. Where a reply may rightly differ, the rule that says so is in the test, with its
// reason.

// randomSource is seeded anew in each run, so that many runs see much; a failure is repeated with the seed it logs.
func randomSource(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("TRIGLOT_SEED"); given != "" {
		seed = must[uint64](t)(strconv.ParseUint(given, 10, 64))
	}
	t.Logf("to repeat this run: TRIGLOT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// pick draws one of some things.
func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// chance is true in one of n cases.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// startPeer runs a server of a peer until the test ends, and returns when it listens on an address.
func startPeer(t testing.TB, address string, command *exec.Cmd) {
	t.Helper()
	log := must[*os.File](t)(os.Create(filepath.Join(t.TempDir(), "log")))
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // nothing of it is kept
		<-exited
		log.Close()
	})
	for deadline := time.Now().Add(patience); ; {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
		case <-time.After(5 * time.Millisecond): // nothing tells when a port opens
			if time.Now().Before(deadline) {
				continue
			}
		}
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("%s did not start: %v\n%s", command.Path, err, text)
	}
}

// clip shortens what would drown a failure's message.
func clip(s string) string {
	const shown = 2000
	if len(s) > shown {
		return fmt.Sprintf("%s… (%d bytes)", s[:shown], len(s))
	}
	return s
}
