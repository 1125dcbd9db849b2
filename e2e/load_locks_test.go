package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Locks: one key is the lock of all three protocols. An etcd client creates it with a lease, a ZooKeeper client as an
// ephemeral node, a Redis client with SET NX PX. Work under the lock is guarded by it: it counts a number up without
// looking whether anybody else does.

const lockTTL = 3 * time.Second

// locker takes and gives back a lock through one protocol. It may be asked by one goroutine.
type locker interface {
	// take tells whether the lock was free, and until when its holder may rely on it if it is the holder now, which it
	// may also be when the fate is unknown.
	take(key, holder string) (took bool, until int64, f fate, err error)
	// count puts the number behind the one that is there, if the lock is still the holder's.
	count(key, holder, counter string) (n int64, took bool, err error)
	give(key, holder string) (took bool, f fate, err error)
	// look tells the holder; empty: none.
	look(key string) (holder string, err error)
	// abandon lets go of all that keeps the lock, without telling anybody, and begins anew.
	abandon()
	close()
}

func (f *faults) lockLoad(slots []*slot) {
	var holders atomic.Int64
	var counted sync.Map // counter and number, to the holder that was told so
	for place := range f.places {
		at := f.addresses[place]
		conn := dialEtcd(f.t, at.etcd)
		for name, l := range map[string]locker{
			"etcd":  &etcdLocker{kv: pb.NewKVClient(conn), leases: pb.NewLeaseClient(conn)},
			"redis": &redisLocker{bareRedis(at.resp)},
			"zk":    &zkLocker{line: &zkLine{address: at.zk, timeout: lockTTL}},
		} {
			f.work(fmt.Sprintf("%s@%d lock", name, place), func(ctx context.Context, rng *rand.Rand, w *hand) {
				defer l.close()
				for w.next(ctx, f.pace()+time.Duration(rng.IntN(20))*time.Millisecond) {
					s := slots[rng.IntN(len(slots))]
					u := s.take()
					f.lockOnce(ctx, w, u, l, fmt.Sprintf("h%d", holders.Add(1)), &counted, rng)
					s.give(u)
				}
			})
		}
	}
}

// lockOnce tries to take the lock, works, and gives it back, or forgets to.
func (f *faults) lockOnce(ctx context.Context, w *hand, u *use, l locker, holder string, counted *sync.Map, rng *rand.Rand) {
	if rng.IntN(3) == 0 {
		call := now()
		whose, err := l.look(u.key)
		known := done
		if err != nil {
			known = refused
		}
		u.add(w.name, call, lockInput{deed: "look"}, lockOutput{holder: whose}, known)
		w.count(known, err)
		return
	}
	call := now()
	took, until, known, err := l.take(u.key, holder)
	u.add(w.name, call, lockInput{"take", holder}, lockOutput{unknown: known == unknown, took: took}, known)
	w.count(known, err)
	end := func(returned int64) {
		u.addAt(w.name, until, returned, lockInput{"end", holder}, lockOutput{unknown: true})
	}
	if known == unknown {
		l.abandon()
		end(math.MaxInt64)
		return
	}
	if known == refused || !took {
		return
	}
	counter := u.key + "-work"
	n, still, err := l.count(u.key, holder, counter)
	if err == nil && still {
		if other, twice := counted.LoadOrStore([2]any{counter, n}, holder); twice {
			f.violated("%s and %s both counted %s up to %d under the lock\n%s", other, holder, counter, n, u)
		}
	}
	w.next(ctx, time.Duration(rng.IntN(10))*time.Millisecond)
	if rng.IntN(12) == 0 {
		l.abandon()
		end(math.MaxInt64)
		return
	}
	call = now()
	took, known, err = l.give(u.key, holder)
	u.add(w.name, call, lockInput{"give", holder}, lockOutput{unknown: known == unknown, took: took}, known)
	w.count(known, err)
	switch {
	case known == done && took:
	case known == done:
		end(max(now(), until)) // it was gone
	default:
		l.abandon()
		end(math.MaxInt64)
	}
}
