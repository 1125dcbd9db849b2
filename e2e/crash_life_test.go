package e2e

import (
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What was to end soon ends after the restart instead: what hangs on a client gets its whole time once more, to come back
// in; what hangs on the clock does not.
func TestWhatWasToEndEndsAfterAKill(t *testing.T) {
	const ttl = 2 * time.Second
	s := startServer(t, "--zk-min-session-timeout", "1s")
	g, held := newGate(), newGate()
	g.lift()
	held.lift()
	ctx := testContext(t)
	etcd, redis := g.etcd(t, s.etcd), g.redis(t, s.resp, 0)
	begin := must[*clientv3.PutResponse](t)(etcd.Put(ctx, "/begin", "")).Header.Revision
	lease := must[*clientv3.LeaseGrantResponse](t)(etcd.Grant(ctx, int64(ttl.Seconds())))
	must[*clientv3.PutResponse](t)(etcd.Put(ctx, "/leased", "", clientv3.WithLease(lease.ID)))
	// This one does not come back: its gate stays down.
	must[string](t)(held.zk(t, s.zk, ttl).Create("/ephemeral", nil, zk.FlagEphemeral, open))
	must[string](t)(redis.Set(ctx, "/deadline", "", ttl).Result())
	deadline := time.Now().Add(ttl)

	g.drop()
	held.drop()
	s.kill()
	started := time.Now()
	s.start()
	g.lift()

	ended := map[string]time.Time{}
	for response := range etcd.Watch(ctx, "/", clientv3.WithPrefix(), clientv3.WithRev(begin)) {
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range response.Events {
			if e.Type == mvccpb.DELETE {
				ended[string(e.Kv.Key)] = time.Now()
			}
		}
		if len(ended) == 3 {
			break
		}
	}
	for _, key := range []string{"/leased", "/ephemeral"} {
		if lived := ended[key].Sub(started); lived < ttl {
			t.Errorf("%s lived for %v after the restart, want %v", key, lived, ttl)
		}
	}
	if early := deadline.Sub(ended["/deadline"]); early > 10*time.Millisecond { // of two clocks' rounding
		t.Errorf("/deadline ended %v early", early)
	}
	if n := must[int64](t)(redis.Exists(ctx, "/leased", "/ephemeral", "/deadline").Result()); n != 0 {
		t.Errorf("%d of the three are still there", n)
	}
}
