package protocols

import (
	"bytes"
	"fmt"
)

// Protocol names what a connection speaks, in the word that the flags use.
type Protocol string

const (
	RESP Protocol = "resp"
	Etcd Protocol = "etcd"
	ZK   Protocol = "zk"

	// EtcdHTTP is etcd's HTTP without gRPC, on a port of its own. It is never recognised: on a port that takes both the
	// adapter tells them apart.
	EtcdHTTP Protocol = "etcd-http"
)

// All lists the protocols in the order in which they are shown to people.
var All = []Protocol{RESP, Etcd, ZK}

// Verdict is what the first bytes of a connection say about its protocol. Exactly one of three is the case: Protocol is
// set (known), Refusal is set (none of ours), or neither (more bytes are needed).
type Verdict struct {
	Protocol Protocol
	Refusal  string

	// IfSilent is set with a verdict that needs more bytes when the bytes so far are a whole request, if nothing
	// follows them: a ZooKeeper four-letter word, sent bare by monitoring tools that then wait for the answer.
	IfSilent Protocol
}

// peekMax bounds what is read before a protocol is settled. Only an HTTP/1 request line needs more than 14 bytes, and
// one longer than this is taken for HTTP: an inline Redis command of this length would not start with a method and '/'.
const peekMax = 1024

// A ZooKeeper connection opens with a connect request behind its 4-byte length: 28 bytes of fixed fields and an empty
// password at least; 44 or 45 from every client in use. The upper bound leaves room for longer passwords and stays
// below anything that text or another binary protocol could look like by accident.
const (
	connectRequestBytesMin = 28
	connectRequestBytesMax = 1024
)

var (
	http2Preface = "PRI * HTTP/2.0"

	// A request line in HTTP/1 is "METHOD /path HTTP/1.x". Without the last word it is an inline Redis command:
	// "GET /a" is both a request for a page and the reading of a key that ZooKeeper can see.
	http1Openings = []string{"GET /", "POST /", "PUT /", "DELETE /", "HEAD /", "OPTIONS /"}

	fourLetterWords = []string{
		"ruok", "srvr", "stat", "mntr", "conf", "isro", "envi", "dump", "cons", "crst", "srst", "wchs", "wchc", "wchp",
		"dirs", "hash", "gtmk", "stmk",
	}
)

const (
	tlsHandshakeRecord = 0x16

	refusedTLS     = "TLS is not offered on this port"
	refusedGarbage = "first bytes belong to none of the three protocols"
)

// Recognise tells from the first bytes of a connection which protocol it speaks. It is given what has arrived so far,
// and looks at no more than peekMax bytes. A verdict, once given, does not depend on how the bytes were split,
// with the exception that Verdict.IfSilent describes.
func Recognise(first []byte) Verdict {
	if len(first) == 0 {
		return Verdict{}
	}
	first = first[:min(len(first), peekMax)]
	switch c := first[0]; {
	case c == 0x00:
		return recogniseConnect(first)
	case c == tlsHandshakeRecord:
		return Verdict{Refusal: refusedTLS}
	case (c < ' ' && c != '\r' && c != '\n' && c != '\t') || c > '~':
		return Verdict{Refusal: fmt.Sprintf("%s (0x%02x …)", refusedGarbage, c)}
	}

	for _, opening := range http1Openings {
		switch startsWith(first, opening) {
		case yes:
			return recogniseRequestLine(first)
		case perhaps:
			return Verdict{}
		}
	}
	switch startsWith(first, http2Preface) {
	case yes:
		return Verdict{Protocol: Etcd}
	case perhaps:
		return Verdict{}
	}
	return recogniseWord(first)
}

type answer uint8

const (
	no answer = iota
	yes
	perhaps // the bytes so far agree, but more are needed
)

func startsWith(first []byte, opening string) answer {
	common := min(len(first), len(opening))
	switch {
	case string(first[:common]) != opening[:common]:
		return no
	case len(first) < len(opening):
		return perhaps
	}
	return yes
}

// recogniseConnect handles a first byte of zero: the length in front of a ZooKeeper connect request.
func recogniseConnect(first []byte) Verdict {
	if len(first) < 4 {
		return Verdict{}
	}
	length := int(first[1])<<16 | int(first[2])<<8 | int(first[3])
	if length < connectRequestBytesMin || length > connectRequestBytesMax {
		return Verdict{Refusal: fmt.Sprintf("%s (a ZooKeeper connect request has no length of %d)", refusedGarbage, length)}
	}
	return Verdict{Protocol: ZK}
}

// recogniseRequestLine decides between HTTP/1 and an inline Redis command by the end of the line.
func recogniseRequestLine(first []byte) Verdict {
	line, _, whole := bytes.Cut(first, []byte{'\n'})
	switch {
	case !whole && len(first) < peekMax:
		return Verdict{}
	case !whole:
		return Verdict{Protocol: Etcd}
	}
	words := bytes.Fields(line)
	if bytes.HasPrefix(words[len(words)-1], []byte("HTTP/1.")) {
		return Verdict{Protocol: Etcd}
	}
	return Verdict{Protocol: RESP}
}

// recogniseWord decides between a ZooKeeper four-letter word and everything that is left: RESP. The word stands alone
// or ends its line; with arguments behind it, it is an inline Redis command ("dump key").
func recogniseWord(first []byte) Verdict {
	for _, word := range fourLetterWords {
		switch startsWith(first, word) {
		case perhaps:
			return Verdict{}
		case yes:
			if len(first) == len(word) {
				return Verdict{IfSilent: ZK}
			}
			if next := first[len(word)]; next == '\n' || next == '\r' {
				return Verdict{Protocol: ZK}
			}
		}
	}
	return Verdict{Protocol: RESP}
}
