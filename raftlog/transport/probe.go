package transport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// probe pings the member, where it was reached, until ctx ends. It has a connection of its own: pings that waited behind
// messages would tell how busy the member is. A frozen process and a link that swallows everything close no connection; an
// answer that does not come is how they are noticed. Then all connections to the member are given up, because TCP would take
// long to find out that an old one works again.
func (p *peer) probe(ctx context.Context, end context.CancelCauseFunc, at string) {
	giveUp := func(why error) {
		end(why) // before renew, so that this reason is the one that is told
		p.renew(why)
	}
	way, _, err := p.t.open(ctx, peerpb.Opening_PINGS, p.id, []string{at}, 0)
	switch {
	case errors.Is(err, errNoAnswer):
		giveUp(err)
		return
	case err != nil:
		end(err)
		return
	}
	defer way.Close()
	defer way.closeWith(ctx)()
	ticks := time.NewTicker(p.t.timing.ping)
	defer ticks.Stop()
	for {
		began := time.Now()
		err := ping(way, began.Add(p.t.timing.pingTimeout))
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			took := time.Since(began)
			p.roundTrip.Store(int64(took))
			p.counts.roundTrips.observe(took)
		case errors.Is(err, os.ErrDeadlineExceeded):
			giveUp(fmt.Errorf("%w to a ping within %s", errNoAnswer, p.t.timing.pingTimeout))
			return
		default:
			end(err) // the connection is gone, or this member is refused now
			return
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

func ping(way *wire, until time.Time) error {
	way.SetDeadline(until)
	if _, err := way.send(peerpb.Kind_PING, &peerpb.Nothing{}); err != nil {
		return err
	}
	return way.expect(peerpb.Kind_PING, &peerpb.Nothing{})
}
