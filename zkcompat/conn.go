package zkcompat

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// conn is one client connection. See the package's doc comment for its goroutines.
type conn struct {
	server  *Server
	store   *core.Store
	nc      net.Conn
	in      *bufio.Reader
	passed  int // bytes at the head of in that are the last packet's
	log     *slog.Logger
	since   time.Time
	session int64         // set by the handshake, and then constant
	owner   uint64        // what the session's commands carry as its owner; as session
	timeout time.Duration // of the session; before that, of the handshake
	entered atomic.Bool   // the handshake is done

	ctx    context.Context // ends when the connection is to be cut
	cancel context.CancelCauseFunc

	renewal renewal // of the session, by what the reader reads

	// Between reader and processor.
	requests   chan *request // capacity InFlightMax: back-pressure, since the reader stops when it is full
	unanswered atomic.Int64  // requests that are read and not answered
	held       atomic.Int64  // their bytes
	freed      chan struct{} // capacity 1: held has gone down

	// Processor's.
	caller   *corepb.Caller // who it speaks for; nil is nobody
	out      answers
	watches  watchTable
	batch    []*request    // logged requests that are to be submitted together
	commands []*command    // memory for what they become
	txns     []*corepb.Txn // of these, those that are submitted
	flight   []group       // submitted, oldest first
	flying   int           // requests in flight
	waiting  *request      // the one that needs all before it answered
	drained  bool          // the reader has ended
	ending   bool          // the connection ends with the answers written so far
	warned   bool          // a refused ACL has been logged

	counters connCounters
}

// group is a run of logged requests that were submitted together.
type group struct {
	pending  *core.Pending
	requests []*request
}

// submitMax is how many requests go to the log as one group; their answers come together.
const submitMax = 128

// errSessionOver ends a connection whose session has ended.
var errSessionOver = errors.New("session is over")

// read is the reader goroutine: it takes packets from the socket, keeps the session alive by them and hands them over.
func (c *conn) read() {
	defer close(c.requests)
	for {
		packet, err := c.readPacket(c.server.opts.PacketBytesMax)
		if err != nil {
			c.readFailed(err)
			return
		}
		now := time.Now()
		if !c.server.renewer.hear(c.ctx, &c.renewal, now) {
			return
		}
		r, ok, broken := decodeRequest(packet)
		if !ok {
			c.log.Info("zookeeper connection closed: a packet has no request header", "bytes", len(packet))
			return
		}
		if broken {
			r.op, r.refused = &brokenOpcode, codeMarshallingError
		}
		r.received = now
		c.counters.received.Add(1)
		c.server.stats.received.Add(1)
		last := r.op.last // whoever answers it may use it again
		if !c.handOver(r) || last {
			return
		}
	}
}

// handOver passes a request to the processor, waiting while it has too much to do already.
func (c *conn) handOver(r *request) bool {
	for c.held.Load() > 0 && c.held.Load()+int64(r.bytes) > int64(c.server.opts.InFlightBytesMax) {
		select {
		case <-c.freed:
		case <-c.ctx.Done():
			return false
		}
	}
	c.held.Add(int64(r.bytes))
	c.unanswered.Add(1)
	c.server.stats.outstanding.Add(1)
	select {
	case c.requests <- r:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// readPacket reads one packet, which holds until the next call. A client that is silent for the session's timeout is given up.
func (c *conn) readPacket(bytesMax int) ([]byte, error) {
	if _, err := c.in.Discard(c.passed); err != nil {
		return nil, err
	}
	c.passed = 0
	if c.in.Buffered() == 0 {
		if err := c.awaitUntil(time.Now().Add(c.timeout)); err != nil {
			return nil, err
		}
	}
	head, err := c.in.Peek(lengthBytes)
	if err != nil {
		return nil, err
	}
	n := int32(binary.BigEndian.Uint32(head))
	if n < 0 || int(n) > bytesMax {
		return nil, &packetLengthError{length: n, max: bytesMax}
	}
	if whole := lengthBytes + int(n); whole <= c.in.Size() {
		packet, err := c.in.Peek(whole)
		if err != nil {
			return nil, err
		}
		c.passed = whole
		return packet[lengthBytes:], nil
	}
	if _, err := c.in.Discard(lengthBytes); err != nil {
		return nil, err
	}
	packet := make([]byte, n)
	_, err = io.ReadFull(c.in, packet)
	return packet, err
}

// awaitUntil sets the time at which the client is given up, unless the connection is to read no more.
func (c *conn) awaitUntil(deadline time.Time) error {
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	// Who wants the reader to end does it by a deadline, which ours may just have replaced.
	if c.server.isStopping() {
		return errStopping
	}
	return context.Cause(c.ctx)
}

// readFailed says why the reader ends, where that is worth a line.
func (c *conn) readFailed(err error) {
	var long *packetLengthError
	var timeout net.Error
	switch {
	case c.ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, errStopping) || c.server.isStopping():
	case errors.As(err, &long):
		c.log.Warn("zookeeper connection closed: a packet is past --zk-max-packet-bytes", "err", err)
	case errors.As(err, &timeout) && timeout.Timeout():
		c.log.Info("zookeeper connection closed: the client was silent", "timeout", c.timeout)
	default:
		c.log.Debug("zookeeper connection closed", "err", err)
	}
}

// failed says why the processor ends, where that is worth a line.
func (c *conn) failed(err error) {
	var socket *net.OpError
	if c.ctx.Err() != nil {
		err = context.Cause(c.ctx) // what else failed did so by it
	}
	switch {
	case errors.Is(err, errTaken), errors.Is(err, errSessionOver), errors.Is(err, errUnconfirmed),
		errors.Is(err, errStopping), errors.As(err, &socket):
		c.log.Info("zookeeper connection closed", "err", err)
	default:
		c.log.Warn("zookeeper connection closed", "err", err)
	}
}

// process is the processor: it answers requests in their order. Logged requests that follow each other are submitted at
// once; any other request waits until all before it are answered, and those after it wait for it, so that each read
// sees the session's earlier writes and none of its later ones.
func (c *conn) process() error {
	for !c.ending {
		c.gather()
		var err error
		switch {
		case len(c.flight) > 0:
			err = c.awaitGroup()
		case c.waiting != nil:
			r := c.waiting
			c.waiting = nil
			err = c.answer(r)
		case c.drained:
			c.ending = true
		default:
			err = c.idle()
		}
		if err == nil {
			err = c.out.err
		}
		if err != nil {
			return err
		}
	}
	c.out.flush()
	return c.out.err
}

// accept takes a request that the reader handed over.
func (c *conn) accept(r *request, ok bool) {
	switch {
	case !ok:
		c.drained = true
	case r.logged():
		c.batch = append(c.batch, r)
	default:
		c.waiting = r
	}
}

// open reports whether another request can be taken now.
func (c *conn) open() bool {
	return !c.drained && c.waiting == nil && c.flying+len(c.batch) < c.server.opts.InFlightMax
}

// gather takes what the reader has ready, up to a request that has to wait, and submits the logged ones.
func (c *conn) gather() {
	for ready := true; ready && c.open() && len(c.batch) < submitMax; {
		select {
		case r, ok := <-c.requests:
			c.accept(r, ok)
		default:
			ready = false
		}
	}
	if len(c.batch) > 0 {
		c.submit()
	}
}

// awaitGroup waits for the oldest group's results, and meanwhile takes more requests.
func (c *conn) awaitGroup() error {
	oldest := c.flight[0]
	select {
	case <-oldest.pending.Done():
		return c.answerGroup()
	default:
	}
	c.out.flush()
	requests := c.requests
	if !c.open() {
		requests = nil
	}
	select {
	case <-oldest.pending.Done():
		return c.answerGroup()
	case r, ok := <-requests:
		c.accept(r, ok)
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	return nil
}

// idle sends what the watches saw, and waits for more to do.
func (c *conn) idle() error {
	if err := c.sendEvents(); err != nil {
		return err
	}
	c.out.flush()
	select {
	case r, ok := <-c.requests:
		c.accept(r, ok)
	case <-c.watches.ready():
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	return nil
}

// sendEvents sends what the watches saw, while no answer is due. A feed may wake in the midst of a revision's publication,
// when only some of the watches that it concerns have been told. Such events wait for the others, since several watches
// that saw one change make one event: a linearizable view shows only what is published as a whole, that revision included.
func (c *conn) sendEvents() error {
	last, complete, err := c.watches.fetch()
	if err != nil || last == 0 {
		return err
	}
	if complete < last {
		view, err := c.store.View(c.ctx, core.Linearizable)
		if err != nil {
			return fmt.Errorf("no view to compare events with: %w", err)
		}
		complete = view.Revision()
		view.Close()
	}
	return c.watches.deliver(complete, c.out.event)
}

// identity gives what the connection's handshake has settled, to other goroutines.
func (c *conn) identity() (session int64, timeout time.Duration) {
	if !c.entered.Load() {
		return 0, 0
	}
	return c.session, c.timeout
}

// host is the client's address without the port.
func (c *conn) host() string {
	host, _, err := net.SplitHostPort(c.nc.RemoteAddr().String())
	if err != nil {
		return c.nc.RemoteAddr().String()
	}
	return host
}
