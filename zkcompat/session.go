package zkcompat

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

// A session is a lease with a password. It outlives its connections: whoever knows the password takes it over.

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
	view, err := c.store.View(c.ctx, core.Local)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	revision := view.Revision()
	view.Close()
	if r.seen > revision {
		return fmt.Errorf("%w: the client has seen zxid %#x and this server is at %#x", errRefused, uint64(r.seen), revision)
	}
	password := r.password
	if r.session == 0 {
		password, err = c.openSession(r)
	} else {
		err = c.resumeSession(r)
	}
	if errors.Is(err, core.ErrSessionExpired) {
		c.answerConnect(r, 0, make([]byte, passwordBytes))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	c.out.patient = c.timeout
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
func (c *conn) openSession(r connectRequest) (password []byte, err error) {
	timeout := min(max(r.timeout, c.server.opts.SessionTimeoutMin), c.server.opts.SessionTimeoutMax)
	password = make([]byte, passwordBytes)
	rand.Read(password)
	for range sessionIDTriesMax {
		id := newSessionID(c.server.opts.ServerID)
		grant := &corepb.LeaseGrant{Id: id, TtlMillis: timeout.Milliseconds(), Password: password}
		result, err := c.store.Do(c.ctx, &corepb.Txn{
			Then:         []*corepb.Op{{Op: &corepb.Op_LeaseGrant{LeaseGrant: grant}}},
			AbortOnError: true,
		})
		switch {
		case err != nil:
			return nil, err
		case errors.Is(result.Err, core.ErrLeaseExists):
			continue
		case result.Err != nil:
			return nil, result.Err
		}
		return password, c.enter(id, timeout)
	}
	return nil, core.ErrLeaseExists
}

// resumeSession takes a session over. Its timeout stays what it was.
func (c *conn) resumeSession(r connectRequest) error {
	view, err := c.store.View(c.ctx, core.Linearizable)
	if err != nil {
		return err
	}
	lease, ok := view.Lease(r.session)
	view.Close()
	if !ok || len(lease.Password) == 0 || subtle.ConstantTimeCompare(lease.Password, r.password) != 1 {
		return core.ErrSessionExpired
	}
	return c.enter(r.session, time.Duration(lease.TTLMillis)*time.Millisecond)
}

// enter makes this connection the session's one.
func (c *conn) enter(session int64, timeout time.Duration) error {
	c.session, c.timeout = session, timeout
	c.entered.Store(true)
	c.log = c.log.With("session", fmt.Sprintf("%#x", session))
	c.server.enter(c)
	if err := c.touch(time.Now()); err != nil {
		return core.ErrSessionExpired
	}
	return nil
}

// newSessionID draws an id: the server's number in the high byte, as ZooKeeper has it, and chance in the others.
func newSessionID(server byte) int64 {
	var b [8]byte
	rand.Read(b[:])
	b[0] = server & 0x7f // ids are positive
	return max(1, int64(binary.BigEndian.Uint64(b[:])))
}
