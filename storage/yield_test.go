package storage

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

// On one processor somebody else gets a turn for every few rows, unless compactions are behind.
func TestOthersRunWhileTablesAreWritten(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const yields = 100
	turnsWhile := func(behind bool) int64 {
		db := &DB{}
		db.behind.Store(behind)
		w := yieldingFilter{bloom.FilterPolicy(10), db}.NewWriter(pebble.TableFilter)
		var turns, begun atomic.Int64
		var over atomic.Bool
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for !over.Load() {
				turns.Add(1)
				runtime.Gosched()
			}
		}()
		runtime.Gosched() // it is under way
		begun.Store(turns.Load())
		for range yields * yieldRows {
			w.AddKey([]byte("key"))
		}
		n := turns.Load() - begun.Load()
		over.Store(true)
		<-ended
		return n
	}
	if n := turnsWhile(false); n < yields/2 {
		t.Errorf("%d turns during %d rows", n, yields*yieldRows)
	}
	if n := turnsWhile(true); n > yields/10 {
		t.Errorf("%d turns although compactions are behind", n)
	}
}
