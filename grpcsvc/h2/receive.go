package h2

import (
	"context"
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What each frame does. An error ends the connection; what is wrong with one stream ends that.

// assembling is a header that began in one frame and goes on in the next.
type assembly struct {
	stream uint32 // 0: none
	ends   bool   // the stream
	block  []byte
}

var receivers = [...]func(*conn, *frame) error{
	frameData:         (*conn).receiveData,
	frameHeaders:      (*conn).receiveHeaders,
	framePriority:     (*conn).receivePriority,
	frameResetStream:  (*conn).receiveReset,
	frameSettings:     (*conn).receiveSettings,
	framePushPromise:  (*conn).receivePushPromise,
	framePing:         (*conn).receivePing,
	frameGoAway:       (*conn).receiveGoAway,
	frameWindowUpdate: (*conn).receiveWindowUpdate,
	frameContinuation: (*conn).receiveContinuation,
}

// receive handles one frame.
func (c *conn) receive(f *frame) error {
	if !c.settled && f.kind != frameSettings {
		return broken(codeProtocol, "the first frame is not SETTINGS")
	}
	if c.assembling.stream != 0 && (f.kind != frameContinuation || f.stream != c.assembling.stream) {
		return broken(codeProtocol, "a header is interrupted by another frame")
	}
	if int(f.kind) >= len(receivers) {
		return nil // an extension that we know nothing of
	}
	return receivers[f.kind](c, f)
}

func (c *conn) receiveHeaders(f *frame) error {
	if f.stream%2 == 0 {
		return broken(codeProtocol, "HEADERS of a stream that no client can open")
	}
	block, err := f.unpad()
	if err != nil {
		return err
	}
	if f.has(flagPriority) {
		if len(block) < prioritySize {
			return broken(codeFrameSize, "HEADERS too short for a priority")
		}
		if binary.BigEndian.Uint32(block)&streamIDMask == f.stream {
			return broken(codeProtocol, "a stream that depends on itself")
		}
		block = block[prioritySize:]
	}
	if !f.has(flagEndHeaders) {
		c.assembling = assembly{f.stream, f.has(flagEndStream), append([]byte(nil), block...)}
		return nil
	}
	return c.header(f.stream, block, f.has(flagEndStream))
}

func (c *conn) receiveContinuation(f *frame) error {
	a := &c.assembling
	if a.stream == 0 {
		return broken(codeProtocol, "CONTINUATION of nothing")
	}
	if len(a.block)+len(f.payload) > headerBytesMax || len(f.payload) == 0 && !f.has(flagEndHeaders) {
		return broken(codeEnhanceYourCalm, "a header is too long")
	}
	a.block = append(a.block, f.payload...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	whole := *a
	*a = assembly{}
	return c.header(whole.stream, whole.block, whole.ends)
}

// header handles a header that is there as a whole: it opens a stream, or ends the client's side of one.
func (c *conn) header(id uint32, block []byte, ends bool) error {
	h, err := c.decode(block) // in any case, since later ones build on what it leaves in the table
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.streams[id]
	switch {
	case st != nil && !ends:
		return broken(codeProtocol, "a second header of a stream that does not end it")
	case st != nil && st.received:
		return broken(codeStreamClosed, "HEADERS of a stream that the client has ended")
	case st != nil:
		c.ended(st)
		return nil
	case id <= c.seenID && ends && c.isForgone(id):
		return nil
	case id <= c.seenID:
		return broken(codeStreamClosed, "HEADERS of a stream that is closed")
	case c.err != nil:
		return c.err
	}
	if c.seenID = id; c.final || c.parting {
		return nil // it was told that we serve no more, or has left
	}
	c.lastID = id
	if h.malformed != "" {
		return c.control(appendReset(c.out, id, codeProtocol))
	}
	if c.orphans > orphansMax {
		return broken(codeEnhanceYourCalm, "streams are cancelled faster than they are given up")
	}
	if len(c.streams) >= int(c.srv.opts.MaxStreams) {
		return c.control(appendReset(c.out, id, codeRefusedStream))
	}
	st = newStream(c, id, h)
	st.bare = ends
	c.streams[id] = st
	c.running++
	if st.whole = h.short(); !st.whole {
		st.handled = true
		c.srv.handle(st)
	}
	if ends {
		c.ended(st)
	} else if st.whole && h.limited {
		c.begun = append(c.begun, st)
	}
	return nil
}

// limitRequests has calls end at their deadline of whose requests a part is still to come. Most are whole by the end of the read that
// brought their header, and need nobody to look after them.
func (c *conn) limitRequests() {
	if len(c.begun) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.begun {
		if !st.handled {
			context.AfterFunc(st.ctx, st.overdue)
		}
	}
	clear(c.begun)
	c.begun = c.begun[:0]
}

// overdue ends a call whose deadline came before its request.
func (st *stream) overdue() {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.handled {
		return
	}
	st.handled = true
	c.running--
	st.finish(status.FromContextError(st.ctx.Err()))
	c.write()
	c.changed.Broadcast()
}

// orphansMax is how many handlers may be under way for streams that the client has cancelled.
const orphansMax = 1000

func (c *conn) receiveData(f *frame) error {
	if f.stream == connectionStream {
		return broken(codeProtocol, "DATA of no stream")
	}
	data, err := f.unpad()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(f.payload)
	if c.room -= n; c.room < 0 {
		return broken(codeFlowControl, "more data than the connection's window")
	}
	// The connection's window is given back at once, so that no stream holds up the others.
	if c.taken += n; c.taken >= connectionWindow/2 {
		err := c.control(appendWindowUpdate(c.out, connectionStream, c.taken))
		c.room, c.taken = c.room+c.taken, 0
		if err != nil {
			return err
		}
	}
	st := c.streams[f.stream]
	if st == nil {
		if f.stream > c.seenID {
			return broken(codeProtocol, "DATA of a stream that is not open")
		}
		if f.stream > c.lastID || c.isForgone(f.stream) {
			return nil
		}
		return c.control(appendReset(c.out, f.stream, codeStreamClosed))
	}
	if st.received {
		c.abort(st, codeStreamClosed)
		return nil
	}
	if st.space -= n; st.space < 0 {
		c.abort(st, codeFlowControl)
		return nil
	}
	st.credit += n - len(data)
	if st.take(data); st.ended != nil {
		return nil
	}
	if st.head.length >= 0 && st.total > st.head.length {
		c.abort(st, codeProtocol)
	} else if f.has(flagEndStream) {
		c.ended(st)
	}
	return nil
}

// ended notes that the client has sent all of a stream. The caller holds mu.
func (c *conn) ended(st *stream) {
	st.received = true
	switch {
	case st.head.length >= 0 && st.head.length != st.total:
		c.abort(st, codeProtocol)
	case st.whole && !st.handled:
		st.handled = true
		c.srv.handle(st)
	default:
		st.arrived()
	}
}

func (c *conn) receivePriority(f *frame) error {
	if f.stream == connectionStream {
		return broken(codeProtocol, "PRIORITY of no stream")
	}
	if len(f.payload) != prioritySize {
		return broken(codeFrameSize, "PRIORITY of a wrong length")
	}
	if binary.BigEndian.Uint32(f.payload)&streamIDMask == f.stream {
		return broken(codeProtocol, "a stream that depends on itself")
	}
	return nil // as is recommended by now
}

var errReset = status.Error(codes.Canceled, "the client has cancelled the call")

func (c *conn) receiveReset(f *frame) error {
	if len(f.payload) != resetSize {
		return broken(codeFrameSize, "RST_STREAM of a wrong length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == connectionStream || f.stream > c.seenID {
		return broken(codeProtocol, "RST_STREAM of a stream that is not open")
	}
	if st := c.streams[f.stream]; st != nil {
		c.drop(st, errReset)
	}
	return nil
}

func (c *conn) receiveSettings(f *frame) error {
	if f.stream != connectionStream {
		return broken(codeProtocol, "SETTINGS of a stream")
	}
	if f.has(flagAck) {
		if len(f.payload) != 0 {
			return broken(codeFrameSize, "SETTINGS with an acknowledgement")
		}
		return nil
	}
	if len(f.payload)%settingSize != 0 {
		return broken(codeFrameSize, "SETTINGS of a wrong length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := f.payload; len(p) > 0; p = p[settingSize:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	if !c.settled {
		c.settled = true
		if err := c.nc.SetReadDeadline(noDeadline); err != nil {
			return err
		}
	}
	return c.control(appendFrameHead(c.out, 0, frameSettings, flagAck, connectionStream))
}

// set takes a setting of the client. The caller holds mu.
func (c *conn) set(number uint16, value uint32) error {
	switch number {
	case settingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSizeLimit(min(value, defaultHeaderTable))
		c.encoder.SetMaxDynamicTableSize(min(value, defaultHeaderTable))
		clear(c.blocks)
	case settingEnablePush:
		if value > 1 {
			return broken(codeProtocol, "ENABLE_PUSH is neither 0 nor 1")
		}
	case settingInitialWindow:
		if value > windowMax {
			return broken(codeFlowControl, "INITIAL_WINDOW_SIZE is too large")
		}
		more := int(value) - c.starting
		c.starting = int(value)
		for _, st := range c.streams {
			if st.window += more; st.window > windowMax {
				return broken(codeFlowControl, "INITIAL_WINDOW_SIZE makes a window too large")
			}
			st.allow()
		}
	case settingMaxFrameSize:
		if value < frameBytesMin || value > frameBytesMax {
			return broken(codeProtocol, "MAX_FRAME_SIZE is out of range")
		}
		c.frameMax = int(value)
	}
	return nil
}

func (c *conn) receivePushPromise(*frame) error {
	return broken(codeProtocol, "PUSH_PROMISE of a client")
}

func (c *conn) receivePing(f *frame) error {
	if len(f.payload) != pingSize {
		return broken(codeFrameSize, "PING of a wrong length")
	}
	if f.stream != connectionStream {
		return broken(codeProtocol, "PING of a stream")
	}
	if f.has(flagAck) {
		if string(f.payload) == drainPing {
			c.settleDrain()
		}
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pings.allow(c) {
		return broken(codeEnhanceYourCalm, "too_many_pings")
	}
	return c.control(append(appendFrameHead(c.out, pingSize, framePing, flagAck, connectionStream), f.payload...))
}

func (c *conn) receiveGoAway(f *frame) error {
	if f.stream != connectionStream {
		return broken(codeProtocol, "GOAWAY of a stream")
	}
	if len(f.payload) < goAwaySize {
		return broken(codeFrameSize, "GOAWAY of a wrong length")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving = true
	return nil
}

func (c *conn) receiveWindowUpdate(f *frame) error {
	if len(f.payload) != windowUpdateSize {
		return broken(codeFrameSize, "WINDOW_UPDATE of a wrong length")
	}
	n := int(binary.BigEndian.Uint32(f.payload) & streamIDMask)
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream == connectionStream {
		if n == 0 {
			return broken(codeProtocol, "WINDOW_UPDATE by nothing")
		}
		if c.window += n; c.window > windowMax {
			return broken(codeFlowControl, "the connection's window is too large")
		}
		for st := range c.blocked {
			st.allow()
		}
		return nil
	}
	st := c.streams[f.stream]
	switch {
	case st == nil && f.stream > c.seenID:
		return broken(codeProtocol, "WINDOW_UPDATE of a stream that is not open")
	case st == nil:
	case n == 0:
		c.abort(st, codeProtocol)
	default:
		if st.window += n; st.window > windowMax {
			c.abort(st, codeFlowControl)
			return nil
		}
		st.allow()
	}
	return nil
}
