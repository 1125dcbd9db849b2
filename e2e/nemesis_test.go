package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The nemesis does to a cluster what machines, networks and operators do, one thing after the other, drawn from a seed.
// Clocks are left alone: no promise rests on the time of day, and what is measured is measured on the monotonic clock,
// which nothing from outside can turn.

// nemesis draws faults for a cluster under load.
type nemesis struct {
	*cluster
	t   testing.TB
	rng *rand.Rand
	did map[string]int
}

// fault is one kind of them: do breaks something and returns what mends it.
type fault struct {
	name   string
	weight int
	do     func(n *nemesis) (what string, mend func())
}

var allFaults = []fault{
	{"kill", 6, (*nemesis).killOne},
	{"kill-most", 2, (*nemesis).killMost},
	{"kill-all", 1, (*nemesis).killAll},
	{"pause", 4, (*nemesis).pauseSome},
	{"stall", 2, (*nemesis).stall},
	{"isolate", 4, (*nemesis).isolate},
	{"refuse", 2, (*nemesis).refuseOne},
	{"one-way", 4, (*nemesis).oneWay},
	{"halves", 2, (*nemesis).halves},
	{"bridge", 3, (*nemesis).bridge},
	{"slow-links", 2, (*nemesis).slowLinks},
	{"flap", 2, (*nemesis).flap},
	{"transfer", 3, (*nemesis).transfer},
	{"rolling-restart", 2, (*nemesis).rollingRestart},
	{"replace", 3, (*nemesis).replace},
	{"grow-shrink", 2, (*nemesis).growAndShrink},
	{"disk-full", 2, (*nemesis).diskFull},
}

func newNemesis(t testing.TB, c *cluster, seed uint64) *nemesis {
	return &nemesis{cluster: c, t: t, rng: rand.New(rand.NewPCG(seed, uint64(len(c.members)))), did: map[string]int{}}
}

// run draws faults until the time is over. After each the cluster has to come back by itself.
func (n *nemesis) run(duration time.Duration) {
	n.t.Helper()
	faults := allFaults
	if only := os.Getenv("TRIGLOT_FAULTS_ONLY"); only != "" {
		names := strings.Split(only, ",")
		faults = slices.DeleteFunc(slices.Clone(allFaults), func(f fault) bool { return !slices.Contains(names, f.name) })
	}
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for end := time.Now().Add(duration); time.Now().Before(end); {
		at := n.rng.IntN(total)
		var drawn fault
		for _, f := range faults {
			if at -= f.weight; at < 0 {
				drawn = f
				break
			}
		}
		hold := 500*time.Millisecond + time.Duration(n.rng.Int64N(int64(3500*time.Millisecond)))
		calm := 300*time.Millisecond + time.Duration(n.rng.Int64N(int64(time.Second)))
		what, mend := drawn.do(n)
		n.did[drawn.name]++
		n.note("%s: %s, for %v", drawn.name, what, hold.Round(time.Millisecond))
		<-time.After(hold)
		mend()
		n.heal()
		began := time.Now()
		n.awaitService()
		n.note("mended; served after %v", time.Since(began).Round(time.Millisecond))
		<-time.After(calm)
	}
	n.t.Logf("faults: %v", n.did)
}

// note writes to the test's log and to those of the members, so that they can be read side by side.
func (n *nemesis) note(format string, args ...any) {
	n.t.Helper()
	text := fmt.Sprintf("nemesis at %.0f ms: %s", float64(now())/1e6, fmt.Sprintf(format, args...))
	n.t.Log(text)
	for _, m := range n.all() {
		fmt.Fprintf(m.file, "--- %s %s\n", time.Now().Format(time.StampMilli), text)
	}
}

// awaitService returns when all members follow one leader, and each takes a write.
func (c *cluster) awaitService() {
	c.t.Helper()
	c.awaitLeader()
	for _, m := range c.all() {
		if !m.up.Load() {
			continue
		}
		eventually(c.t, "a write at "+m.name, func() error {
			ctx, cancel := contextFor(opPatience)
			defer cancel()
			_, err := pb.NewKVClient(m.admin).Put(ctx, &pb.PutRequest{Key: []byte("/service/" + m.name)})
			return err
		})
	}
}

// someone draws a member: half of the time the leader, if there is one.
func (n *nemesis) someone() *member {
	all := n.all()
	drawn := all[n.rng.IntN(len(all))]
	if n.rng.IntN(2) == 0 {
		if leader := n.leader(); leader != nil {
			return leader
		}
	}
	return drawn
}

// shuffled gives the members in a drawn order.
func (n *nemesis) shuffled() []*member {
	all := n.all()
	n.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func names(members []*member) string {
	var list []string
	for _, m := range members {
		list = append(list, m.name)
	}
	return strings.Join(list, " ")
}

// --- processes ---

func (n *nemesis) killThese(members ...*member) (string, func()) {
	for _, m := range members {
		n.kill(m)
	}
	return names(members), func() {
		for _, m := range members {
			n.spawn(m)
		}
		for _, m := range members {
			m.awaitPing()
		}
	}
}

func (n *nemesis) killOne() (string, func()) { return n.killThese(n.someone()) }

func (n *nemesis) killMost() (string, func()) {
	all := n.shuffled()
	return n.killThese(all[:len(all)/2+1]...)
}

func (n *nemesis) killAll() (string, func()) { return n.killThese(n.all()...) }

// pauseSome stops one process, or so many that there is no quorum.
func (n *nemesis) pauseSome() (string, func()) {
	members := []*member{n.someone()}
	if n.rng.IntN(3) == 0 {
		all := n.shuffled()
		members = all[:len(all)/2+1]
	}
	for _, m := range members {
		n.pause(m)
	}
	return names(members), func() {
		for _, m := range members {
			n.resume(m)
		}
	}
}

// stall stops a process again and again for a short while, which is what a disk that stalls looks like from outside.
func (n *nemesis) stall() (string, func()) {
	m := n.someone()
	pulses := 10 + n.rng.IntN(10)
	stopped := 30 * time.Millisecond * time.Duration(1+n.rng.IntN(8))
	for range pulses {
		n.pause(m)
		<-time.After(stopped)
		n.resume(m)
		<-time.After(stopped / 4)
	}
	return fmt.Sprintf("%s, %d times %v", m.name, pulses, stopped), func() {}
}

func (n *nemesis) rollingRestart() (string, func()) {
	order := n.shuffled()
	for _, m := range order {
		n.leave(m)
		n.start(m)
	}
	return names(order), func() {}
}

// diskFull makes every write of a member fail that would make a file longer, as a full disk does. The member has to end
// by itself, with what was acknowledged on its disk.
func (n *nemesis) diskFull() (string, func()) {
	m := n.someone()
	n.t.Helper()
	if err := m.limitFiles(); err != nil {
		n.t.Fatal(err)
	}
	return m.name, func() {
		n.kill(m) // if it had nothing to write it is still there
		n.start(m)
	}
}

// --- links ---

func (n *nemesis) cutBoth(a, b *member) {
	n.cut(a.name, b.name)
	n.cut(b.name, a.name)
}

// isolate cuts one member off.
func (n *nemesis) isolate() (string, func()) {
	m := n.someone()
	for _, other := range n.all() {
		if other != m {
			n.cutBoth(m, other)
		}
	}
	return m.name, func() {}
}

func (n *nemesis) refuseOne() (string, func()) {
	m := n.someone()
	for _, other := range n.all() {
		if other != m {
			n.refuse(m.name, other.name)
		}
	}
	return m.name, func() {}
}

// oneWay cuts one direction: what one member says to one or all others, or what it hears of them.
func (n *nemesis) oneWay() (string, func()) {
	m := n.someone()
	speaks, one := n.rng.IntN(2) == 0, n.rng.IntN(3) == 0
	what := map[bool]string{true: "does not reach", false: "does not hear"}[speaks]
	var cut []*member
	for _, other := range n.shuffled() {
		if other == m || one && len(cut) == 1 {
			continue
		}
		cut = append(cut, other)
		if speaks {
			n.cut(m.name, other.name)
		} else {
			n.cut(other.name, m.name)
		}
	}
	return fmt.Sprintf("%s %s %s", m.name, what, names(cut)), func() {}
}

// halves cuts the cluster in two, sometimes with the leader among the fewer, where it must not go on.
func (n *nemesis) halves() (string, func()) {
	all := n.shuffled()
	if leader := n.leader(); leader != nil && n.rng.IntN(2) == 0 {
		all = slices.DeleteFunc(all, func(m *member) bool { return m == leader })
		all = append([]*member{leader}, all...)
	}
	few, many := all[:(len(all)-1)/2], all[(len(all)-1)/2:]
	for _, a := range few {
		for _, b := range many {
			n.cutBoth(a, b)
		}
	}
	return names(few) + " | " + names(many), func() {}
}

// bridge cuts the cluster in two halves that have one member in common.
func (n *nemesis) bridge() (string, func()) {
	all := n.shuffled()
	middle := len(all) / 2
	for _, a := range all[:middle] {
		for _, b := range all[middle+1:] {
			n.cutBoth(a, b)
		}
	}
	return names(all[:middle]) + " | " + all[middle].name + " | " + names(all[middle+1:]), func() {}
}

func (n *nemesis) slowLinks() (string, func()) {
	delay := time.Duration(10+n.rng.IntN(150)) * time.Millisecond
	rate := int64(64<<10 + n.rng.IntN(1<<20))
	m := n.someone()
	for _, other := range n.all() {
		if other != m {
			n.slow(m.name, other.name, delay, rate)
			n.slow(other.name, m.name, delay, rate)
		}
	}
	return fmt.Sprintf("%s, %v, %d bytes/s", m.name, delay, rate), func() {}
}

// flap breaks connections that are made again at once.
func (n *nemesis) flap() (string, func()) {
	m := n.someone()
	times := 3 + n.rng.IntN(8)
	for range times {
		for _, other := range n.all() {
			n.breakConnections(m.name, other.name)
		}
		<-time.After(time.Duration(n.rng.IntN(150)) * time.Millisecond)
	}
	return fmt.Sprintf("%s, %d times", m.name, times), func() {}
}
