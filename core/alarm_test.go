package core

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

func alarmOp(kind corepb.Alarm_Kind, member uint64, raised bool) *corepb.Op {
	return &corepb.Op{Op: &corepb.Op_Alarm{Alarm: &corepb.Alarm{Kind: kind, Member: member, Raised: raised}}}
}

func TestWhileReplicasDifferOnlyTheClusterCanBeChanged(t *testing.T) {
	s := openStore(t, t.TempDir())
	ctx := context.Background()
	self := s.MemberID()
	if _, err := s.Do(ctx, oneOp(putOp("k", "v"))); err != nil {
		t.Fatal(err)
	}
	wantCode(t, s.RaiseAlarm(ctx, AlarmCorrupt, 12345), CodeMemberNotFound)
	raised, changed := s.AlarmWatch()
	if len(raised) != 0 {
		t.Errorf("there are the alarms %v", raised)
	}
	if err := s.RaiseAlarm(ctx, AlarmCorrupt, self); err != nil {
		t.Fatal(err)
	}
	<-changed
	if err := s.RaiseAlarm(ctx, AlarmCorrupt, self); err != nil {
		t.Errorf("raising it again: %v", err)
	}
	if got := s.Alarms(); !slices.Equal(got, []Alarm{{AlarmCorrupt, self}}) {
		t.Errorf("the alarms are %v", got)
	}
	for what, txn := range map[string]*corepb.Txn{
		"a put":                       oneOp(putOp("k", "w")),
		"a lease":                     oneOp(&corepb.Op{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: 1, TtlMillis: 1000}}}),
		"a message":                   oneOp(&corepb.Op{Op: &corepb.Op_Publish{Publish: &corepb.Publish{Channel: []byte("c")}}}),
		"a put in an alarm's company": {Then: []*corepb.Op{alarmOp(AlarmNoSpace, self, true), putOp("k", "w")}},
	} {
		result, err := s.Do(ctx, txn)
		if err != nil {
			t.Fatal(err)
		}
		if wantCode(t, result.Err, CodeCorrupt); result.FailedOp != -1 || result.Changed {
			t.Errorf("%s: %+v", what, result)
		}
	}
	view, err := s.View(ctx, Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	if rec := view.Get(0, []byte("k")); rec == nil || string(rec.Value) != "v" {
		t.Errorf("reading gives %v", rec)
	}
	view.Close()
	if err := s.RaiseAlarm(ctx, AlarmNoSpace, self); err != nil {
		t.Errorf("another alarm: %v", err)
	}
	if err := s.ClearAlarm(ctx, AlarmCorrupt, self); err != nil {
		t.Fatal(err)
	}
	if got := s.Alarms(); !slices.Equal(got, []Alarm{{AlarmNoSpace, self}}) {
		t.Errorf("the alarms are %v", got)
	}
	if result, err := s.Do(ctx, oneOp(putOp("k", "w"))); err != nil || !errors.Is(result.Err, ErrNoSpace) {
		t.Errorf("a put while the other alarm stands: %v %v", err, result)
	}
	if err := s.ClearAlarm(ctx, AlarmNoSpace, self); err != nil {
		t.Fatal(err)
	}
	if result, err := s.Do(ctx, oneOp(putOp("k", "w"))); err != nil || result.Err != nil {
		t.Errorf("a put afterwards: %v %v", err, result)
	}
}

func TestAlarmsAreThereAfterARestartAndGoWithTheirMember(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, c *testCluster) {
		gone := c.follower()
		id := c.nodes[gone].MemberID()
		if err := c.nodes[gone].RaiseAlarm(context.Background(), AlarmCorrupt, id); err != nil {
			t.Fatal(err)
		}
		other := c.others(gone)[0]
		c.stop(other)
		c.start(other)
		if got := c.nodes[other].Alarms(); !slices.Equal(got, []Alarm{{AlarmCorrupt, id}}) {
			t.Errorf("after a restart there are %v", got)
		}
		if err := c.nodes[c.leader()].MemberRemove(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		c.stop(gone)
		for _, i := range c.others(gone) {
			c.await("no alarm", func() bool { return len(c.nodes[i].Alarms()) == 0 })
		}
		c.do(other, putOp("k", "v"))
	})
}
