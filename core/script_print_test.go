package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// describeTxn prints a result: one line for each op, nested Txns indented.
func describeTxn(result *TxnResult, txn *corepb.Txn, indent string) string {
	var out strings.Builder
	single := result.FailedOp >= 0 && indent == "" && len(txn.Guards) == 0 && len(txn.Then) == 1 && len(txn.Otherwise) == 0
	if !single {
		word := "then"
		if !result.Succeeded {
			word = "else"
		}
		if result.Err != nil {
			word = fmt.Sprintf("undone by op %d: %v", result.FailedOp, result.Err)
			if result.FailedOp < 0 {
				word = "refused: " + result.Err.Error()
			}
		}
		fmt.Fprintf(&out, "%s%s\n", indent, word)
		indent += "  "
	}
	ops := branchOf(txn, result.Succeeded)
	if single && result.Err != nil && len(result.Results) == 0 {
		fmt.Fprintf(&out, "error: %v\n", result.Err)
	}
	for i := range result.Results {
		r := &result.Results[i]
		if r.Txn != nil {
			out.WriteString(describeTxn(r.Txn, ops[i].GetTxn(), indent))
			continue
		}
		fmt.Fprintf(&out, "%s%s\n", indent, describe(r, ops[i]))
	}
	return out.String()
}

// describe prints the fields that an op fills.
func describe(r *Result, op *corepb.Op) string {
	if r.Err != nil {
		return "error: " + r.Err.Error()
	}
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if r.OK {
		say("ok")
	}
	switch op.Op.(type) {
	case *corepb.Op_Delete, *corepb.Op_Expire, *corepb.Op_Flush, *corepb.Op_Append, *corepb.Op_SetRange, *corepb.Op_Add,
		*corepb.Op_HashSet, *corepb.Op_HashDelete, *corepb.Op_HashAdd, *corepb.Op_ListPush, *corepb.Op_ListInsert,
		*corepb.Op_ListRemove, *corepb.Op_LeaseRevoke, *corepb.Op_Reap:
		say("%d", r.Int)
	case *corepb.Op_Range:
		say("count %d", r.Count)
	}
	if r.Key != nil {
		say("key %s", text(r.Key))
	}
	if r.Bytes != nil {
		say("%s", text(r.Bytes))
	}
	for _, value := range r.Values {
		say("%s", text(value))
	}
	if r.Record != nil {
		say("%s", describeRecord(r.Record))
	}
	if r.Prev != nil {
		say("prev %s", describeRecord(r.Prev))
	}
	if r.Path != "" {
		say("%s", r.Path)
	}
	if r.Stat != (Stat{}) {
		say("%s", describeStat(r.Stat))
	}
	for _, found := range r.Records {
		say("[%s %s]", text(found.Key), describeRecord(&found.Record))
	}
	if r.More {
		say("more")
	}
	if r.Cursor != 0 {
		say("cursor %d", r.Cursor)
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, " ")
}

func text(b []byte) string {
	if b == nil {
		return "nil"
	}
	if s := string(b); s == "" || strings.ContainsAny(s, " \"\\") || fmt.Sprintf("%+q", s) != `"`+s+`"` {
		return fmt.Sprintf("%+q", s)
	}
	return string(b)
}

// describeRecord prints: kind value (or number of elements) c=created m=modified v=version, and what is not zero.
func describeRecord(rec *storage.Record) string {
	var out strings.Builder
	switch {
	case rec.Kind != storage.KindBytes:
		fmt.Fprintf(&out, "%s of %d", rec.Kind, rec.Count)
	case rec.Value == nil:
		out.WriteString("string")
	default:
		fmt.Fprintf(&out, "string %s", text(rec.Value))
	}
	fmt.Fprintf(&out, " c=%d m=%d v=%d", rec.CreateRevision, rec.ModRevision, rec.Version)
	for _, field := range []struct {
		name   string
		number int64
	}{{"lease", rec.Lease}, {"deadline", rec.DeadlineMillis}, {"ttl", rec.NodeTTLMillis}} {
		if field.number != 0 {
			fmt.Fprintf(&out, " %s=%d", field.name, field.number)
		}
	}
	if rec.Container {
		out.WriteString(" container")
	}
	return out.String()
}

func describeStat(s Stat) string {
	return fmt.Sprintf("czxid=%d mzxid=%d pzxid=%d version=%d cversion=%d owner=%d length=%d children=%d ctime=%d mtime=%d",
		s.Czxid, s.Mzxid, s.Pzxid, s.Version, s.Cversion, s.EphemeralOwner, s.DataLength, s.NumChildren, s.Ctime, s.Mtime)
}

var eventWords = map[storage.EventType]string{
	storage.EventPut: "put", storage.EventDelete: "delete", storage.EventTouch: "touch", storage.EventPublish: "publish",
}

var nodeWords = map[storage.NodeChange]string{
	storage.NodeCreated: "created", storage.NodeDeleted: "deleted", storage.NodeDataChanged: "changed",
}

// describeEvents prints: revision.sub type [space:]key (verb) what the key holds after, what the event is to ZooKeeper.
func describeEvents(events []*storage.Event) string {
	var out strings.Builder
	for _, e := range events {
		fmt.Fprintf(&out, "%d.%d %s ", e.Revision, e.Sub, eventWords[e.Type])
		if e.Space != 0 {
			fmt.Fprintf(&out, "%d:", e.Space)
		}
		if e.Key != nil {
			out.WriteString(text(e.Key))
		}
		switch {
		case e.Type == storage.EventPublish:
			fmt.Fprintf(&out, " %s\n", text(e.Record.Value))
			continue
		case e.Record.Kind != storage.KindNone:
			fmt.Fprintf(&out, " (%s) %s", e.Verb, describeRecord(&e.Record))
		default:
			fmt.Fprintf(&out, " (%s)", e.Verb)
		}
		if e.Prev != nil {
			fmt.Fprintf(&out, " was %s", text(e.Prev.Value))
		}
		if e.Node != storage.NodeNone {
			fmt.Fprintf(&out, " node %s", nodeWords[e.Node])
			if e.Ancestors > 0 {
				fmt.Fprintf(&out, "+%d", e.Ancestors)
			}
		}
		out.WriteString("\n")
	}
	return out.String()
}

func hasRevision(events []*storage.Event, revision int64) bool {
	for _, e := range events {
		if e.Type != storage.EventPublish && e.Revision == revision {
			return true
		}
	}
	return false
}

// members prints who is in the cluster, and the log's configuration.
func (s *testStore) members() string {
	view := s.db.View()
	defer view.Release()
	m := readMembership(view)
	var out strings.Builder
	for _, member := range m.members {
		fmt.Fprintf(&out, "member %d %q at %v", member.ID, member.Name, member.PeerURLs)
		if member.Learner {
			out.WriteString(" learner")
		}
		if member.Started() {
			fmt.Fprintf(&out, " serves %v %v, version %q", member.ClientURLs, member.Listeners, member.Version)
		}
		out.WriteString("\n")
	}
	for _, id := range slices.Sorted(maps.Keys(m.removed)) {
		fmt.Fprintf(&out, "removed %d\n", id)
	}
	for _, alarm := range readAlarms(view) {
		fmt.Fprintf(&out, "alarm %v of member %d\n", alarm.Kind, alarm.Member)
	}
	fmt.Fprintf(&out, "configuration %q\n", view.State().Conf)
	return out.String()
}

// users prints what users and roles there are.
func (s *testStore) users() string {
	view := s.db.View()
	defer view.Release()
	var out strings.Builder
	eachUser(view, func(u *corepb.User) {
		fmt.Fprintf(&out, "user %s has roles %v, password %q", u.Name, u.Roles, u.Password)
		if u.NoPassword {
			out.WriteString(" and never one")
		}
		out.WriteString("\n")
	})
	eachRole(view, func(r *corepb.Role) {
		fmt.Fprintf(&out, "role %s", r.Name)
		for _, p := range r.Permissions {
			fmt.Fprintf(&out, " %v %q", p.Type, p.Key)
			if len(p.End) > 0 {
				fmt.Fprintf(&out, " to %q", p.End)
			}
		}
		out.WriteString("\n")
	})
	state := view.State()
	fmt.Fprintf(&out, "auth revision %d, enabled %v\n", state.AuthRevision, state.AuthEnabled)
	return out.String()
}
