package transport

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is a snapshot in memory.
type state struct {
	names   []string // in the order of the offer
	content map[string][]byte
	wrong   map[string]bool // files whose checksum is not theirs
	reads   atomic.Int64    // bytes
	fail    error           // of Open
}

func newState(files int, bytes int) *state {
	s := &state{content: map[string][]byte{}, wrong: map[string]bool{}}
	for i := range files {
		s.add(fmt.Sprintf("%06d.sst", i), bytes+i)
	}
	s.add("EMPTY", 0)
	return s
}

func (s *state) add(name string, n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + len(s.names))
	}
	s.names = append(s.names, name)
	s.content[name] = b
}

func (s *state) Meta() raftlog.SnapshotMeta { return raftlog.SnapshotMeta{Index: 10, Term: 7} }
func (s *state) Release()                   { panic("the transport does not own the snapshot") }

func (s *state) Files() (files []raftlog.SnapshotFile) {
	for _, name := range s.names {
		sum := crc32.Checksum(s.content[name], castagnoli)
		if s.wrong[name] {
			sum++
		}
		files = append(files, raftlog.SnapshotFile{Name: name, Bytes: int64(len(s.content[name])), Checksum: sum})
	}
	return files
}

func (s *state) Open(name string) (raftlog.SnapshotReader, error) {
	return &stateReader{bytes.NewReader(s.content[name]), s}, s.fail
}

type stateReader struct {
	*bytes.Reader
	s *state
}

func (r *stateReader) ReadAt(b []byte, at int64) (int, error) {
	r.s.reads.Add(int64(len(b)))
	return r.Reader.ReadAt(b, at)
}
func (r *stateReader) Close() error { return nil }

// staging is a receiver's place. What was written survives streams.
type staging struct {
	mu      sync.Mutex // guards what follows
	files   []raftlog.SnapshotFile
	content map[string][]byte
	opened  int
	closed  int
	written int
	damage  int                   // so many first writes are damaged
	onWrite func(total int) error // called with what was written before
	inside  atomic.Int32
}

func (g *staging) receive(_ *raftpb.Message, files []raftlog.SnapshotFile) (raftlog.Incoming, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.content == nil {
		g.content = map[string][]byte{}
	}
	g.files = files
	g.opened++
	return g, nil
}

func (g *staging) Have(name string) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int64(len(g.content[name]))
}

func (g *staging) Write(name string, offset int64, data []byte) error {
	if g.inside.Add(1) != 1 {
		return errors.New("used by two goroutines")
	}
	defer g.inside.Add(-1)
	g.mu.Lock()
	total, onWrite := g.written, g.onWrite
	g.mu.Unlock()
	if onWrite != nil {
		if err := onWrite(total); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if offset != int64(len(g.content[name])) {
		return fmt.Errorf("written at %d of %d", offset, len(g.content[name]))
	}
	data = bytes.Clone(data)
	if g.damage > 0 {
		g.damage--
		data[0] ^= 0xff
	}
	g.content[name] = append(g.content[name], data...)
	g.written += len(data)
	return nil
}

func (g *staging) Finish() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.files {
		got := g.content[f.Name]
		if int64(len(got)) != f.Bytes || crc32.Checksum(got, castagnoli) != f.Checksum {
			delete(g.content, f.Name)
			return fmt.Errorf("%s is damaged", f.Name)
		}
	}
	return nil
}

func (g *staging) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed++
	return nil
}

func (g *staging) check(t *testing.T, want *state) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	got := maps.Clone(g.content)
	got["EMPTY"] = []byte{}
	if !maps.EqualFunc(got, want.content, bytes.Equal) {
		t.Error("the receiver has something else")
	}
	if g.opened != g.closed {
		t.Errorf("opened %d times, closed %d times", g.opened, g.closed)
	}
}

func (g *staging) bytesWritten() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.written
}
