package core

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// rows is the database taken apart again, to recompute from the records all that is derived from them.
type rows struct {
	records     map[place]storage.Record
	scan        map[string]bool // as printed by row
	deadlines   map[string]bool
	attachments map[string]bool
	leases      map[int64]bool
	elements    map[uint64][][]byte
	trees       map[string]storage.Tree
	children    map[string]bool
	log         map[string]bool
	history     map[string]bool
}

type place struct {
	space byte
	key   string
}

func row(number int64, space byte, key []byte) string {
	return fmt.Sprintf("%d %d %q", number, space, key)
}

func readRows(t testing.TB, view *storage.View) *rows {
	t.Helper()
	r := &rows{
		records: map[place]storage.Record{}, scan: map[string]bool{}, deadlines: map[string]bool{},
		attachments: map[string]bool{}, leases: map[int64]bool{}, elements: map[uint64][][]byte{},
		trees: map[string]storage.Tree{}, children: map[string]bool{}, log: map[string]bool{}, history: map[string]bool{},
	}
	iter := view.Scan([]byte{0}, []byte{0xff})
	defer iter.Close()
	for iter.Next() {
		r.add(t, iter.Key(), iter.Value())
	}
	return r
}

func (r *rows) add(t testing.TB, k, v []byte) {
	t.Helper()
	if space, key, ok := storage.SplitCurrent(k); ok {
		rec, err := storage.DecodeRecord(v)
		if err != nil {
			t.Fatal(err)
		}
		rec.Value = slices.Clone(rec.Value)
		r.records[place{space, string(key)}] = rec
	} else if space, revision, key, ok := storage.SplitScan(k); ok {
		r.scan[row(revision, space, key)] = true
	} else if millis, space, key, ok := storage.SplitDeadline(k); ok {
		r.deadlines[row(millis, space, key)] = true
	} else if lease, space, key, ok := storage.SplitAttachment(k); ok {
		r.attachments[row(lease, space, key)] = true
	} else if id, ok := storage.SplitLease(k); ok {
		r.leases[id] = true
	} else if collection, element, ok := storage.SplitElement(k); ok {
		r.elements[collection] = append(r.elements[collection], slices.Clone(element))
	} else if path, ok := storage.SplitTree(k); ok {
		tree, err := storage.DecodeTree(v)
		if err != nil {
			t.Fatal(err)
		}
		r.trees[string(path)] = tree
	} else if parent, name, ok := storage.SplitChild(k, nil); ok {
		r.children[string(parent)+" "+string(name)] = true
	} else if revision, sub, ok := storage.SplitLog(k); ok {
		event, err := storage.DecodeEvent(v)
		if err != nil {
			t.Fatal(err)
		}
		r.log[fmt.Sprintf("%d.%d %q", revision, sub, event.Key)] = true
	} else if key, revision, sub, ok := storage.SplitHistory(k, nil); ok {
		r.history[fmt.Sprintf("%d.%d %q", revision, sub, key)] = true
	}
}

// checkInvariants recomputes everything that is derived from the records.
func (s *testStore) checkInvariants() {
	s.t.Helper()
	view := s.db.View()
	defer view.Release()
	r := readRows(s.t, view)
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }

	var counts [storage.Spaces]int64
	scan, deadlines, attachments := map[string]bool{}, map[string]bool{}, map[string]bool{}
	collections := map[uint64]bool{}
	for at, rec := range r.records {
		counts[at.space]++
		scan[row(rec.CreateRevision, at.space, []byte(at.key))] = true
		if rec.DeadlineMillis != 0 {
			deadlines[row(rec.DeadlineMillis, at.space, []byte(at.key))] = true
		}
		if rec.Lease != 0 {
			attachments[row(rec.Lease, at.space, []byte(at.key))] = true
			if !r.leases[rec.Lease] {
				complain("%v: its lease %d is not there", at, rec.Lease)
			}
		}
		if rec.Version < 1 || rec.CreateRevision < 2 || rec.ModRevision < rec.CreateRevision || rec.ModRevision > view.State().Revision {
			complain("%v: version %d, created %d, modified %d", at, rec.Version, rec.CreateRevision, rec.ModRevision)
		}
		if rec.Kind == storage.KindBytes {
			if rec.Collection != 0 || rec.Count != 0 || rec.Head != 0 {
				complain("%v: bytes with a collection", at)
			}
			continue
		}
		if rec.Collection == 0 || byte(rec.Collection>>56) != at.space || collections[rec.Collection] {
			complain("%v: collection id %#x", at, rec.Collection)
		}
		collections[rec.Collection] = true
		checkElements(at, &rec, r.elements[rec.Collection], complain)
	}
	alarms := map[corepb.Alarm_Kind]uint64{}
	for _, alarm := range readAlarms(view) {
		alarms[alarm.Kind]++
	}
	if counted := view.State(); alarms[AlarmCorrupt] != counted.CorruptAlarms || alarms[AlarmNoSpace] != counted.NoSpaceAlarms {
		complain("the alarms are %v, counted are %d CORRUPT and %d NOSPACE", alarms, counted.CorruptAlarms, counted.NoSpaceAlarms)
	}
	if counts != view.State().Counts {
		complain("counts are %v, records %v", view.State().Counts, counts)
	}
	for id := range r.elements {
		if !collections[id] {
			complain("elements of a collection %#x that is not there", id)
		}
	}
	compare := func(what string, want, got map[string]bool) {
		for k := range want {
			if !got[k] {
				complain("%s: %s is missing", what, k)
			}
		}
		for k := range got {
			if !want[k] {
				complain("%s: %s is left over", what, k)
			}
		}
	}
	r.checkNodes(deadlines, complain, compare)
	compare("scan", scan, r.scan)
	compare("deadlines", deadlines, withoutStale(r.deadlines, deadlines))
	compare("attachments", attachments, withoutStale(r.attachments, attachments))
	compare("history", r.log, r.history)
	if len(wrong) > 0 {
		slices.Sort(wrong)
		s.t.Fatalf("invariants broken:\n%s", strings.Join(wrong, "\n"))
	}
}

// withoutStale drops rows about keys of private spaces that have no such record: flushing a private space in one stroke
// leaves them, and whoever meets one compares it with the record.
func withoutStale(got, want map[string]bool) map[string]bool {
	kept := maps.Clone(got)
	for k := range got {
		var number, space int64
		fmt.Sscan(k, &number, &space)
		if space > 0 && space < storage.Spaces && !want[k] {
			delete(kept, k)
		}
	}
	return kept
}

func checkElements(at place, rec *storage.Record, elements [][]byte, complain func(string, ...any)) {
	if int64(len(elements)) != rec.Count || rec.Count == 0 {
		complain("%v: counts %d elements and has %d", at, rec.Count, len(elements))
	}
	for i, element := range elements {
		switch rec.Kind {
		case storage.KindList:
			if position := int64(binary.BigEndian.Uint64(element) ^ 1<<63); position != rec.Head+int64(i) {
				complain("%v: element %d stands at %d, the head at %d", at, i, position, rec.Head)
			}
		case storage.KindHash:
			if binary.BigEndian.Uint32(element) != fieldHash(element[4:]) {
				complain("%v: field %q stands at a wrong place", at, element)
			}
		}
	}
}

// nodes gives every node: the paths that hold bytes, and their ancestors. True for those that hold bytes.
func (r *rows) nodes() map[string]bool {
	nodes := map[string]bool{"/": false}
	for at, rec := range r.records {
		if at.space != 0 || rec.Kind != storage.KindBytes || !IsNodePath([]byte(at.key)) {
			continue
		}
		for path := []byte(at.key); !isRoot(path); path, _ = parentPath(path) {
			nodes[string(path)] = nodes[string(path)]
		}
		nodes[at.key] = true
	}
	return nodes
}

func (r *rows) checkNodes(deadlines map[string]bool, complain func(string, ...any), compare func(string, map[string]bool, map[string]bool)) {
	nodes := r.nodes()
	children, numbers := map[string]bool{}, map[string]int64{}
	for path := range nodes {
		if path != "/" {
			parent, name := parentPath([]byte(path))
			children[string(parent)+" "+string(name)] = true
			numbers[string(parent)]++
		}
	}
	compare("children", children, r.children)
	for path, real := range nodes {
		tree := r.trees[path]
		if tree.Children != numbers[path] || tree.Creates-tree.Deletes != tree.Children {
			complain("%s: has %d children, its tree record says %+v", path, numbers[path], tree)
		}
		rec := r.records[place{0, path}]
		idle := real && numbers[path] == 0 && (rec.NodeTTLMillis != 0 || rec.Container && tree.Deletes > 0)
		if idle != (tree.IdleDeadlineMillis != 0) {
			complain("%s: idle is %v, but its tree record says %+v", path, idle, tree)
		}
		if idle {
			deadlines[row(tree.IdleDeadlineMillis, idleSpace, []byte(path))] = true
		}
		if !real && path != "/" && (tree.BirthRevision == 0 || tree.BirthMillis == 0) {
			complain("%s: an implicit node without a beginning: %+v", path, tree)
		}
	}
	for path := range r.trees {
		if _, ok := nodes[path]; !ok {
			complain("%s: a tree record without a node: %+v", path, r.trees[path])
		}
	}
}

// nodesNow gives the nodes there are.
func (s *testStore) nodesNow() map[string]bool {
	view := s.db.View()
	defer view.Release()
	return readRows(s.t, view).nodes()
}

// checkNodeEvents follows the events of the last command from the nodes before it; it has to come to the nodes after it.
func (s *testStore) checkNodeEvents(before map[string]bool) {
	s.t.Helper()
	nodes := map[string]bool{}
	for path := range before {
		nodes[path] = true
	}
	for _, event := range s.events {
		path := event.Key
		switch event.Node {
		case storage.NodeDataChanged:
			if !nodes[string(path)] {
				s.t.Fatalf("%s changed, but was no node", path)
			}
		case storage.NodeCreated, storage.NodeDeleted:
			created := event.Node == storage.NodeCreated
			for range event.Ancestors + 1 {
				if nodes[string(path)] == created {
					s.t.Fatalf("%s: event says created=%v of %s", event.Key, created, path)
				}
				nodes[string(path)] = created
				path, _ = parentPath(path)
			}
		}
	}
	after := s.nodesNow()
	for path, there := range nodes {
		if _, ok := after[path]; ok != there {
			s.t.Fatalf("after the events %s is a node: %v, in the tree: %v", path, there, ok)
		}
	}
	for path := range after {
		if !nodes[path] {
			s.t.Fatalf("%s came to be a node without an event", path)
		}
	}
}
