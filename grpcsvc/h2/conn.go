package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

const (
	// A client may send so much on a stream, and on a connection, before what it sent is taken.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20

	readBytesMin   = 4 << 10 // of the reader's buffer, which grows when reads fill it
	readBytesMax   = 64 << 10
	headerBytesMax = 64 << 10 // of a request's header, as hpack counts them

	// controlBytesMax bounds what is queued for a client that makes us answer but does not read the answers.
	controlBytesMax = 1 << 20

	forgoneMax = 32 // a client hears soon that we need no more of its request
)

// conn is one connection.
type conn struct {
	srv  *Server
	nc   net.Conn
	tls  *tls.ConnectionState // nil without
	base context.Context      // of all calls: who the peer is

	// The reader's.
	in         []byte // in[start:end] has been read and not been handled
	frame      frame  // the one that is handled
	start, end int
	decoder    *hpack.Decoder
	heads      map[string]*head // see header.go
	assembling assembly         // a header of which more is to come
	room       int              // what the client may still send on the connection
	taken      int              // what it sent and was not allowed again
	pings      pingBook
	settled    bool      // the client's first settings are there
	begun      []*stream // calls with a deadline of whose requests more is to come, of this read

	heard atomic.Bool // something was read since the keeper looked

	mu      sync.Mutex // guards the fields below
	changed sync.Cond  // on mu: a write or a handler has ended, or the connection has
	streams map[uint32]*stream
	seenID  uint32             // the last stream that the client has opened
	lastID  uint32             // the last one that is served: there may be others once the connection drains
	forgone [forgoneMax]uint32 // streams answered last before the client had sent all of its request, which may still come
	forgo   int                // where in forgone the next one goes
	running int                // handlers, and streams that wait for the rest of their request
	orphans int                // handlers of streams that the client has cancelled
	err     error              // why it ended
	sender
	draining bool
	final    bool        // the client knows which of its streams is the last
	leaving  bool        // the client has said that it is done with the connection
	parting  bool        // we have sent all that there was to send
	settler  *time.Timer // ends the wait for the client to know that it should open no more; nil unless draining
	keeper   *time.Timer
	asked    bool // the keeper has asked, and waits for an answer
}

// sender is the side of a connection that is written. The connection's mu guards it.
type sender struct {
	out, spare []byte // frames to be written; memory for the next
	writing    bool   // somebody writes
	relieved   bool   // a goroutine is about to write
	window     int    // what the client allows to be sent
	starting   int    // what it allows on a new stream
	frameMax   int    // the largest payload that it takes
	blocked    map[*stream]struct{}
	encoder    *hpack.Encoder
	block      bytes.Buffer      // what the encoder has written
	blocks     map[*fixed][]byte // see appendFixed
	answered   bool              // a header or data was sent since the client's last ping
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		srv: s, nc: nc, in: make([]byte, readBytesMin), room: connectionWindow, streams: map[uint32]*stream{},
		sender: sender{window: initialWindow, starting: initialWindow, frameMax: frameBytesMin, blocked: map[*stream]struct{}{}, blocks: map[*fixed][]byte{}},
	}
	c.changed.L = &c.mu
	c.encoder = hpack.NewEncoder(&c.block)
	c.decoder = hpack.NewDecoder(defaultHeaderTable, nil)
	c.decoder.SetMaxStringLength(headerBytesMax)
	from := &peer.Peer{Addr: nc.RemoteAddr(), LocalAddr: nc.LocalAddr()}
	if secure, ok := nc.(overTLS); ok {
		state := secure.ConnectionState()
		c.tls = &state
		info := credentials.TLSInfo{State: state}
		info.SecurityLevel = credentials.PrivacyAndIntegrity
		from.AuthInfo = info
	}
	c.base = peer.NewContext(context.Background(), from)
	c.greet()
	return c
}

// serve is the connection's life. It returns when no handler of it is left.
func (c *conn) serve() {
	c.fail(c.run())
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.running > 0 || c.writing || c.relieved {
		c.changed.Wait()
	}
}

// run handles frames until the connection ends.
func (c *conn) run() error {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.srv.opts.HandshakeTimeout)); err != nil {
		return err
	}
	c.flushElsewhere()
	for c.end < len(clientPreface) {
		if err := c.fill(); err != nil {
			return err
		}
	}
	if !bytes.HasPrefix(c.in[:c.end], []byte(clientPreface)) {
		return broken(codeProtocol, "the connection does not open as HTTP/2 does")
	}
	c.start = len(clientPreface)
	c.keep()
	for {
		for {
			ok, err := c.next()
			if err == nil && ok {
				err = c.receive(&c.frame)
			}
			if err != nil {
				return err
			}
			if !ok {
				break
			}
		}
		c.limitRequests()
		c.flushElsewhere()
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// greet puts what we take before all else that is sent.
func (c *conn) greet() {
	head := len(c.out)
	c.out = appendFrameHead(c.out, 0, frameSettings, 0, connectionStream)
	c.out = appendSetting(c.out, settingInitialWindow, streamWindow)
	c.out = appendSetting(c.out, settingMaxHeaderListSize, headerBytesMax)
	if c.srv.opts.MaxStreams != ^uint32(0) {
		c.out = appendSetting(c.out, settingMaxStreams, c.srv.opts.MaxStreams)
	}
	setFrameLength(c.out, head)
	c.out = appendWindowUpdate(c.out, connectionStream, connectionWindow-initialWindow)
}

// next takes the next frame that was read whole.
func (c *conn) next() (ok bool, err error) {
	b := c.in[c.start:c.end]
	if len(b) < frameHeadBytes {
		return false, nil
	}
	n := frameHeadBytes + frameLength(b)
	if n > frameHeadBytes+frameBytesMin {
		return false, broken(codeFrameSize, "a frame is longer than SETTINGS_MAX_FRAME_SIZE allows")
	}
	if len(b) < n {
		return false, nil
	}
	c.start += n
	c.frame = parseFrame(b[:n])
	return true, nil
}

// fill reads more. The frame that next took is no longer valid.
func (c *conn) fill() error {
	switch {
	case c.start == c.end:
		c.start, c.end = 0, 0
	case c.start > 0:
		c.end = copy(c.in, c.in[c.start:c.end])
		c.start = 0
	}
	if c.end == len(c.in) {
		grown := make([]byte, 2*len(c.in)) // a frame that does not fit yet is within readBytesMax
		copy(grown, c.in)
		c.in = grown
	}
	n, err := c.nc.Read(c.in[c.end:])
	if c.end += n; c.start == 0 && c.end == len(c.in) && len(c.in) < readBytesMax {
		grown := make([]byte, 2*len(c.in)) // there is more where that came from
		copy(grown, c.in)
		c.in = grown
	}
	if n > 0 {
		c.heard.Store(true)
		return nil // an error will come again
	}
	return err
}

// fail ends the connection: whoever is written to, or waits for the client, learns of it. The client is told why if it is its
// doing.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err)
}

// lastWordsMax is how long a client has to take the reason for which its connection ends.
const lastWordsMax = time.Second

func (c *conn) failLocked(err error) {
	if c.err != nil {
		return
	}
	if fault, ok := errors.AsType[*connError](err); ok {
		c.srv.opts.Logger.Debug("a connection of HTTP/2 is ended", "remote", c.nc.RemoteAddr().String(), "err", err)
		c.out = appendGoAway(c.out, c.lastID, fault.code, fault.text)
		c.nc.SetWriteDeadline(time.Now().Add(lastWordsMax))
		c.write()
		for c.writing && c.err == nil { // by somebody else
			c.changed.Wait()
		}
		c.linger()
	} else if !isExpected(err) {
		c.srv.opts.Logger.Debug("a connection of HTTP/2 is lost", "remote", c.nc.RemoteAddr().String(), "err", err)
	}
	if c.err != nil {
		return // while it was written
	}
	c.err = err
	for _, timer := range [...]*time.Timer{c.keeper, c.settler} {
		if timer != nil {
			timer.Stop()
		}
	}
	c.nc.Close()
	for id, st := range c.streams {
		delete(c.streams, id)
		st.lost(errLost)
	}
	c.changed.Broadcast()
}

// errLost is what handlers of a connection that has ended hear, as of grpc-go's server.
var errLost = status.Error(codes.Canceled, context.Canceled.Error())

// isExpected says whether a connection that ends by an error has done what it was for.
func isExpected(err error) bool {
	for _, e := range [...]error{io.EOF, net.ErrClosed, errDrained} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// linger lets the client read what was written last: closing the connection with something unread in it could make the client's
// system drop that.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || c.writing || half.CloseWrite() != nil {
		return
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	if c.nc.SetReadDeadline(time.Now().Add(lastWordsMax)) == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, connectionWindow)) // whatever it is
	}
}

// drain ends the connection once the streams that are open are done. The client learns at first that it should open no more;
// those that it has opened until it knows are served.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining || c.err != nil {
		return
	}
	c.draining = true
	c.out = appendGoAway(c.out, streamIDMax, codeNone, "graceful_stop")
	c.out = append(appendFrameHead(c.out, pingSize, framePing, 0, connectionStream), drainPing...)
	c.writeElsewhere()
	c.settler = time.AfterFunc(drainPatience, c.settleDrain)
}

// drainPatience is how long a client may take to say that it knows.
const drainPatience = 5 * time.Second

// drainPing is the ping whose answer says that a client knows of drain. grpc-go's servers send the same.
const drainPing = "\x01\x06\x01\x08\x00\x03\x03\x09"

// settleDrain tells the client which of its streams was the last one.
func (c *conn) settleDrain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining || c.final || c.err != nil {
		return
	}
	c.final = true
	c.out = appendGoAway(c.out, c.lastID, codeNone, "graceful_stop")
	c.writeElsewhere()
}

var errDrained = errors.New("h2: the connection is done")

// endDrained ends a connection that is to have no more streams and has none. The caller holds mu.
func (c *conn) endDrained() {
	quiet := c.running == 0 && !c.writing && len(c.out) == 0
	if !c.final && !c.leaving || !quiet || c.err != nil || c.parting {
		return
	}
	c.parting = true
	// The client ends its side when it has read all, or else the reader does when the time is over.
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.nc.SetReadDeadline(time.Now().Add(lastWordsMax)) != nil {
		c.failLocked(errDrained)
	}
}
