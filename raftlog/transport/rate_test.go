package transport

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// allowance lets through what a test says.
type allowance struct {
	asked chan int
	leave chan struct{}
}

func (a *allowance) WaitN(ctx context.Context, n int) error {
	a.asked <- n
	select {
	case <-a.leave:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestSnapshotsAskForLeaveForEveryByte(t *testing.T) {
	limit := &allowance{make(chan int), make(chan struct{})}
	a, b := pair(t, Options{SnapshotBytesPerSecond: 1 << 20}, func(tr *Transport) { tr.limiter = limit })
	place := &staging{}
	b.node.receiveSnapshot = place.receive
	s := newState(2, 500_000)
	done := sendState(a, snap(1, 2, 7), s)
	asked := int64(0)
	for total := totalBytes(s.Files()); asked < total; {
		n := await(t, "a request for leave", limit.asked)
		if n <= 0 || n > chunkBytes(1<<20) {
			t.Fatalf("leave for %d bytes at a time", n)
		}
		if read := s.reads.Load(); read > asked {
			t.Fatalf("%d bytes were read with leave for %d", read, asked)
		}
		asked += int64(n)
		limit.leave <- struct{}{}
	}
	if err := await(t, "the end", done); err != nil {
		t.Fatal(err)
	}
}

// All snapshots that leave a member share one rate, from the first second on.
func TestTheRateOfSnapshotsIsShared(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	tr, err := New(Options{Listeners: []net.Listener{l}, SnapshotBytesPerSecond: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Stop()
	limiter := tr.limiter.(*rate.Limiter)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		const seconds = 10
		var senders sync.WaitGroup
		for range 4 {
			senders.Go(func() {
				chunk := chunkBytes(1 << 20)
				for sent := 0; sent+chunk <= seconds<<20/4; sent += chunk {
					if err := limiter.WaitN(t.Context(), chunk); err != nil {
						t.Error(err)
					}
				}
			})
		}
		senders.Wait()
		if took := time.Since(began); took < (seconds-1)*time.Second || took > (seconds+1)*time.Second {
			t.Errorf("%d MiB took %s at 1 MiB/s", seconds, took)
		}
	})
}

func TestChunksFollowTheRate(t *testing.T) {
	for rate, want := range map[int64]int{0: 256 << 10, 1: 4 << 10, 1 << 20: 104857, 1 << 30: 256 << 10} {
		if got := chunkBytes(rate); got != want {
			t.Errorf("%d bytes at %d/s", got, rate)
		}
	}
}
