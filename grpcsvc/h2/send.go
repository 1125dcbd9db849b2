package h2

import (
	"context"
	"runtime"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/status"
)

// flushElsewhere has what the reader added written. It does not write itself: a client that sends before it reads would wait for us to
// read, and we for it.
func (c *conn) flushElsewhere() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.out) > 0 {
		c.writeElsewhere()
	} else {
		c.endDrained()
	}
}

// write writes what is in out, unless somebody does so already, who then goes on with it. The caller holds mu, which is free
// meanwhile.
func (c *conn) write() {
	if c.writing || c.err != nil || c.parting { // then all that mattered is out
		return
	}
	c.writing = true
	for len(c.out) > 0 && c.err == nil {
		if c.running > 1 { // others may be about to add their answers
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		b := c.out
		c.out = c.spare[:0]
		c.mu.Unlock()
		_, err := c.nc.Write(b)
		c.mu.Lock()
		c.spare = keep(b, &outs)
		if err != nil {
			c.writing = false
			c.failLocked(err)
			return
		}
		c.changed.Broadcast()
	}
	c.writing = false
	c.changed.Broadcast()
	c.endDrained()
}

// writeElsewhere is write for who must not wait. The caller holds mu.
func (c *conn) writeElsewhere() {
	if c.writing || c.relieved || c.err != nil {
		return
	}
	c.relieved = true
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.relieved = false
		c.write()
		c.changed.Broadcast()
	}()
}

// control adds what answers a frame, and says no when the client makes us answer more than it reads. The caller is the reader,
// which writes when it has handled all that it read. It holds mu.
func (c *conn) control(b []byte) error {
	if c.out = b; len(b) > controlBytesMax {
		return broken(codeEnhanceYourCalm, "the client does not read what its frames are answered")
	}
	return nil
}

// appendHeaders adds a header, in as many frames as it needs. The caller holds mu.
func (c *conn) appendHeaders(stream uint32, endStream bool, fields ...hpack.HeaderField) {
	c.block.Reset()
	for i := range fields {
		_ = c.encoder.WriteField(fields[i]) // to memory
	}
	kind, flags, rest := byte(frameHeaders), byte(0), c.block.Bytes()
	if endStream {
		flags |= flagEndStream
	}
	for {
		part := rest[:min(len(rest), c.frameMax)]
		if rest = rest[len(part):]; len(rest) == 0 {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrameHead(c.out, len(part), kind, flags, stream), part...)
		if len(rest) == 0 {
			break
		}
		kind, flags = frameContinuation, 0
	}
	c.answered = true
}

// fixed is a header that many answers have.
type fixed struct {
	fields []hpack.HeaderField
	ends   bool // the stream
}

var (
	plainHead    = fixed{fields: []hpack.HeaderField{fieldStatus200, {Name: "content-type", Value: contentType}}}
	plainTrailer = fixed{fields: []hpack.HeaderField{fieldOK}, ends: true}
)

// appendFixed is appendHeaders for what is always the same. Such fields alone are put into the table that both sides keep, so that soon
// each header is a few indexes of it, and they stay the same from then on. The caller holds mu.
func (c *conn) appendFixed(stream uint32, h *fixed) {
	block := c.blocks[h]
	if block == nil {
		at := len(c.out) + frameHeadBytes
		c.appendHeaders(stream, h.ends, h.fields...)
		if onlyIndexes(c.out[at:]) {
			c.blocks[h] = append(block, c.out[at:]...)
		} else {
			clear(c.blocks) // the table has changed
		}
		return
	}
	flags := byte(flagEndHeaders)
	if h.ends {
		flags |= flagEndStream
	}
	c.out = append(appendFrameHead(c.out, len(block), frameHeaders, flags, stream), block...)
	c.answered = true
}

// appendData adds as much of some bytes as the client allows and one frame takes, and says how much that was.
func (c *conn) appendData(st *stream, b []byte, endStream bool) int {
	n := max(min(len(b), c.frameMax, c.window, st.window), 0)
	if n == 0 && len(b) > 0 {
		return 0
	}
	flags := byte(0)
	if endStream && n == len(b) {
		flags = flagEndStream
	}
	if room := len(c.out) + frameHeadBytes + n; room > cap(c.out) && room > keptOutBytes && room <= outRoomBytes {
		c.out = append(outRoom(), c.out...)
	}
	c.out = append(appendFrameHead(c.out, n, frameData, flags, st.id), b[:n]...)
	c.window -= n
	st.window -= n
	c.answered = true
	return n
}

// awaitRoom waits while much is to be written before what a handler is about to add. The error is why it cannot be added any more. The
// caller holds mu.
func (c *conn) awaitRoom(st *stream) error {
	if c.writing && len(c.out) > outBytesMax && st.ended == nil {
		defer context.AfterFunc(st.ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})()
		for c.writing && len(c.out) > outBytesMax && st.ended == nil && st.ctx.Err() == nil {
			c.changed.Wait()
		}
		if c.writing && len(c.out) > outBytesMax && st.ended == nil {
			return status.FromContextError(st.ctx.Err()).Err()
		}
	}
	return st.ended
}

// send sends bytes as data, waiting for what the client allows and for the socket to take what is before them. The error is why
// the stream has ended. The caller holds mu.
func (c *conn) send(st *stream, b []byte, endStream bool) error {
	for {
		if err := c.awaitRoom(st); err != nil {
			return err
		}
		n := c.appendData(st, b, endStream)
		if b = b[n:]; len(b) == 0 {
			return nil
		}
		if n > 0 {
			if len(c.out) > outBytesMax {
				c.write()
			}
			continue
		}
		c.blocked[st] = struct{}{}
		c.write() // what was added, before there is a pause
		if st.ended == nil && min(c.window, st.window) <= 0 {
			if st.room == nil {
				st.room = make(chan struct{}, 1)
			}
			if err := st.await(st.room); err != nil && st.ended == nil {
				delete(c.blocked, st)
				return err
			}
		}
		delete(c.blocked, st)
	}
}
