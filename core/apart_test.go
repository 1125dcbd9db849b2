package core

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Large values are kept apart from their records. These are the places where a command or a watch goes without them, or gets them
// from where they are.

func TestAWatchForPreviousValuesIsGivenLargeOnes(t *testing.T) {
	s := openStore(t, t.TempDir())
	feed := s.Hub().NewFeed()
	defer feed.Close()
	for id, prev := range []bool{false, true, true} { // the last two share their events
		if err := feed.Add(int64(id), Watch{Match: MatchKey, Key: []byte("k"), Prev: prev}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := strings.Repeat("1", 3000), strings.Repeat("2", 2000)
	for _, op := range []*corepb.Op{putOp("k", first), putOp("k", second), {Op: &corepb.Op_Delete{Delete: &corepb.Delete{Key: []byte("k")}}}} {
		if result, err := s.Do(context.Background(), oneOp(op)); err != nil || result.Err != nil {
			t.Fatal(err, result)
		}
	}
	given := map[int64][]*storage.Event{}
	for len(given[0])+len(given[1])+len(given[2]) < 9 {
		<-feed.Ready()
		for _, notice := range feed.Next(100) {
			given[notice.ID] = append(given[notice.ID], notice.Events...)
		}
	}
	for id, events := range given {
		for i, before := range []string{"", first, second} {
			prev := events[i].Prev
			switch {
			case i == 0:
				if prev != nil {
					t.Errorf("watch %d: before the first there is %v", id, prev)
				}
			case id == 0:
				if prev == nil || prev.Apart != len(before) {
					t.Errorf("a watch that did not ask was given %.20q", prev.Value)
				}
			case prev == nil || string(prev.Value) != before || prev.Apart != 0:
				t.Errorf("watch %d: event %d has %+v before it", id, i, prev)
			}
		}
	}
}

func TestWhatDoesNotTouchALargeValueKeepsIt(t *testing.T) {
	s := openTestStore(t)
	value := bytes.Repeat([]byte("v"), 5000)
	key := []byte("/k")
	s.must(&corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: 7, TtlMillis: 60_000}}})
	s.must(putOp("/k", string(value)))
	for name, op := range map[string]*corepb.Op{
		"another life":          {Op: &corepb.Op_Expire{Expire: &corepb.Expire{Key: key, Relative: true, TtlMillis: 60_000}}},
		"no end any more":       {Op: &corepb.Op_Expire{Expire: &corepb.Expire{Key: key, Persist: true}}},
		"another lease":         {Op: &corepb.Op_Put{Put: &corepb.Put{Key: key, IgnoreValue: true, Lease: 7}}},
		"a child":               {Op: &corepb.Op_NodeCreate{NodeCreate: &corepb.NodeCreate{Path: "/k/child"}}},
		"a put that is refused": {Op: &corepb.Op_Put{Put: &corepb.Put{Key: key, Value: []byte("x"), Condition: corepb.Put_IF_ABSENT}}},
	} {
		s.do(op)
		view := s.db.View()
		reader := &tx{r: view, now: s.now}
		whole, head := reader.record(0, key), reader.head(0, key)
		if whole == nil || !bytes.Equal(whole.Value, value) || head.Apart != len(value) || head.Value != nil {
			t.Errorf("after %s: %d bytes, its head has %d of %d", name, len(whole.Value), len(head.Value), head.Apart)
		}
		if stat := nodeStat(key, head, storage.Tree{}); stat.DataLength != int32(len(value)) {
			t.Errorf("after %s its node has %d bytes", name, stat.DataLength)
		}
		view.Release()
	}
	moved := s.must(&corepb.Op{Op: &corepb.Op_Transfer{Transfer: &corepb.Transfer{From: key, To: []byte("/m")}}})
	if !moved.OK {
		t.Fatal("it was not renamed")
	}
	got := s.view(oneOp(&corepb.Op{Op: &corepb.Op_Get{Get: &corepb.Get{Key: []byte("/m")}}})).Results[0]
	if got.Record == nil || !bytes.Equal(got.Record.Value, value) {
		t.Error("the value was lost on the way to another name")
	}
	for _, keysOnly := range []bool{false, true} {
		all := s.view(oneOp(&corepb.Op{Op: &corepb.Op_Range{Range: &corepb.Range{Key: []byte("/"), End: []byte("0"), KeysOnly: keysOnly}}})).Results[0]
		for _, r := range all.Records {
			if string(r.Key) == "/m" && (len(r.Value) == len(value)) == keysOnly {
				t.Errorf("a range, keys only %v, has %d bytes", keysOnly, len(r.Value))
			}
		}
	}
	s.checkReplica()
}
