package transport

import (
	"context"
	"fmt"
	"sync"
	"time"

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

	answer, err := p.ask(asking, request)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if refusalOf(err) != nil {
			p.down(classBulk, err)
		}
		return nil, fmt.Errorf("%w: %w", raftlog.ErrUnreachable, firstOf(context.Cause(p.lifetime), err))
	}
	p.counts.sentBytes.Add(uint64(len(request)))
	p.counts.receivedBytes.Add(uint64(len(answer)))
	return answer, nil
}

// questions is a connection for questions. Any number may be on their way; answers come in any order.
type questions struct {
	way *wire

	mu      sync.Mutex // guards what follows
	last    uint64     // id
	waiting map[uint64]chan []byte
	failed  error // why there are no answers any more

	ended chan struct{} // closed with failed
}

// ask asks over the connection that there is, or a new one.
func (p *peer) ask(ctx context.Context, question []byte) ([]byte, error) {
	q, err := p.questions(ctx)
	if err != nil {
		return nil, err
	}
	id, answer := q.enter()
	defer q.leave(id)
	deadline, _ := ctx.Deadline()
	if _, err := q.way.send(peerpb.Kind_QUESTION, &peerpb.Question{
		Id: id, Question: question, PatienceNanos: int64(time.Until(deadline)),
	}); err != nil {
		// Why is read by the goroutine that receives.
		moment := time.AfterFunc(lastWordPatience, func() { q.way.Close() })
		defer moment.Stop()
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-q.ended:
		return nil, q.failed
	}
}

// questions gives the connection for questions. While one is made, others wait for it: it takes no longer than one attempt.
func (p *peer) questions(ctx context.Context) (*questions, error) {
	select {
	case p.connecting <- struct{}{}:
		defer func() { <-p.connecting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	q, urls := p.calls, p.addressesLocked()
	p.mu.Unlock()
	if q != nil {
		select {
		case <-q.ended:
		default:
			return q, nil
		}
	}
	way, _, err := p.t.open(ctx, peerpb.Opening_QUESTIONS, p.id, urls, 0)
	if err != nil {
		return nil, err
	}
	q = &questions{way: way, waiting: map[uint64]chan []byte{}, ended: make(chan struct{})}
	if !p.t.spawn(func() { q.receive(p.lifetime) }) {
		way.Close()
		return nil, errDrained
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = q
	return q, nil
}

func (p *peer) closeCalls() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls != nil {
		p.calls.way.Close()
		p.calls = nil
	}
}

func (q *questions) enter() (id uint64, answer <-chan []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	c := make(chan []byte, 1) // its one answer is left there, whether anybody waits or not
	q.waiting[q.last] = c
	return q.last, c
}

// leave forgets a question. If it was not answered, the other side need not go on.
func (q *questions) leave(id uint64) {
	q.mu.Lock()
	_, unanswered := q.waiting[id]
	delete(q.waiting, id)
	q.mu.Unlock()
	if unanswered {
		q.way.send(peerpb.Kind_CANCEL, &peerpb.Cancel{Id: id})
	}
}

// receive hands out answers until the connection ends, with the member or otherwise.
func (q *questions) receive(lifetime context.Context) {
	defer close(q.ended)
	defer q.way.Close()
	defer q.way.closeWith(lifetime)()
	for {
		answer := &peerpb.Answer{}
		if err := q.way.expect(peerpb.Kind_ANSWER, answer); err != nil {
			q.failed = err
			return
		}
		q.mu.Lock()
		if c := q.waiting[answer.Id]; c != nil {
			delete(q.waiting, answer.Id)
			c <- answer.Answer
		}
		q.mu.Unlock()
	}
}

// Describe asks whoever is at a peer URL what cluster it is of.
func (t *Transport) Describe(ctx context.Context, url string) ([]byte, error) {
	if _, err := parseURL(url, t.opts.TLS != nil); err != nil {
		return nil, err
	}
	asking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.accepting, func() { cancel(errDrained) })()
	answer := &peerpb.Answer{}
	way, _, err := t.call(asking, []string{url}, 0, &peerpb.Opening{}, func(w *wire) error {
		w.bytesMax = t.receiveMax()
		return w.expect(peerpb.Kind_ANSWER, answer)
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %s: %w", raftlog.ErrUnreachable, url, err)
	}
	way.Close()
	return answer.Answer, nil
}
