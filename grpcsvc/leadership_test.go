package grpcsvc

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// fakeLeaders is a cluster whose leader the test says.
type fakeLeaders struct {
	mu      sync.Mutex
	leader  uint64
	changed chan struct{}
}

func newFakeLeaders() *fakeLeaders { return &fakeLeaders{leader: 1, changed: make(chan struct{})} }

func (f *fakeLeaders) LeaderWatch() (uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader, f.changed
}

func (f *fakeLeaders) HasLeader() bool {
	leader, _ := f.LeaderWatch()
	return leader != 0
}

func (f *fakeLeaders) set(leader uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = leader
	close(f.changed)
	f.changed = make(chan struct{})
}

// idleStream is a server stream with nothing but a context.
type idleStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s idleStream) Context() context.Context { return s.ctx }

func withLeader(t *testing.T) context.Context {
	return metadata.NewIncomingContext(t.Context(),
		metadata.Pairs(rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader))
}

// openStream runs a stream that lasts until its context ends, and gives how it ended.
func (l *leadership) openStream(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() {
		ended <- l.stream(nil, idleStream{ctx: ctx}, nil, func(_ any, stream grpc.ServerStream) error {
			<-stream.Context().Done()
			return context.Cause(stream.Context())
		})
	}()
	return ended
}

func startLeadership(t *testing.T) (*fakeLeaders, *leadership) {
	leaders := newFakeLeaders()
	l := newLeadership(leaders, 3*time.Second)
	stopped := make(chan struct{})
	go l.run(stopped)
	t.Cleanup(func() { close(stopped) })
	return leaders, l
}

func TestStreamsThatWantALeaderOutliveAnElectionAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaders, l := startLeadership(t)
		dependent, other := l.openStream(withLeader(t)), l.openStream(t.Context())
		synctest.Wait()
		stillOpen := func(when string) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-dependent:
				t.Fatalf("%s: ended with %v", when, err)
			case err := <-other:
				t.Fatalf("%s: a stream that did not ask for a leader ended with %v", when, err)
			default:
			}
		}
		for range 3 { // elections
			leaders.set(0)
			<-time.After(2 * time.Second)
			stillOpen("in an election")
			leaders.set(2)
			<-time.After(2 * time.Second)
			stillOpen("after an election")
		}
		if lost, _ := l.watch(); lost {
			t.Error("lost by elections")
		}
		leaders.set(0)
		began := time.Now()
		wantStatus(t, "the leader is lost", <-dependent, rpctypes.ErrGRPCNoLeader)
		if took := time.Since(began); took != 3*time.Second { // of the bubble's own time
			t.Errorf("ended after %v", took)
		}
		lost, changed := l.watch()
		if !lost {
			t.Error("not lost")
		}
		leaders.set(1)
		<-changed
		again := l.openStream(withLeader(t))
		synctest.Wait()
		select {
		case err := <-again:
			t.Errorf("with a leader again: %v", err)
		case err := <-other:
			t.Errorf("a stream that did not ask for a leader ended with %v", err)
		default:
		}
	})
}

func TestCallsThatWantALeaderAreRefusedWithoutOne(t *testing.T) {
	leaders, l := startLeadership(t)
	call := func(ctx context.Context) error {
		_, err := l.unary(ctx, nil, nil, func(context.Context, any) (any, error) { return nil, nil })
		return err
	}
	for _, ctx := range []context.Context{t.Context(), withLeader(t)} {
		if err := call(ctx); err != nil {
			t.Errorf("with a leader: %v", err)
		}
	}
	leaders.set(0)
	if err := call(t.Context()); err != nil {
		t.Errorf("a call that did not ask for a leader: %v", err)
	}
	wantStatus(t, "a call", call(withLeader(t)), rpctypes.ErrGRPCNoLeader)
	wantStatus(t, "a stream", <-l.openStream(withLeader(t)), rpctypes.ErrGRPCNoLeader)
}
