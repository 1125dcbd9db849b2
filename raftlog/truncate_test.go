package raftlog

import (
	"slices"
	"testing"
)

// flushingMachine is durable as soon as Apply is over, and says so from within.
type flushingMachine struct {
	*recorder
	node chan *Node
	n    *Node
}

func (m *flushingMachine) Apply(entries []Entry) error {
	if m.n == nil {
		m.n = <-m.node
	}
	if err := m.recorder.Apply(entries); err != nil {
		return err
	}
	return m.n.Truncate(entries[len(entries)-1].Index)
}

func TestAMachineMayTruncateWhatItIsBeingGiven(t *testing.T) {
	m := &flushingMachine{recorder: newRecorder(0), node: make(chan *Node, 1)}
	n, err := Start(testConfig(t, t.TempDir(), m))
	if err != nil {
		t.Fatal(err)
	}
	m.node <- n
	mustPropose(t, n, 1, 100)
	checkSeqs(t, m.waitSeqs(100), 100)
	mustStop(t, n)
	if s := n.Status(); s.FirstIndex != s.Applied+1 {
		t.Fatalf("%+v", s)
	}
}

func TestTruncationKeepsExactlyWhatAReplayNeeds(t *testing.T) {
	dir := t.TempDir()
	var flushed flushedState
	seq := uint64(0)
	for run := range 4 { // each run has a term of its own
		m := flushed.machine()
		cfg := testConfig(t, dir, m)
		cfg.Applied, cfg.StampMillis = flushed.index, flushed.stamp
		n := mustStart(t, cfg)
		checkSeqs(t, m.applied(), seq)
		for range 200 {
			seq++
			if err := n.Propose(t.Context(), seq, make([]byte, 500)); err != nil {
				t.Fatal(err)
			}
			m.waitSeqs(int(seq))
		}
		before := readFiles(t, dir).segments()

		// Back to a flush some time ago, the way a state engine reports it.
		all := m.all()
		at := len(all) - 50
		if run == 2 {
			at = 1 // an entry of the run before
		}
		flushed.index, flushed.stamp = all[at].Index, all[at].StampMillis
		flushed.seqs = nil
		for s := uint64(1); s <= seq; s++ {
			flushed.seqs = append(flushed.seqs, s)
		}
		for _, e := range all[at+1:] {
			flushed.seqs = flushed.seqs[:len(flushed.seqs)-len(e.Proposals)]
		}
		if err := n.Truncate(flushed.index); err != nil {
			t.Fatal(err)
		}
		if got := n.Status().FirstIndex; got != flushed.index+1 {
			t.Fatalf("first index %d after truncating to %d", got, flushed.index)
		}
		if err := n.Truncate(flushed.index - 1); err != nil || n.Status().FirstIndex != flushed.index+1 {
			t.Fatalf("going back: %v, first index %d", err, n.Status().FirstIndex)
		}
		if err := n.Truncate(n.Status().Applied + 1); err == nil {
			t.Fatal("truncated what is not applied")
		}

		segments, err := listSegments(dir + "/wal")
		if err != nil {
			t.Fatal(err)
		}
		if segments[0].index > flushed.index || len(segments) > 1 && segments[1].index < flushed.index {
			t.Fatalf("segments %+v after truncating to %d", segments, flushed.index)
		}
		if run != 2 && len(segments) >= len(before) {
			t.Fatalf("%d segments, %d before", len(segments), len(before))
		}
		mustStop(t, n)

		o := LogOptions{Dir: dir, NodeID: 7, ClusterID: 9, Logger: cfg.Logger}
		l, recovered, err := OpenDisk(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if mk := recovered.Marker; mk.Index != flushed.index || mk.Term != all[at].Term || !slices.Equal(mk.Conf.GetVoters(), []uint64{7}) {
			t.Fatalf("marker %+v, the entry is %+v", mk, all[at])
		}
		if e := recovered.Entries; e[0].GetIndex() != flushed.index+1 || e[len(e)-1].GetIndex() != all[len(all)-1].Index {
			t.Fatalf("entries %d to %d", e[0].GetIndex(), e[len(e)-1].GetIndex())
		}
	}
}
