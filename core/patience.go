package core

import (
	"context"
	"sync"
	"time"
)

// requestTimeoutDefault bounds waits for a quorum: longer than an election, shorter than clients wait.
const requestTimeoutDefault = 7 * time.Second

// patient is a context that ends after some time, and has no timer before somebody really waits for it: most requests
// never do.
type patient struct {
	context.Context
	timeout time.Duration

	mu    sync.Mutex      // guards the fields below
	timed context.Context // made by the first Done
	stop  context.CancelFunc
}

// patience gives a context that also ends with the request time-out. It must be released.
func (s *Store) patience(ctx context.Context) *patient {
	return &patient{Context: ctx, timeout: s.cfg.RequestTimeout}
}

func (p *patient) begin() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timed == nil {
		p.timed, p.stop = context.WithTimeoutCause(p.Context, p.timeout, errNoQuorum)
	}
	return p.timed
}

// Done starts the time.
func (p *patient) Done() <-chan struct{} { return p.begin().Done() }

// Err is that of the context beneath as long as nobody waits.
func (p *patient) Err() error {
	p.mu.Lock()
	timed := p.timed
	p.mu.Unlock()
	if timed == nil {
		return p.Context.Err()
	}
	return timed.Err()
}

func (p *patient) cause() error {
	p.mu.Lock()
	timed := p.timed
	p.mu.Unlock()
	if timed == nil {
		return context.Cause(p.Context)
	}
	return context.Cause(timed)
}

func (p *patient) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		p.stop()
	}
}

// errNoQuorum is why a request ends that waited for others in vain.
var errNoQuorum = &Error{Code: CodeNoLeader, Detail: "no quorum within the request time-out"}
