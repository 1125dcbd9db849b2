package h2

import "sync"

const (
	outBytesMax  = 64 << 10             // what may wait to be written before whoever adds to it waits too
	outRoomBytes = outBytesMax + 32<<10 // of memory for what waits, when it is much: the frame that makes it too much has room as well
	keptOutBytes = 32 << 10             // of memory that a connection or a worker keeps for itself
	largeMax     = 4 << 20              // of memory for one message that is used again
)

// Large answers are written into memory that all connections share. To grow memory to their size anew each time costs as much as
// all else that is done to them here.
var (
	outs     sync.Pool // of *[]byte, most of them with outRoomBytes
	messages sync.Pool // of *[]byte that were large enough for some message
)

// outRoom gives memory for what is to be written.
func outRoom() []byte {
	if b, ok := outs.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, outRoomBytes)
}

// messageRoom gives memory for a message of so many bytes.
func messageRoom(bytes int) []byte {
	if b, ok := messages.Get().(*[]byte); ok && cap(*b) >= bytes {
		return (*b)[:0]
	}
	return make([]byte, 0, bytes)
}

// keep gives memory back to who used it if it is small, and to all if it is large. Nobody may look at what is in it any more.
func keep(b []byte, large *sync.Pool) []byte {
	if cap(b) <= keptOutBytes {
		return b[:0]
	}
	if cap(b) <= largeMax {
		whole := b // which alone escapes
		large.Put(&whole)
	}
	return nil
}
