package e2e

import (
	bigendian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// zkLine is a ZooKeeper client that waits for each answer before it asks again. It keeps its session over connections,
// and may take it to another member.
type zkLine struct {
	address string
	timeout time.Duration // of the session

	conn     net.Conn
	session  int64
	password string
	zxid     int64
	xid      int32
	gone     bool                          // the session has ended; renew begins a new one
	events   func(kind int32, path string) // of watches; they come in front of answers, and from listen
}

// zkCode is an error that ZooKeeper answers.
type zkCode int32

func (c zkCode) Error() string { return fmt.Sprintf("ZooKeeper error %d", int32(c)) }

const (
	zkNoNode      zkCode = -101
	zkBadVersion  zkCode = -103
	zkNodeExists  zkCode = -110
	zkExpired     zkCode = -112
	zkMoved       zkCode = -118 // the session is on another connection
	zkSessionGone        = zkError("the session is gone")
)

// zkError is what this client itself says.
type zkError string

func (e zkError) Error() string { return string(e) }

// errNotSent is in an error of a request that never left.
var errNotSent = errors.New("not sent")

// renew begins anew, without the session that is there.
func (c *zkLine) renew() {
	c.hangUp()
	c.session, c.password, c.gone = 0, "", false
}

// connect makes a connection, with the session that is there or a new one.
func (c *zkLine) connect() error {
	if c.gone {
		return fmt.Errorf("%w: %w", errNotSent, zkSessionGone)
	}
	conn, err := net.DialTimeout("tcp", c.address, opPatience)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotSent, err)
	}
	password := c.password
	if password == "" {
		password = strings.Repeat("\x00", 16)
	}
	w := &juteWriter{}
	w.int(0)
	w.long(c.zxid)
	w.int(int32(c.timeout.Milliseconds()))
	w.long(c.session)
	w.text(password)
	w.bool(false)
	_ = conn.SetDeadline(time.Now().Add(opPatience))
	_, err = conn.Write(frame(w.b))
	var packet []byte
	if err == nil {
		packet, err = unframe(conn)
	}
	if err != nil {
		conn.Close()
		return fmt.Errorf("%w: connecting: %w", errNotSent, err)
	}
	r := &juteReader{b: packet}
	_, millis := r.int(), r.int()
	session, password := r.long(), r.text()
	if session == 0 || millis <= 0 {
		conn.Close()
		c.gone = true
		return fmt.Errorf("%w: %w", errNotSent, zkSessionGone)
	}
	c.conn, c.session, c.password = conn, session, password
	return nil
}

// hangUp ends the connection and leaves the session.
func (c *zkLine) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// close ends the session too, if it can be told.
func (c *zkLine) close() {
	if c.conn != nil {
		_, _ = c.ask(zkOps["close"], nil)
	}
	c.hangUp()
}

// ask sends a request and waits for its answer. After an error that is no zkCode there is no connection any more.
func (c *zkLine) ask(op int32, body *juteWriter) (*juteReader, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return nil, err
		}
	}
	xid, err := c.send(op, body)
	if err != nil {
		c.hangUp()
		return nil, err
	}
	for {
		r, answered, code, err := c.receive()
		switch {
		case err != nil:
			c.hangUp()
			return nil, err
		case answered == zkEventXid || answered == zkPingXid:
			continue
		case answered != xid:
			c.hangUp()
			return nil, fmt.Errorf("an answer to %d, not to %d", answered, xid)
		case code != 0:
			c.gone = c.gone || code == zkExpired
			return nil, code
		}
		return r, nil
	}
}

const zkEventXid, zkPingXid = -1, -2

func (c *zkLine) send(op int32, body *juteWriter) (xid int32, err error) {
	c.xid++
	xid = c.xid
	if op == zkOps["ping"] {
		xid = zkPingXid
	}
	w := &juteWriter{}
	w.int(xid)
	w.int(op)
	if body != nil {
		w.b = append(w.b, body.b...)
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(opPatience))
	_, err = c.conn.Write(frame(w.b))
	return xid, err
}

// receive reads one packet, and gives an event to whom it concerns.
func (c *zkLine) receive() (r *juteReader, xid int32, code zkCode, err error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(opPatience))
	packet, err := unframe(c.conn)
	if err != nil {
		return nil, 0, 0, err
	}
	r = &juteReader{b: packet}
	xid = r.int()
	zxid := r.long()
	code = zkCode(r.int())
	if xid == zkEventXid {
		kind := r.int()
		r.int() // the state
		if path := r.text(); c.events != nil {
			c.events(kind, path)
		}
		return r, xid, 0, nil
	}
	if xid != zkPingXid && zxid > 0 {
		if zxid < c.zxid && code == 0 {
			return nil, 0, 0, fmt.Errorf("%w: zxid %d after %d", errWentBack, zxid, c.zxid)
		}
		c.zxid = max(c.zxid, zxid)
	}
	return r, xid, code, nil
}

// errWentBack is a broken promise: a session is never shown an older state.
var errWentBack = errors.New("the session went back in time")

func frame(packet []byte) []byte {
	return append(bigendian.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...)
}

func unframe(from io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(from, head); err != nil {
		return nil, err
	}
	size := bigendian.BigEndian.Uint32(head)
	if size > 64<<20 {
		return nil, fmt.Errorf("a packet of %d bytes", size)
	}
	packet := make([]byte, size)
	_, err := io.ReadFull(from, packet)
	return packet, err
}

// zkFate judges an error of a request that changes something.
func zkFate(err error) fate {
	if errors.Is(err, errNotSent) || errors.Is(err, zkExpired) || errors.Is(err, zkMoved) {
		return refused
	}
	return unknown
}

// zkExpected says whether an error is one of a cluster in trouble.
func zkExpected(err error) bool {
	var network net.Error
	return errors.Is(err, errNotSent) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.Is(err, zkExpired) || errors.Is(err, zkMoved)
}

// --- operations on keys ---

type zkKeys struct{ *zkLine }

func newZKKeys(address string) *zkKeys {
	return &zkKeys{&zkLine{address: address, timeout: 10 * time.Second}}
}

func (c *zkKeys) deeds() []deed {
	return []deed{doRead, doRead, doSet, doSet, doVersion, doCreate, doDelete}
}

// statSight reads a Stat: version 0 is the first.
func statSight(r *juteReader) sight {
	r.long() // czxid
	mzxid := r.long()
	r.long()
	r.long()
	version := r.int()
	return sight{shown: true, present: true, version: int64(version) + 1, revision: mzxid}
}

func (c *zkKeys) do(key string, in keyInput) (out keyOutput, f fate, err error) {
	if c.gone {
		c.renew()
	}
	body := &juteWriter{}
	body.text(key)
	var r *juteReader
	switch in.deed {
	case doRead:
		// A sync, and the read behind it: together they see every write that was answered before.
		if _, err = c.ask(zkOps["sync"], body); err == nil {
			body.bool(false)
			r, err = c.ask(zkOps["get"], body)
		}
		if err == nil {
			value := r.text()
			seen := statSight(r)
			seen.value, seen.hasValue = value, true
			return keyOutput{took: true, after: seen}, done, nil
		}
		if errors.Is(err, zkNoNode) {
			return keyOutput{took: true, after: sight{shown: true}}, done, nil
		}
	case doSet, doVersion:
		version := int32(-1)
		if in.deed == doVersion {
			version = int32(in.version) - 1
		}
		body.text(in.value)
		body.int(version)
		if r, err = c.ask(zkOps["set"], body); err == nil {
			return keyOutput{took: true, after: statSight(r)}, done, nil
		}
		if errors.Is(err, zkNoNode) {
			return keyOutput{before: sight{shown: true}}, done, nil
		}
		if errors.Is(err, zkBadVersion) && in.deed == doVersion {
			return keyOutput{before: sight{shown: true, present: true}}, done, nil
		}
	case doCreate:
		body.text(in.value)
		body.openACL()
		body.int(0)
		if r, err = c.ask(zkOps["create2"], body); err == nil {
			r.text()
			return keyOutput{took: true, after: statSight(r)}, done, nil
		}
		if errors.Is(err, zkNodeExists) {
			return keyOutput{before: sight{shown: true, present: true}}, done, nil
		}
	case doDelete:
		body.int(-1)
		if _, err = c.ask(zkOps["delete"], body); err == nil {
			return keyOutput{took: true}, done, nil
		}
		if errors.Is(err, zkNoNode) {
			return keyOutput{}, done, nil
		}
	}
	out, f = unclear(in, zkFate(err))
	return out, f, err
}
