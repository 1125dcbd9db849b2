package core

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLeasesGetTheirWholeTimeFromWhenTheNodeIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ended := make(chan time.Duration, 1)
		var l *lessor
		l = newLessor(func(_ context.Context, over []leaseChange, _ uint64) {
			for _, c := range over {
				l.remove(c.id)
			}
			ended <- time.Since(begin)
		})
		l.grant(leaseChange{id: 1, ttlMillis: 4000})
		<-time.After(time.Minute) // a replay that takes longer than the lease
		l.lead(1)
		ctx, cancel := context.WithCancel(t.Context())
		go l.run(ctx, 1)
		if at := <-ended; at != time.Minute+4*time.Second {
			t.Errorf("the lease ended after %v, want 4 s after the node was ready", at)
		}
		cancel()
		synctest.Wait()
	})
}
