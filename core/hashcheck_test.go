package core

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// checkEvery makes the leader compare the replicas often.
func checkEvery(interval time.Duration) func(*Config) {
	return func(cfg *Config) { cfg.HashCheckInterval = interval }
}

// outcomes counts the checks that every member has done, and waits for some more.
func (c *testCluster) awaitChecks(more int) {
	c.t.Helper()
	done := func(n *clusterNode) (ids []uint64) {
		n.checks.mu.Lock()
		defer n.checks.mu.Unlock()
		for _, check := range n.checks.known {
			select {
			case <-check.done:
				ids = append(ids, check.id)
			default:
			}
		}
		return ids
	}
	for _, n := range c.nodes {
		seen := map[uint64]bool{}
		c.await("hash checks", func() bool {
			for _, id := range done(n) {
				seen[id] = true
			}
			return len(seen) >= more
		})
	}
}

// alter changes what a member has stored, behind the log's back.
func (n *clusterNode) alter(t *testing.T, change func(b *storage.Batch)) {
	t.Helper()
	b := n.db.NewBatch()
	defer b.Discard()
	change(b)
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestAReplicaThatCameApartIsFound(t *testing.T) {
	for name, change := range map[string]func(b *storage.Batch){
		"a value": func(b *storage.Batch) {
			record := storage.Record{Kind: storage.KindBytes, CreateRevision: 2, ModRevision: 2, Version: 1, Value: []byte("other")}
			b.Set(storage.CurrentKey(nil, 0, []byte("k0")), record.Append(nil))
		},
		"a row too few": func(b *storage.Batch) { b.Delete(storage.ScanKey(nil, 0, 2, []byte("k0"))) },
		"an old version": func(b *storage.Batch) {
			lower, upper := storage.LogBounds(2)
			it := b.Scan(lower, upper)
			it.Next()
			key, value := slices.Clone(it.Key()), slices.Clone(it.Value())
			it.Close()
			value[len(value)-1] ^= 1
			b.Set(key, value)
		},
		"the state row": func(b *storage.Batch) { b.State().Counts[3]++ },
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 3, func(t *testing.T, c *testCluster) {
				for i := range 5 {
					c.do(0, putOp(fmt.Sprint("k", i), "v"))
				}
				c.checkReplicas()
				wrong := c.follower()
				id := c.nodes[wrong].MemberID()
				c.nodes[wrong].alter(t, change)
				for _, n := range c.nodes {
					c.await("the alarm", func() bool { return slices.Equal(n.Alarms(), []Alarm{{AlarmCorrupt, id}}) })
				}
				// It is mended by taking the member out, and the others go on.
				if err := c.nodes[c.leader()].MemberRemove(context.Background(), id); err != nil {
					t.Fatal(err)
				}
				c.stop(wrong)
				c.do(c.others(wrong)[0], putOp("k", "v"))
			}, checkEvery(10*time.Second))
		})
	}
}

// The leader's own copy is the wrong one: the others are the majority.
func TestALeaderThatCameApartIsFound(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		c.do(0, putOp("k", "v"))
		c.checkReplicas()
		leader := c.leader()
		id := c.nodes[leader].MemberID()
		c.nodes[leader].alter(t, func(b *storage.Batch) { b.Delete(storage.CurrentKey(nil, 0, []byte("k"))) })
		for _, n := range c.nodes {
			c.await("the alarm", func() bool { return slices.Equal(n.Alarms(), []Alarm{{AlarmCorrupt, id}}) })
		}
	}, checkEvery(10*time.Second))
}

// Replicas that write, compact and purge, each in its own time, and one that is away for a while, are equal all along.
func TestEqualReplicasRaiseNoAlarm(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		stop := make(chan struct{})
		var writing sync.WaitGroup
		for w := range 3 {
			writing.Go(func() {
				random := rand.New(rand.NewPCG(uint64(w), 1))
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					case <-time.After(time.Duration(random.IntN(20)) * time.Millisecond):
					}
					key := fmt.Sprint("/k", random.IntN(30))
					ops := []*corepb.Op{
						putOp(key, fmt.Sprint(n)),
						{Op: &corepb.Op_ListPush{ListPush: &corepb.ListPush{Key: []byte("list"), Values: [][]byte{[]byte(key)}}}},
						{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("short"), TtlMillis: 30}}},
						{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte(key)}}},
						{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: random.Int64N(50) + 1, TtlMillis: 40}}},
					}
					_, _ = c.nodes[w].Do(context.Background(), oneOp(ops[random.IntN(len(ops))]))
				}
			})
		}
		for round := range 6 {
			leader := c.nodes[c.leader()]
			_, _ = leader.Do(context.Background(), oneOp(&corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: leader.Revision() - 5}}}))
			if round == 3 {
				c.cut(c.follower())
			}
			<-time.After(3 * time.Second)
			c.net.Heal()
		}
		close(stop)
		writing.Wait()
		c.awaitChecks(3)
		for _, n := range c.nodes {
			if got := n.Alarms(); len(got) != 0 {
				t.Errorf("there are the alarms %v", got)
			}
		}
	}, checkEvery(time.Second))
}

func TestHashesAreJudgedByTheMajority(t *testing.T) {
	answer := func(id, hash uint64) memberHash {
		return memberHash{member: Member{ID: id}, state: &corepb.StateHash{AppliedIndex: 9, Hash: hash}}
	}
	silent := func(id uint64) memberHash { return memberHash{member: Member{ID: id}, err: ErrNoLeader} }
	for what, test := range map[string]struct {
		hashes []memberHash
		wrong  []uint64
	}{
		"all equal":                     {[]memberHash{answer(1, 7), answer(2, 7), answer(3, 7)}, nil},
		"one differs":                   {[]memberHash{answer(1, 7), answer(2, 7), answer(3, 8)}, []uint64{3}},
		"the leader differs":            {[]memberHash{answer(1, 8), answer(2, 7), answer(3, 7)}, []uint64{1}},
		"no majority":                   {[]memberHash{answer(1, 7), answer(2, 8), answer(3, 9)}, []uint64{2, 3}},
		"two answer, and differ":        {[]memberHash{answer(1, 7), answer(2, 8), silent(3)}, []uint64{2}},
		"only the leader answers":       {[]memberHash{answer(1, 7), silent(2), silent(3)}, nil},
		"the leader has none":           {[]memberHash{silent(1), answer(2, 7), answer(3, 8)}, nil},
		"the leader has none, most are": {[]memberHash{silent(1), answer(2, 7), answer(3, 7), answer(4, 8)}, []uint64{4}},
	} {
		wrong, _ := judgeHashes(test.hashes, 1)
		var ids []uint64
		for _, h := range wrong {
			ids = append(ids, h.member.ID)
		}
		if !slices.Equal(ids, test.wrong) {
			t.Errorf("%s: wrong are %v, want %v", what, ids, test.wrong)
		}
	}
}

func TestHashAtIsTheSameOnEveryMember(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		ctx := context.Background()
		for i := range 40 {
			c.do(i%3, putOp(fmt.Sprint("k", i%7), fmt.Sprint(i)))
		}
		c.do(0, &corepb.Op{Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("k3")}}})
		c.do(0, &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: 20}}})
		c.checkReplicas()
		if err := c.nodes[1].WaitPurged(ctx, 20); err != nil { // the others may or may not have
			t.Fatal(err)
		}
		want, compacted, at, err := c.nodes[0].HashAt(ctx, 30)
		if err != nil || compacted != 20 || at != 30 {
			t.Fatalf("compacted %d at %d: %v", compacted, at, err)
		}
		for i := range 30 {
			c.do(0, putOp(fmt.Sprint("k", i%9), "later"))
		}
		c.do(0, &corepb.Op{Op: &corepb.Op_Expire{Expire: &corepb.Expire{Key: []byte("k1"), Relative: true, TtlMillis: 1000_000}}})
		c.checkReplicas()
		for i, n := range c.nodes {
			if got, _, _, err := n.HashAt(ctx, 30); err != nil || got != want {
				t.Errorf("member %d: %x, want %x; %v", i, got, want, err)
			}
			if got, _, at, err := n.HashAt(ctx, 0); err != nil || got == want || at != n.Revision() {
				t.Errorf("member %d: %x at %d; %v", i, got, at, err)
			}
			_, _, _, err := n.HashAt(ctx, 19)
			wantCode(t, err, CodeCompacted)
			_, _, _, err = n.HashAt(ctx, n.Revision()+1)
			wantCode(t, err, CodeFutureRevision)
		}
	})
}
