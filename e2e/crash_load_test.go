package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/redis/go-redis/v9"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The load of the crash test: workers that write ever higher numbers, and know which were acknowledged.

// gate holds back the connections of clients while the server is down, so that each comes back the moment it is up.
type gate struct {
	mu   sync.Mutex    // guards open
	open chan struct{} // closed while connections may be made
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) lift() { close(g.passage()) }

func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) passage() chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	select {
	case <-g.passage():
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gatedHost is the host provider of a ZooKeeper client that has a gate: the library's own waits a second before it tries
// a server again.
type gatedHost struct{ address string }

func (h *gatedHost) Init(servers []string) error { h.address = servers[0]; return nil }
func (h *gatedHost) Len() int                    { return 1 }
func (h *gatedHost) Next() (string, bool)        { return h.address, false }
func (h *gatedHost) Connected()                  {}

func (g *gate) etcd(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{address}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return g.dial(ctx, "tcp", address)
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (g *gate) redis(t testing.TB, address string, db int) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: address, DB: db, Dialer: g.dial, MaxRetries: -1, PoolSize: 1, DialTimeout: patience, ReadTimeout: patience})
	t.Cleanup(func() { c.Close() })
	return c
}

func (g *gate) zk(t testing.TB, address string, timeout time.Duration) *zk.Conn {
	t.Helper()
	over, end := context.WithCancel(context.Background())
	dial := func(network, address string, _ time.Duration) (net.Conn, error) {
		return g.dial(over, network, address)
	}
	c, events, err := zk.Connect([]string{address}, timeout, zk.WithLogger(quietLogger{}), zk.WithLogInfo(false),
		zk.WithDialer(dial), zk.WithHostProvider(&gatedHost{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); end() })
	for await(t, events, "a ZooKeeper session").State != zk.StateHasSession {
	}
	return c
}

// worker writes numbers without a gap, several at a time if it likes, and is the only one that writes where it does.
type worker struct {
	name string
	// write writes the numbers from first to last. It tells the last one that was acknowledged, also beside an error, and
	// the highest revision that an answer showed.
	write func(first, last int64) (acked, revision int64, err error)
	// stored checks that what is there belongs together, and gives the last number.
	stored func(t *testing.T) int64
	begin  func(t *testing.T, round int) // before each round; nil for nothing
	span   int64                         // numbers of one write
	keys   []string                      // of the shared space: each write of a number writes them all, at one revision

	// Only the worker's goroutine touches these while it runs.
	tried, acked, first int64 // numbers; first of this round
	revision            int64 // the highest that was acknowledged

	firsts  []int64 // of each round
	private bool    // its changes, one for each number, are out of the watch's sight, though each takes a revision
}

// load is what runs in one round.
type load struct {
	t       *testing.T
	running sync.WaitGroup
	over    atomic.Bool // the server is about to be killed: an error ends a worker, and so does the next answer
	acks    atomic.Int64
	enough  int64
	reached chan struct{} // closed at the enough-th acknowledgement
}

func startLoad(t *testing.T, workers []*worker, round int, enough int64) *load {
	l := &load{t: t, enough: enough, reached: make(chan struct{})}
	for _, w := range workers {
		w.first = w.acked + 1
		w.firsts = append(w.firsts, w.first)
		if w.begin != nil {
			w.begin(t, round)
		}
	}
	for _, w := range workers {
		l.running.Go(func() { l.run(w) })
	}
	return l
}

// run is a worker's round. A request that was held back by the gate is carried out after the restart; it is the last one.
func (l *load) run(w *worker) {
	for !l.over.Load() {
		first := w.tried + 1
		w.tried += w.span
		acked, revision, err := w.write(first, w.tried)
		w.acked = max(w.acked, acked)
		if revision != 0 && revision <= w.revision {
			l.t.Errorf("%s: number %d was acknowledged at revision %d, one before at %d", w.name, acked, revision, w.revision)
		}
		w.revision = max(w.revision, revision)
		if err != nil {
			if !l.over.Load() || !lostConnection(err) {
				l.t.Errorf("%s: writing %d to %d: %v", w.name, first, w.tried, err)
			}
			return
		}
		if l.acks.Add(1) == l.enough {
			close(l.reached)
		}
	}
}

// lostConnection says whether an error is about a connection, and so leaves open what became of the request.
func lostConnection(err error) bool {
	var network net.Error
	return errors.Is(err, zk.ErrConnectionClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) || status.Code(err) == codes.Unavailable
}

// value is a number with something behind it, so that values have all lengths.
func value(n int64) string { return fmt.Sprintf("%d %0*d", n, n%1500+1, 0) }

func number(t *testing.T, key string, value []byte) (n int64) {
	t.Helper()
	digits, _, _ := strings.Cut(string(value), " ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		t.Errorf("%s holds %.40q", key, value)
	}
	return n
}

const leaseSeconds, sessionTimeout = 600, 30 * time.Second

// etcdWorkers are a guarded Txn over three keys, one of them leased, and plain puts.
func (c *crash) etcdWorkers(t *testing.T) []*worker {
	txns, puts := c.gate.etcd(t, c.etcd), c.gate.etcd(t, c.etcd)
	ctx := context.Background()
	c.lease = must[*clientv3.LeaseGrantResponse](t)(txns.Grant(ctx, leaseSeconds)).ID
	txn := &worker{name: "etcd Txn", span: 1, keys: []string{"/etcd/a", "/etcd/b", c.leased}}
	txn.write = func(n, _ int64) (int64, int64, error) {
		v := value(n)
		r, err := txns.Txn(ctx).If(clientv3.Compare(clientv3.Version("/etcd/a"), "=", n-1)).
			Then(clientv3.OpPut("/etcd/a", v), clientv3.OpPut("/etcd/b", v), clientv3.OpPut(c.leased, v, clientv3.WithLease(c.lease))).
			Commit()
		if err != nil {
			return 0, 0, err
		}
		if !r.Succeeded {
			return 0, 0, fmt.Errorf("the version of /etcd/a is not %d", n-1)
		}
		return n, r.Header.Revision, nil
	}
	txn.stored = func(t *testing.T) int64 {
		n := c.together(t, txn.keys)
		for _, kv := range must[*clientv3.GetResponse](t)(c.reader.Get(testContext(t), c.leased)).Kvs {
			if kv.Lease != int64(c.lease) {
				t.Errorf("%s has lease %x, want %x", kv.Key, kv.Lease, c.lease)
			}
		}
		return n
	}
	put := &worker{name: "etcd puts", span: 1, keys: []string{"/etcd/put"}}
	put.write = func(n, _ int64) (int64, int64, error) {
		r, err := puts.Put(ctx, "/etcd/put", value(n))
		if err != nil {
			return 0, 0, err
		}
		return n, r.Header.Revision, nil
	}
	put.stored = func(t *testing.T) int64 { return c.together(t, put.keys) }
	return []*worker{txn, put}
}

// redisWorkers are MULTI over two keys, a counter and a list; pipelines of SET; and a list and a counter in a private
// space, one after the other.
func (c *crash) redisWorkers(t *testing.T) []*worker {
	ctx := context.Background()

	exec, list := c.gate.redis(t, c.resp, 0), ""
	multi := &worker{name: "MULTI", span: 1, keys: []string{"/redis/a", "/redis/b", "/redis/count"}}
	multi.begin = func(_ *testing.T, round int) { list = fmt.Sprintf("/redis/list-%d", round) }
	multi.write = func(n, _ int64) (int64, int64, error) {
		var count, length *redis.IntCmd
		_, err := exec.TxPipelined(ctx, func(p redis.Pipeliner) error {
			v := value(n)
			p.Set(ctx, "/redis/a", v, 0)
			length = p.RPush(ctx, list, v)
			count = p.Incr(ctx, "/redis/count")
			p.Set(ctx, "/redis/b", v, 0)
			return nil
		})
		if err == nil && (count.Val() != n || length.Val() != n-multi.first+1) {
			err = fmt.Errorf("the counter is %d and the list has %d elements, the first being %d", count.Val(), length.Val(), multi.first)
		}
		if err != nil {
			return 0, 0, err
		}
		return n, 0, nil
	}
	multi.stored = func(t *testing.T) int64 {
		n := c.together(t, multi.keys)
		if last := c.contiguous(t, exec, list, multi.first); last != n {
			t.Errorf("the list ends with %d, the keys of the same MULTI hold %d", last, n)
		}
		return n
	}

	pipe := &worker{name: "pipelined SET", span: 8, keys: []string{"/redis/pipe"}}
	piped := c.gate.redis(t, c.resp, 0)
	pipe.write = func(first, last int64) (acked, _ int64, err error) {
		replies, err := piped.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := first; n <= last; n++ {
				p.Set(ctx, "/redis/pipe", value(n), 0)
			}
			return nil
		})
		for i, reply := range replies {
			if reply.Err() == nil && reply.(*redis.StatusCmd).Val() == "OK" {
				acked = first + int64(i)
			}
		}
		return acked, 0, err
	}
	pipe.stored = func(t *testing.T) int64 { return c.together(t, pipe.keys) }

	own, ownList := c.gate.redis(t, c.resp, 1), ""
	private := &worker{name: "private space", span: 2, private: true}
	private.begin = func(_ *testing.T, round int) { ownList = fmt.Sprintf("list-%d", round) }
	private.write = func(first, last int64) (int64, int64, error) {
		if err := own.RPush(ctx, ownList, value(first), value(last)).Err(); err != nil {
			return 0, 0, err
		}
		total, err := own.IncrBy(ctx, "count", 2).Result()
		if err == nil && total != last {
			err = fmt.Errorf("the counter is %d, want %d", total, last)
		}
		if err != nil {
			return 0, 0, err
		}
		return last, 0, nil
	}
	private.stored = func(t *testing.T) int64 {
		last := c.contiguous(t, own, ownList, private.first)
		total, err := own.Get(ctx, "count").Int64()
		if err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		switch total {
		case last:
		case last - 2: // the push was carried out, the increment never sent or lost on the way
			if err := own.IncrBy(ctx, "count", 2).Err(); err != nil {
				t.Error(err)
			}
			if total < private.acked {
				t.Errorf("the counter says %d, %d was acknowledged", total, private.acked)
			}
		default:
			t.Errorf("the counter says %d, the list ends with %d", total, last)
		}
		return last
	}
	return []*worker{multi, pipe, private}
}

// contiguous checks that a list holds the numbers from first on, and gives the last.
func (c *crash) contiguous(t *testing.T, client *redis.Client, list string, first int64) (last int64) {
	t.Helper()
	ctx := testContext(t)
	values := must[[]string](t)(client.LRange(ctx, list, 0, -1).Result())
	if length := must[int64](t)(client.LLen(ctx, list).Result()); length != int64(len(values)) {
		t.Errorf("%s: LLEN is %d, LRANGE gives %d", list, length, len(values))
	}
	last = first - 1
	for i, v := range values {
		last++
		if v != value(last) {
			t.Fatalf("%s: element %d is %.20q, want %d", list, i, v, last)
		}
	}
	return last
}

// zkWorkers are a multi that sets two nodes and replaces an ephemeral one, and sequential nodes.
func (c *crash) zkWorkers(t *testing.T) []*worker {
	session := c.gate.zk(t, c.zk, sessionTimeout)
	c.sessions = append(c.sessions, ownedSession{session, session.SessionID()})
	ephemeral := func(n int64) string { return "/zk/ephemeral-" + strconv.FormatInt(n, 10) }
	multi := &worker{name: "multi", span: 1, keys: []string{"/zk/a", "/zk/b"}}
	for _, key := range multi.keys {
		must[string](t)(session.Create(key, []byte("0"), 0, open))
	}
	must[string](t)(session.Create(ephemeral(0), nil, zk.FlagEphemeral, open))
	multi.write = func(n, _ int64) (int64, int64, error) {
		v := []byte(value(n))
		results, err := session.Multi(
			&zk.SetDataRequest{Path: "/zk/a", Data: v, Version: int32(n - 1)},
			&zk.CreateRequest{Path: ephemeral(n), Data: v, Acl: open, Flags: zk.FlagEphemeral},
			&zk.DeleteRequest{Path: ephemeral(n - 1), Version: -1},
			&zk.SetDataRequest{Path: "/zk/b", Data: v, Version: int32(n - 1)},
		)
		if err != nil {
			return 0, 0, err
		}
		for i, r := range results {
			if r.Error != nil {
				return 0, 0, fmt.Errorf("item %d: %w", i, r.Error)
			}
		}
		if results[0].Stat.Mzxid != results[3].Stat.Mzxid || results[1].String != ephemeral(n) {
			return 0, 0, fmt.Errorf("the answers do not belong together: %+v", results)
		}
		return n, results[0].Stat.Mzxid, nil
	}
	multi.stored = func(t *testing.T) int64 {
		n := c.together(t, multi.keys)
		_, a, err := session.Get("/zk/a")
		if err != nil {
			t.Fatal(err)
		}
		names, _, err := session.Children("/zk")
		if err != nil {
			t.Fatal(err)
		}
		names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, "ephemeral-") })
		if len(names) != 1 || "/zk/"+names[0] != ephemeral(n) {
			t.Errorf("after multi %d the ephemeral nodes are %q", n, names)
			return n
		}
		if _, stat, err := session.Get(ephemeral(n)); err != nil || stat.EphemeralOwner != session.SessionID() || n > 0 && stat.Czxid != a.Mzxid {
			t.Errorf("the ephemeral node is %+v, %v; want owner %#x, zxid %#x", stat, err, session.SessionID(), a.Mzxid)
		}
		return n
	}

	creator := c.gate.zk(t, c.zk, sessionTimeout)
	c.sessions = append(c.sessions, ownedSession{creator, creator.SessionID()})
	sequence, dir := &worker{name: "sequential nodes", span: 1}, ""
	sequence.begin = func(t *testing.T, round int) {
		dir = fmt.Sprintf("/zk/seq-%d", round)
		must[string](t)(creator.Create(dir, nil, 0, open))
	}
	node := func(n int64) string { return fmt.Sprintf("%s/n-%010d", dir, n-sequence.first) }
	sequence.write = func(n, _ int64) (int64, int64, error) {
		path, err := creator.Create(dir+"/n-", []byte(value(n)), zk.FlagSequence, open)
		if err == nil && path != node(n) {
			err = fmt.Errorf("node %d is %s, want %s", n, path, node(n))
		}
		if err != nil {
			return 0, 0, err
		}
		return n, 0, nil
	}
	sequence.stored = func(t *testing.T) int64 {
		names, stat, err := creator.Children(dir)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		last := sequence.first - 1
		for _, name := range names {
			last++
			data, _, err := creator.Get(dir + "/" + name)
			if err != nil || dir+"/"+name != node(last) || string(data) != value(last) {
				t.Fatalf("%s/%s holds %.20q, %v; want %s with %d", dir, name, data, err, node(last), last)
			}
		}
		if int(stat.NumChildren) != len(names) || int(stat.Cversion) != len(names) {
			t.Errorf("%s has %d children and says %+v", dir, len(names), stat)
		}
		return last
	}
	return []*worker{multi, sequence}
}
