package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Lives: keys that hang on a client. An etcd client keeps a lease, a ZooKeeper client a session with an ephemeral node, on
// whatever member answers; after a while it falls silent. Its key must not go before that, and must go after it.

const (
	lifeTTL  = 3 * time.Second
	lifeStep = 300 * time.Millisecond // between two signs of life
)

// lives are those that were begun.
type lives struct {
	*feeds
	mu  sync.Mutex // guards all
	all []life
}

func (f *faults) lifeLoad(w *feeds) {
	l := &lives{feeds: w}
	for place := range f.places {
		f.work(fmt.Sprintf("etcd@%d life", place), func(ctx context.Context, rng *rand.Rand, h *hand) {
			for n := 0; h.next(ctx, lifeStep); n++ {
				l.leased(ctx, rng, h, place, fmt.Sprintf("%slease%d-%d", feedPrefix, place, n))
			}
		})
		f.work(fmt.Sprintf("zk@%d life", place), func(ctx context.Context, rng *rand.Rand, h *hand) {
			for n := 0; h.next(ctx, lifeStep); n++ {
				l.ephemeral(ctx, rng, h, place, fmt.Sprintf("%ssession%d-%d", feedPrefix, place, n))
			}
		})
	}
	// The feed's own last step, its marker, has to come after the last of these deletes.
	f.mu.Lock()
	f.after = append([]func(){l.awaitEnds}, f.after...)
	f.mu.Unlock()
	f.finally(l.check)
}

// begin notes that a key may come and go.
func (l *lives) begin(key string) {
	l.feeds.mu.Lock()
	defer l.feeds.mu.Unlock()
	l.tried[feedEvent{key, false}], l.tried[feedEvent{key, true}] = true, true
}

func (l *lives) end(lived life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, lived)
}

// silence draws how long a client lives.
func silence(rng *rand.Rand) int64 {
	return now() + int64(time.Second) + rng.Int64N(int64(8*time.Second))
}

// leased is one life on a lease. Each sign of life goes to the next member if one does not answer.
func (l *lives) leased(ctx context.Context, rng *rand.Rand, h *hand, place int, key string) {
	var clients []pb.LeaseClient
	for _, at := range l.f.addresses {
		conn := dialEtcd(l.f.t, at.etcd)
		defer conn.Close()
		clients = append(clients, pb.NewLeaseClient(conn))
	}
	short := func() (context.Context, context.CancelFunc) {
		return contextFor(lifeTTL / 3)
	}
	within, cancel := short()
	defer cancel()
	begin := now()
	grant, err := clients[place].LeaseGrant(within, &pb.LeaseGrantRequest{TTL: int64(lifeTTL / time.Second)})
	if err != nil {
		h.count(refused, err)
		return
	}
	lived := life{key: key, until: begin + int64(lifeTTL)}
	conn := dialEtcd(l.f.t, l.f.addresses[place].etcd)
	defer conn.Close()
	l.begin(key)
	within, cancel = short()
	defer cancel()
	_, err = pb.NewKVClient(conn).Put(within, &pb.PutRequest{Key: []byte(key), Lease: grant.ID})
	if err != nil {
		h.count(etcdFate(err), nil) // also when the lease is over, after a long time without a leader
		return
	}
	for silent := silence(rng); now() < silent && h.next(ctx, lifeStep); {
		begin := now()
		ttl, err := keepAlive(clients[place], grant.ID)
		switch {
		case err != nil:
			h.count(refused, err)
			place = (place + 1) % len(clients)
		case ttl <= 0:
			// The lease is over: then it must have been longer than its time since the last sign.
			if now() < lived.until {
				l.f.violated("%s: the lease is said to be over, and its client could rely on it until %.3f ms", key, float64(lived.until)/1e6)
			}
			l.end(lived)
			return
		default:
			h.count(done, nil)
			lived.until = max(lived.until, begin+int64(lifeTTL))
		}
	}
	if rng.IntN(4) == 0 {
		within, cancel := short()
		defer cancel()
		_, _ = clients[place].LeaseRevoke(within, &pb.LeaseRevokeRequest{ID: grant.ID})
		lived.ended = true
	}
	l.end(lived)
}

// keepAlive renews a lease once.
func keepAlive(client pb.LeaseClient, id int64) (ttl int64, err error) {
	ctx, cancel := contextFor(lifeTTL / 3)
	defer cancel()
	stream, err := client.LeaseKeepAlive(ctx)
	if err != nil {
		return 0, err
	}
	if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: id}); err != nil {
		return 0, err
	}
	r, err := stream.Recv()
	if err != nil {
		return 0, err
	}
	return r.TTL, nil
}

// ephemeral is one life on a session, which moves to the next member when one does not answer.
func (l *lives) ephemeral(ctx context.Context, rng *rand.Rand, h *hand, place int, key string) {
	line := &zkLine{address: l.f.addresses[place].zk, timeout: lifeTTL}
	defer line.hangUp()
	create := &juteWriter{}
	create.text(key)
	create.text("")
	create.openACL()
	create.int(1)
	begin := now()
	l.begin(key)
	if _, err := line.ask(zkOps["create"], create); err != nil {
		h.count(zkFate(err), err)
		return
	}
	lived := life{key: key, until: begin + int64(zkReliance(lifeTTL))}
	look := &juteWriter{}
	look.text(key)
	look.bool(false)
	for silent := silence(rng); now() < silent && h.next(ctx, lifeStep); {
		begin := now()
		_, err := line.ask(zkOps["get"], look)
		switch {
		case err == nil:
			h.count(done, nil)
			lived.until = max(lived.until, begin+int64(zkReliance(lifeTTL)))
		case errors.Is(err, zkNoNode):
			l.f.violated("%s: the session %#x is served at %s, and its ephemeral node is not there", key, line.session, line.address)
			l.end(lived)
			return
		case line.gone || errors.Is(err, zkExpired):
			if now() < lived.until {
				l.f.violated("%s: the session %#x is said to be over, and its client could rely on it until %.3f ms", key, line.session, float64(lived.until)/1e6)
			}
			l.end(lived)
			return
		default:
			h.count(refused, err)
			line.hangUp()
			place = (place + 1) % len(l.f.addresses)
			line.address = l.f.addresses[place].zk
		}
	}
	if rng.IntN(4) == 0 {
		line.close()
		lived.ended = true
	}
	l.end(lived)
}

// awaitEnds waits until the keys of all that fell silent are gone.
func (l *lives) awaitEnds() {
	for _, prefix := range []string{"lease", "session"} {
		kv := pb.NewKVClient(dialEtcd(l.f.t, l.f.addresses[0].etcd))
		eventually(l.f.t, "the end of what hangs on clients that fell silent", func() error {
			ctx, cancel := contextFor(opPatience)
			defer cancel()
			from := feedPrefix + prefix
			r, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(from), RangeEnd: []byte(from + "\xff"), KeysOnly: true})
			if err == nil && len(r.Kvs) > 0 {
				err = fmt.Errorf("%d are still there, such as %s", len(r.Kvs), r.Kvs[0].Key)
			}
			return err
		})
	}
}

func (l *lives) check() {
	var worst time.Duration
	for _, lived := range l.all {
		end, gone := l.log.find(feedEvent{lived.key, true})
		outlived, err := checkLife(lived, end, gone)
		if err != nil {
			l.f.violated("%v", err)
		}
		if !lived.ended {
			worst = max(worst, outlived)
		}
	}
	l.f.t.Logf("%d lives of keys; the longest time that one outlived its client's is %v", len(l.all), worst.Round(time.Millisecond))
}
