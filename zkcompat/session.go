package zkcompat

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// A session is a lease with a password. It outlives its connections: whoever knows the password takes it over, on any
// node. Each connection draws an owner's number for it, by which the store tells its commands from those of others.

const (
	passwordBytes     = 16
	protocolVersion   = 0
	connectBytesMax   = 4096 // a connect request takes 45 bytes
	sessionIDTriesMax = 8
)

// connectRequest is the first packet of a connection.
type connectRequest struct {
	seen     int64 // zxid up to which the client has seen changes
	timeout  time.Duration
	session  int64 // 0 = a new one
	password []byte
	readOnly bool // would take a server that is cut off from the others
	modern   bool // sent the readOnly byte, and expects it in the answer; clients before 3.4 do not
}

func decodeConnect(packet []byte) (r connectRequest, ok bool) {
	d := decoder{rest: packet}
	d.int32() // protocol version
	r.seen = d.int64()
	r.timeout = time.Duration(d.int32()) * time.Millisecond
	r.session = d.int64()
	r.password = d.bytes()
	if d.ok() && len(d.rest) > 0 {
		r.readOnly = d.bool()
		r.modern = true
	}
	return r, d.ok()
}

// errRefused ends a connection whose handshake failed; the reason is in the error that wraps it.
var errRefused = errors.New("zookeeper connection refused")

// connect does the handshake: it opens or resumes the session and answers the client.
func (c *conn) connect() error {
	packet, err := c.readPacket(connectBytesMax)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	r, ok := decodeConnect(packet)
	if !ok {
		return fmt.Errorf("%w: the connect request is malformed", errRefused)
	}
	if !c.store.HasLeader() {
		return fmt.Errorf("%w: %w", errRefused, core.ErrNoLeader)
	}
	view, err := c.store.View(c.ctx, core.Local)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	revision := view.Revision()
	view.Close()
	if r.seen > revision {
		return fmt.Errorf("%w: the client has seen zxid %#x and this server is at %#x", errRefused, uint64(r.seen), revision)
	}
	timeout := min(max(r.timeout, c.server.opts.SessionTimeoutMin), c.server.opts.SessionTimeoutMax)
	c.owner = newOwner()
	password, begun := r.password, time.Now()
	if r.session == 0 {
		password, err = c.openSession(timeout)
	} else {
		err = c.resumeSession(r, timeout)
	}
	if errors.Is(err, core.ErrSessionExpired) {
		c.answerConnect(r, 0, make([]byte, passwordBytes))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	c.timeout = timeout
	c.server.renewer.begin(&c.renewal, c.session, timeout, begun, c.cancel)
	c.entered.Store(true)
	c.log = c.log.With("session", fmt.Sprintf("%#x", c.session))
	c.out.patient = timeout
	c.answerConnect(r, c.session, password)
	return c.out.err
}

// answerConnect answers the connect request; session 0 says that there is no such session.
func (c *conn) answerConnect(r connectRequest, session int64, password []byte) {
	timeout := c.timeout
	if session == 0 {
		timeout = 0
	}
	c.out.plain(func(e *encoder) {
		e.int32(protocolVersion)
		e.int32(int32(timeout.Milliseconds()))
		e.int64(session)
		e.bytes(password)
		if r.modern {
			e.bool(false) // this server is never read-only
		}
	})
	c.out.flush()
}

// openSession makes a new session.
func (c *conn) openSession(timeout time.Duration) (password []byte, err error) {
	password = make([]byte, passwordBytes)
	rand.Read(password)
	for range sessionIDTriesMax {
		c.session = newSessionID(c.server.opts.ServerID)
		if !c.server.claim(c) {
			continue
		}
		err = c.handshake(&corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{
			Id: c.session, TtlMillis: timeout.Milliseconds(), Password: password, Owner: c.owner,
		}}})
		if !errors.Is(err, core.ErrLeaseExists) {
			return password, err
		}
		c.server.leave(c)
	}
	return nil, core.ErrLeaseExists
}

// resumeSession takes a session over, with the timeout that was negotiated now. ErrSessionExpired when there is none, or
// the password is wrong.
func (c *conn) resumeSession(r connectRequest, timeout time.Duration) error {
	c.session = r.session
	c.server.arrive(c) // before the move, which is told as soon as it is applied
	return c.handshake(&corepb.Op{Op: &corepb.Op_SessionResume{SessionResume: &corepb.SessionResume{
		Id: r.session, TtlMillis: timeout.Milliseconds(), Password: r.password, Owner: c.owner,
	}}})
}

// handshake carries out a command of the handshake.
func (c *conn) handshake(op *corepb.Op) error {
	result, err := c.store.Do(c.ctx, &corepb.Txn{Then: []*corepb.Op{op}, AbortOnError: true})
	if err != nil {
		return err
	}
	return result.Err
}

// newOwner draws the number by which a connection owns its session.
func newOwner() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(1, binary.BigEndian.Uint64(b[:]))
}

// newSessionID draws an id: the server's number in the high byte, as ZooKeeper has it, and chance in the others.
func newSessionID(server byte) int64 {
	var b [8]byte
	rand.Read(b[:])
	b[0] = server & 0x7f // ids are positive
	return max(1, int64(binary.BigEndian.Uint64(b[:])))
}
