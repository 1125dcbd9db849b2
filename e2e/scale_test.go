package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// residentMax is what the process may take, whatever the number of keys.
const residentMax = 400 << 20

// TestAMillionKeysTakeNoMoreMemoryThanAFew takes a minute for each million: TRIGLOT_SCALE=1000000 asks for it.
func TestAMillionKeysTakeNoMoreMemoryThanAFew(t *testing.T) {
	keys := int64(environment(t, "TRIGLOT_SCALE", 0))
	if keys == 0 {
		t.Skip("TRIGLOT_SCALE says no number of keys")
	}
	s := startServer(t)
	begin := time.Now()
	loadKeys(t, s, keys)
	t.Logf("%d keys of 256 bytes loaded in %v", keys, time.Since(begin).Round(time.Millisecond))
	s.checkMemory(t, "after the load")

	for _, end := range []struct {
		name string
		f    func()
	}{{"SIGTERM", s.stop}, {"kill -9", s.kill}} {
		begin := time.Now()
		end.f()
		t.Logf("%s: ended in %v, data of %d MiB", end.name, time.Since(begin).Round(time.Millisecond), s.dataBytes(t)>>20)
		begin = time.Now()
		s.start()
		t.Logf("%s: served again after %v", end.name, time.Since(begin).Round(time.Millisecond))
		s.checkMemory(t, "at once after "+end.name)
		checkKeys(t, s, keys)
		s.checkMemory(t, "after reads after "+end.name)
		if end.name == "SIGTERM" {
			// Something for the log to replay after the kill.
			loadKeys(t, s, keys/10)
			s.checkMemory(t, "after writing a tenth again")
		}
	}
}

func scaleKey(i int64) string { return fmt.Sprintf("/scale/%010d", i) }

// scaleValue is 256 bytes that do not compress, and differ from key to key.
func scaleValue(i int64) []byte {
	random := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(i >> 24), byte(i >> 32)})
	value := make([]byte, 256)
	_, _ = random.Read(value)
	return value
}

// loadKeys puts keys in an order that is not theirs, in Txns of a hundred.
func loadKeys(t *testing.T, s *server, keys int64) {
	t.Helper()
	const perTxn, connections, perConnection = 100, 4, 4
	order := func(i int64) int64 { return i * 7919 % keys } // 7919 is prime
	if keys%7919 == 0 {
		t.Fatal("choose another number of keys")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var next atomic.Int64
	var running sync.WaitGroup
	for range connections {
		client := etcdClient(t, s.etcd)
		for range perConnection {
			running.Go(func() {
				for ctx.Err() == nil {
					from := next.Add(perTxn) - perTxn
					var puts []clientv3.Op
					for i := from; i < min(from+perTxn, keys); i++ {
						key := order(i)
						puts = append(puts, clientv3.OpPut(scaleKey(key), string(scaleValue(key))))
					}
					if len(puts) == 0 {
						return
					}
					if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
						t.Error(err)
						cancel()
					}
				}
			})
		}
	}
	running.Wait()
}

func checkKeys(t *testing.T, s *server, keys int64) {
	t.Helper()
	ctx := testContext(t)
	if n := must[int64](t)(redisClient(t, s.resp).DBSize(ctx).Result()); n != keys {
		t.Errorf("DBSIZE is %d, want %d", n, keys)
	}
	client := etcdClient(t, s.etcd)
	for range 1000 {
		i := rand.Int64N(keys)
		kvs := must[*clientv3.GetResponse](t)(client.Get(ctx, scaleKey(i))).Kvs
		if len(kvs) != 1 || !bytes.Equal(kvs[0].Value, scaleValue(i)) {
			t.Fatalf("%s is not what was put", scaleKey(i))
		}
	}
	from := rand.Int64N(keys)
	if kvs := must[*clientv3.GetResponse](t)(client.Get(ctx, scaleKey(from), clientv3.WithFromKey(), clientv3.WithLimit(1000))).Kvs; int64(len(kvs)) != min(1000, keys-from) {
		t.Errorf("a range from %s has %d keys", scaleKey(from), len(kvs))
	}
}

// checkMemory reads what the system says of the process.
func (s *server) checkMemory(t *testing.T, when string) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		t.Skip("this system does not tell the memory of a process: ", err)
	}
	mib := func(field string) (n int64) {
		_, rest, _ := strings.Cut(string(status), field+":")
		if _, err := fmt.Sscan(rest, &n); err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		return n >> 10 // the system tells kB
	}
	resident, peak := mib("VmRSS"), mib("VmHWM")
	t.Logf("%s: %d MiB resident, at most %d MiB so far", when, resident, peak)
	if resident<<20 > residentMax {
		t.Errorf("%s: %d MiB are resident, want at most %d", when, resident, residentMax>>20)
	}
}

func (s *server) dataBytes(t *testing.T) (total int64) {
	t.Helper()
	err := filepath.WalkDir(s.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}
