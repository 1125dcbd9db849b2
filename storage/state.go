package storage

import (
	"bytes"
	"encoding/binary"
)

// Spaces is how many keyspaces there are: the shared one, 0, and the private ones.
const Spaces = 16

// State is where the state machine stands. It is one row of the meta table, written with every commit, so that whatever
// Pebble holds after a crash knows which prefix of the log it is.
type State struct {
	AppliedIndex   uint64 // of the last entry applied
	AppliedTerm    uint64
	Revision       int64 // of the last change; 1 in an empty store, as in etcd
	Compacted      int64 // revisions below it cannot be read any more, 0 for none
	StampMillis    int64 // latest stamp of an entry
	NextCollection uint64
	Conf           []byte        // who replicates the log as of AppliedIndex, encoded by the log; not to be modified
	Counts         [Spaces]int64 // keys of each space
	HistoryBytes   int64         // bytes ever added to log and history; DB.HistoryBytes takes off what was purged
	// SupersededBytes is the part of HistoryBytes that no live key needs: versions that were replaced or deleted, and
	// tombstones. Versions are counted to within a few bytes.
	SupersededBytes int64
	CorruptAlarms   uint64 // rows of the alarm table that say that replicas differ
	NoSpaceAlarms   uint64 // and that a member is out of space
	AuthRevision    uint64 // of the tables of users and roles: 1 when they are empty, one more with each change
	AuthEnabled     bool   // commands are judged by their caller's roles
}

// initialState is the state of an empty store.
func initialState() State { return State{Revision: 1, NextCollection: 1, AuthRevision: 1} }

// stateLayout heads the stored form, so that a later layout can be told from this one.
const stateLayout = 1

// Append appends the stored form.
func (s *State) Append(dst []byte) []byte {
	dst = append(dst, stateLayout)
	dst = binary.AppendUvarint(dst, s.AppliedIndex)
	dst = binary.AppendUvarint(dst, s.AppliedTerm)
	dst = binary.AppendUvarint(dst, uint64(s.Revision))
	dst = binary.AppendUvarint(dst, uint64(s.Compacted))
	dst = binary.AppendUvarint(dst, uint64(s.StampMillis))
	dst = binary.AppendUvarint(dst, s.NextCollection)
	dst = binary.AppendUvarint(dst, uint64(s.HistoryBytes))
	dst = binary.AppendUvarint(dst, uint64(s.SupersededBytes))
	for _, n := range s.Counts {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	dst = binary.AppendUvarint(dst, s.CorruptAlarms)
	dst = binary.AppendUvarint(dst, s.NoSpaceAlarms)
	// The revision and, in its last bit, whether authentication is on.
	auth := s.AuthRevision << 1
	if s.AuthEnabled {
		auth |= 1
	}
	dst = binary.AppendUvarint(dst, auth)
	return appendBytes(dst, s.Conf)
}

// DecodeState reads a stored State. Malformed input is ErrCorrupt.
func DecodeState(b []byte) (State, error) {
	d := decoder{rest: b}
	if d.byte() != stateLayout {
		d.bad = true
	}
	s := State{
		AppliedIndex:   d.uvarint(),
		AppliedTerm:    d.uvarint(),
		Revision:       int64(d.uvarint()),
		Compacted:      int64(d.uvarint()),
		StampMillis:    int64(d.uvarint()),
		NextCollection: d.uvarint(),
		HistoryBytes:   int64(d.uvarint()),

		SupersededBytes: int64(d.uvarint()),
	}
	for i := range s.Counts {
		s.Counts[i] = int64(d.uvarint())
	}
	s.CorruptAlarms = d.uvarint()
	s.NoSpaceAlarms = d.uvarint()
	auth := d.uvarint()
	s.AuthRevision, s.AuthEnabled = auth>>1, auth&1 == 1
	if conf := d.bytes(); len(conf) > 0 {
		s.Conf = bytes.Clone(conf)
	}
	if err := d.failure("state"); err != nil {
		return State{}, err
	}
	return s, nil
}
