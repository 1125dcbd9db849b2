package e2e

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// A rolling restart, such as an upgrade is: each client goes on at its member, trying again what was refused or cut off.
// Nothing acknowledged is lost, and no error is one that trying again does not heal.
func TestARollingRestartLosesNothing(t *testing.T) {
	c := startCluster(t, 3)
	c.awaitService()
	stop := make(chan struct{})
	var running sync.WaitGroup
	var writers []*steadyWriter
	for i, m := range c.all() {
		for protocol, client := range map[string]keyClient{
			"etcd": newEtcdKeys(t, m.etcd), "redis": newRedisKeys(m.resp), "zk": newZKKeys(m.zk),
		} {
			w := &steadyWriter{key: fmt.Sprintf("/rolling-%s-%d", protocol, i), protocol: protocol, client: client}
			if _, _, err := newEtcdKeys(t, m.etcd).do(w.key, putOf("0")); err != nil {
				t.Fatal(err)
			}
			writers = append(writers, w)
			running.Go(func() { w.run(t, stop) })
		}
	}
	for _, m := range c.all() {
		c.leave(m)
		c.start(m)
		c.awaitService()
	}
	close(stop)
	running.Wait()
	reader := newEtcdKeys(t, c.all()[0].etcd)
	total, again := int64(0), 0
	for _, w := range writers {
		out, _, err := reader.do(w.key, read)
		if n, _ := strconv.ParseInt(out.after.value, 10, 64); err != nil || n < w.acked {
			t.Errorf("%s is %d, and %d was acknowledged (%v)", w.key, n, w.acked, err)
		}
		total, again = total+w.acked, again+w.again
		w.client.close()
	}
	t.Logf("%d writes, %d of them tried again", total, again)
	c.sameEverywhere()
}

// steadyWriter writes growing numbers, each until it is acknowledged.
type steadyWriter struct {
	key, protocol string
	client        keyClient
	acked         int64
	again         int
}

func (w *steadyWriter) run(t *testing.T, stop <-chan struct{}) {
	expected := map[string]func(error) bool{"etcd": etcdExpected, "redis": redisExpected, "zk": zkExpected}[w.protocol]
	deed := doPut
	if w.protocol == "zk" {
		deed = doSet
	}
	for n := int64(1); ; n++ {
		began := time.Now()
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			out, known, err := w.client.do(w.key, keyInput{deed: deed, value: strconv.FormatInt(n, 10)})
			if known == done {
				if !out.took {
					t.Errorf("%s: writing %d: %v", w.key, n, out)
				}
				break
			}
			w.again++
			if !expected(err) {
				t.Errorf("%s: writing %d: %v", w.key, n, err)
				return
			}
			if time.Since(began) > patience {
				t.Errorf("%s: writing %d does not succeed: %v", w.key, n, err)
				return
			}
		}
		w.acked = n
	}
}
