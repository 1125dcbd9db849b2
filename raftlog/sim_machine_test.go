package raftlog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// image is the Machine's whole state: a hash that every entry goes into. Two that are equal came from the same entries.
type image struct {
	index, term uint64
	stamp       int64
	hash        uint64
	conf        []byte // as ApplyChange gave it
	gone        []uint64
}

// simMachine is the Machine of one run. Like the state engine it loses at a crash what was not flushed.
type simMachine struct {
	r *simRun
	image
}

func (m *simMachine) Apply(entries []Entry) error {
	if m.r.crashes("apply") {
		return errCrash
	}
	for i := range entries {
		if err := m.take(&entries[i], nil); err != nil {
			return err
		}
	}
	m.r.w.say(m.r.m.id, "applied %d to %d", entries[0].Index, m.index)
	return nil
}

// ApplyChange lets a change stand unless its payload begins with a no, or it would remove the last voter.
func (m *simMachine) ApplyChange(e Entry, conf []byte) (bool, error) {
	if m.r.crashes("apply") {
		return false, errCrash
	}
	stands := true
	for _, p := range e.Proposals {
		if len(p.Payload) > 0 && p.Payload[0] == refusedChange {
			stands = false
		}
	}
	if !stands {
		conf = nil
	}
	err := m.take(&e, conf)
	m.r.w.say(m.r.m.id, "applied %d, a change: %s, stands %v", e.Index, confText(m.conf), stands)
	return stands, err
}

// take goes one entry on; conf is nil when it stays as it is.
func (m *simMachine) take(e *Entry, conf []byte) error {
	if e.Index != m.index+1 {
		return fmt.Errorf("entry %d after %d", e.Index, m.index)
	}
	if len(e.Proposals) > 0 && e.StampMillis < m.stamp {
		return fmt.Errorf("entry %d is stamped %d after %d", e.Index, e.StampMillis, m.stamp)
	}
	m.index, m.term, m.stamp = e.Index, e.Term, max(m.stamp, e.StampMillis)
	m.hash = chain(m.hash, m.stamp, e, conf)
	if conf != nil {
		before := m.members()
		m.conf = bytes.Clone(conf)
		now := m.members()
		for _, id := range before {
			if !slices.Contains(now, id) {
				m.gone = append(slices.Clone(m.gone), id)
			}
		}
		m.r.confChanged()
	}
	return m.r.w.truth.applied(m.r, e, m.image)
}

// members are all that the configuration names, in order.
func (i *image) members() []uint64 {
	if i.conf == nil {
		return nil
	}
	c := mustConf(i.conf)
	ids := slices.Concat(c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext())
	slices.Sort(ids)
	return slices.Compact(ids)
}

const refusedChange = 'n'

var chainTable = crc32.MakeTable(crc32.Castagnoli)

// chain mixes an entry into the hash of all before it.
func chain(hash uint64, stamp int64, e *Entry, conf []byte) uint64 {
	b := binary.BigEndian.AppendUint64(nil, hash)
	b = binary.BigEndian.AppendUint64(b, e.Index)
	b = binary.BigEndian.AppendUint64(b, e.Term)
	b = binary.BigEndian.AppendUint64(b, uint64(stamp))
	b = append(b, conf...)
	for _, p := range e.Proposals {
		b = appendProposal(b, p.Origin, p.Seq, p.Payload)
	}
	return uint64(crc32.Checksum(b, chainTable))<<32 | uint64(crc32.ChecksumIEEE(b))
}

// Install takes the staged files for the state. A crash before its end leaves the old one.
func (m *simMachine) Install(meta SnapshotMeta) error {
	s := m.r.m.staging
	if s == nil || !s.finished || s.meta.Index != meta.Index || s.meta.Term != meta.Term {
		return fmt.Errorf("installs snapshot %d, which was not received", meta.Index)
	}
	if m.r.crashes("install") {
		return errCrash
	}
	next, err := decodeImage(s.files)
	if err != nil {
		return err
	}
	if next.index != meta.Index || next.term != meta.Term || !bytes.Equal(next.conf, meta.Conf) {
		return fmt.Errorf("snapshot %d of term %d holds %d of term %d", meta.Index, meta.Term, next.index, next.term)
	}
	if next.index < m.index {
		return fmt.Errorf("snapshot %d installed after %d", next.index, m.index)
	}
	m.image, m.r.m.flushed = next, next
	m.r.m.installed = &SnapshotMeta{Index: meta.Index, Term: meta.Term, Conf: bytes.Clone(meta.Conf)}
	m.r.m.staging = nil
	m.r.w.say(m.r.m.id, "installed %d", meta.Index)
	m.r.confChanged()
	if err := m.r.w.truth.installed(m.r, next); err != nil {
		return err
	}
	if m.r.crashes("installed") {
		return errCrash
	}
	return nil
}

// staging is where a member receives a snapshot. It outlives crashes, but for the last pieces.
type staging struct {
	m        *simMember
	meta     SnapshotMeta
	list     []SnapshotFile
	files    map[string][]byte
	finished bool
}

// crash loses the ends of files that no sync covers.
func (s *staging) crash() {
	if s.finished {
		return
	}
	for _, f := range s.list {
		if have := s.files[f.Name]; len(have) > 0 {
			s.files[f.Name] = have[:s.m.w.dice.IntN(len(have)+1)]
		}
	}
}

// simSnapshots implements Snapshots for one run.
type simSnapshots struct{ r *simRun }

func (s simSnapshots) Create(_ context.Context, atLeast uint64) (Snapshot, error) {
	r := s.r
	if r.w.chance(0.05) {
		return nil, errors.New("no room for a snapshot")
	}
	i := r.machine.image
	if i.index < atLeast {
		return nil, fmt.Errorf("asked for a snapshot of %d, the state is at %d", atLeast, i.index)
	}
	r.open++
	r.w.say(r.m.id, "made a snapshot of %d", i.index)
	return &simSnapshot{r: r, image: i, files: encodeImage(i)}, nil
}

func (s simSnapshots) Receive(meta SnapshotMeta, files []SnapshotFile) (Incoming, error) {
	m := s.r.m
	if st := m.staging; st == nil || st.meta.Index != meta.Index || st.meta.Term != meta.Term || !slices.Equal(st.list, files) {
		m.staging = &staging{m: m, meta: meta, list: slices.Clone(files), files: map[string][]byte{}}
	}
	s.r.w.say(m.id, "receives a snapshot of %d", meta.Index)
	return &simIncoming{m.staging}, nil
}

type simSnapshot struct {
	r        *simRun
	image    image
	files    map[string][]byte
	released bool
}

func (s *simSnapshot) Meta() SnapshotMeta {
	return SnapshotMeta{Index: s.image.index, Term: s.image.term, Conf: s.image.conf}
}

var imageFiles = []string{"conf", "state"}

func (s *simSnapshot) Files() (files []SnapshotFile) {
	for _, name := range imageFiles {
		b := s.files[name]
		files = append(files, SnapshotFile{Name: name, Bytes: int64(len(b)), Checksum: crc32.Checksum(b, chainTable)})
	}
	return files
}

type fileReader struct{ *bytes.Reader }

func (fileReader) Close() error { return nil }

func (s *simSnapshot) Open(name string) (SnapshotReader, error) {
	if s.released {
		s.r.w.fail("node %d reads a snapshot that it has released", s.r.m.id)
	}
	return fileReader{bytes.NewReader(s.files[name])}, nil
}

func (s *simSnapshot) Release() {
	if s.released {
		s.r.w.fail("node %d releases a snapshot twice", s.r.m.id)
	}
	s.released = true
	s.r.open--
	s.r.w.say(s.r.m.id, "released the snapshot of %d", s.image.index)
}

type simIncoming struct{ s *staging }

func (i *simIncoming) Have(name string) int64 { return int64(len(i.s.files[name])) }

func (i *simIncoming) Write(name string, offset int64, data []byte) error {
	if have := i.Have(name); offset != have {
		return fmt.Errorf("%s is written at %d, it has %d", name, offset, have)
	}
	i.s.files[name] = append(slices.Clone(i.s.files[name]), data...)
	return nil
}

func (i *simIncoming) Finish() error {
	for _, f := range i.s.list {
		b := i.s.files[f.Name]
		if int64(len(b)) != f.Bytes || crc32.Checksum(b, chainTable) != f.Checksum {
			delete(i.s.files, f.Name)
			return fmt.Errorf("%s is wrong", f.Name)
		}
	}
	i.s.finished = true
	return nil
}

func (i *simIncoming) Close() error { return nil }

// encodeImage pads the state, so that its transfer takes a while.
func encodeImage(i image) map[string][]byte {
	b := binary.BigEndian.AppendUint64(nil, i.index)
	b = binary.BigEndian.AppendUint64(b, i.term)
	b = binary.BigEndian.AppendUint64(b, uint64(i.stamp))
	b = binary.BigEndian.AppendUint64(b, i.hash)
	for _, id := range i.gone {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return map[string][]byte{"conf": i.conf, "state": b}
}

func decodeImage(files map[string][]byte) (i image, err error) {
	b := files["state"]
	if len(b) < 32 || len(b)%8 != 0 {
		return i, io.ErrUnexpectedEOF
	}
	number := func() uint64 {
		n := binary.BigEndian.Uint64(b)
		b = b[8:]
		return n
	}
	i.index, i.term, i.stamp, i.hash = number(), number(), int64(number()), number()
	for len(b) > 0 {
		i.gone = append(i.gone, number())
	}
	i.conf = bytes.Clone(files["conf"])
	return i, nil
}

func mustConf(b []byte) *raftpb.ConfState {
	c, err := decodeConf(b)
	if err != nil {
		panic(err)
	}
	return c
}
