package transport

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// Call asks a member a question, over a connection that is for questions alone. If there is none and it cannot be made,
// it fails at once. A context without an end gets one.
func (t *Transport) Call(ctx context.Context, to uint64, request []byte) ([]byte, error) {
	if !t.enter() {
		return nil, fmt.Errorf("%w: this member stops", raftlog.ErrUnreachable)
	}
	defer t.running.Done()
	p := t.peer(to)
	if p == nil {
		return nil, fmt.Errorf("%w: no member %s is known", raftlog.ErrUnreachable, memberName(to))
	}
	if len(request) > t.opts.MessageBytesMax {
		return nil, fmt.Errorf("%w: a question of %d bytes is more than the %d that a message may have",
			raftlog.ErrUnreachable, len(request), t.opts.MessageBytesMax)
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, bounded := ctx.Deadline(); !bounded {
		asking, cancel = context.WithTimeout(asking, t.timing.call)
		defer cancel()
	}
	defer context.AfterFunc(p.lifetime, cancel)()

	way, err := p.questions()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", raftlog.ErrUnreachable, err)
	}
	answer := &peerpb.Answer{}
	err = way.conn.Invoke(t.identity.calling(asking, to), fullName("Call"), &peerpb.Question{Question: request}, answer)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if refusalOf(err) != nil {
			p.down(classBulk, err)
		}
		return nil, fmt.Errorf("%w: %w", raftlog.ErrUnreachable, way.explain(err))
	}
	p.counts.sentBytes.Add(uint64(len(request)))
	p.counts.receivedBytes.Add(uint64(len(answer.Answer)))
	return answer.Answer, nil
}

// questions is the connection for questions. gRPC makes it when it is used, and again when it breaks.
func (p *peer) questions() (*way, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := context.Cause(p.lifetime); err != nil {
		return nil, err
	}
	if p.calls == nil {
		way, err := p.t.connect(p.addressesLocked(), new(atomic.Uint32))
		if err != nil {
			return nil, err
		}
		p.calls = way
	}
	return p.calls, nil
}

func (p *peer) closeCalls() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls != nil {
		p.calls.conn.Close()
		p.calls = nil
	}
}

// Describe asks whoever is at a peer URL what cluster it is of.
func (t *Transport) Describe(ctx context.Context, url string) ([]byte, error) {
	if _, err := parseURL(url, t.opts.TLS != nil); err != nil {
		return nil, err
	}
	asking, cancel := context.WithTimeout(ctx, t.timing.call)
	defer cancel()
	defer context.AfterFunc(t.accepting, cancel)()
	way, err := t.connect([]string{url}, new(atomic.Uint32))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", raftlog.ErrUnreachable, err)
	}
	defer way.conn.Close()
	answer := &peerpb.Answer{}
	if err := way.conn.Invoke(asking, fullName("Describe"), &peerpb.Nothing{}, answer); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %s: %w", raftlog.ErrUnreachable, url, way.explain(err))
	}
	return answer.Answer, nil
}
