package raftlog

import (
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// aloneLog is a log on disk of node 7, in a cluster of 7, 8 and 9, that the test writes.
type aloneLog struct {
	t   *testing.T
	dir string
	log Log
}

func newAloneLog(t *testing.T, state *raftpb.HardState, entries ...*raftpb.Entry) *aloneLog {
	t.Helper()
	l := &aloneLog{t: t, dir: t.TempDir()}
	l.open()
	marker := Marker{Index: 1, Term: 1, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{7, 8, 9}})}
	first := &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}
	if err := errors.Join(l.log.Mark(marker), l.log.Append(first, entries), l.log.Append(state, nil), l.log.Close()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *aloneLog) open() *Recovered {
	l.t.Helper()
	log, recovered, err := OpenDisk(testLogOptions(l.dir))
	if err != nil {
		l.t.Fatal(err)
	}
	l.log = log
	return recovered
}

// make forces the node alone, as a start does, and gives what the log holds then, as the next start finds it.
func (l *aloneLog) make() (*Recovered, error) {
	l.t.Helper()
	r := l.open()
	cfg := Config{
		NodeID: 7, ClusterID: 9, Applied: 1, Conf: encodeConf(r.Marker.Conf),
		Alone: &Alone{Promote: []byte("promote"), Remove: func(id uint64) []byte { return fmt.Append(nil, "remove ", id) }},
	}
	cfg.setDefaults()
	err := makeAlone(&cfg, l.log, r, r.Marker.Conf)
	if err := l.log.Close(); err != nil {
		l.t.Fatal(err)
	}
	if err != nil {
		return nil, err
	}
	found := l.open()
	if err := l.log.Close(); err != nil {
		l.t.Fatal(err)
	}
	if found.State.GetCommit() != lastIndex(found.Entries) || !proto.Equal(found.State, r.State) {
		l.t.Errorf("on disk the state is %v, the node goes on with %v; the last entry is %d", found.State, r.State, lastIndex(found.Entries))
	}
	return found, nil
}

// texts tell entries in short.
func texts(t *testing.T, entries []*raftpb.Entry) (all []string) {
	t.Helper()
	for _, e := range entries {
		text := fmt.Sprintf("%d/%d", e.GetIndex(), e.GetTerm())
		if e.GetType() == raftpb.EntryConfChangeV2 {
			change, err := decodeChange(e)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range change.GetChanges() {
				text += fmt.Sprintf(" %v %d", c.GetType(), c.GetNodeId())
			}
			if len(change.GetContext()) > 0 {
				_, proposals, err := decodeEntry(nil, change.GetContext())
				if err != nil {
					t.Fatal(err)
				}
				text += fmt.Sprintf(" %q of %d", proposals[0].Payload, proposals[0].Origin)
			}
		}
		all = append(all, text)
	}
	return all
}

func plainEntry(index, term uint64) *raftpb.Entry {
	return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Index: new(index), Term: new(term)}
}

func changeEntry(t *testing.T, index, term uint64, changes ...*raftpb.ConfChangeSingle) *raftpb.Entry {
	t.Helper()
	data, err := proto.Marshal(&raftpb.ConfChangeV2{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	return &raftpb.Entry{Type: raftpb.EntryConfChangeV2.Enum(), Index: new(index), Term: new(term), Data: data}
}

func changes(kind raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
	return &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)}
}

func stateOf(term, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(uint64(8)), Commit: new(commit)}
}

func TestRemovalsOfTheOthersFollowTheWholeLogInATermOfTheirOwn(t *testing.T) {
	l := newAloneLog(t, stateOf(4, 2), plainEntry(2, 2), plainEntry(3, 3))
	found, err := l.make()
	if err != nil {
		t.Fatal(err)
	}
	want := `[2/2 3/3 4/5 ConfChangeRemoveNode 8 "remove 8" of 0 5/5 ConfChangeRemoveNode 9 "remove 9" of 0]`
	if got := fmt.Sprint(texts(t, found.Entries)); got != want {
		t.Errorf("the log has %s\nwant %s", got, want)
	}
	if found.State.GetTerm() != 5 {
		t.Errorf("the term is %d", found.State.GetTerm())
	}
}

func TestMembersThatTheTailBringsAreRemovedToo(t *testing.T) {
	l := newAloneLog(t, stateOf(2, 1), changeEntry(t, 2, 2, changes(raftpb.ConfChangeAddLearnerNode, 10)), plainEntry(3, 2))
	found, err := l.make()
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(t, found.Entries); len(got) != 5 || got[4] != `6/3 ConfChangeRemoveNode 10 "remove 10" of 0` {
		t.Errorf("the log has %q", got)
	}
}

func TestTheRemovalOfTheNodeItselfIsKeptOnlyIfItIsCommitted(t *testing.T) {
	own := changes(raftpb.ConfChangeRemoveNode, 7)
	l := newAloneLog(t, stateOf(2, 2), plainEntry(2, 2), changeEntry(t, 3, 2, own), plainEntry(4, 2))
	found, err := l.make()
	if err != nil {
		t.Fatal(err)
	}
	if got := texts(t, found.Entries); len(got) != 3 || got[1] != `3/3 ConfChangeRemoveNode 8 "remove 8" of 0` {
		t.Errorf("not committed: the log has %q", got)
	}
	l = newAloneLog(t, stateOf(2, 3), plainEntry(2, 2), changeEntry(t, 3, 2, own), plainEntry(4, 2))
	if found, err = l.make(); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, found.Entries); len(got) != 5 || got[1] != "3/2 ConfChangeRemoveNode 7" {
		t.Errorf("committed: the log has %q", got)
	}
}

func TestAnUnfinishedChangeOfSeveralMembersIsNotForced(t *testing.T) {
	several := changeEntry(t, 2, 2, changes(raftpb.ConfChangeAddNode, 10), changes(raftpb.ConfChangeRemoveNode, 8))
	l := newAloneLog(t, stateOf(2, 2), several)
	if _, err := l.make(); !errors.Is(err, ErrInvalidChange) {
		t.Errorf("got %v, want %v", err, ErrInvalidChange)
	}
}
