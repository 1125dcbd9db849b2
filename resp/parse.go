package resp

import (
	"bytes"
	"io"
)

// protocolError is a request that cannot be read. The connection answers it and closes, since what follows cannot be
// read either.
type protocolError string

func (e protocolError) Error() string { return "Protocol error: " + string(e) }

// errTooBig is about a request whose arguments are each within bounds, but not together.
const errTooBig = protocolError("too big query buffer")

// parser cuts requests out of a stream of bytes. It remembers how far it has come in an unfinished request, so that
// bytes arriving one by one cost no more than bytes arriving together.
//
// The arguments it returns are parts of its buffer: they hold until the next fill.
type parser struct {
	buf        []byte // buf[start:end] has been read from the connection and not been consumed
	start, end int

	// Progress in the request at buf[start]; positions are relative to start, so that moving the bytes keeps them.
	pos     int   // next byte to look at
	missing int   // arguments still to come, 0 when the request has not begun
	bulk    int   // length of the argument at pos, -1 when its head has not been read
	spans   []int // begin and end of each argument

	args [][]byte // holds the arguments of every request since the last fill

	maxBulk, maxArguments, maxInline, maxBytes int
}

func newParser(o *Options) parser {
	return parser{
		bulk: -1, maxBulk: o.MaxRequestBytes, maxArguments: o.MaxArguments, maxInline: o.MaxInlineBytes,
		maxBytes: o.MaxQueryBytes,
	}
}

// next returns the next request. Without one, ok is false and more bytes are needed.
func (p *parser) next() (args [][]byte, ok bool, err error) {
	for p.start < p.end {
		if p.missing == 0 {
			if p.buf[p.start] != '*' {
				args, ok, err = p.inline()
				if err != nil || !ok || len(args) > 0 {
					return args, ok, err
				}
				continue // an empty line is no request
			}
			n, ok, err := p.head("mbulk", "invalid multibulk length")
			if err != nil || !ok {
				return nil, false, err
			}
			if n > int64(p.maxArguments) {
				return nil, false, protocolError("invalid multibulk length")
			}
			if n <= 0 {
				p.consume()
				continue
			}
			p.missing = int(n)
			p.spans = p.spans[:0]
		}
		for p.missing > 0 {
			if p.bulk < 0 {
				if p.start+p.pos == p.end {
					return nil, false, nil
				}
				if c := p.buf[p.start+p.pos]; c != '$' {
					return nil, false, protocolError("expected '$', got '" + string(rune(c)) + "'")
				}
				n, ok, err := p.head("bulk", "invalid bulk length")
				if err != nil || !ok {
					return nil, false, err
				}
				if n < 0 || n > int64(p.maxBulk) {
					return nil, false, protocolError("invalid bulk length")
				}
				p.bulk = int(n)
				if p.pos+p.bulk+2 > p.maxBytes {
					return nil, false, errTooBig
				}
			}
			if p.end-p.start-p.pos < p.bulk+2 {
				return nil, false, nil
			}
			// Like Redis, whatever stands in the place of the closing CR LF is passed over.
			p.spans = append(p.spans, p.pos, p.pos+p.bulk)
			p.pos += p.bulk + 2
			p.bulk = -1
			p.missing--
		}
		first := len(p.args)
		for i := 0; i < len(p.spans); i += 2 {
			from, to := p.start+p.spans[i], p.start+p.spans[i+1]
			p.args = append(p.args, p.buf[from:to:to])
		}
		p.consume()
		return p.args[first:len(p.args):len(p.args)], true, nil
	}
	return nil, false, nil
}

// head reads a line that consists of one letter and a number, at pos.
func (p *parser) head(what, invalid string) (n int64, ok bool, err error) {
	line := p.buf[p.start+p.pos : p.end]
	cr := bytes.IndexByte(line, '\r')
	if cr > p.maxInline || cr < 0 && len(line) > p.maxInline {
		return 0, false, protocolError("too big " + what + " count string")
	}
	if cr < 0 || cr+1 == len(line) {
		return 0, false, nil
	}
	n, ok = parseInt(line[1:cr])
	if !ok {
		return 0, false, protocolError(invalid)
	}
	p.pos += cr + 2
	return n, true, nil
}

// inline reads a request that a person may have typed: words in a line.
func (p *parser) inline() (args [][]byte, ok bool, err error) {
	line := p.buf[p.start:p.end]
	lf := bytes.IndexByte(line, '\n')
	if lf > p.maxInline || lf < 0 && len(line) > p.maxInline {
		return nil, false, protocolError("too big inline request")
	}
	if lf < 0 {
		return nil, false, nil
	}
	args, ok = splitWords(bytes.TrimSuffix(line[:lf], []byte{'\r'}))
	if !ok {
		return nil, false, protocolError("unbalanced quotes in request")
	}
	p.pos = lf + 1
	p.consume()
	return args, true, nil
}

// consume forgets the request at start, of which pos bytes have been used.
func (p *parser) consume() {
	p.start += p.pos
	p.pos, p.missing, p.bulk = 0, 0, -1
}

// fill waits for more bytes. Arguments returned before are no longer valid.
func (p *parser) fill(r io.Reader) error {
	clear(p.args)
	p.args = p.args[:0]
	switch {
	case p.start == p.end:
		p.start, p.end = 0, 0
		if len(p.buf) > keptBufferBytes {
			p.buf = nil
		}
	case p.start > 0 && p.end == len(p.buf):
		p.end = copy(p.buf, p.buf[p.start:p.end])
		p.start = 0
	}
	if p.buffered() >= p.maxBytes { // all of it one request, or it would have been consumed
		return errTooBig
	}
	if p.end == len(p.buf) {
		p.grow()
	}
	n, err := r.Read(p.buf[p.end:])
	p.end += n
	if n > 0 {
		return nil // an error will come again
	}
	return err
}

// add takes bytes that were read elsewhere. It keeps the arguments returned before valid.
func (p *parser) add(data []byte) {
	if len(data) > len(p.buf)-p.end {
		buf := make([]byte, p.end-p.start+len(data))
		p.end = copy(buf, p.buf[p.start:p.end])
		p.start, p.buf = 0, buf
	}
	p.end += copy(p.buf[p.end:], data)
}

func (p *parser) grow() {
	size := 2 * len(p.buf)
	if size == 0 {
		size = 8 << 10
	}
	buf := make([]byte, size)
	p.end = copy(buf, p.buf[p.start:p.end])
	p.start, p.buf = 0, buf
}

// buffered is the number of bytes that wait to be parsed.
func (p *parser) buffered() int { return p.end - p.start }
