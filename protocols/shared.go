package protocols

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// wordGrace is how long a bare four-letter word is given to turn out to be the start of something longer. A request is
// one segment in practice, so this is only ever waited out by monitoring probes.
const wordGrace = 50 * time.Millisecond

// recognise reads just enough of a connection of the shared port to know its protocol, and hands it over.
func (s *Server) recognise(conn *Conn) {
	first, verdict, err := firstBytes(conn, s.opts.HandshakeTimeout)
	protocol := s.judge(conn, first, verdict, err)
	if protocol == "" {
		conn.Close()
		return
	}
	conn.replay = first
	s.settle(conn, protocol, conn.forAdapter())
}

// firstBytes reads until Recognise has an answer. The deadline is one for all reads, so that sending slowly gains
// nothing; it is off again when this returns without an error.
func firstBytes(conn net.Conn, timeout time.Duration) (first []byte, verdict Verdict, err error) {
	deadline := time.Now().Add(timeout)
	first = make([]byte, 0, 64)
	for {
		wait := deadline
		if grace := time.Now().Add(wordGrace); verdict.IfSilent != "" && grace.Before(deadline) {
			wait = grace
		}
		if err := conn.SetReadDeadline(wait); err != nil {
			return first, verdict, err
		}
		if len(first) == cap(first) {
			first = append(make([]byte, 0, peekMax), first...)
		}
		n, err := conn.Read(first[len(first):cap(first)])
		first = first[:len(first)+n]
		if n > 0 {
			verdict = Recognise(first)
		} else if silent := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF); silent && verdict.IfSilent != "" {
			verdict = Verdict{Protocol: verdict.IfSilent}
		} else if err != nil {
			return first, verdict, err
		}
		if verdict.Protocol != "" || verdict.Refusal != "" {
			return first, verdict, conn.SetReadDeadline(time.Time{})
		}
	}
}
