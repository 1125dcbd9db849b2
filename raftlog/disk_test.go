package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// spyLog copies the log's files after every write that a running node makes.
type spyLog struct {
	Log
	t      testing.TB
	dir    string
	writes []files
}

func (l *spyLog) Append(s *raftpb.HardState, e []*raftpb.Entry) error {
	err := l.Log.Append(s, e)
	if len(e) > 0 {
		l.writes = append(l.writes, readFiles(l.t, l.dir))
	}
	return err
}

// runningLog is the log of a node that was never stopped, with the files before and after its last write, which
// carried proposal number proposals. All before it are acknowledged.
func runningLog(t testing.TB, proposals int) (before, after files) {
	dir := t.TempDir()
	m := newRecorder(0)
	spy := &spyLog{t: t, dir: dir}
	cfg := testConfig(t, dir, m)
	cfg.OpenLog = func(o LogOptions) (Log, *Recovered, error) {
		l, r, err := OpenDisk(o)
		spy.Log = l
		return spy, r, err
	}
	n := mustStart(t, cfg)
	for i := range proposals {
		mustPropose(t, n, uint64(i)+1, uint64(i)+1)
		m.waitSeqs(i + 1)
	}
	mustStop(t, n)
	return spy.writes[len(spy.writes)-2], spy.writes[len(spy.writes)-1]
}

// used is the length of b without the empty space at its end.
func used(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return n
}

// recoverSeqs opens a log and returns the proposals in it.
func recoverSeqs(t testing.TB, dir string) ([]uint64, error) {
	l, r, err := OpenDisk(LogOptions{Dir: dir, NodeID: 7, ClusterID: 9, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var seqs []uint64
	for _, e := range r.Entries {
		if len(e.GetData()) == 0 {
			continue
		}
		_, ps, err := decodeEntry(nil, e.GetData())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ps {
			seqs = append(seqs, p.Seq)
			if !bytes.Equal(p.Payload, payload(p.Seq)) {
				t.Fatalf("proposal %d carries %q", p.Seq, p.Payload)
			}
		}
	}
	return seqs, nil
}

func TestATornTailLosesOnlyWhatWasNeverSynced(t *testing.T) {
	const proposals = 20
	before, after := runningLog(t, proposals)
	name := after.segments()[0]
	from, to := used(before[name])/8*8, used(after[name])
	r := rand.New(rand.NewPCG(1, 1))
	for at := from; at <= to; at++ {
		for how, spoil := range map[string]func([]byte) []byte{
			"cut off": func(b []byte) []byte { return b[:at] },
			"zeroed":  func(b []byte) []byte { clear(b[at:]); return b },
			"garbled": func(b []byte) []byte {
				for i := at; i < to; i++ {
					b[i] = byte(r.Uint32())
				}
				return b
			},
			"garbled far beyond": func(b []byte) []byte {
				for i := at; i < min(len(b), to+2000); i++ {
					b[i] = byte(r.Uint32())
				}
				return b
			},
		} {
			image := files{name: spoil(bytes.Clone(after[name]))}
			dir := image.write(t, t.TempDir())
			seqs, err := recoverSeqs(t, dir)
			if err != nil {
				t.Fatalf("%s at %d: %v", how, at, err)
			}
			checkSeqs(t, seqs, proposals-1)
			if again, err := recoverSeqs(t, dir); err != nil || !slices.Equal(again, seqs) {
				t.Fatalf("%s at %d: the repaired log reads %v, %v", how, at, again, err)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestANodeGoesOnAfterATornTail(t *testing.T) {
	before, after := runningLog(t, 20)
	name := after.segments()[0]
	image := bytes.Clone(after[name])
	image[used(before[name])+40] ^= 0xff
	dir := files{name: image}.write(t, t.TempDir())
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, m))
	checkSeqs(t, m.applied(), 19)
	next := uint64(len(m.applied())) + 1
	mustPropose(t, n, next, next+100)
	m.waitSeqs(int(next + 100))
	mustStop(t, n)
	seqs, err := recoverSeqs(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	checkSeqs(t, seqs, next+100)
}

// Damage to anything that was synced either stops the node or does not matter; it is never repaired away. The write
// before the last is the last one whose sync something in the log tells of.
func TestDamageBeforeTheTailIsNeverTakenForATornWrite(t *testing.T) {
	const proposals = 40
	before, after := runningLog(t, proposals)
	name := after.segments()[0]
	r := rand.New(rand.NewPCG(2, 2))
	refused := 0
	for at := 0; at < used(before[name])-8; at += 1 + r.IntN(16) {
		for how, spoil := range map[string]func([]byte){
			"flipped bit": func(b []byte) { b[at] ^= 1 << r.IntN(8) },
			"zeroed word": func(b []byte) { clear(b[at/8*8 : at/8*8+8]) },
			"zeroed sector": func(b []byte) {
				clear(b[at/sectorBytes*sectorBytes:][:min(sectorBytes, used(before[name])-at/sectorBytes*sectorBytes)])
			},
			"garbled stretch": func(b []byte) {
				for i := at; i < min(at+60, used(before[name])); i++ {
					b[i] = byte(r.Uint32())
				}
			},
		} {
			image := bytes.Clone(after[name])
			spoil(image)
			dir := files{name: image}.write(t, t.TempDir())
			seqs, err := recoverSeqs(t, dir)
			switch {
			case errors.Is(err, ErrCorrupt):
				refused++
			case err != nil:
				t.Fatalf("%s at %d: %v", how, at, err)
			case len(seqs) < proposals-1:
				t.Fatalf("%s at %d: opened with only %d of %d proposals", how, at, len(seqs), proposals)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused < 100 {
		t.Fatalf("only %d damaged logs were refused", refused)
	}
}

func TestDamageToAnEarlierSegmentIsRefused(t *testing.T) {
	_, after := runningLog(t, 400)
	names := after.segments()
	if len(names) < 3 {
		t.Fatalf("only %d segments", len(names))
	}
	open := func(what string, image files) {
		t.Helper()
		seqs, err := recoverSeqs(t, image.write(t, t.TempDir()))
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %d proposals, %v", what, len(seqs), err)
		}
	}
	clone := func() files {
		f := files{}
		for name, b := range after {
			f[name] = bytes.Clone(b)
		}
		return f
	}
	for i, name := range names[:len(names)-1] {
		image := clone()
		image[name][bytes.LastIndex(image[name], []byte("payload-"))] ^= 1
		open(fmt.Sprintf("flipped bit in segment %d", i), image)
		image = clone()
		image[name] = image[name][:len(image[name])/2/8*8]
		open(fmt.Sprintf("half of segment %d", i), image)
		image = clone()
		clear(image[name][len(image[name])/2/8*8:])
		open(fmt.Sprintf("segment %d zeroed from the middle", i), image)
		image = clone()
		delete(image, name)
		open(fmt.Sprintf("no segment %d", i), image)
	}
	image := clone()
	image[names[len(names)-1]] = nil
	open("empty last segment", image)
}

func TestErrorsOfADamagedLogSayWhere(t *testing.T) {
	_, after := runningLog(t, 20)
	name := after.segments()[0]
	image := bytes.Clone(after[name])
	image[bytes.Index(image, []byte("payload-"))] ^= 1
	dir := files{name: image}.write(t, t.TempDir())
	_, err := Start(testConfig(t, dir, newRecorder(0)))
	if !errors.Is(err, ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(name)) {
		t.Fatal(err)
	}
	t.Log(err)
}

func TestALogBelongsToOneNodeOfOneCluster(t *testing.T) {
	dir := t.TempDir()
	mustStop(t, mustStart(t, testConfig(t, dir, newRecorder(0))))
	for _, id := range [][2]uint64{{8, 9}, {7, 10}} {
		cfg := testConfig(t, dir, newRecorder(0))
		cfg.NodeID, cfg.ClusterID = id[0], id[1]
		cfg.Bootstrap = &Bootstrap{Voters: []uint64{id[0]}}
		if _, err := Start(cfg); !errors.Is(err, ErrWrongIdentity) {
			t.Errorf("%v: %v", id, err)
		}
	}
}

func TestALogIsOpenOnce(t *testing.T) {
	dir := t.TempDir()
	n := mustStart(t, testConfig(t, dir, newRecorder(0)))
	if _, err := Start(testConfig(t, dir, newRecorder(0))); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	mustStop(t, n)
	mustStop(t, mustStart(t, testConfig(t, dir, newRecorder(0))))
}

func TestLeftoversOfASegmentInPreparationAreHarmless(t *testing.T) {
	_, after := runningLog(t, 20)
	image := files{"0.tmp": bytes.Repeat([]byte{0xee}, 50_000), "1.tmp": bytes.Repeat([]byte{0xdd}, 50_000)}
	for name, b := range after {
		if filepath.Ext(name) == ".wal" {
			image[name] = b
		}
	}
	dir := image.write(t, t.TempDir())
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, m))
	mustPropose(t, n, 21, 400) // into several segments
	m.waitSeqs(400)
	mustStop(t, n)
	seqs, err := recoverSeqs(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	checkSeqs(t, seqs, 400)
}

func TestABootstrapThatWasInterruptedIsDoneAgain(t *testing.T) {
	dir := t.TempDir()
	l, _, err := OpenDisk(LogOptions{Dir: dir, NodeID: 7, ClusterID: 9, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(&raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m := newRecorder(0)
	n := mustStart(t, testConfig(t, dir, m))
	mustPropose(t, n, 1, 1)
	m.waitSeqs(1)
	mustStop(t, n)
}

func TestALogThatIsNotSyncedHoldsWhatWasWritten(t *testing.T) {
	dir := t.TempDir()
	for seq := uint64(1); seq <= 2; seq++ {
		m := newRecorder(0)
		cfg := testConfig(t, dir, m)
		cfg.NoSync = true
		n := mustStart(t, cfg)
		mustPropose(t, n, seq, seq)
		m.waitSeqs(int(seq))
		mustStop(t, n)
		checkSeqs(t, m.applied(), seq)
	}
}
