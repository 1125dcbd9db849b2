package core

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/storage"
)

// testStore is the state machine over a database in memory, without a log beneath it.
type testStore struct {
	t    testing.TB
	db   *storage.DB
	now  int64          // stamp of the entries
	term uint64         // of the entries
	as   *corepb.Caller // of commands that name none

	entries []raftlog.Entry  // everything applied, to apply it again elsewhere
	events  []*storage.Event // of the last command
}

func openDB(t testing.TB) *storage.DB {
	t.Helper()
	db, err := storage.Open(storage.Options{Dir: "db", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openTestStore(t testing.TB) *testStore {
	s := &testStore{t: t, db: openDB(t), now: 1_000_000, term: 1}
	// The first commit writes the row of the state; checks of what commands leave compare everything.
	if err := s.db.NewBatch().Commit(); err != nil {
		t.Fatal(err)
	}
	return s
}

// apply carries out one command as an entry of its own, by way of its bytes as the log has them.
func (s *testStore) apply(txn *corepb.Txn) *TxnResult {
	s.t.Helper()
	payload, err := (&corepb.Txn{
		Guards: txn.Guards, Then: txn.Then, Otherwise: txn.Otherwise, AbortOnError: txn.AbortOnError, Session: txn.Session,
		Owner: txn.Owner, Caller: cmp.Or(txn.Caller, s.as),
	}).MarshalVT()
	if err != nil {
		s.t.Fatal(err)
	}
	batch := s.db.NewBatch()
	defer batch.Discard()
	state := batch.State()
	state.AppliedIndex++
	state.AppliedTerm = s.term
	state.StampMillis = max(state.StampMillis, s.now)
	entry := raftlog.Entry{Index: state.AppliedIndex, Term: s.term, StampMillis: s.now}
	entry.Proposals = []raftlog.Proposal{{Payload: bytes.Clone(payload)}}
	s.entries = append(s.entries, entry)
	done := &step{}
	reconfigures := isChange(txn)
	result, err := (&machine{}).applyOne(batch, payload, reconfigures, done)
	if reconfigures && result.Err == nil {
		state.Conf = confAt(state.AppliedIndex)
	}
	if err == nil {
		err = batch.Err()
	}
	if err == nil {
		err = batch.Commit()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.events = done.events
	return result
}

// isChange says whether a command comes with a change of the log's configuration.
func isChange(txn *corepb.Txn) bool {
	_, _, err := changesOf(txn)
	return err == nil
}

// confAt is the configuration that the entry at an index makes.
func confAt(index uint64) []byte { return fmt.Append(nil, "conf", index) }

// do carries out one op.
func (s *testStore) do(op *corepb.Op) Result {
	s.t.Helper()
	return s.apply(oneOp(op)).Results[0]
}

// must carries out one op that has to succeed.
func (s *testStore) must(op *corepb.Op) Result {
	s.t.Helper()
	result := s.do(op)
	if result.Err != nil {
		s.t.Fatalf("%v: %v", op, result.Err)
	}
	return result
}

// view runs a command of reads alone on the present state.
func (s *testStore) view(txn *corepb.Txn) *TxnResult {
	s.t.Helper()
	view := s.db.View()
	defer view.Release()
	reader := tx{r: view, now: max(s.now, view.State().StampMillis), caller: s.as}
	result := reader.run(txn)
	if err := view.Err(); err != nil {
		s.t.Fatal(err)
	}
	return result
}

// dump gives the state and every row of the database, of every table. The row of the state is as old as the last drain.
func dump(t testing.TB, db *storage.DB) string {
	t.Helper()
	view := db.View()
	defer view.Release()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%q\n", view.State().Append(nil))
	iter := view.Scan([]byte{0}, []byte{0xff})
	for iter.Next() {
		if key := string(iter.Key()); key != "\x01state" && key != "\x01history" { // how far its history has got is each member's own
			fmt.Fprintf(&out, "%q = %q\n", iter.Key(), iter.Value())
		}
	}
	iter.Close()
	if err := view.Err(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// checkUndo carries a command out inside a Txn that fails afterwards: not a byte may differ.
func (s *testStore) checkUndo(txn *corepb.Txn) {
	s.t.Helper()
	before := dump(s.t, s.db)
	batch := s.db.NewBatch()
	defer batch.Discard()
	state := *batch.State()
	// The stamp of the command's entry, so that the same keys are over.
	failing := tx{r: batch, b: batch, now: max(state.StampMillis, s.now), term: s.term, reconfigures: true,
		caller: &corepb.Caller{User: rootName, AuthRevision: AuthRevisionAny}}
	inner := &corepb.Op{Op: &corepb.Op_Txn{Txn: &corepb.Txn{Guards: txn.Guards, Then: txn.Then, Otherwise: txn.Otherwise}}}
	fail := &corepb.Op{Op: &corepb.Op_NodeCheck{NodeCheck: &corepb.NodeCheck{Path: "/no/such/node"}}}
	result := failing.run(&corepb.Txn{Then: []*corepb.Op{inner, fail}, AbortOnError: true})
	switch {
	case result.Err == nil:
		s.t.Fatal("the Txn did not fail")
	case result.Changed, len(failing.events) != 0, failing.revision != 0, failing.deadline != 0, len(failing.leases) != 0, len(failing.moves) != 0, len(failing.logins) != 0, failing.members:
		s.t.Fatalf("an undone Txn left traces: %+v %v", result, failing.events)
	case !reflect.DeepEqual(*batch.State(), state):
		s.t.Fatalf("an undone Txn left the state %+v instead of %+v", *batch.State(), state)
	}
	if err := batch.Commit(); err != nil {
		s.t.Fatal(err)
	}
	if after := dump(s.t, s.db); after != before {
		s.t.Fatalf("an undone Txn left rows:\n%s", difference(before, after))
	}
}

// checkReplica applies the same entries on a second machine, several to a step, and compares every byte.
func (s *testStore) checkReplica() {
	s.t.Helper()
	replica := openDB(s.t)
	m := &machine{db: replica, waiting: newWaiters(time.Hour), applied: func(*step) {}}
	for from, size := 0, 1; from < len(s.entries); size = size%7 + 1 {
		to := min(from+size, len(s.entries))
		step := make([]raftlog.Entry, to-from)
		for i := range step {
			step[i] = s.entries[from+i]
			step[i].Proposals = []raftlog.Proposal{{Payload: bytes.Clone(step[i].Proposals[0].Payload)}}
		}
		s.applyTo(m, step)
		from = to
	}
	if here, there := dump(s.t, s.db), dump(s.t, replica); here != there {
		s.t.Fatalf("two machines differ after the same entries:\n%s", difference(here, there))
	}
}

// applyTo hands entries to a machine as the log does: changes of the configuration alone.
func (s *testStore) applyTo(m *machine, entries []raftlog.Entry) {
	s.t.Helper()
	from := 0
	flush := func(to int) {
		if err := m.Apply(entries[from:to]); err != nil {
			s.t.Fatal(err)
		}
	}
	for i, entry := range entries {
		txn := &corepb.Txn{}
		if err := txn.UnmarshalVT(entry.Proposals[0].Payload); err != nil {
			s.t.Fatal(err)
		}
		if isChange(txn) {
			flush(i)
			if _, err := m.ApplyChange(entry, confAt(entry.Index)); err != nil {
				s.t.Fatal(err)
			}
			from = i + 1
		}
	}
	flush(len(entries))
}

// difference shows the lines that only one of two texts has.
func difference(a, b string) string {
	lines := map[string]int{}
	for _, line := range bytes.Split([]byte(a), []byte("\n")) {
		lines[string(line)]--
	}
	for _, line := range bytes.Split([]byte(b), []byte("\n")) {
		lines[string(line)]++
	}
	var out bytes.Buffer
	for line, n := range lines {
		if n < 0 {
			fmt.Fprintf(&out, "- %s\n", line)
		} else if n > 0 {
			fmt.Fprintf(&out, "+ %s\n", line)
		}
	}
	return out.String()
}
