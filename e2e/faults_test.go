package e2e

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// Clients of all three protocols at every member, on the same keys, while the nemesis is at work. What they were answered
// is checked as they go and at the end: keys, lists and locks by porcupine against their models, feeds and lives by their
// rules (model_*_test.go).

// faultFlags let the load see more in less time.
var faultFlags = []string{"--resp-notify-keyspace-events", "KEA", "--zk-min-session-timeout", "1s"}

// faultTime is how long the nemesis is at work in both tests of faults together, half of it in each. They run at the same
// time, since most of it is waiting.
func faultTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("TRIGLOT_FAULTS")
	if text == "" {
		return time.Minute
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("TRIGLOT_FAULTS: %v", err)
	}
	return duration
}

// The whole load on one member, where nothing goes wrong: the checkers themselves must be content with it.
func TestOneMemberAnswersInAnOrder(t *testing.T) {
	s := startServer(t, faultFlags...)
	f := newFaults(t, []*server{s, s}, rand.Uint64())
	f.startLoad()
	<-time.After(3 * time.Second)
	f.rest()
}

// The proof that all this notices what is wrong: with local reads, and a follower that lags, Redis clients are shown old
// values. That is what the flag is for, and the checkers have to find it.
func TestOldValuesAreNoticed(t *testing.T) {
	c := startCluster(t, 3, append([]string{"--resp-local-reads"}, faultFlags...)...)
	c.awaitService()
	follower := c.followers(c.awaitLeader())[0]
	var addresses []*server
	for _, m := range c.all() {
		addresses = append(addresses, m.server)
		c.slow(m.name, follower.name, 200*time.Millisecond, 0)
	}
	f := newFaults(t, addresses, rand.Uint64())
	f.expected = true
	f.makeParents()
	f.keyLoad(f.slots(6, "/f/register", 100, keyModel))
	select {
	case <-f.first:
	case <-time.After(patience): // chance decides who reads what: this is many times what one finding takes
	}
	c.heal()
	f.rest()
	if f.broken.Load() == 0 {
		t.Error("nothing was noticed")
	}
	t.Logf("%d keys are in no order", f.broken.Load())
}

// Here little of the log is kept: who was away for long needs a snapshot.
func TestThreeMembersAnswerInAnOrderUnderFaults(t *testing.T) {
	underFaults(t, 3, faultTime(t)/2, "--catch-up-bytes", "1MiB", "--memtable-bytes", "1MiB")
}

// Here members give up soon: many requests fail that would succeed if they waited, and each must say rightly whether it
// can have been carried out.
func TestFiveMembersAnswerInAnOrderUnderFaults(t *testing.T) {
	underFaults(t, 5, faultTime(t)/2, "--request-timeout", "1s")
}

// underFaults runs the load and the nemesis. TRIGLOT_FAULTS_SEED draws the faults of an earlier run again; what they hit
// is up to the machine.
func underFaults(t *testing.T, size int, duration time.Duration, flags ...string) {
	t.Parallel()
	seed := environment(t, "TRIGLOT_FAULTS_SEED", rand.Uint64())
	t.Logf("%d members, %v of faults, TRIGLOT_FAULTS_SEED=%d", size, duration, seed)
	c := startCluster(t, size, append(flags, faultFlags...)...)
	var addresses []*server
	for _, m := range c.all() {
		addresses = append(addresses, m.server)
	}
	c.awaitService()
	f := newFaults(t, addresses, seed)
	c.lastWords = f.violations
	f.startLoad()
	newNemesis(t, c, seed).run(duration)
	c.awaitService()
	f.rest()
}

func (f *faults) startLoad() {
	f.makeParents()
	f.keyLoad(f.slots(3, "/f/register", 250, keyModel))
	f.countLoad(f.slots(2, "/f/counter", 250, keyModel))
	f.pairLoad(f.slots(2, "/f/pair", 150, keyModel))
	f.listLoad(f.slots(2, "/f/list", 200, listModel))
	f.lockLoad(f.slots(2, "/f/lock", 200, lockModel))
	feeds := f.feedLoad()
	f.lifeLoad(feeds)
	f.pipeLoad(feeds)
}

// makeParents creates the nodes below which ZooKeeper clients create others.
func (f *faults) makeParents() {
	f.t.Helper()
	c := newEtcdKeys(f.t, f.addresses[0].etcd)
	for _, parent := range []string{"/f", "/w"} {
		if _, _, err := c.do(parent, putOf("")); err != nil {
			f.t.Fatal(err)
		}
	}
}
