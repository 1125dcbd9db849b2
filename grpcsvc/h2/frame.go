package h2

import (
	"encoding/binary"
	"fmt"
)

// Frames (RFC 9113, section 4): a head of nine bytes and a payload.

const frameHeadBytes = 9

// The types of frames.
const (
	frameData = iota
	frameHeaders
	framePriority
	frameResetStream
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// Flags. What a bit means depends on the frame's type.
const (
	flagAck        = 0x1
	flagEndStream  = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// The numbers of settings.
const (
	settingHeaderTableSize   = 1
	settingEnablePush        = 2
	settingMaxStreams        = 3
	settingInitialWindow     = 4
	settingMaxFrameSize      = 5
	settingMaxHeaderListSize = 6
)

// Limits that the protocol sets, and what holds before settings say otherwise.
const (
	windowMax          = 1<<31 - 1
	streamIDMax        = 1<<31 - 1
	frameBytesMin      = 1 << 14 // the smallest bound that a peer may have on frames, and ours
	frameBytesMax      = 1<<24 - 1
	initialWindow      = 1<<16 - 1
	prioritySize       = 5
	settingSize        = 6
	pingSize           = 8
	goAwaySize         = 8
	resetSize          = 4
	windowUpdateSize   = 4
	defaultHeaderTable = 4096
	connectionStream   = 0
	clientPreface      = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	streamIDMask       = streamIDMax // the bit above is reserved
)

// errorCode is why a stream or a connection ends (RFC 9113, section 7).
type errorCode uint32

const (
	codeNone            errorCode = 0x0
	codeProtocol        errorCode = 0x1
	codeInternal        errorCode = 0x2
	codeFlowControl     errorCode = 0x3
	codeStreamClosed    errorCode = 0x5
	codeFrameSize       errorCode = 0x6
	codeRefusedStream   errorCode = 0x7
	codeCancel          errorCode = 0x8
	codeCompression     errorCode = 0x9
	codeEnhanceYourCalm errorCode = 0xb
)

// connError ends a connection.
type connError struct {
	code errorCode
	text string
}

func (e *connError) Error() string { return fmt.Sprintf("h2: error %d: %s", e.code, e.text) }

func broken(code errorCode, text string) error { return &connError{code, text} }

// frame is a frame that was received. Its payload is part of the reader's buffer and holds until the next is read.
type frame struct {
	kind    byte
	flags   byte
	stream  uint32
	payload []byte
}

func (f *frame) has(flag byte) bool { return f.flags&flag != 0 }

// frameLength is the length of the payload behind a head.
func frameLength(head []byte) int { return int(head[0])<<16 | int(head[1])<<8 | int(head[2]) }

func parseFrame(b []byte) frame {
	return frame{kind: b[3], flags: b[4], stream: binary.BigEndian.Uint32(b[5:]) & streamIDMask, payload: b[frameHeadBytes:]}
}

// appendFrameHead adds the head of a frame whose payload is to follow.
func appendFrameHead(b []byte, length int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// setFrameLength writes the length of a payload that was added behind the head at a place.
func setFrameLength(b []byte, at int) {
	n := len(b) - at - frameHeadBytes
	b[at], b[at+1], b[at+2] = byte(n>>16), byte(n>>8), byte(n)
}

func appendSetting(b []byte, number uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, number), value)
}

func appendWindowUpdate(b []byte, stream uint32, n int) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHead(b, windowUpdateSize, frameWindowUpdate, 0, stream), uint32(n))
}

func appendReset(b []byte, stream uint32, code errorCode) []byte {
	return binary.BigEndian.AppendUint32(appendFrameHead(b, resetSize, frameResetStream, 0, stream), uint32(code))
}

func appendGoAway(b []byte, last uint32, code errorCode, text string) []byte {
	b = appendFrameHead(b, goAwaySize+len(text), frameGoAway, 0, connectionStream)
	b = binary.BigEndian.AppendUint32(b, last)
	return append(binary.BigEndian.AppendUint32(b, uint32(code)), text...)
}

// unpad takes the padding off the payload of a frame that may have one.
func (f *frame) unpad() ([]byte, error) {
	if !f.has(flagPadded) {
		return f.payload, nil
	}
	if len(f.payload) == 0 {
		return nil, broken(codeFrameSize, "a padded frame without the length of its padding")
	}
	padding := int(f.payload[0])
	if padding >= len(f.payload) {
		return nil, broken(codeProtocol, "more padding than frame")
	}
	return f.payload[1 : len(f.payload)-padding], nil
}
