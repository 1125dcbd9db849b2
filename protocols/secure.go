package protocols

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"time"
)

// Security says what a port takes: connections with TLS, those without, or both, told apart by their first byte.
type Security struct {
	TLS   *TLS // nil: none with TLS
	Plain bool // with TLS: those without it too
}

// SecureConn is a connection over TLS, its handshake done, as an adapter gets it.
type SecureConn struct {
	*tls.Conn
	replay []byte // read already, to recognise the protocol
}

// Read gives the bytes that were looked at first.
func (c *SecureConn) Read(p []byte) (int, error) {
	if len(c.replay) > 0 {
		n := copy(p, c.replay)
		c.replay = c.replay[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// secure brings a connection of a port that takes TLS to the adapter that it is for. It runs on a goroutine of its own, since
// clients take their time.
func (s *Server) secure(conn *Conn, p port) {
	deadline := time.Now().Add(s.opts.HandshakeTimeout)
	if p.security.Plain {
		switch isTLS, err := firstIsTLS(conn, deadline); {
		case err != nil: // gone, or silent for too long
			conn.Close()
			return
		case !isTLS && p.protocol == Shared:
			s.recognise(conn)
			return
		case !isTLS:
			s.settle(conn, p.protocol, conn.forAdapter())
			return
		}
	}
	secured := tls.Server(conn, p.config)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	if err := secured.HandshakeContext(ctx); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) { // a probe that connects and leaves
			s.handshakes.log("connection closed: no TLS was agreed on", slog.String("remote", conn.RemoteAddr().String()),
				slog.String("local", conn.LocalAddr().String()), slog.Any("err", err))
		}
		conn.Close()
		return
	}
	if p.protocol != Shared {
		s.settle(conn, p.protocol, &SecureConn{Conn: secured})
		return
	}
	first, verdict, err := firstBytes(secured, time.Until(deadline))
	if protocol := s.judge(conn, first, verdict, err); protocol != "" {
		s.settle(conn, protocol, &SecureConn{Conn: secured, replay: first})
		return
	}
	conn.Close()
}

// settle notes what a connection speaks, and hands it over in the form that its adapter is to have.
func (s *Server) settle(conn *Conn, protocol Protocol, as net.Conn) {
	s.registry.settle(conn, protocol)
	if s.isStopping() {
		as.Close() // StopAccepting may have looked for it before it was settled
		return
	}
	s.feeds[protocol].hand(as)
}

// firstIsTLS reads one byte, which is read again afterwards.
func firstIsTLS(conn *Conn, deadline time.Time) (bool, error) {
	if err := conn.Conn.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn.Conn, first); err != nil {
		return false, err
	}
	conn.replay = first
	return first[0] == tlsHandshakeRecord, conn.Conn.SetReadDeadline(time.Time{})
}

// judge says which protocol the first bytes of a connection of the shared port are of; empty when it is to be closed.
func (s *Server) judge(conn *Conn, first []byte, verdict Verdict, err error) Protocol {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && len(first) == 0:
		s.logger.Debug("connection closed: it sent nothing", "remote", conn.RemoteAddr().String(),
			"handshake-timeout", s.opts.HandshakeTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.refusals.log("connection closed: its protocol was not clear in time", slog.String("remote", conn.RemoteAddr().String()),
			slog.Int("bytes", len(first)), slog.Duration("handshake-timeout", s.opts.HandshakeTimeout))
	case err != nil: // gone before it said anything useful, or closed by StopAccepting
	case verdict.Refusal != "":
		s.refusals.log("connection closed: "+verdict.Refusal, slog.String("remote", conn.RemoteAddr().String()),
			slog.String("local", conn.LocalAddr().String()))
	default:
		return verdict.Protocol
	}
	return ""
}
