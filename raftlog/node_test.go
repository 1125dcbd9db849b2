package raftlog

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// Small segments let a test of a few hundred entries cross many of their borders; benchmarks use the real size.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		segmentBytes = 16 << 10
	}
	os.Exit(m.Run())
}

// recorder is a Machine that keeps all it is given and checks what every Machine may rely on.
type recorder struct {
	mu       sync.Mutex
	changed  sync.Cond
	entries  []Entry
	seqs     []uint64 // of all proposals, in order
	index    uint64   // last applied
	stamp    int64
	fail     error // returned by Apply
	released bool  // nothing more will come
	violated error
}

func newRecorder(applied uint64) *recorder {
	r := &recorder{index: applied}
	r.changed.L = &r.mu
	return r
}

func (r *recorder) Apply(entries []Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.changed.Broadcast()
	if r.fail != nil {
		return r.fail
	}
	for _, e := range entries {
		if e.Index != r.index+1 {
			r.violated = fmt.Errorf("entry %d after %d", e.Index, r.index)
		}
		if e.StampMillis < r.stamp {
			r.violated = fmt.Errorf("entry %d has stamp %d after %d", e.Index, e.StampMillis, r.stamp)
		}
		r.index, r.stamp = e.Index, e.StampMillis
		e.Proposals = append([]Proposal(nil), e.Proposals...)
		r.entries = append(r.entries, e)
		for _, p := range e.Proposals {
			if p.Origin != 0 {
				r.seqs = append(r.seqs, p.Seq)
			}
		}
	}
	return r.violated
}

// ApplyChange lets every change stand.
func (r *recorder) ApplyChange(entry Entry, conf []byte) (bool, error) {
	return true, r.Apply([]Entry{entry})
}

func (r *recorder) Install(SnapshotMeta) error { return errors.New("no snapshot was expected") }

// release ends waiting for what will not come.
func (r *recorder) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	r.changed.Broadcast()
}

// waitSeqs blocks until n proposals are applied.
func (r *recorder) waitSeqs(n int) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.seqs) < n && r.violated == nil && r.fail == nil && !r.released {
		r.changed.Wait()
	}
	return append([]uint64(nil), r.seqs...)
}

func (r *recorder) applied() []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]uint64(nil), r.seqs...)
}

func (r *recorder) all() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Entry(nil), r.entries...)
}

func testConfig(t testing.TB, dir string, m Machine) Config {
	return Config{Dir: dir, NodeID: 7, ClusterID: 9, Bootstrap: bootstrap7(), Machine: m, Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil))}
}

// bootstrap7 is the first entry of a cluster whose only voter is the node of testConfig.
func bootstrap7() *Bootstrap { return &Bootstrap{Voters: []uint64{7}, Payload: []byte("first")} }

// logWriter shows the node's log lines if the test fails.
type logWriter struct{ t testing.TB }

func (w logWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func mustStart(t testing.TB, cfg Config) *Node {
	t.Helper()
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Stop() })
	select {
	case <-n.Ready():
	case <-n.Done():
		t.Fatalf("stopped instead of getting ready: %v", n.Err())
	}
	return n
}

func mustStop(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

func payload(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("payload-"), seq)
}

func mustPropose(t testing.TB, n *Node, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		if err := n.Propose(context.Background(), seq, payload(seq)); err != nil {
			t.Fatalf("propose %d: %v", seq, err)
		}
	}
}

// checkSeqs fails unless seqs are 1, 2 … up to at least atLeast.
func checkSeqs(t testing.TB, seqs []uint64, atLeast uint64) {
	t.Helper()
	for i, s := range seqs {
		if s != uint64(i)+1 {
			t.Fatalf("position %d holds proposal %d", i+1, s)
		}
	}
	if uint64(len(seqs)) < atLeast {
		t.Fatalf("%d proposals, want at least %d", len(seqs), atLeast)
	}
}

func TestProposalsReachTheMachineInOrderWithPayloadAndOrigin(t *testing.T) {
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, t.TempDir(), m))
	mustPropose(t, n, 1, 500)
	checkSeqs(t, m.waitSeqs(500), 500)
	for _, e := range m.all() {
		for _, p := range e.Proposals {
			if e.Index > bootstrapIndex && (string(p.Payload) != string(payload(p.Seq)) || p.Origin != n.Origin()) {
				t.Fatalf("proposal %d came back as %+v", p.Seq, p)
			}
		}
	}
	mustStop(t, n)
}

func TestANewMachineIsHandedEveryIndexFromOne(t *testing.T) {
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, t.TempDir(), m))
	mustStop(t, n)
	if e := m.all(); len(e) < 2 || e[0].Index != 1 || len(e[0].Proposals) != 1 || string(e[0].Proposals[0].Payload) != "first" {
		t.Fatalf("entries of an empty cluster: %+v", e)
	}
}

func TestRestartReplaysExactlyWhatTheMachineLacks(t *testing.T) {
	dir := t.TempDir()
	first := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, first))
	mustPropose(t, n, 1, 300)
	first.waitSeqs(300)
	mustStop(t, n)
	entries := first.all()

	for _, applied := range []uint64{0, 1, 2, uint64(len(entries)) / 2, uint64(len(entries))} {
		m := newRecorder(applied)
		cfg := testConfig(t, dir, m)
		cfg.Applied = applied
		n := mustStart(t, cfg)
		mustStop(t, n)
		replayed := m.all() // recorder has checked that it begins right after applied and has no gaps
		for i, e := range entries[applied:] {
			if got := replayed[i]; got.Term != e.Term || got.StampMillis < e.StampMillis || len(got.Proposals) != len(e.Proposals) {
				t.Fatalf("applied %d: entry %d is %+v, was %+v", applied, e.Index, got, e)
			}
		}
	}
}

func TestReadyMeansThatAllOfTheLogIsApplied(t *testing.T) {
	dir := t.TempDir()
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, m))
	mustPropose(t, n, 1, 200)
	m.waitSeqs(200)
	mustStop(t, n)

	again := newRecorder(0)
	n = mustStart(t, testConfig(t, dir, again)) // waits for Ready
	checkSeqs(t, again.applied(), 200)
	index, err := n.ReadIndex(context.Background())
	if err != nil || index < n.Status().Applied {
		t.Fatalf("read index %d, %v at %+v", index, err, n.Status())
	}
}

func TestOriginDiffersBetweenNodesAndRuns(t *testing.T) {
	seen := map[uint64]bool{}
	for node := uint64(1); node <= 50; node++ {
		for range 20 {
			o, err := newOrigin(node)
			if err != nil || o == 0 || seen[o] {
				t.Fatalf("origin %x of node %d: %v, seen %v", o, node, err, seen[o])
			}
			seen[o] = true
		}
	}
}

func TestReadIndexCoversEverythingAcknowledgedBefore(t *testing.T) {
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, t.TempDir(), m))
	for seq := uint64(1); seq <= 200; seq++ {
		mustPropose(t, n, seq, seq)
		m.waitSeqs(int(seq))
		acknowledged := m.all()
		index, err := n.ReadIndex(context.Background())
		if err != nil || index < acknowledged[len(acknowledged)-1].Index {
			t.Fatalf("read index %d, %v after %d was applied", index, err, acknowledged[len(acknowledged)-1].Index)
		}
	}
}

func TestStatusOfALoneVoter(t *testing.T) {
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, t.TempDir(), m))
	mustPropose(t, n, 1, 10)
	m.waitSeqs(10)
	mustStop(t, n)
	last := m.all()[len(m.all())-1]
	want := Status{ID: 7, Leader: 7, IsLeader: true, Term: last.Term, FirstIndex: 2, LastIndex: last.Index, Commit: last.Index, Applied: last.Index, Voters: 1}
	if got := n.Status(); got != want {
		t.Fatalf("status %+v, want %+v", got, want)
	}
}

func TestStampsNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	clock := int64(1_000_000)
	now := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		clock -= 10 // a clock that only goes back
		return clock
	}
	m := newRecorder(0)
	cfg := testConfig(t, dir, m)
	cfg.NowMillis = now
	n := mustStart(t, cfg)
	for seq := uint64(1); seq <= 50; seq++ {
		mustPropose(t, n, seq, seq)
		m.waitSeqs(int(seq)) // so that each is an entry; recorder checks the stamps
	}
	mustStop(t, n)
	high := m.stamp
	if high == 0 {
		t.Fatal("no stamp")
	}

	// After a restart the log's last stamp counts, and once the log is truncated, the Machine's.
	for _, truncated := range []bool{false, true} {
		applied := m.index
		m = newRecorder(applied)
		cfg = testConfig(t, dir, m)
		cfg.NowMillis = func() int64 { return 1 }
		cfg.Applied, cfg.StampMillis = applied, high
		n = mustStart(t, cfg)
		mustPropose(t, n, 1000, 1000)
		m.waitSeqs(1)
		if m.stamp < high {
			t.Fatalf("stamp %d after %d", m.stamp, high)
		}
		if truncated {
			continue
		}
		if err := n.Truncate(n.Status().Applied); err != nil {
			t.Fatal(err)
		}
		mustStop(t, n)
	}
}

func TestAStoppedNodeTakesNoCalls(t *testing.T) {
	n := mustStart(t, testConfig(t, t.TempDir(), newRecorder(0)))
	mustStop(t, n)
	mustStop(t, n)
	<-n.Done()
	if err := n.Propose(context.Background(), 1, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Propose: %v", err)
	}
	if _, err := n.ReadIndex(context.Background()); !errors.Is(err, ErrStopped) {
		t.Errorf("ReadIndex: %v", err)
	}
	if err := n.Truncate(1); !errors.Is(err, ErrStopped) {
		t.Errorf("Truncate: %v", err)
	}
}

func TestACancelledCallProposesNothing(t *testing.T) {
	n := mustStart(t, testConfig(t, t.TempDir(), newRecorder(0)))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Propose(ctx, 1, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAMachineThatFailsStopsTheNode(t *testing.T) {
	m := newRecorder(0)
	cfg := testConfig(t, t.TempDir(), m)
	fatal := make(chan error, 1)
	cfg.OnFatal = func(err error) { fatal <- err }
	n := mustStart(t, cfg)
	broken := errors.New("broken")
	m.mu.Lock()
	m.fail = broken
	m.mu.Unlock()
	mustPropose(t, n, 1, 1)
	if err := <-fatal; !errors.Is(err, broken) {
		t.Fatal(err)
	}
	<-n.Done() // closed before OnFatal is called
	if err := n.Propose(context.Background(), 2, nil); !errors.Is(err, ErrStopped) || !errors.Is(err, broken) {
		t.Fatalf("Propose after failure: %v", err)
	}
}

func TestStopMayBeCalledFromOnFatal(t *testing.T) {
	m := newRecorder(0)
	m.fail = errors.New("broken")
	cfg := testConfig(t, t.TempDir(), m)
	started, stopped := make(chan *Node, 1), make(chan error, 1)
	cfg.OnFatal = func(error) { stopped <- (<-started).Stop() }
	n, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	started <- n
	if err := <-stopped; !errors.Is(err, m.fail) {
		t.Fatal(err)
	}
}

func TestInvalidConfigsAreRefused(t *testing.T) {
	good := testConfig(t, t.TempDir(), newRecorder(0))
	for name, spoil := range map[string]func(*Config){
		"no node id":       func(c *Config) { c.NodeID = 0 },
		"no cluster id":    func(c *Config) { c.ClusterID = 0 },
		"reserved node id": func(c *Config) { c.NodeID = ^uint64(0) },
		"no machine":       func(c *Config) { c.Machine = nil },
		"no directory":     func(c *Config) { c.Dir = "" },
		"tiny entries":     func(c *Config) { c.EntryBytesMax = 5 },
		"negative queue":   func(c *Config) { c.QueueMax = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := Start(cfg); err == nil {
			t.Errorf("%s: started", name)
		}
	}
}

func TestTheLogMustConnectToWhatIsApplied(t *testing.T) {
	dir := t.TempDir()
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, m))
	mustPropose(t, n, 1, 100)
	m.waitSeqs(100)
	last := n.Status().Applied
	if err := n.Truncate(last); err != nil {
		t.Fatal(err)
	}
	mustStop(t, n)

	for name, c := range map[string]struct {
		dir     string
		applied uint64
	}{
		"log deleted":                 {t.TempDir(), 5},
		"log older than the state":    {dir, last + 1000},
		"state older than the log":    {dir, last - 1},
		"state deleted, log is there": {dir, 0},
	} {
		cfg := testConfig(t, c.dir, newRecorder(c.applied))
		cfg.Applied = c.applied
		if _, err := Start(cfg); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
