package h2

import (
	"context"
	"encoding/base64"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

// head is what the header of a request says. Requests whose headers are the same share one, so it is never changed.
type head struct {
	malformed string // what is wrong with it; "" is nothing

	method, scheme, authority, path string
	fields                          []hpack.HeaderField // the others, in their order
	length                          int64               // content-length, -1 when not told

	// Of a call.
	subtype  string // of "application/grpc": "", "+proto" and the like
	isCall   bool
	row      *method // nil when nobody serves it
	encoding string  // of messages
	timeout  time.Duration
	limited  bool            // timeout counts
	ctx      context.Context // who calls, and with what metadata
}

// headsMax is how many headers of a connection are kept decoded.
const headsMax = 64

// decode gives what a header says.
//
// A client that makes many calls sends the same few headers again and again, each field as an index of the table that both sides
// keep. As long as nothing is added to that table the same bytes mean the same header, which then is looked up as a whole.
func (c *conn) decode(block []byte) (*head, error) {
	if h := c.heads[string(block)]; h != nil && !logFields {
		return h, nil
	}
	var p headParser
	c.decoder.SetEmitFunc(p.take)
	if _, err := c.decoder.Write(block); err != nil {
		return nil, broken(codeCompression, err.Error())
	}
	if err := c.decoder.Close(); err != nil {
		return nil, broken(codeCompression, err.Error())
	}
	if p.bytes > headerBytesMax {
		return nil, broken(codeEnhanceYourCalm, "a header is too long")
	}
	h := p.finish(c)
	if !onlyIndexes(block) || len(c.heads) == headsMax {
		clear(c.heads)
	}
	if onlyIndexes(block) {
		if c.heads == nil {
			c.heads = map[string]*head{}
		}
		c.heads[string(block)] = h
	}
	return h, nil
}

// onlyIndexes says whether a header consists of fields of the table, each in one byte (RFC 7541, section 6.1).
func onlyIndexes(block []byte) bool {
	const indexed, longer = 0x80, 0xff // the second goes on in the next byte
	for _, b := range block {
		if b < indexed || b == longer {
			return false
		}
	}
	return true
}

// headParser makes a head of fields, by the rules for requests (RFC 9113, section 8.3).
type headParser struct {
	head
	bytes   int
	regular bool // a field that is no pseudo field has come
}

func (p *headParser) wrong(text string) {
	if p.malformed == "" {
		p.malformed = text
	}
}

// logFields says that each field that is received is logged, which operators ask for by GODEBUG=http2debug=2 as of any program that
// has HTTP/2 of Go's libraries. Its lines are theirs.
var logFields = strings.Contains(os.Getenv("GODEBUG"), "http2debug=2")

func (p *headParser) take(f hpack.HeaderField) {
	if logFields {
		log.Printf("http2: decoded hpack field %+v", f)
	}
	if p.bytes += int(f.Size()); p.bytes > headerBytesMax {
		return
	}
	if !strings.HasPrefix(f.Name, ":") {
		p.regular = true
		p.regularField(f)
		return
	}
	if p.regular {
		p.wrong("a pseudo field behind others")
	}
	var to *string
	switch f.Name {
	case ":method":
		to = &p.method
	case ":scheme":
		to = &p.scheme
	case ":authority":
		to = &p.authority
	case ":path":
		to = &p.path
	default:
		p.wrong("an unknown pseudo field")
		return
	}
	if *to != "" || f.Value == "" && f.Name != ":authority" {
		p.wrong("a pseudo field that is empty or comes twice")
	}
	*to = f.Value
}

func (p *headParser) regularField(f hpack.HeaderField) {
	if !httpguts.ValidHeaderFieldName(f.Name) || strings.ToLower(f.Name) != f.Name || !httpguts.ValidHeaderFieldValue(f.Value) {
		p.wrong("a field that no field may be")
	}
	switch f.Name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		p.wrong("a field of HTTP/1")
	case "te":
		if f.Value != "trailers" {
			p.wrong("te is not trailers")
		}
	}
	p.fields = append(p.fields, f)
}

// field gives the first field of a name.
func (h *head) field(name string) (value string, ok bool) {
	for i := range h.fields {
		if h.fields[i].Name == name {
			return h.fields[i].Value, true
		}
	}
	return "", false
}

// value is field for who takes none for an empty one.
func (h *head) value(name string) string {
	value, _ := h.field(name)
	return value
}

// contentType is what calls are recognised by, followed by nothing or by a subtype.
const contentType = "application/grpc"

// finish gives the head when all fields have come.
func (p *headParser) finish(c *conn) *head {
	h := &p.head
	if h.method == "" || h.path == "" && h.method != "CONNECT" || h.scheme == "" && h.method != "CONNECT" {
		p.wrong("a pseudo field is missing")
	}
	h.length = -1
	if text := h.value("content-length"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			p.wrong("content-length is no number")
		}
		h.length = n
	}
	if h.malformed != "" {
		return h
	}
	rest, isCall := strings.CutPrefix(h.value("content-type"), contentType)
	if h.isCall = isCall && h.method == "POST" && (rest == "" || rest[0] == '+' || rest[0] == ';'); !h.isCall {
		return h
	}
	h.subtype = rest
	h.row = c.srv.methods[h.path]
	h.encoding = h.value("grpc-encoding")
	if text := h.value("grpc-timeout"); text != "" {
		var err error
		if h.timeout, err = parseTimeout(text); err != nil {
			p.wrong(err.Error())
		}
		h.limited = true
	}
	h.ctx = metadata.NewIncomingContext(c.base, h.metadata())
	return h
}

// short says whether a request is best handled when it is there as a whole: a call with one message, and what announces that it is
// small.
func (h *head) short() bool {
	if h.isCall {
		return h.row != nil && h.row.unary != nil
	}
	return h.length > 0 && h.length <= streamWindow
}

// reserved are the fields that are gRPC's own and no metadata.
var reserved = map[string]bool{
	"grpc-timeout": true, "grpc-encoding": true, "grpc-message-type": true, "grpc-message": true, "grpc-status": true,
	"grpc-status-details-bin": true, "te": true,
}

// metadata gives the fields as calls see them.
func (h *head) metadata() metadata.MD {
	md := metadata.MD{}
	if h.authority != "" {
		md[":authority"] = []string{h.authority}
	}
	for _, f := range h.fields {
		if reserved[f.Name] {
			continue
		}
		value := f.Value
		if strings.HasSuffix(f.Name, "-bin") {
			decoded, err := decodeBinary(value)
			if err != nil {
				h.malformed = "a binary field that is not in base64"
				continue
			}
			value = decoded
		}
		md[f.Name] = append(md[f.Name], value)
	}
	return md
}

// decodeBinary takes base64 with padding and without, as gRPC asks.
func decodeBinary(text string) (string, error) {
	encoding := base64.RawStdEncoding
	if len(text)%4 == 0 {
		encoding = base64.StdEncoding
	}
	decoded, err := encoding.DecodeString(text)
	return string(decoded), err
}

var errTimeout = errors.New("grpc-timeout is malformed")

var timeoutUnits = map[byte]time.Duration{
	'H': time.Hour, 'M': time.Minute, 'S': time.Second, 'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
}

// timeoutDigitsMax is how long the number of a grpc-timeout may be.
const timeoutDigitsMax = 8

func parseTimeout(text string) (time.Duration, error) {
	last := len(text) - 1
	if last < 1 || last > timeoutDigitsMax {
		return 0, errTimeout
	}
	unit, ok := timeoutUnits[text[last]]
	n, err := strconv.ParseUint(text[:last], 10, 63)
	if !ok || err != nil {
		return 0, errTimeout
	}
	if time.Duration(n) > maxDuration/unit {
		return maxDuration, nil
	}
	return time.Duration(n) * unit, nil
}

const maxDuration = time.Duration(1<<63 - 1)
