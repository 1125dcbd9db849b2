package resp

import (
	"bytes"
	"errors"
	"net"
	"sync"
)

// mailbox is where a connection's output goes: straight to the socket until something other than its own replies is for
// it, and into an outbox from then on.
type mailbox struct {
	mu      sync.Mutex // guards the fields below
	box     *outbox    // nil until open
	writing bool       // a reply is on its way to the socket: whoever writes it starts box.run then
	closed  bool
}

// open makes the outbox. Anyone may call it, and gets nil when the connection has ended.
func (m *mailbox) open(nc net.Conn, limit int) *outbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.box == nil && !m.closed {
		m.box = newOutbox(nc, limit)
		if !m.writing {
			go m.box.run()
		}
	}
	return m.box
}

// get gives the outbox, nil while there is none.
func (m *mailbox) get() *outbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.box
}

// write sends complete replies. b is the caller's again.
func (m *mailbox) write(nc net.Conn, b []byte) error {
	m.mu.Lock()
	if box := m.box; box != nil {
		m.mu.Unlock()
		return box.reply(bytes.Clone(b))
	}
	m.writing = true
	m.mu.Unlock()
	_, err := nc.Write(b)
	m.mu.Lock()
	m.writing = false
	if m.box != nil {
		go m.box.run()
	}
	m.mu.Unlock()
	return err
}

// close lets nobody open the outbox any more, and gives it when there is one.
func (m *mailbox) close() *outbox {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.box
}

// push sends a message that is no reply. Anyone may call it. A client that is too slow is disconnected.
func (c *conn) push(message []byte) {
	box := c.mail.open(c.nc, c.srv.opts.MaxOutputBytes)
	if box != nil && !box.message(message) {
		c.srv.stats.dropped.Add(1)
		c.srv.opts.Logger.Warn("a slow subscriber was disconnected", "client", c.id, "remote", c.nc.RemoteAddr().String())
	}
}

// hold keeps messages back until the next reply.
func (c *conn) hold() {
	if box := c.mail.open(c.nc, c.srv.opts.MaxOutputBytes); box != nil {
		box.hold()
	}
}

// outbox is the output of a connection that gets messages: its own replies, and messages that the broadcaster puts
// there without waiting for the client. Messages are shared by all who receive them and never copied.
type outbox struct {
	nc    net.Conn
	limit int           // bytes of messages that may wait
	wake  chan struct{} // capacity 1: there is something to write
	space chan struct{} // capacity 1: something has been written
	done  chan struct{} // closed when run has returned

	mu      sync.Mutex // guards the fields below
	queue   [][]byte
	held    [][]byte // messages that came after a request whose reply is not written yet
	holding bool
	bytes   int // in queue and held, and being written
	closed  bool
}

var errOutboxClosed = errors.New("resp: the connection is closed")

// replyBytesMax is how much may be waiting when a connection goes on to its next request.
const replyBytesMax = 1 << 20

func newOutbox(nc net.Conn, limit int) *outbox {
	return &outbox{
		nc: nc, limit: limit, wake: make(chan struct{}, 1), space: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// hold keeps messages back until the next reply, which must come first.
func (o *outbox) hold() {
	o.mu.Lock()
	o.holding = true
	o.mu.Unlock()
}

// release ends hold when there is no reply.
func (o *outbox) release() {
	o.mu.Lock()
	o.unhold()
	o.mu.Unlock()
}

func (o *outbox) unhold() {
	o.holding = false
	if len(o.held) > 0 {
		o.queue = append(o.queue, o.held...)
		clear(o.held)
		o.held = o.held[:0]
		signal(o.wake)
	}
}

// message adds a message. ok is false when the client is too slow: its connection is then closed.
func (o *outbox) message(m []byte) (ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	if o.bytes+len(m) > o.limit {
		o.closed = true
		o.nc.Close()
		signal(o.wake)
		signal(o.space)
		return false
	}
	o.bytes += len(m)
	if o.holding {
		o.held = append(o.held, m)
		return true
	}
	o.queue = append(o.queue, m)
	signal(o.wake)
	return true
}

// reply adds a reply and lets messages follow it. It waits for the client to take what is too much.
func (o *outbox) reply(b []byte) error {
	o.mu.Lock()
	o.queue = append(o.queue, b)
	o.bytes += len(b)
	o.unhold()
	signal(o.wake)
	for o.bytes > replyBytesMax && !o.closed {
		o.mu.Unlock()
		<-o.space
		o.mu.Lock()
	}
	closed := o.closed
	o.mu.Unlock()
	if closed {
		return errOutboxClosed
	}
	return nil
}

// run writes until finish, or until the connection fails.
func (o *outbox) run() {
	defer close(o.done)
	var batch net.Buffers
	for range o.wake {
		o.mu.Lock()
		batch, o.queue = append(batch[:0], o.queue...), o.queue[:0]
		closed := o.closed
		o.mu.Unlock()
		size := 0
		for _, b := range batch {
			size += len(b)
		}
		rest := batch // WriteTo consumes it
		_, err := rest.WriteTo(o.nc)
		clear(batch)
		o.mu.Lock()
		o.bytes -= size
		if err != nil {
			o.closed = true
		}
		o.mu.Unlock()
		signal(o.space)
		if err != nil {
			o.nc.Close()
			return
		}
		if closed {
			return
		}
	}
}

// finish writes what is left and ends run.
func (o *outbox) finish() {
	o.mu.Lock()
	o.unhold()
	o.closed = true
	o.mu.Unlock()
	signal(o.wake)
	<-o.done
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
