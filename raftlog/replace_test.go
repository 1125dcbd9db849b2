package raftlog

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// The log on disk of a member that is not alone: entries are replaced by those of another leader, snapshots make it begin
// again, and commits are ahead of what is synced. A model says what must come back.

// followerLog writes the way the append goroutine of a follower does.
type followerLog struct {
	t        testing.TB
	dir      string
	log      Log
	appender *appender
	r        *rand.Rand

	model  logModel
	term   uint64 // of the present leader
	commit uint64 // what the leader says is committed; nothing of it is ever replaced
}

// logModel is what is durable.
type logModel struct {
	marker, last uint64
	terms        map[uint64]uint64 // of the entries, and of the marker
	state        *raftpb.HardState
}

func (m *logModel) clone() logModel {
	c := *m
	c.terms = maps.Clone(m.terms)
	return c
}

// put makes entries the end of the log.
func (m *logModel) put(entries []*raftpb.Entry) {
	for _, e := range entries {
		for i := e.GetIndex(); i <= m.last; i++ {
			delete(m.terms, i)
		}
		m.last = e.GetIndex()
		m.terms[m.last] = e.GetTerm()
	}
}

func newFollowerLog(t testing.TB, r *rand.Rand) *followerLog {
	f := &followerLog{t: t, dir: t.TempDir(), r: r, term: 1}
	f.model = logModel{terms: map[uint64]uint64{0: 0}, state: &raftpb.HardState{}}
	f.open(f.dir)
	return f
}

func testLogOptions(dir string) LogOptions {
	return LogOptions{Dir: dir, NodeID: 7, ClusterID: 9, Logger: slog.New(slog.DiscardHandler)}
}

func (f *followerLog) open(dir string) {
	f.t.Helper()
	l, r, err := OpenDisk(testLogOptions(dir))
	if err != nil {
		f.t.Fatal(err)
	}
	f.dir, f.log = dir, l
	n := newEmptyNode(Config{}, l, 1)
	if r.State == nil {
		r.State = &raftpb.HardState{}
	}
	n.confs.start(r, r.Marker.Index, nil)
	f.appender = newAppender(n, l, r)
}

// next makes up the entries of the next message from a leader, which may be a new one. They begin at an entry that this
// log has, or after one.
func (f *followerLog) next() (entries []*raftpb.Entry) {
	from := f.model.last + 1
	if f.r.IntN(4) == 0 { // a new leader, whose log is another one from some point on
		f.term++
		from = f.commit + 1 + f.r.Uint64N(f.model.last-f.commit+1)
	}
	term := f.term
	if before := f.model.terms[from-1]; f.r.IntN(2) == 0 {
		term = before + f.r.Uint64N(f.term-before+1) // of a leader before, which this member had not heard of
	}
	if term == f.model.terms[from] {
		term = f.term
	}
	if term == f.model.terms[from] {
		f.term++
		term = f.term
	}
	for i := range uint64(1 + f.r.IntN(8)) {
		if term < f.term && f.r.IntN(4) == 0 {
			term = f.term
		}
		entries = append(entries, &raftpb.Entry{Index: new(from + i), Term: new(term), Data: make([]byte, f.r.IntN(600))})
	}
	return entries
}

// messages are what raft would hand over at a time, with a state that is ahead of what is synced.
func (f *followerLog) messages() (writes []write, entries []*raftpb.Entry) {
	for range 1 + f.r.IntN(3) {
		m := &raftpb.Message{}
		if f.r.IntN(5) > 0 {
			m.Entries = f.next()
			entries = append(until(entries, m.Entries[0].GetIndex()), m.Entries...)
			f.model.put(m.Entries)
		}
		f.commit += f.r.Uint64N(f.model.last - f.commit + 1)
		m.Term, m.Vote, m.Commit = new(f.term), new(uint64(0)), new(f.commit)
		writes = append(writes, write{message: m})
	}
	return writes, entries
}

// step does one thing and reports whether it wrote entries that could be torn.
func (f *followerLog) step() (before logModel, entries []*raftpb.Entry) {
	f.t.Helper()
	before = f.model.clone()
	switch {
	case f.r.IntN(20) == 0 && min(f.commit, f.model.last) > f.model.marker: // a truncation
		to := f.model.marker + 1 + f.r.Uint64N(min(f.commit, f.model.last)-f.model.marker)
		f.appender.marker = Marker{Index: to, Term: f.model.terms[to], Conf: raftpb.EnsureConfState(nil)}
		if err := f.log.Mark(f.appender.marker); err != nil {
			f.t.Fatal(err)
		}
		if err := f.log.Purge(to); err != nil {
			f.t.Fatal(err)
		}
		f.model.marker = to
		f.commit = max(f.commit, to)
	case f.r.IntN(20) == 0: // a snapshot of a state that this log does not lead to
		f.term++
		index := f.commit + 1 + f.r.Uint64N(f.model.last-f.commit+20)
		m := &raftpb.Message{
			Term: new(f.term), Vote: new(uint64(0)), Commit: new(index),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: new(index), Term: new(f.term), ConfState: raftpb.EnsureConfState(nil),
			}},
		}
		if err := errors.Join(f.appender.restart(m), f.appender.append([]write{{message: m}})); err != nil {
			f.t.Fatal(err)
		}
		f.commit, f.model.marker, f.model.last = index, index, index
		f.model.terms = map[uint64]uint64{index: f.term}
		f.model.state = f.appender.disk
	default:
		var writes []write
		writes, entries = f.messages()
		if err := f.appender.append(writes); err != nil {
			f.t.Fatal(err)
		}
		f.model.state = f.appender.disk
	}
	return before, entries
}

// matches says in what a recovered log differs from a model.
func (m *logModel) matches(r *Recovered) error {
	if r.Marker.Index != m.marker || r.Marker.Index != 0 && r.Marker.Term != m.terms[m.marker] {
		return fmt.Errorf("marker at %d of term %d, want %d of %d", r.Marker.Index, r.Marker.Term, m.marker, m.terms[m.marker])
	}
	if got := r.Marker.Index + uint64(len(r.Entries)); got != m.last {
		return fmt.Errorf("ends at %d, want %d", got, m.last)
	}
	for _, e := range r.Entries {
		if e.GetTerm() != m.terms[e.GetIndex()] {
			return fmt.Errorf("entry %d has term %d, want %d", e.GetIndex(), e.GetTerm(), m.terms[e.GetIndex()])
		}
	}
	return nil
}

func sameState(a, b *raftpb.HardState) bool {
	return a.GetTerm() == b.GetTerm() && a.GetVote() == b.GetVote() && a.GetCommit() == b.GetCommit()
}

func TestALogWithReplacedEntriesAndSnapshotsComesBackAsItWasWritten(t *testing.T) {
	for seed := range uint64(6) {
		f := newFollowerLog(t, rand.New(rand.NewPCG(seed, 1)))
		for range 150 {
			f.step()
			if f.r.IntN(5) > 0 {
				continue
			}
			if err := f.log.Close(); err != nil {
				t.Fatal(err)
			}
			l, r, err := OpenDisk(testLogOptions(f.dir))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if err := f.model.matches(r); err != nil || !sameState(r.State, f.model.state) {
				t.Fatalf("seed %d: %v; state %v, want %v", seed, err, r.State, f.model.state)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			f.open(f.dir)
		}
		if err := f.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A write that was torn left a beginning of its entries, and never anything that stops the node.
func TestATornWriteThatReplacesEntriesLeavesABeginningOfIt(t *testing.T) {
	for seed := range uint64(15) {
		f := newFollowerLog(t, rand.New(rand.NewPCG(seed, 2)))
		for range 20 + f.r.IntN(60) {
			f.step()
		}
		for crashes := 0; crashes < 5; {
			files := readFiles(t, f.dir)
			stateBefore := f.model.state
			before, entries := f.step()
			if len(entries) == 0 {
				continue
			}
			crashes++
			image := tear(files, readFiles(t, f.dir), f.r)
			if err := f.log.Close(); err != nil {
				t.Fatal(err)
			}
			dir := image.write(t, t.TempDir())
			l, r, err := OpenDisk(testLogOptions(dir))
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			var fits *logModel
			for k := 0; k <= len(entries); k++ {
				m := before.clone()
				m.put(entries[:k])
				if m.matches(r) == nil {
					fits = &m
				}
			}
			if fits == nil {
				t.Fatalf("seed %d: what came back is no beginning of the last write", seed)
			}
			if term := r.State.GetTerm(); term != stateBefore.GetTerm() && term != f.model.state.GetTerm() {
				t.Fatalf("seed %d: state %v, was %v, then %v", seed, r.State, stateBefore, f.model.state)
			}
			if r.State.GetCommit() > fits.last {
				t.Fatalf("seed %d: commit %d of a log that ends at %d", seed, r.State.GetCommit(), fits.last)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			// The leader sends again what was not acknowledged.
			f.model = fits.clone()
			f.model.state = r.State
			f.open(dir)
			missing := slices.DeleteFunc(entries, func(e *raftpb.Entry) bool {
				return f.model.terms[e.GetIndex()] == e.GetTerm() && e.GetIndex() <= f.model.last
			})
			m := &raftpb.Message{Term: new(f.term), Vote: new(uint64(0)), Commit: new(f.commit), Entries: missing}
			if err := f.appender.append([]write{{message: m}}); err != nil {
				t.Fatal(err)
			}
			f.model.put(missing)
			f.model.state = f.appender.disk
		}
		if err := f.log.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Damage to what was synced is told from a torn write even where older entries stand in for what is damaged, as soon as
// two writes have followed it.
func TestDamagedEntriesThatReplacedOthersAreNotMistakenForATornWrite(t *testing.T) {
	f := newFollowerLog(t, rand.New(rand.NewPCG(1, 3)))
	put := func(term, commit, from, to uint64) {
		m := &raftpb.Message{Term: new(term), Vote: new(uint64(0)), Commit: new(commit)}
		for i := from; i <= to; i++ {
			m.Entries = append(m.Entries, &raftpb.Entry{Index: new(i), Term: new(term), Data: make([]byte, 30)})
		}
		if err := f.appender.append([]write{{message: m}}); err != nil {
			t.Fatal(err)
		}
	}
	put(1, 5, 1, 20)
	name := readFiles(t, f.dir).segments()[0]
	from := used(readFiles(t, f.dir)[name])
	put(3, 5, 6, 7) // replaces 6 to 20
	to := used(readFiles(t, f.dir)[name])
	put(3, 6, 8, 8)
	put(3, 8, 9, 9)
	put(3, 9, 10, 10)
	image := readFiles(t, f.dir)
	if err := f.log.Close(); err != nil {
		t.Fatal(err)
	}
	for at := from; at < to; at++ {
		damaged := files{name: slices.Clone(image[name])}
		damaged[name][at] ^= 0x10
		l, r, err := OpenDisk(testLogOptions(damaged.write(t, t.TempDir())))
		if err == nil {
			if last := r.Marker.Index + uint64(len(r.Entries)); last != 10 {
				t.Fatalf("byte %d: the log ends at %d, and nobody has noticed", at, last)
			}
			l.Close()
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
}

// Power may fail in any of the writes that make a snapshot the beginning of the log: the log is the old one or the new one.
func TestACrashWhileALogBeginsAgainLeavesTheOldOneOrTheNewOne(t *testing.T) {
	for seed := range uint64(30) {
		f := newFollowerLog(t, rand.New(rand.NewPCG(seed, 4)))
		for range 5 + f.r.IntN(20) {
			f.step()
		}
		// What is committed may be written without being synced, as when nobody waits for it.
		f.commit = f.model.last
		m := &raftpb.Message{Term: new(f.term), Vote: new(uint64(0)), Commit: new(f.commit)}
		if err := f.appender.append([]write{{message: m}}); err != nil {
			t.Fatal(err)
		}
		crash := &crashingLog{Log: f.log, t: t, dir: f.dir, calls: 1 + f.r.IntN(3), rand: f.r}
		f.appender.log = crash
		index := f.commit + f.r.Uint64N(30) + 1
		m = &raftpb.Message{
			Term: new(f.term + 1), Vote: new(uint64(0)), Commit: new(index),
			Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
				Index: new(index), Term: new(f.term + 1), ConfState: raftpb.EnsureConfState(nil),
			}},
		}
		if err := f.appender.restart(m); err == nil {
			err = f.appender.append([]write{{message: m}})
			if !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
		}
		if err := f.log.Close(); err != nil {
			t.Fatal(err)
		}
		after := logModel{marker: index, last: index, terms: map[uint64]uint64{index: f.term + 1}}
		l, r, err := OpenDisk(testLogOptions(crash.image.write(t, t.TempDir())))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if f.model.matches(r) != nil && after.matches(r) != nil {
			t.Fatalf("seed %d: neither the old log (%v) nor the new one (%v)", seed, f.model.matches(r), after.matches(r))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot may be in the state before the one that came first is in the log: what is truncated is still told from both.
func TestALogThatBeginsAfterASnapshotLeavesTheNextOneToCome(t *testing.T) {
	f := newFollowerLog(t, rand.New(rand.NewPCG(1, 5)))
	marking := &f.appender.n.status.marking
	begin := func(index uint64) {
		m := &raftpb.Message{Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: new(index), Term: new(f.term + 1), ConfState: raftpb.EnsureConfState(nil),
		}}}
		if err := f.appender.restart(m); err != nil {
			t.Fatal(err)
		}
	}
	first, next := f.commit+10, f.commit+20
	marking.Store(next)
	begin(first)
	if got := marking.Load(); got != next {
		t.Errorf("the log waits for snapshot %d, not for %d", got, next)
	}
	begin(next)
	if got := marking.Load(); got != 0 {
		t.Errorf("the log waits for snapshot %d, and has it", got)
	}
}
