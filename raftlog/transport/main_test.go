package transport

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain checks, after all tests, that nothing of this package runs any more. What a context ends ends without anyone to wait
// for it: hence the repeated look.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && !quiet() {
		code = 1
	}
	os.Exit(code)
}

func quiet() bool {
	ticks := time.NewTicker(10 * time.Millisecond)
	defer ticks.Stop()
	var left string
	for range 500 {
		if left = strayGoroutines("raftlog/transport."); left == "" {
			return true
		}
		<-ticks.C
	}
	fmt.Fprintf(os.Stderr, "goroutines that did not end:\n%s\n", left)
	return false
}

// strayGoroutines gives the stacks of other goroutines that have one of the parts in them.
func strayGoroutines(parts ...string) string {
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	var found []string
	for _, g := range strings.Split(string(stacks), "\n\n")[1:] {
		for _, part := range parts {
			if strings.Contains(g, part) && !strings.Contains(g, "testing.tRunner") && !strings.Contains(g, "testing.(*M)") {
				found = append(found, g)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}
