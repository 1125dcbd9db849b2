package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

const (
	headerBytes     = 5 // of a frame: length, kind
	readBufferBytes = 64 << 10
	openingBytesMax = 64 << 10 // of frames before the caller is admitted
	keptBytesMax    = 2 << 20  // of memory that a connection keeps in each direction
)

// wire is a connection of members: frames as peer.proto has them. One goroutine may receive while others send.
type wire struct {
	net.Conn
	reader   *bufio.Reader
	bytesMax int    // of a message that is received
	in       []byte // memory of the last one that was decoded by copying

	mu  sync.Mutex // held while a frame is written; guards what follows
	out []byte     // memory of the last one
}

func newWire(conn net.Conn) *wire {
	return &wire{Conn: conn, reader: bufio.NewReaderSize(conn, readBufferBytes), bytesMax: openingBytesMax}
}

// send writes a frame with one system call, and gives the size of its message.
func (w *wire) send(kind peerpb.Kind, message proto.Message) (bytes int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	size := proto.Size(message)
	frame := append(w.out[:0], 0, 0, 0, 0, byte(kind))
	binary.BigEndian.PutUint32(frame, uint32(size))
	// Several peers may be sent the same message at a time. The sizes that Size left in it are then written by each,
	// atomically, and are the same.
	if frame, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(frame, message); err != nil {
		return 0, err
	}
	if w.out = frame; cap(frame) > keptBytesMax {
		w.out = nil
	}
	_, err = w.Write(frame)
	return size, err
}

// receive reads a frame, into memory if there is enough of it. At the end of what the other side sends the error is io.EOF.
func (w *wire) receive(memory []byte) (kind peerpb.Kind, message []byte, err error) {
	header, err := w.reader.Peek(headerBytes)
	if err != nil {
		if len(header) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(header))
	if kind = peerpb.Kind(header[4]); size > w.bytesMax || kind == peerpb.Kind_NONE {
		return 0, nil, fmt.Errorf("%w: a frame of kind %d with %d bytes", errStranger, kind, size)
	}
	if _, err := w.reader.Discard(headerBytes); err != nil {
		return 0, nil, err
	}
	if message = memory[:cap(memory)]; len(message) < size {
		message = make([]byte, size)
	}
	message = message[:size]
	if _, err = io.ReadFull(w.reader, message); errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return kind, message, err
}

// errStranger is for what no member sends.
var errStranger = errors.New("what is at the other end does not speak the protocol of members")

// failure is how the other side says that it does not take what was sent.
type failure struct{ words string }

func (f *failure) Error() string { return f.words }

// expect receives a frame of one kind. A refusal or a failure in its place is the error.
func (w *wire) expect(kind peerpb.Kind, message proto.Message) error {
	got, body, err := w.receive(w.in)
	if w.in = body; cap(body) > keptBytesMax {
		w.in = nil
	}
	switch {
	case errors.Is(err, io.EOF):
		return errClosed
	case err != nil:
		return err
	case got == kind:
		return decode(body, message)
	case got == peerpb.Kind_REFUSAL:
		r := &peerpb.Refusal{}
		if err := decode(body, r); err != nil {
			return err
		}
		return &refusal{reason: r.Reason, words: r.Words}
	case got == peerpb.Kind_FAILURE:
		f := &peerpb.Failure{}
		if err := decode(body, f); err != nil {
			return err
		}
		return &failure{words: f.Words}
	}
	return fmt.Errorf("%w: %s in place of %s", errStranger, got, kind)
}

func decode(body []byte, message proto.Message) error {
	if err := proto.Unmarshal(body, message); err != nil {
		return fmt.Errorf("%w: %w", errStranger, err)
	}
	return nil
}

// ended waits until the other side ends the connection, and says why: it sends nothing else here.
func (w *wire) ended() error { return w.expect(peerpb.Kind_NONE, nil) }

var errClosed = errors.New("the other member closed the connection")

// finish says that nothing more is sent, and lets the other side read all that was.
func (w *wire) finish() error {
	half, ok := w.Conn.(interface{ CloseWrite() error })
	if !ok {
		return w.Close()
	}
	return half.CloseWrite()
}

// fail ends a served connection with words. What the caller is still sending is read and thrown away for a moment, for a
// connection that is closed before it has been read takes the words with it.
func (w *wire) fail(kind peerpb.Kind, message proto.Message) {
	w.SetDeadline(time.Now().Add(lastWordPatience))
	if _, err := w.send(kind, message); err == nil && w.finish() == nil {
		io.Copy(io.Discard, w.reader)
	}
}

// closeWith closes the connection when a context ends. The function, to be called once, takes that back, or returns false when
// the connection is closed.
func (w *wire) closeWith(ctx context.Context) (stop func() bool) {
	closed := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		defer close(closed)
		w.Close()
	})
	return func() bool {
		if inTime() {
			return true
		}
		<-closed
		return false
	}
}
