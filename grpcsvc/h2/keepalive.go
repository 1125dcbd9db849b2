package h2

import (
	"errors"
	"time"
)

var noDeadline time.Time

// pingBook judges a client's pings as grpc-go's servers do, which is what etcd's clients are tuned to: those that come too soon
// after each other, while nothing else was sent to the client, are counted, and a few are forgiven.
type pingBook struct {
	last    time.Time
	strikes int
}

const (
	pingStrikesMax = 2
	idlePingMin    = 2 * time.Hour // between the pings of a client that has no call open
)

// allow says whether a ping is still borne. The caller holds the connection's mu.
func (p *pingBook) allow(c *conn) bool {
	now := time.Now()
	defer func() { p.last = now }()
	if c.answered {
		c.answered = false
		p.strikes = 0
		return true
	}
	apart := c.srv.opts.PingMin
	if len(c.streams) == 0 {
		apart = idlePingMin
	}
	if now.Sub(p.last) < apart {
		p.strikes++
	}
	return p.strikes <= pingStrikesMax
}

var errSilent = errors.New("h2: the client does not answer")

// keep begins to look after a client that may be silent.
func (c *conn) keep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.keeper = time.AfterFunc(c.srv.opts.PingAfter, c.look)
	}
}

// look asks a client that has been silent, and ends the connection of one that does not answer.
func (c *conn) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch heard := c.heard.Swap(false); {
	case c.err != nil:
	case heard:
		c.asked = false
		c.keeper.Reset(c.srv.opts.PingAfter)
	case c.asked:
		c.failLocked(errSilent)
	default:
		c.asked = true
		c.out = append(appendFrameHead(c.out, pingSize, framePing, 0, connectionStream), make([]byte, pingSize)...)
		c.keeper.Reset(c.srv.opts.PingTimeout)
		c.writeElsewhere()
	}
}
