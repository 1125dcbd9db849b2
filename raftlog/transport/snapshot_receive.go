package transport

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

// receiving is the place where one snapshot at a time comes in. A connection that broke is often still there when its
// successor comes; what they share is used under one lock, by the newest only.
type receiving struct {
	mu      sync.Mutex // held while the staging place is used; guards what follows
	current *reception
}

// reception is a snapshot on its way in.
type reception struct {
	t        *Transport
	from     uint64
	message  *raftpb.Message
	files    []raftlog.SnapshotFile
	incoming raftlog.Incoming
	counts   *counts
}

var errSuperseded = &failure{"another snapshot comes in instead"}

// serveSnapshot takes an offer, says what is missing of it, takes that, and hands the message over when all is there.
func (t *Transport) serveSnapshot(w *wire, from uint64) (err error) {
	part := &peerpb.SnapshotPart{}
	if err := w.expect(peerpb.Kind_PART, part); err != nil {
		return err
	}
	r, err := t.receive(from, part.GetOffer())
	if err != nil {
		return err
	}
	done := false
	defer func() {
		t.inbound.snapshots.leave(r)
		if !done {
			r.counts.snapshotsReceiveFailed.Add(1)
			t.log.Info("a snapshot did not come to its end", "peer", memberName(from), "err", err)
		}
	}()
	state, err := r.state("")
	if err != nil {
		return err
	}
	for {
		if _, err := w.send(peerpb.Kind_STATE, state); err != nil {
			return err
		}
		if state, err = r.take(w); err != nil {
			return err
		}
		if state.Done {
			break
		}
	}
	done = true
	r.counts.snapshotsReceived.Add(1)
	t.log.Info("snapshot received", "peer", memberName(from), "index", r.message.GetSnapshot().GetMetadata().GetIndex())
	_, err = w.send(peerpb.Kind_STATE, state)
	return err
}

// receive opens the staging place for an offer. A connection that was using it loses it, unless it is that of a later leader.
func (t *Transport) receive(from uint64, offer *peerpb.SnapshotOffer) (*reception, error) {
	m := offer.GetMessage()
	files, err := offered(offer)
	switch {
	case m.GetType() != raftpb.MsgSnap:
		return nil, &failure{"the connection does not begin with the offer of a snapshot"}
	case m.GetFrom() != from || m.GetTo() != t.identity.member:
		return nil, &failure{"a snapshot of or for another member"}
	case err != nil:
		return nil, &failure{"offer of a snapshot: " + err.Error()}
	}
	s := &t.inbound.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.current; before != nil {
		if before.message.GetTerm() > m.GetTerm() {
			return nil, errSuperseded
		}
		before.close()
		s.current = nil
	}
	incoming, err := t.handler.ReceiveSnapshot(m, files)
	if err != nil {
		return nil, &failure{err.Error()}
	}
	s.current = &reception{t: t, from: from, message: m, files: files, incoming: incoming, counts: t.counts.of(from)}
	t.log.Info("receiving a snapshot", "peer", memberName(from), "index", m.GetSnapshot().GetMetadata().GetIndex(),
		"files", len(files), "bytes", totalBytes(files))
	return s.current, nil
}

func (s *receiving) leave(r *reception) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == r {
		r.close()
		s.current = nil
	}
}

func (r *reception) close() {
	if r.incoming == nil {
		return
	}
	if err := r.incoming.Close(); err != nil {
		r.t.log.Warn("closing an incoming snapshot", "err", err)
	}
	r.incoming = nil
}

// use gives the staging place to f, if it still is this reception's.
func (r *reception) use(f func() error) error {
	s := &r.t.inbound.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != r {
		return errSuperseded
	}
	return f()
}

// state says what is there. A problem is what Finish found.
func (r *reception) state(problem string) (*peerpb.SnapshotState, error) {
	state := &peerpb.SnapshotState{Problem: problem}
	err := r.use(func() error {
		for _, f := range r.files {
			state.Have = append(state.Have, r.incoming.Have(f.Name))
		}
		return nil
	})
	return state, err
}

// take takes chunks until a finish, and finishes.
func (r *reception) take(w *wire) (*peerpb.SnapshotState, error) {
	for {
		part := &peerpb.SnapshotPart{}
		if err := w.expect(peerpb.Kind_PART, part); err != nil {
			return nil, err
		}
		switch {
		case part.GetChunk() != nil:
			if err := r.write(part.GetChunk()); err != nil {
				return nil, err
			}
		case part.GetFinish() != nil:
			return r.finish()
		default:
			return nil, &failure{"a part of a snapshot that is neither a chunk nor its end"}
		}
	}
}

func (r *reception) write(c *peerpb.SnapshotChunk) error {
	if int64(c.GetFile()) >= int64(len(r.files)) {
		return &failure{"a chunk of a file that was not offered"}
	}
	f := r.files[c.File]
	return r.use(func() error {
		have := r.incoming.Have(f.Name)
		if c.GetOffset() != have || int64(len(c.GetData())) > f.Bytes-have {
			return &failure{fmt.Sprintf("a chunk of %d bytes at %d of %s, which has %d bytes of %d",
				len(c.Data), c.Offset, f.Name, have, f.Bytes)}
		}
		if err := r.incoming.Write(f.Name, c.Offset, c.Data); err != nil {
			return &failure{err.Error()}
		}
		r.counts.snapshotReceivedBytes.Add(uint64(len(c.Data)))
		return nil
	})
}

// finish checks all of it. What is wrong is told to the sender, who sends it again.
func (r *reception) finish() (*peerpb.SnapshotState, error) {
	var problem error
	err := r.use(func() error {
		if problem = r.incoming.Finish(); problem != nil {
			return nil
		}
		r.close()
		r.t.handler.Receive([]*raftpb.Message{r.message})
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case problem == nil:
		return &peerpb.SnapshotState{Done: true}, nil
	}
	r.t.log.Warn("a received snapshot is not right, the rest is asked for again", "peer", memberName(r.from), "err", problem)
	return r.state(problem.Error())
}

// offered is what an offer says, checked: the names are those of files in one directory.
func offered(offer *peerpb.SnapshotOffer) ([]raftlog.SnapshotFile, error) {
	files := make([]raftlog.SnapshotFile, 0, len(offer.GetFiles()))
	names := make([]string, 0, len(offer.GetFiles()))
	for _, f := range offer.GetFiles() {
		if !plainName(f.GetName()) || f.GetBytes() < 0 {
			return nil, fmt.Errorf("a file %q of %d bytes", f.GetName(), f.GetBytes())
		}
		files = append(files, raftlog.SnapshotFile{Name: f.Name, Bytes: f.Bytes, Checksum: f.Checksum})
		names = append(names, f.Name)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(files) {
		return nil, errors.New("two files of one name")
	}
	return files, nil
}

// plainName says whether a name is that of a file in a directory, on any system.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\\\x00")
}
