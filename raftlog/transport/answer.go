package transport

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// servedQuestionsMax bounds what is asked over one connection at a time. Further questions wait in it.
const servedQuestionsMax = 1024

// answering is a connection that brings questions.
type answering struct {
	t     *Transport
	w     *wire
	hello *peerpb.Hello
	room  chan struct{} // holds a token for each question that is being answered

	mu      sync.Mutex // guards what follows
	cancels map[uint64]context.CancelFunc
}

// serveQuestions lets the node answer, each question on a goroutine of its own. What it still thinks about when the connection
// ends is cancelled, and waited for.
func (t *Transport) serveQuestions(w *wire, hello *peerpb.Hello) error {
	s := &answering{t: t, w: w, hello: hello, room: make(chan struct{}, servedQuestionsMax), cancels: map[uint64]context.CancelFunc{}}
	ctx, cancel := context.WithCancel(t.lifetime)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for {
		kind, body, err := w.receive(nil)
		if err != nil {
			return nil
		}
		switch kind {
		case peerpb.Kind_QUESTION:
			question := &peerpb.Question{}
			if err := proto.Unmarshal(body, question); err != nil {
				return &failure{"a question: " + err.Error()}
			}
			if refused := t.identity.admit(hello); refused != nil {
				return refused
			}
			select {
			case s.room <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			asked, done := context.WithTimeout(ctx, time.Duration(question.PatienceNanos))
			s.begin(question.Id, done)
			running.Go(func() {
				defer func() { <-s.room }()
				defer s.end(question.Id)
				s.answer(asked, question)
			})
		case peerpb.Kind_CANCEL:
			cancelled := &peerpb.Cancel{}
			if err := proto.Unmarshal(body, cancelled); err != nil {
				return &failure{"the end of a question: " + err.Error()}
			}
			s.end(cancelled.Id)
		default:
			return misfit(kind)
		}
	}
}

func (s *answering) begin(id uint64, cancel context.CancelFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.cancels[id]; before != nil {
		before()
	}
	s.cancels[id] = cancel
}

func (s *answering) end(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
		delete(s.cancels, id)
	}
}

func (s *answering) answer(ctx context.Context, question *peerpb.Question) {
	answer := s.t.handler.ServeCall(ctx, s.hello.From, question.Question)
	if _, err := s.w.send(peerpb.Kind_ANSWER, &peerpb.Answer{Id: question.Id, Answer: answer}); err != nil {
		return // with the connection
	}
	counts := s.t.counts.of(s.hello.From)
	counts.receivedBytes.Add(uint64(len(question.Question)))
	counts.sentBytes.Add(uint64(len(answer)))
}
