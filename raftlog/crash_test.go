package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// files is a copy of a log's directory.
type files map[string][]byte

func readFiles(t testing.TB, dir string) files {
	f := files{}
	names, err := os.ReadDir(filepath.Join(dir, "wal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(dir, "wal", n.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a segment in preparation that has got its name
		}
		if err != nil {
			t.Fatal(err)
		}
		f[n.Name()] = b
	}
	return f
}

func (f files) write(t testing.TB, dir string) string {
	if err := os.MkdirAll(filepath.Join(dir, "wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range f {
		if err := os.WriteFile(filepath.Join(dir, "wal", name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// segments are the names of the log's segments in order.
func (f files) segments() (names []string) {
	for name := range f {
		if strings.HasSuffix(name, ".wal") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

const sectorBytes = 512

// tear returns what a disk may hold when power fails between before, which was synced, and after, which was not: of
// each sector one or the other, in several patterns, or rubbish where something was being written.
func tear(before, after files, r *rand.Rand) files {
	if len(after.segments()) > len(before.segments()) && r.IntN(2) == 0 {
		return after // a new segment has its name only after all before it is synced
	}
	image := files{}
	for name, old := range before {
		image[name] = tearFile(old, after[name], r)
	}
	return image
}

func tearFile(old, new []byte, r *rand.Rand) []byte {
	b := bytes.Clone(old)
	pattern, cut := r.IntN(5), r.IntN(max(1, len(old)))
	started := false
	for at := 0; at < len(old); at += sectorBytes {
		end := min(at+sectorBytes, len(old))
		if len(new) < end || bytes.Equal(old[at:end], new[at:end]) {
			continue
		}
		if !started { // let a cut fall into what has changed
			started = true
			cut = at + r.IntN(4*sectorBytes)
		}
		switch pattern {
		case 0: // all arrived
			copy(b[at:end], new[at:end])
		case 1: // a beginning arrived
			if at < cut {
				copy(b[at:end], new[at:end])
			}
		case 2: // any part arrived
			if r.IntN(2) == 0 {
				copy(b[at:end], new[at:end])
			}
		case 3: // the end arrived and the beginning did not
			if at >= cut {
				copy(b[at:end], new[at:end])
			}
		case 4: // rubbish arrived
			for i := at; i < end; i++ {
				if old[i] != new[i] {
					b[i] = byte(r.Uint32())
				}
			}
		}
	}
	return b
}

var errCrash = errors.New("crashed")

// crashingLog is a log whose power fails in the n-th call. What the disk holds then is in image.
type crashingLog struct {
	Log
	t     testing.TB
	dir   string
	calls int
	rand  *rand.Rand

	mu    sync.Mutex
	image files
}

func (l *crashingLog) call(do func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.image != nil {
		return errCrash
	}
	l.calls--
	if l.calls > 0 {
		return do()
	}
	before := readFiles(l.t, l.dir)
	if err := do(); err != nil {
		return err
	}
	l.image = tear(before, readFiles(l.t, l.dir), l.rand)
	return errCrash
}

func (l *crashingLog) Append(s *raftpb.HardState, e []*raftpb.Entry) error {
	return l.call(func() error { return l.Log.Append(s, e) })
}
func (l *crashingLog) Mark(m Marker) error { return l.call(func() error { return l.Log.Mark(m) }) }

// Purge may be interrupted between two files; the oldest go first.
func (l *crashingLog) Purge(index uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.image != nil {
		return errCrash
	}
	before := readFiles(l.t, l.dir)
	if err := l.Log.Purge(index); err != nil {
		return err
	}
	l.calls--
	if l.calls > 0 {
		return nil
	}
	after := readFiles(l.t, l.dir)
	for _, name := range before.segments() {
		if _, kept := after[name]; kept || l.rand.IntN(2) == 0 {
			break
		}
		delete(before, name)
	}
	l.image = before
	return errCrash
}

// flushedState is what a Machine without a log of its own gets back after a crash: its last flush.
type flushedState struct {
	index uint64
	stamp int64
	seqs  []uint64
}

func (m *recorder) flush() flushedState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return flushedState{m.index, m.stamp, slices.Clone(m.seqs)}
}

func (s flushedState) machine() *recorder {
	m := newRecorder(s.index)
	m.stamp, m.seqs = s.stamp, slices.Clone(s.seqs)
	return m
}

// What a Machine was given before a crash comes back after it, in the same order; what was only proposed may.
func TestACrashAtAnyMomentLosesNothingAcknowledgedAndRepeatsNothing(t *testing.T) {
	runs := 24
	if testing.Short() {
		runs = 8
	}
	for seed := range uint64(runs) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			crashRun(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

func crashRun(t *testing.T, r *rand.Rand) {
	dir := t.TempDir()
	var flushed flushedState
	var acknowledged []uint64
	seq := uint64(0)
	for crash := range 8 {
		m := flushed.machine()
		load := rand.New(rand.NewPCG(r.Uint64(), 2))
		log := &crashingLog{t: t, dir: dir, calls: 1 + r.IntN(60), rand: rand.New(rand.NewPCG(r.Uint64(), 3))}
		cfg := testConfig(t, dir, m)
		cfg.Applied, cfg.StampMillis = flushed.index, flushed.stamp
		cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
			l, recovered, err := OpenDisk(o)
			if err != nil {
				t.Errorf("crash %d: the log cannot be opened: %v", crash, err)
				return nil, nil, err
			}
			log.Log = l
			return log, recovered, nil
		}
		n, err := Start(cfg)
		if err == nil {
			seq = crashLoad(t, n, m, &flushed, seq, load)
			<-n.Done()
			err = n.Err()
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("crash %d: stopped with %v", crash, err)
		}

		now := m.applied()
		if isReady(n) && !slices.Equal(now[:len(acknowledged)], acknowledged) {
			t.Fatalf("crash %d: acknowledged %d proposals, after the restart %d are here", crash, len(acknowledged), len(now))
		}
		for i := 1; i < len(now); i++ {
			if now[i] <= now[i-1] {
				t.Fatalf("crash %d: proposal %d after %d", crash, now[i], now[i-1])
			}
		}
		if len(now) > len(acknowledged) {
			acknowledged = now
		}
		dir = log.image.write(t, t.TempDir())
	}
	m := flushed.machine()
	cfg := testConfig(t, dir, m)
	cfg.Applied, cfg.StampMillis = flushed.index, flushed.stamp
	n := mustStart(t, cfg)
	if now := m.applied(); len(now) < len(acknowledged) || !slices.Equal(now[:len(acknowledged)], acknowledged) {
		t.Fatalf("acknowledged %d proposals, at the end %d are here", len(acknowledged), len(now))
	}
	mustStop(t, n)
}

func isReady(n *Node) bool {
	if n == nil {
		return false
	}
	select {
	case <-n.Ready():
		return true
	default:
		return false
	}
}

// crashLoad proposes and flushes until the node is gone, and returns the last number it used.
func crashLoad(t *testing.T, n *Node, m *recorder, flushed *flushedState, seq uint64, r *rand.Rand) uint64 {
	select {
	case <-n.Ready():
	case <-n.Done():
		return seq
	}
	go func() {
		<-n.Done()
		m.release()
	}()
	lost := seq - uint64(len(m.applied())) // numbers that earlier crashes took
	for {
		for range r.IntN(30) {
			size := r.IntN(300)
			if r.IntN(40) == 0 {
				size = r.IntN(200_000) // more than the log buffers
			}
			seq++
			err := n.Propose(context.Background(), seq, make([]byte, size))
			if errors.Is(err, ErrStopped) {
				return seq
			}
			if err != nil {
				t.Error(err)
				return seq
			}
		}
		if r.IntN(4) == 0 {
			f := m.flush()
			*flushed = f
			// If this fails the node has stopped or, while a segment is being deleted, goes on until its next write.
			_ = n.Truncate(f.index)
		}
		if len(m.applied()) > 0 && r.IntN(3) == 0 {
			if _, err := n.ReadIndex(context.Background()); err != nil {
				return seq
			}
		}
		if r.IntN(2) == 0 {
			m.waitSeqs(int(seq - lost)) // so that there are small writes as well
		}
	}
}
