package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The payload of a raft entry: a header and the proposals, one after the other.
//
//	format  1 byte
//	stamp   8 bytes, little endian: milliseconds since 1970 on the leader's clock
//	count   4 bytes, little endian
//	count × { origin 8 bytes little endian, seq uvarint, length uvarint, payload }
//
// The header has a fixed size so that proposals can be encoded while the entry is still gathering, and the header
// filled in when it leaves. raft's own entries have no payload at all.
const (
	entryFormat      = 1
	headerBytes      = 1 + 8 + 4
	proposalBytesMin = 8 + 1 + 1
)

// ErrMalformed says that the payload of a committed entry is not one that a node of this version writes.
var ErrMalformed = errors.New("raftlog: malformed entry")

// Entry is a committed entry of the log.
type Entry struct {
	Index uint64
	Term  uint64
	// StampMillis is the clock of the leader that wrote the entry. It never goes back from one entry to the next;
	// raft's own entries repeat the one before them.
	StampMillis int64
	// Proposals is empty for raft's own entries. Their Index counts all the same.
	Proposals []Proposal
}

// Proposal is one caller's part of an entry.
type Proposal struct {
	// Origin says which node, and which run of it, made the proposal: see Node.Origin.
	Origin uint64
	// Seq is the proposer's own number for it.
	Seq uint64
	// Payload must not be changed, neither by the proposer once it is handed over nor by the Machine.
	Payload []byte
}

// encodedBytes is the size of p inside an entry.
func (p *Proposal) encodedBytes() int {
	return 8 + uvarintBytes(p.Seq) + uvarintBytes(uint64(len(p.Payload))) + len(p.Payload)
}

func uvarintBytes(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}

func appendProposal(dst []byte, origin, seq uint64, payload []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, origin)
	dst = binary.AppendUvarint(dst, seq)
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	return append(dst, payload...)
}

// putHeader fills in the first headerBytes of an entry's payload.
func putHeader(data []byte, stampMillis int64, count int) {
	data[0] = entryFormat
	binary.LittleEndian.PutUint64(data[1:], uint64(stampMillis))
	binary.LittleEndian.PutUint32(data[9:], uint32(count))
}

// decodeEntry appends the proposals of an entry's payload to dst. Their payloads alias data. No input makes it panic
// or allocate more than a small multiple of len(data).
func decodeEntry(dst []Proposal, data []byte) (stampMillis int64, proposals []Proposal, err error) {
	if len(data) < headerBytes {
		return 0, dst, fmt.Errorf("%w: %d bytes are less than a header", ErrMalformed, len(data))
	}
	if data[0] != entryFormat {
		return 0, dst, fmt.Errorf("%w: format %d, this version reads %d", ErrMalformed, data[0], entryFormat)
	}
	stampMillis = int64(binary.LittleEndian.Uint64(data[1:]))
	count := int(binary.LittleEndian.Uint32(data[9:]))
	rest := data[headerBytes:]
	if count > len(rest)/proposalBytesMin {
		return 0, dst, fmt.Errorf("%w: %d proposals in %d bytes", ErrMalformed, count, len(rest))
	}
	for i := range count {
		if len(rest) < proposalBytesMin {
			return 0, dst, fmt.Errorf("%w: proposal %d is cut off", ErrMalformed, i)
		}
		origin := binary.LittleEndian.Uint64(rest)
		rest = rest[8:]
		seq, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, dst, fmt.Errorf("%w: proposal %d: bad sequence number", ErrMalformed, i)
		}
		rest = rest[n:]
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return 0, dst, fmt.Errorf("%w: proposal %d: bad length", ErrMalformed, i)
		}
		rest = rest[n:]
		dst = append(dst, Proposal{Origin: origin, Seq: seq, Payload: rest[:size:size]})
		rest = rest[size:]
	}
	if len(rest) != 0 {
		return 0, dst, fmt.Errorf("%w: %d bytes after the last proposal", ErrMalformed, len(rest))
	}
	return stampMillis, dst, nil
}
