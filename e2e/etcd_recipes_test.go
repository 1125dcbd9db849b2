package e2e

import (
	"errors"
	"strconv"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// The recipes that etcd's own client library makes of leases, transactions and watches.

func etcdSession(t *testing.T, client *clientv3.Client) *concurrency.Session {
	t.Helper()
	return must[*concurrency.Session](t)(concurrency.NewSession(client, concurrency.WithContext(testContext(t))))
}

func TestEtcdsMutexExcludesAndIsFreedByTheEndOfItsSession(t *testing.T) {
	ctx, client := testContext(t), etcdClient(t, startServer(t).etcd)
	holder := etcdSession(t, client)
	held, wanted := concurrency.NewMutex(holder, "/lock"), concurrency.NewMutex(etcdSession(t, client), "/lock")
	if err := held.Lock(ctx); err != nil {
		t.Fatal(err)
	}
	if err := wanted.TryLock(ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Fatalf("a lock that is held: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- wanted.Lock(ctx) }()
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if err := wanted.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEtcdsElectionHasOneLeaderAtATimeAndTellsOfTheNext(t *testing.T) {
	ctx, client := testContext(t), etcdClient(t, startServer(t).etcd)
	first, second := concurrency.NewElection(etcdSession(t, client), "/elect"), concurrency.NewElection(etcdSession(t, client), "/elect")
	if _, err := first.Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Fatalf("before the first campaign: %v", err)
	}
	if err := first.Campaign(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	leaders := second.Observe(ctx)
	expectLeader := func(want string) {
		t.Helper()
		if r, ok := <-leaders; !ok || string(r.Kvs[0].Value) != want {
			t.Fatalf("the leader is %v, want %s", r.Kvs, want)
		}
	}
	expectLeader("one")
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	if err := first.Proclaim(ctx, "uno"); err != nil {
		t.Fatal(err)
	}
	expectLeader("uno")
	if err := first.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-won; err != nil {
		t.Fatal(err)
	}
	expectLeader("two")
}

func TestEtcdsTransactionalMemoryLosesNoUpdate(t *testing.T) {
	ctx, client := testContext(t), etcdClient(t, startServer(t).etcd)
	const writers, rounds = 4, 10
	var running sync.WaitGroup
	for range writers {
		running.Go(func() {
			for range rounds {
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					n, _ := strconv.Atoi(stm.Get("/counter")) // nothing is 0
					stm.Put("/counter", strconv.Itoa(n+1))
					return nil
				}, concurrency.WithAbortContext(ctx))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	r, err := client.Get(ctx, "/counter")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != strconv.Itoa(writers*rounds) {
		t.Errorf("the counter is %v, %v", r, err)
	}
}
