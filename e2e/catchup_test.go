package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Catching up: a new member receives the whole state as a snapshot while the cluster goes on serving.

const (
	catchupValue = 64 << 10
	catchupRate  = 1000 // writes a second, over all protocols
)

// fill stores so many bytes that cannot be compressed.
func (c *cluster) fill(bytes int64) {
	c.t.Helper()
	var filling sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for worker := range 8 {
		filling.Go(func() {
			rng := rand.NewChaCha8([32]byte{byte(worker)})
			value := make([]byte, catchupValue)
			members := c.all()
			kv := pb.NewKVClient(members[worker%len(members)].admin)
			for failed.Load() == nil {
				n := next.Add(1)
				if (n-1)*catchupValue >= bytes {
					return
				}
				_, _ = rng.Read(value)
				ctx, cancel := contextFor(patience)
				_, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "/fill/%08d", n), Value: value})
				cancel()
				if err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	filling.Wait()
	if err := failed.Load(); err != nil {
		c.t.Fatal(*err)
	}
}

// writes is a load at a rate, each write with a client of its own turn, and its slowest answers.
type writes struct {
	stop    chan struct{}
	running sync.WaitGroup
	count   atomic.Int64
	slowest atomic.Int64
	failed  atomic.Int64
	late    atomic.Int64 // turns that were left out, since all clients were busy
}

func (c *cluster) startWrites(rate int) *writes {
	c.t.Helper()
	w := &writes{stop: make(chan struct{})}
	turns := make(chan int64, 100)
	for i := range 48 {
		m := c.all()[i%3]
		client := []func() keyClient{
			func() keyClient { return newEtcdKeys(c.t, m.etcd) },
			func() keyClient { return newRedisKeys(m.resp) },
			func() keyClient { return newZKKeys(m.zk) },
		}[i/3%3]()
		key := fmt.Sprintf("/rate/%d", i)
		if _, _, err := newEtcdKeys(c.t, m.etcd).do(key, putOf("")); err != nil {
			c.t.Fatal(err)
		}
		deed := doPut
		if _, isZK := client.(*zkKeys); isZK {
			deed = doSet
		}
		w.running.Go(func() {
			defer client.close()
			for due := range turns {
				_, known, _ := client.do(key, keyInput{deed: deed, value: "some value of a few dozen bytes, as they are"})
				took := now() - due
				for old := w.slowest.Load(); took > old && !w.slowest.CompareAndSwap(old, took); old = w.slowest.Load() {
				}
				w.count.Add(1)
				if known != done {
					w.failed.Add(1)
				}
			}
		})
	}
	w.running.Go(func() {
		defer close(turns)
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-ticker.C:
			}
			for range rate / 100 {
				select {
				case turns <- now():
				default:
					w.late.Add(1)
				}
			}
		}
	})
	return w
}

// end stops the load and tells what it saw.
func (w *writes) end(t *testing.T, what string) {
	t.Helper()
	close(w.stop)
	w.running.Wait()
	t.Logf("%s: %d writes, the slowest took %v; %d failed, %d were not begun in time", what, w.count.Load(),
		time.Duration(w.slowest.Load()).Round(time.Millisecond), w.failed.Load(), w.late.Load())
	if w.failed.Load() > 0 {
		t.Errorf("%d of %d writes failed", w.failed.Load(), w.count.Load())
	}
}

func TestANewMemberCatchesUpWhileTheClusterServes(t *testing.T) {
	bytes := int64(environment(t, "TRIGLOT_CATCHUP_BYTES", 128<<20))
	// Little of the log is kept, so that a new member cannot do without a snapshot.
	c := startCluster(t, 3, "--catch-up-bytes", "1MiB", "--memtable-bytes", "8MiB")
	c.awaitService()
	c.fill(bytes)
	leader := c.awaitLeader()

	quiet := c.startWrites(catchupRate)
	<-time.After(2 * time.Second)
	quiet.end(t, "before")

	load := c.startWrites(catchupRate)
	began := time.Now()
	m := c.announceLearner(len(c.all()))
	c.spawn(m)
	// The stream is cut when about half of it has come; what has come must not be sent again.
	size := snapshotSize(t, leader)
	eventually(t, "half of the snapshot", func() error {
		if got := c.passed(leader.name, m.name); got < size/2 {
			return fmt.Errorf("%d bytes have come", got)
		}
		return nil
	})
	cut := c.passed(leader.name, m.name)
	c.breakConnections(leader.name, m.name)
	m.awaitPing()
	c.promote(m)
	caughtUp := time.Since(began)
	sent := c.passed(leader.name, m.name)
	load.end(t, "while it caught up")
	t.Logf("a snapshot of %d MiB: a vote after %v; %d MiB were sent, %d of them before the cut", size>>20, caughtUp.Round(time.Millisecond),
		sent>>20, cut>>20)
	if sent < cut+size/4 {
		t.Errorf("%d bytes of %d were sent, %d before the cut: it was no cut in the middle", sent, size, cut)
	}
	if sent > size*5/4 { // the log since then is in it too
		t.Errorf("%d bytes were sent of a snapshot of %d that was cut at %d: it began again", sent, size, cut)
	}
	c.awaitService()
	c.sameEverywhere()
}

// snapshotSize waits until a leader says that it sends a snapshot, and how large it is.
func snapshotSize(t *testing.T, leader *member) (bytes int64) {
	t.Helper()
	sending := regexp.MustCompile(`msg="sending a snapshot".* bytes=(\d+)`)
	eventually(t, "a snapshot", func() error {
		text, err := os.ReadFile(leader.file.Name())
		if err != nil {
			return err
		}
		found := sending.FindSubmatch(text)
		if found == nil {
			return fmt.Errorf("none is sent")
		}
		bytes, err = strconv.ParseInt(string(found[1]), 10, 64)
		return err
	})
	return bytes
}

// sameEverywhere compares the members' hashes of all keys at one revision.
func (c *cluster) sameEverywhere() {
	c.t.Helper()
	ctx, cancel := contextFor(patience)
	defer cancel()
	first := c.all()[0]
	r, err := pb.NewKVClient(first.admin).Range(ctx, &pb.RangeRequest{Key: []byte("/")})
	if err != nil {
		c.t.Fatal(err)
	}
	revision := r.Header.Revision
	var want *pb.HashKVResponse
	for _, m := range c.all() {
		if _, err := pb.NewKVClient(m.admin).Range(ctx, &pb.RangeRequest{Key: []byte("/")}); err != nil { // it is there by now
			c.t.Fatal(err)
		}
		got, err := pb.NewMaintenanceClient(m.admin).HashKV(ctx, &pb.HashKVRequest{Revision: revision})
		if err != nil {
			c.t.Fatalf("%s: %v", m.name, err)
		}
		if want == nil {
			want = got
		}
		if got.Hash != want.Hash || got.CompactRevision != want.CompactRevision {
			c.t.Errorf("at revision %d the hash of %s is %x (compacted %d), and that of %s is %x (compacted %d)", revision,
				first.name, want.Hash, want.CompactRevision, m.name, got.Hash, got.CompactRevision)
		}
	}
}
