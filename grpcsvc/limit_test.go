package grpcsvc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestSharedLimitsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &limits{timeout: 7 * time.Second}
		for range 20 {
			began := time.Now()
			ctx := l.shared()
			if ctx.Err() != nil {
				t.Fatal("a limit that is over was handed out")
			}
			go func() {
				<-ctx.Done()
				took := time.Since(began)
				if took < 7*time.Second || took > 8*time.Second {
					t.Errorf("ended after %v", took)
				}
				wantStatus(t, "cause", context.Cause(ctx), rpctypes.ErrGRPCTimeout)
			}()
			<-time.After(300 * time.Millisecond) // of the bubble's own time
		}
		<-time.After(10 * time.Second)
	})
}

func TestLimitedContextEndsOnlyWhenSomebodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := &limited{Context: context.Background(), timeout: time.Second}
		defer ctx.release()
		<-time.After(time.Minute)
		if ctx.Err() != nil {
			t.Error("ended although nobody waited")
		}
		began := time.Now()
		<-ctx.Done()
		if took := time.Since(began); took != time.Second {
			t.Errorf("ended after %v", took)
		}
		wantStatus(t, "status", statusIn(ctx, ctx.Err()), rpctypes.ErrGRPCTimeout)
	})
	parent, cancel := context.WithCancel(context.Background())
	ctx := &limited{Context: parent, timeout: time.Hour}
	defer ctx.release()
	cancel()
	<-ctx.Done()
	if ctx.Err() != context.Canceled {
		t.Errorf("canceled: %v", ctx.Err())
	}
}
