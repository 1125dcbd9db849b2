package zkcompat

import (
	"encoding/binary"
	"net"
	"time"
)

// Frames: every packet is preceded by its length.
const (
	lengthBytes       = 4
	answerHeaderBytes = 16 // xid, zxid, error
	connectedState    = 3  // "SyncConnected", the state that watch events carry
	eventXid          = -1
	eventZxid         = -1

	// flushBytes is how much is gathered before it is written although more answers are ready.
	flushBytes = 64 << 10
	// keptBytes is how large a buffer an idle connection may keep.
	keptBytes = 16 << 10
)

// answers gathers what goes to the client and writes it in one piece when no more is ready. It belongs to the
// connection's processor.
type answers struct {
	encoder
	conn    net.Conn
	patient time.Duration // how long the client may take to accept a write
	err     error         // the first failure; nothing is written after it
	sent    func(packets int)
	packets int // gathered since the last flush
}

// begin starts an answer; what is encoded until end is its record.
func (a *answers) begin() (start int) {
	start = len(a.buf)
	a.buf = append(a.buf, make([]byte, lengthBytes+answerHeaderBytes)...)
	return start
}

// end completes an answer. Those with an error have no record.
func (a *answers) end(start int, xid int32, zxid int64, failure code) {
	if failure != codeOK {
		a.buf = a.buf[:start+lengthBytes+answerHeaderBytes]
	}
	frame := a.buf[start:]
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-lengthBytes))
	binary.BigEndian.PutUint32(frame[4:], uint32(xid))
	binary.BigEndian.PutUint64(frame[8:], uint64(zxid))
	binary.BigEndian.PutUint32(frame[16:], uint32(failure))
	a.added()
}

// event adds a watch event.
func (a *answers) event(number int32, path string) {
	start := a.begin()
	a.int32(number)
	a.int32(connectedState)
	a.string(path)
	a.end(start, eventXid, eventZxid, codeOK)
}

// plain adds a packet without an answer's header.
func (a *answers) plain(write func(*encoder)) {
	start := len(a.buf)
	a.int32(0)
	write(&a.encoder)
	binary.BigEndian.PutUint32(a.buf[start:], uint32(len(a.buf)-start-lengthBytes))
	a.added()
}

func (a *answers) added() {
	a.packets++
	if len(a.buf) >= flushBytes {
		a.flush()
	}
}

// flush writes what has been gathered.
func (a *answers) flush() {
	if len(a.buf) == 0 || a.err != nil {
		return
	}
	a.sent(a.packets)
	a.packets = 0
	a.err = a.conn.SetWriteDeadline(time.Now().Add(a.patient))
	if a.err == nil {
		_, a.err = a.conn.Write(a.buf)
	}
	if cap(a.buf) > keptBytes {
		a.buf = nil
	} else {
		a.buf = a.buf[:0]
	}
}
