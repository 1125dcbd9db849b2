package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Fail-over: how long no write succeeds after the leader is killed, in each protocol. The times are shown and not judged:
// they are the machine's as much as the program's. What must hold is that nothing acknowledged is lost.

// failWriter writes growing numbers to a key of its own and notes when each was acknowledged. It is the only one that
// writes there.
type failWriter struct {
	protocol, key string
	client        keyClient

	mu     sync.Mutex // guards all below
	acked  int64
	at     []time.Time // of the acknowledgements of this round
	errors map[string]int
}

func (w *failWriter) run(stop <-chan struct{}) {
	for n := int64(1); ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		deed := doPut
		if w.protocol == "zk" {
			deed = doSet
		}
		out, known, err := w.client.do(w.key, keyInput{deed: deed, value: strconv.FormatInt(n, 10)})
		w.mu.Lock()
		if known == done && out.took {
			w.acked = n
			w.at = append(w.at, time.Now())
		} else if err != nil {
			w.errors[fmt.Sprintf("%.90s", err.Error())]++
		}
		w.mu.Unlock()
	}
}

// since counts the acknowledgements after a moment.
func (w *failWriter) since(moment time.Time) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, at := range w.at {
		if at.After(moment) {
			n++
		}
	}
	return n
}

// gap is the longest time between two acknowledgements, from shortly before a moment on.
func (w *failWriter) gap(moment time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var last time.Time
	for _, at := range w.at {
		if !last.IsZero() && at.After(moment) {
			longest = max(longest, at.Sub(last))
		}
		last = at
	}
	w.at = nil
	return longest
}

func TestWritesResumeAfterTheLeaderIsKilled(t *testing.T) {
	rounds := int(environment(t, "TRIGLOT_FAILOVER_ROUNDS", 3))
	c := startCluster(t, 3)
	c.awaitService()
	gaps := map[string][]time.Duration{}
	errors := map[string]int{}
	for round := range rounds {
		leader := c.awaitLeader()
		var writers []*failWriter
		for i, m := range c.followers(leader) {
			for protocol, client := range map[string]keyClient{
				"etcd": newEtcdKeys(t, m.etcd), "redis": newRedisKeys(m.resp), "zk": newZKKeys(m.zk),
			} {
				key := fmt.Sprintf("/fail-%d-%s-%d", round, protocol, i)
				if _, _, err := newEtcdKeys(t, m.etcd).do(key, putOf("0")); err != nil {
					t.Fatal(err)
				}
				writers = append(writers, &failWriter{protocol: protocol, key: key, client: client, errors: errors})
			}
		}
		stop := make(chan struct{})
		var running sync.WaitGroup
		for _, w := range writers {
			w.errors = map[string]int{}
			running.Go(func() { w.run(stop) })
		}
		enough := func(since time.Time) {
			eventually(t, "writes of all", func() error {
				for _, w := range writers {
					if w.since(since) < 20 {
						return fmt.Errorf("%s has %d; %v", w.key, w.since(since), w.errors)
					}
				}
				return nil
			})
		}
		enough(time.Time{})
		killed := time.Now()
		c.kill(leader)
		c.awaitLeader()
		enough(time.Now())
		close(stop)
		running.Wait()
		for _, w := range writers {
			gaps[w.protocol] = append(gaps[w.protocol], w.gap(killed))
			for text, n := range w.errors {
				errors[w.protocol+": "+text] += n
			}
		}
		c.start(leader)
		c.awaitService()
		for _, w := range writers {
			w.client.close()
			for _, m := range c.all() {
				out, _, err := newEtcdKeys(t, m.etcd).do(w.key, read)
				n, _ := strconv.ParseInt(out.after.value, 10, 64)
				if err != nil || n < w.acked {
					t.Errorf("%s at %s is %d, and %d was acknowledged (%v)", w.key, m.name, n, w.acked, err)
				}
			}
		}
	}
	for protocol, all := range gaps {
		slices.Sort(all)
		t.Logf("fail-over, %s: without a write for %v (median of %d), %v at worst", protocol,
			all[len(all)/2].Round(time.Millisecond), len(all), all[len(all)-1].Round(time.Millisecond))
	}
	for text, n := range errors {
		t.Logf("%4d times %s", n, text)
	}
}
