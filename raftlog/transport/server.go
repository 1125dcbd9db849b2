package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

const (
	handshakeTimeout = 10 * time.Second // of TLS, and until the Opening
	acceptPause      = 50 * time.Millisecond
	toldAgain        = time.Minute // a refusal that did not come for so long is a new one
)

// listen accepts connections until the transport ends, each served on a goroutine of its own.
func (t *Transport) listen(l net.Listener) {
	defer context.AfterFunc(t.lifetime, func() { l.Close() })()
	defer l.Close()
	for {
		conn, err := l.Accept()
		switch {
		case t.lifetime.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return
		case errors.Is(err, net.ErrClosed):
			t.log.Error("other members cannot reach this one there any more", "address", l.Addr().String(), "err", err)
			return
		case err != nil: // too many files are open: it passes
			t.log.Warn("a call of another member could not be taken", "address", l.Addr().String(), "err", err)
			if !pause(t.lifetime, acceptPause) {
				return
			}
			continue
		}
		if !t.spawn(func() { t.serve(conn) }) {
			conn.Close()
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// serve serves one connection to its end. Whoever called is told why it ends, if there is a reason, and so is the operator
// if nobody was admitted.
func (t *Transport) serve(accepted net.Conn) {
	defer accepted.Close()
	defer context.AfterFunc(t.lifetime, func() { accepted.Close() })()
	keepAlive(accepted)
	host := hostOf(accepted.RemoteAddr())
	accepted.SetDeadline(time.Now().Add(handshakeTimeout))
	conn := accepted
	if t.opts.TLS != nil {
		secured := tls.Server(accepted, t.opts.TLS.server())
		if err := secured.HandshakeContext(t.lifetime); err != nil {
			if !errors.Is(err, io.EOF) && t.lifetime.Err() == nil {
				t.inbound.tell(t, host, "TLS: "+err.Error())
			}
			return
		}
		conn = secured
	}
	w := newWire(conn)
	opening := &peerpb.Opening{}
	if err := w.expect(peerpb.Kind_OPENING, opening); err != nil {
		if errors.Is(err, errStranger) {
			t.inbound.tell(t, host, err.Error())
		}
		return
	}
	if opening.Purpose == peerpb.Opening_DESCRIPTION {
		w.send(peerpb.Kind_ANSWER, &peerpb.Answer{Answer: t.handler.Description()})
		return
	}
	hello := opening.Hello
	if refused := t.identity.admit(hello); refused != nil {
		t.turnAway(w, host, refused)
		return
	}
	if _, err := w.send(peerpb.Kind_HELLO, t.identity.hello(hello.From)); err != nil {
		return
	}
	w.SetDeadline(time.Time{})
	w.bytesMax = t.receiveMax()

	var err error
	switch opening.Purpose {
	case peerpb.Opening_URGENT:
		err = t.serveMessages(w, hello, classUrgent)
	case peerpb.Opening_BULK:
		err = t.serveMessages(w, hello, classBulk)
	case peerpb.Opening_SNAPSHOT:
		err = t.serveSnapshot(w, hello.From)
	case peerpb.Opening_QUESTIONS:
		err = t.serveQuestions(w, hello)
	case peerpb.Opening_PINGS:
		err = t.servePings(w, hello)
	default:
		err = &failure{fmt.Sprintf("a call for purpose %d", opening.Purpose)}
	}
	var said *failure
	switch refused := refusalOf(err); {
	case refused != nil:
		t.turnAway(w, host, refused)
	case errors.As(err, &said):
		w.fail(peerpb.Kind_FAILURE, &peerpb.Failure{Words: said.words})
	}
}

// turnAway tells both sides why they do not talk.
func (t *Transport) turnAway(w *wire, host string, r *refusal) {
	t.inbound.tell(t, host, r.words)
	w.fail(peerpb.Kind_REFUSAL, &peerpb.Refusal{Reason: r.reason, Words: r.words})
}

// servePings answers each ping, and refuses the caller once it was removed.
func (t *Transport) servePings(w *wire, hello *peerpb.Hello) error {
	for {
		if err := w.expect(peerpb.Kind_PING, &peerpb.Nothing{}); err != nil {
			return nil
		}
		if refused := t.identity.admit(hello); refused != nil {
			return refused
		}
		if _, err := w.send(peerpb.Kind_PING, &peerpb.Nothing{}); err != nil {
			return nil
		}
	}
}

// inbound is what has to be known across the connections of one member.
type inbound struct {
	snapshots receiving

	mu    sync.Mutex // guards what follows
	lanes map[laneOf]*lane
	told  map[string]time.Time // by host and words: when a refusal was seen last
}

// tell logs a refusal, once: not again as long as it is repeated every now and then.
func (i *inbound) tell(t *Transport, host, words string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key, now := host+" "+words, time.Now()
	last, known := i.told[key]
	if i.told == nil || len(i.told) >= countsMax {
		i.told = map[string]time.Time{}
	}
	i.told[key] = now
	if !known || now.Sub(last) > toldAgain {
		t.log.Warn("a call of another member was refused", "host", host, "reason", words)
	}
}

func hostOf(address net.Addr) string {
	host, _, err := net.SplitHostPort(address.String())
	if err != nil {
		return address.String()
	}
	return host
}
