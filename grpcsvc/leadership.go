package grpcsvc

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/triglot/triglot/grpcsvc/h2"
)

// Clients may ask, by metadata, to be served only while there is a leader, so that those who are cut off with a minority
// find another member. A call that begins without a leader is refused; a stream that is open is ended once the leader has
// been missing for longer than an election takes, since an election is no reason to build all watches anew.

// leaders is what tells who leads.
type leaders interface {
	// LeaderWatch gives the leader, 0 when there is none, and a channel that is closed when that changes.
	LeaderWatch() (leader uint64, changed <-chan struct{})
	HasLeader() bool
}

// leadership follows the leader for the streams that depend on one.
type leadership struct {
	leaders  leaders
	patience time.Duration // how long the leader may be missing

	mu      sync.Mutex // guards the fields below
	streams map[*dependent]struct{}
	lost    bool          // the leader has been missing for longer
	changed chan struct{} // closed when lost changes
}

// dependent is a stream that ends with the leader.
type dependent struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// Context ends with ErrGRPCNoLeader as its cause when the leader is lost.
func (d *dependent) Context() context.Context { return d.ctx }

func newLeadership(leaders leaders, patience time.Duration) *leadership {
	return &leadership{
		leaders: leaders, patience: patience, streams: map[*dependent]struct{}{}, changed: make(chan struct{}),
	}
}

// run follows the leader until stopped is closed.
func (l *leadership) run(stopped <-chan struct{}) {
	missing := time.NewTimer(l.patience)
	missing.Stop()
	counting := false
	for {
		leader, changed := l.leaders.LeaderWatch()
		if leader != 0 {
			counting = false
			missing.Stop()
			l.set(false)
		} else if !counting {
			counting = true
			missing.Reset(l.patience)
		}
		select {
		case <-changed:
		case <-missing.C:
			l.set(true)
		case <-stopped:
			missing.Stop()
			return
		}
	}
}

// set notes whether the leader is lost, and ends the streams that depend on it if it is.
func (l *leadership) set(lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lost == l.lost {
		return
	}
	l.lost = lost
	close(l.changed)
	l.changed = make(chan struct{})
	if lost {
		for d := range l.streams {
			d.cancel(rpctypes.ErrGRPCNoLeader)
		}
	}
}

// watch says whether the leader has been missing for too long, and gives a channel that is closed when that changes.
func (l *leadership) watch() (lost bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost, l.changed
}

// asksForLeader reports whether the client of a call wants it to fail when there is no leader.
func asksForLeader(ctx context.Context) bool {
	asked, _ := h2.Field(ctx, rpctypes.MetadataRequireLeaderKey)
	return asked == rpctypes.MetadataHasLeader
}

func (l *leadership) unary(ctx context.Context, r any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if !l.leaders.HasLeader() && asksForLeader(ctx) {
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return handle(ctx, r)
}

func (l *leadership) stream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if !asksForLeader(stream.Context()) {
		return handle(service, stream)
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	d := &dependent{ServerStream: stream, ctx: ctx, cancel: cancel}
	l.mu.Lock()
	l.streams[d] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.streams, d)
		l.mu.Unlock()
	}()
	// Looked at once it is known to end, so that no loss falls between.
	if !l.leaders.HasLeader() {
		return rpctypes.ErrGRPCNoLeader
	}
	return handle(service, d)
}
