package transport

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// probe pings the member over the connection of the urgent stream until ctx ends. A frozen process and a link that
// swallows everything close no connection; an answer that does not come is how they are noticed. Then all connections to
// the member are given up, because TCP would take long to find out that an old one works again.
func (p *peer) probe(ctx context.Context, end context.CancelCauseFunc, way *way) {
	ticks := time.NewTicker(p.t.timing.ping)
	defer ticks.Stop()
	for {
		began := time.Now()
		err := p.ping(ctx, way.conn)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			took := time.Since(began)
			p.roundTrip.Store(int64(took))
			p.counts.roundTrips.observe(took)
		case status.Code(err) == codes.DeadlineExceeded:
			why := fmt.Errorf("no answer to a ping within %s", p.t.timing.pingTimeout)
			end(why) // before renew, so that this reason is the one that is told
			p.renew(why)
			return
		default:
			end(way.explain(err)) // the connection is gone, or this member is refused now
			return
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

func (p *peer) ping(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithTimeout(ctx, p.t.timing.pingTimeout)
	defer cancel()
	return conn.Invoke(p.t.identity.calling(ctx, p.id), fullName("Ping"), &peerpb.Nothing{}, &peerpb.Nothing{})
}
