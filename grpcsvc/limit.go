package grpcsvc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// etcd answers "request timed out" when the cluster has not carried out a request after some seconds, whatever time the
// client is ready to wait. A context with a deadline for each request does that too, but was measured to cost 3 µs, a
// twentieth of a put's CPU time with gRPC included; these two ways cost next to nothing.

// limitStep is for how long requests share a limit, which so comes up to that much late.
const limitStep = time.Second

// limits hands out contexts that end, with ErrGRPCTimeout as their cause, when a request that begins now has taken too
// long.
type limits struct {
	timeout time.Duration
	current atomic.Pointer[sharedLimit]
	mu      sync.Mutex // held to replace current
}

type sharedLimit struct {
	context.Context
	until time.Time // requests that begin later need another one
}

func (l *limits) shared() context.Context {
	now := time.Now()
	if c := l.current.Load(); c != nil && now.Before(c.until) {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.current.Load(); c != nil && now.Before(c.until) {
		return c
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), l.timeout+limitStep, rpctypes.ErrGRPCTimeout)
	context.AfterFunc(ctx, cancel)
	c := &sharedLimit{Context: ctx, until: now.Add(limitStep)}
	l.current.Store(c)
	return c
}

// limited is a request's context with a limit that begins when somebody has to wait: most reads never do.
type limited struct {
	context.Context
	timeout time.Duration

	mu     sync.Mutex // guards the fields below
	waited context.Context
	cancel context.CancelFunc
}

// Done is asked for by whoever is about to wait.
func (l *limited) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waited == nil {
		l.waited, l.cancel = context.WithTimeoutCause(l.Context, l.timeout, rpctypes.ErrGRPCTimeout)
	}
	return l.waited.Done()
}

func (l *limited) inner() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waited != nil {
		return l.waited
	}
	return l.Context
}

func (l *limited) Err() error        { return l.inner().Err() }
func (l *limited) Value(key any) any { return l.inner().Value(key) }

// release frees what waiting needed.
func (l *limited) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cancel != nil {
		l.cancel()
	}
}

// statusIn is statusOf for an error that a limit may have caused.
func statusIn(ctx context.Context, err error) error {
	if ctx.Err() != nil && context.Cause(ctx) == rpctypes.ErrGRPCTimeout {
		return rpctypes.ErrGRPCTimeout
	}
	return statusOf(err)
}
