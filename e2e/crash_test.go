package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// crash is a server that is killed again and again under the load of all three protocols, and what must be true of it.
type crash struct {
	*server
	gate    *gate
	reader  *clientv3.Client
	workers []*worker

	leased   string
	lease    clientv3.LeaseID
	sessions []ownedSession // each owns a node of its own from the first round to the last
	begins   []int64        // the first revision of each round
	started  time.Time      // not after the process that runs
	starting time.Duration  // until it served
}

// ownedSession is a ZooKeeper client and the session that it began with, which it must never lose.
type ownedSession struct {
	*zk.Conn
	id int64
}

func (s ownedSession) node() string { return fmt.Sprintf("/sessions/%x", s.id) }

// environment gives a number from a variable of the environment.
func environment(t testing.TB, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TRIGLOT_CRASH_ROUNDS says how often; TRIGLOT_CRASH_SEED brings back the same moments, as far as the machine does.
func TestNoKillLosesWhatWasAcknowledgedByAnyProtocol(t *testing.T) {
	t.Parallel() // with the faults, which leave the processors idle for half of their time
	rounds := int(environment(t, "TRIGLOT_CRASH_ROUNDS", 5))
	seed := environment(t, "TRIGLOT_CRASH_SEED", rand.Uint64())
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("%d rounds, TRIGLOT_CRASH_SEED=%d", rounds, seed)

	// Small memtables are flushed often, and with each flush goes a truncation of the log.
	c := &crash{server: startServer(t, "--memtable-bytes", "1MiB"), gate: newGate(), leased: "/etcd/leased"}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", c.log())
		}
	})
	c.gate.lift()
	c.reader = c.gate.etcd(t, c.etcd)
	for _, parent := range []string{"/zk", "/sessions"} {
		must[*clientv3.PutResponse](t)(c.reader.Put(testContext(t), parent, ""))
	}
	c.workers = append(c.etcdWorkers(t), c.redisWorkers(t)...)
	c.workers = append(c.workers, c.zkWorkers(t)...)
	for _, s := range c.sessions {
		must[string](t)(s.Create(s.node(), nil, zk.FlagEphemeral, open))
	}
	for round := range rounds {
		c.round(t, rng, round)
		if t.Failed() {
			t.FailNow()
		}
	}
}

func (c *crash) round(t *testing.T, rng *rand.Rand, round int) {
	c.begins = append(c.begins, c.revision(t)+1)
	before := max(0, round-1)
	replayed := c.begins[before]
	compacted := round%3 == 2
	if compacted {
		// History goes while the load and the kill come.
		must[*clientv3.CompactResponse](t)(c.reader.Compact(testContext(t), replayed))
	}
	mark := fmt.Sprintf("/mark-%d", round)
	_, _, marked, err := c.sessions[0].ExistsW(mark)
	if err != nil {
		t.Fatal(err)
	}
	enough := 1 + rng.Int64N(2500)
	l := startLoad(t, c.workers, round, enough)
	workersEnd := make(chan struct{})
	go func() { l.running.Wait(); close(workersEnd) }()
	select {
	case <-l.reached:
	case <-workersEnd:
	case <-time.After(patience):
		t.Errorf("only %d requests were answered", l.acks.Load())
	}
	l.over.Store(true)
	c.gate.drop()
	c.kill()

	if rng.IntN(3) == 0 {
		c.killWhileStarting(rng)
	}
	c.started = time.Now()
	c.start()
	c.starting = time.Since(c.started)
	c.gate.lift()
	select {
	case <-workersEnd:
	case <-time.After(patience):
		t.Fatal("a client did not come back")
	}

	within(t, func() {
		c.checkWorkers(t)
		c.checkLives(t)
		if _, err := c.reader.Get(testContext(t), "/x", clientv3.WithRev(replayed-1)); compacted && !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("a read before the compaction gave %v", err)
		}
		end := must[*clientv3.PutResponse](t)(c.reader.Put(testContext(t), mark, "")).Header.Revision
		if event := await(t, marked, "a watch set before the kill"); event.Type != zk.EventNodeCreated || event.Path != mark {
			t.Errorf("a watch set before the kill gave %+v", event)
		}
		c.checkHistory(t, before, end)
	})
	t.Logf("round %d: killed after %d answers, ready again in %v, checked after %v", round, enough,
		c.starting.Round(time.Millisecond), time.Since(c.started).Round(time.Millisecond))
}

// within fails the test when f, which may be at the mercy of a client that waits for ever, does not end.
func within(t *testing.T, f func()) {
	t.Helper()
	end := make(chan struct{})
	go func() {
		defer close(end) // also when f ends its goroutine with FailNow
		f()
	}()
	select {
	case <-end:
	case <-time.After(patience):
		t.Fatal("a client waits for ever")
	}
}

// killWhileStarting kills another process at a moment of its first steps: before it opens its files, while it replays
// its log, or shortly after it is ready.
func (c *crash) killWhileStarting(rng *rand.Rand) {
	c.spawn()
	process := c.process.Process
	time.AfterFunc(time.Duration(rng.Int64N(int64(c.starting*5/4)+1)), func() { _ = process.Kill() })
	<-c.exited
}

// revision is the present one.
func (c *crash) revision(t *testing.T) int64 {
	t.Helper()
	return must[*clientv3.GetResponse](t)(c.reader.Get(testContext(t), "/no-such-key")).Header.Revision
}

// together checks that keys hold one number, written at one revision, and gives it; 0 when they are absent.
func (c *crash) together(t *testing.T, keys []string) (n int64) {
	t.Helper()
	var gets []clientv3.Op
	for _, key := range keys {
		gets = append(gets, clientv3.OpGet(key))
	}
	var found []*mvccpb.KeyValue
	for _, r := range must[*clientv3.TxnResponse](t)(c.reader.Txn(testContext(t)).Then(gets...).Commit()).Responses {
		found = append(found, r.GetResponseRange().Kvs...)
	}
	if len(found) == 0 {
		return 0
	}
	if len(found) != len(keys) {
		t.Errorf("of %q only %d are there", keys, len(found))
	}
	n = number(t, keys[0], found[0].Value)
	for _, kv := range found {
		if m := number(t, string(kv.Key), kv.Value); m != n || kv.ModRevision != found[0].ModRevision {
			t.Errorf("%s holds %d of revision %d, %s holds %d of revision %d", keys[0], n, found[0].ModRevision, kv.Key, m, kv.ModRevision)
		}
	}
	return n
}

// checkWorkers looks for what was acknowledged and for halves of what was not, and has the workers go on from there.
func (c *crash) checkWorkers(t *testing.T) {
	t.Helper()
	present := c.revision(t)
	for _, w := range c.workers {
		n := w.stored(t)
		if n < w.acked || n > w.tried {
			t.Errorf("%s: %d is there; %d was acknowledged, %d was tried", w.name, n, w.acked, w.tried)
		}
		if present < w.revision {
			t.Errorf("the revision is %d, %s was told of %d", present, w.name, w.revision)
		}
		w.acked, w.tried = n, n
	}
}

// checkLives looks at what lives as long as a client: its time begins again with the process, and nothing of it is gone.
func (c *crash) checkLives(t *testing.T) {
	t.Helper()
	ctx := testContext(t)
	client := c.gate.redis(t, c.resp, 0)
	defer client.Close()
	full := func(key string, ttl time.Duration) {
		t.Helper()
		left := must[time.Duration](t)(client.PTTL(ctx, key).Result())
		if least := ttl - time.Since(c.started) - time.Millisecond; left < least || left > ttl {
			t.Errorf("%s has %v left, want at least %v of %v", key, left, least, ttl)
		}
	}
	lease := must[*clientv3.LeaseTimeToLiveResponse](t)(c.reader.TimeToLive(ctx, c.lease, clientv3.WithAttachedKeys()))
	if lease.GrantedTTL != leaseSeconds {
		t.Errorf("the lease was granted for %d s", lease.GrantedTTL)
	}
	if must[int64](t)(client.Exists(ctx, c.leased).Result()) == 1 {
		full(c.leased, leaseSeconds*time.Second)
		if len(lease.Keys) != 1 || string(lease.Keys[0]) != c.leased {
			t.Errorf("the keys of the lease are %q", lease.Keys)
		}
	}
	for _, s := range c.sessions {
		_, stat, err := s.Get(s.node())
		if s.SessionID() != s.id || err != nil || stat.EphemeralOwner != s.id {
			t.Errorf("session %x is now %x, its node %+v, %v", s.id, s.SessionID(), stat, err)
			continue
		}
		full(s.node(), sessionTimeout)
	}
}

// checkHistory has a watch replay what happened from a round on: no revision is missing but those of the private space,
// what belongs together is, and the numbers of each worker are without gap up to what is stored.
func (c *crash) checkHistory(t *testing.T, round int, to int64) {
	t.Helper()
	from := c.begins[round]
	owners := map[string]*worker{}
	for _, w := range c.workers {
		for _, key := range w.keys {
			owners[key] = w
		}
	}
	last := map[string]*mvccpb.KeyValue{}
	revision, numbers := from-1, map[string]int64{} // of this revision
	unseen := int64(0)
	complete := func() {
		for key, n := range numbers {
			for _, other := range owners[key].keys {
				if m, ok := numbers[other]; !ok || m != n {
					t.Errorf("revision %d sets %s to %d, and %s to %d (%v)", revision, key, n, other, m, ok)
				}
			}
		}
		clear(numbers)
	}
	for response := range c.reader.Watch(testContext(t), "", clientv3.WithPrefix(), clientv3.WithRev(from)) {
		if err := response.Err(); err != nil {
			t.Fatalf("the watch from revision %d: %v", from, err)
		}
		for _, e := range response.Events {
			if e.Kv.ModRevision != revision {
				complete()
				unseen += e.Kv.ModRevision - revision - 1
				if e.Kv.ModRevision <= revision {
					t.Fatalf("after revision %d the watch from %d gives %d: %s", revision, from, e.Kv.ModRevision, e)
				}
				revision = e.Kv.ModRevision
			}
			key := string(e.Kv.Key)
			if owners[key] == nil {
				continue
			}
			n := number(t, key, e.Kv.Value)
			if before := last[key]; before != nil && (n != number(t, key, before.Value)+1 || e.Kv.Version != before.Version+1) {
				t.Fatalf("revision %d sets %s to %d in version %d, after %d in version %d", revision, key, n, e.Kv.Version,
					number(t, key, before.Value), before.Version)
			}
			last[key], numbers[key] = e.Kv, n
		}
		if revision >= to {
			break
		}
	}
	complete()
	if revision != to {
		t.Errorf("the watch from %d ended at revision %d, want %d", from, revision, to)
	}
	private := int64(0)
	for _, w := range c.workers {
		if w.private {
			private += w.acked - w.firsts[round] + 1
		}
	}
	if unseen != private {
		t.Errorf("the watch from %d to %d leaves out %d revisions, and there were %d private changes", from, to, unseen, private)
	}
	for key, kv := range last {
		if n := number(t, key, kv.Value); n != owners[key].acked {
			t.Errorf("the last event of %s sets it to %d, it holds %d", key, n, owners[key].acked)
		}
	}
}
