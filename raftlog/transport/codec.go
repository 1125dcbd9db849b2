package transport

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

// Messages are decoded here and not by the protobuf library, because their payloads need not be copied: they lie in the
// memory of the frame, which nobody else uses. Such a payload keeps its frame in memory; frameBytesMax bounds what that
// costs.

// The numbers of the fields that are decoded here, in peer.proto and raft.proto. All others are left to the library, so
// that a field that raft gets one day is not lost.
const (
	messagesField  = 1
	messageEntries = 7
	entryType      = 1
	entryTerm      = 2
	entryIndex     = 3
	entryData      = 4
)

// decodeMessages decodes what proto.Unmarshal would of a peerpb.Messages, with the payloads of entries in b's memory.
func decodeMessages(b []byte) (messages []*raftpb.Message, err error) {
	for len(b) > 0 {
		number, kind, tag := consumeTag(b)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		if number != messagesField || kind != protowire.BytesType {
			skipped := protowire.ConsumeFieldValue(number, kind, b[tag:])
			if skipped < 0 {
				return nil, protowire.ParseError(skipped)
			}
			b = b[tag+skipped:]
			continue
		}
		content, n := protowire.ConsumeBytes(b[tag:])
		if n < 0 {
			return nil, fmt.Errorf("message: %w", protowire.ParseError(n))
		}
		message := &raftpb.Message{}
		if err := decodeMessage(content, message); err != nil {
			return nil, fmt.Errorf("message: %w", err)
		}
		messages = append(messages, message)
		b = b[tag+n:]
	}
	return messages, nil
}

// decodeMessage takes the entries out and gives what is before, between and behind them to the library: protobuf lets a
// message be decoded in pieces.
func decodeMessage(b []byte, m *raftpb.Message) error {
	rest := 0 // where the piece begins that was not decoded yet
	library := func(piece []byte) error {
		if len(piece) == 0 {
			return nil
		}
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(piece, m)
	}
	for at := 0; at < len(b); {
		number, kind, tag := consumeTag(b[at:])
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		value := protowire.ConsumeFieldValue(number, kind, b[at+tag:])
		if value < 0 {
			return protowire.ParseError(value)
		}
		if number == messageEntries && kind == protowire.BytesType {
			if err := library(b[rest:at]); err != nil {
				return err
			}
			content, _ := protowire.ConsumeBytes(b[at+tag:])
			entry, err := decodeEntry(content)
			if err != nil {
				return fmt.Errorf("entry: %w", err)
			}
			m.Entries = append(m.Entries, entry)
			rest = at + tag + value
		}
		at += tag + value
	}
	return library(b[rest:])
}

// decodeEntry decodes the four fields that an entry has. What else may be in it one day makes it the library's business.
func decodeEntry(b []byte) (*raftpb.Entry, error) {
	held := &struct { // one allocation instead of four
		entry       raftpb.Entry
		kind        raftpb.EntryType
		term, index uint64
	}{}
	for rest := b; len(rest) > 0; {
		number, kind, tag := consumeTag(rest)
		if tag < 0 {
			return nil, protowire.ParseError(tag)
		}
		n := 0
		switch {
		case number == entryType && kind == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(rest[tag:])
			held.kind = raftpb.EntryType(v)
			held.entry.Type = &held.kind
		case number == entryTerm && kind == protowire.VarintType:
			held.term, n = protowire.ConsumeVarint(rest[tag:])
			held.entry.Term = &held.term
		case number == entryIndex && kind == protowire.VarintType:
			held.index, n = protowire.ConsumeVarint(rest[tag:])
			held.entry.Index = &held.index
		case number == entryData && kind == protowire.BytesType:
			var v []byte
			v, n = protowire.ConsumeBytes(rest[tag:])
			held.entry.Data = v[:len(v):len(v)]
		default:
			entry := &raftpb.Entry{}
			return entry, proto.Unmarshal(b, entry)
		}
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		rest = rest[tag+n:]
	}
	return &held.entry, nil
}

// consumeTag is protowire's, and refuses numbers that no field can have, as the library's decoder does.
func consumeTag(b []byte) (protowire.Number, protowire.Type, int) {
	number, kind, n := protowire.ConsumeTag(b)
	if n > 0 && number > protowire.MaxValidNumber {
		return 0, 0, math.MinInt // a "parse error" to ParseError, as any code that it does not know
	}
	return number, kind, n
}
