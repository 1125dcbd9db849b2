package transport

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/triglot/triglot/raftlog"
	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

func TestMembersOfDifferentClustersRefuseEachOther(t *testing.T) {
	foreign := newNode(2)
	foreign.cluster = 0xc2
	a, b := start(t, newNode(1), Options{}), start(t, foreign, Options{})
	a.SetPeers([]raftlog.Peer{b.peer()})
	a.log.await(t, "cluster id mismatch", 1)
	b.log.await(t, "a call of another member was refused", 1)
	a.Send([]*raftpb.Message{app(1, 2, 1), message(raftpb.MsgHeartbeat, 1, 2, 1)})
	if _, err := a.Call(t.Context(), 2, nil); !errors.Is(err, raftlog.ErrUnreachable) || !strings.Contains(err.Error(), "cluster id mismatch") {
		t.Errorf("a question: %v", err)
	}
	// Many attempts later it has been said once.
	a.log.await(t, "level=DEBUG", 20)
	if errs, words := a.log.count("level=ERROR"), b.log.count("level=WARN"); errs != 1 || words != 1 {
		t.Errorf("%d errors here and %d warnings there", errs, words)
	}
	if len(b.node.received) != 0 {
		t.Error("a message was taken")
	}
	for _, part := range []string{"cluster c1", "cluster c2", "--initial-cluster-token"} {
		if !strings.Contains(a.log.text(), part) {
			t.Errorf("the operator is not told of %s", part)
		}
	}
}

func TestTheWrongMemberAtAnAddressIsRefused(t *testing.T) {
	a, c := start(t, newNode(1), Options{}), start(t, newNode(3), Options{})
	a.SetPeers([]raftlog.Peer{{ID: 2, URLs: []string{c.url}}})
	a.log.await(t, "member 2 was called, and member 3 is there", 1)
	a.Send([]*raftpb.Message{app(1, 2, 1)})
	await(t, "word of the drop", a.node.unreachable)
	if len(c.node.received) != 0 {
		t.Error("a message was taken")
	}
}

func TestARemovedMemberIsToldSo(t *testing.T) {
	a, b := pair(t, Options{})
	b.node.gone.Store(uint64(1), true)
	// While it is connected: with the next ping.
	await(t, "word of the removal", a.node.removed)
	a.log.await(t, "was removed from cluster", 1)
	if _, err := a.Call(t.Context(), 2, nil); !errors.Is(err, raftlog.ErrUnreachable) {
		t.Errorf("a question: %v", err)
	}
	a.log.await(t, "level=DEBUG", 20)
	if n := a.log.count("level=ERROR"); n != 1 {
		t.Errorf("said %d times", n)
	}
	if n := len(a.node.removed); n != 0 {
		t.Errorf("told %d times more", n)
	}
	// And when it comes back.
	again := start(t, newNode(1), Options{})
	again.SetPeers([]raftlog.Peer{b.peer()})
	await(t, "word of the removal", again.node.removed)
}

func TestAnyRefusedCallTellsOfARemoval(t *testing.T) {
	for name, call := range map[string]func(a *member) error{
		"a question": func(a *member) error { _, err := a.Call(t.Context(), 2, nil); return err },
		"a snapshot": func(a *member) error { return await(t, "the end", sendState(a, snap(1, 2, 7), newState(1, 10))) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t, Options{}, func(tr *Transport) { tr.timing.ping = time.Hour })
			b.node.gone.Store(uint64(1), true)
			if err := call(a); !errors.Is(err, raftlog.ErrUnreachable) {
				t.Errorf("it ended with %v", err)
			}
			await(t, "word of the removal", a.node.removed)
		})
	}
}

func TestHellosAreChecked(t *testing.T) {
	me := &identity{cluster: 7, member: 2, isRemoved: func(id uint64) bool { return id == 9 }}
	for _, c := range []struct {
		name   string
		hello  *peerpb.Hello
		reason peerpb.Refusal_Reason // UNKNOWN: admitted
	}{
		{"a member", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 1, To: 2}, peerpb.Refusal_UNKNOWN},
		{"another version", &peerpb.Hello{Protocol: 1, Cluster: 8, From: 1, To: 2}, peerpb.Refusal_PROTOCOL},
		{"no version", &peerpb.Hello{Cluster: 7, From: 1, To: 2}, peerpb.Refusal_PROTOCOL},
		{"another cluster", &peerpb.Hello{Protocol: protocolVersion, Cluster: 8, From: 9, To: 3}, peerpb.Refusal_CLUSTER},
		{"a removed member", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 9, To: 3}, peerpb.Refusal_REMOVED},
		{"for another member", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 1, To: 3}, peerpb.Refusal_MEMBER},
		{"itself", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 2, To: 2}, peerpb.Refusal_MEMBER},
		{"nothing", nil, peerpb.Refusal_PROTOCOL},
		{"nobody", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, To: 2}, peerpb.Refusal_MEMBER},
	} {
		refused := me.admit(c.hello)
		if c.reason == peerpb.Refusal_UNKNOWN != (refused == nil) || refused != nil && (refused.reason != c.reason || refused.words == "") {
			t.Errorf("%s: %v", c.name, refused)
		}
	}
	for _, c := range []struct {
		name   string
		hello  *peerpb.Hello
		reason peerpb.Refusal_Reason
	}{
		{"who was called", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 1, To: 2}, peerpb.Refusal_UNKNOWN},
		{"another", &peerpb.Hello{Protocol: protocolVersion, Cluster: 7, From: 3, To: 2}, peerpb.Refusal_MEMBER},
		{"of another cluster", &peerpb.Hello{Protocol: protocolVersion, Cluster: 8, From: 1, To: 2}, peerpb.Refusal_CLUSTER},
		{"of another version", &peerpb.Hello{Protocol: 5, Cluster: 7, From: 1, To: 2}, peerpb.Refusal_PROTOCOL},
	} {
		refused := me.reached(c.hello, 1)
		if c.reason == peerpb.Refusal_UNKNOWN != (refused == nil) || refused != nil && refused.reason != c.reason {
			t.Errorf("%s: %v", c.name, refused)
		}
	}
	if refusalOf(errors.New("any")) != nil || refusalOf(nil) != nil {
		t.Error("an error is taken for a refusal")
	}
}
