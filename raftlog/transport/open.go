package transport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// open calls a member at one of its addresses, the one with the number first before the others, and waits until it is
// admitted. at is the address that was reached.
func (t *Transport) open(ctx context.Context, purpose peerpb.Opening_Purpose, to uint64, urls []string, first int) (w *wire, at string, err error) {
	opening := &peerpb.Opening{Purpose: purpose, Hello: t.identity.hello(to)}
	return t.call(ctx, urls, first, opening, func(w *wire) error {
		answer := &peerpb.Hello{}
		if err := w.expect(peerpb.Kind_HELLO, answer); err != nil {
			return err
		}
		if refused := t.identity.reached(answer, to); refused != nil {
			return refused
		}
		return nil
	})
}

// errNoAnswer is for what a frozen process and a link that swallows everything do.
var errNoAnswer = errors.New("no answer")

// call dials, opens, and takes the first answer, all within the time that one attempt has.
func (t *Transport) call(ctx context.Context, urls []string, first int, opening *peerpb.Opening, answered func(*wire) error) (w *wire, at string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timing.connect, fmt.Errorf("%w within %s", errNoAnswer, t.timing.connect))
	defer cancel()
	conn, at, err := t.dialAny(ctx, urls, first)
	if err != nil {
		return nil, "", firstOf(context.Cause(ctx), err)
	}
	w = newWire(conn)
	stopClosing := w.closeWith(ctx)
	if _, err = w.send(peerpb.Kind_OPENING, opening); err == nil {
		err = answered(w)
	}
	if !stopClosing() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		w.Close()
		return nil, "", firstOf(context.Cause(ctx), err)
	}
	w.bytesMax = t.receiveMax()
	return w, at, nil
}

// lastWordPatience is how long the reason for the end of a connection may take to arrive after the end was noticed.
const lastWordPatience = time.Second

// receiveMax is what is accepted of one frame: MessageBytesMax, and what may be around it.
func (t *Transport) receiveMax() int { return t.opts.MessageBytesMax + frameBytesMax }
