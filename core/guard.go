package core

import (
	"bytes"
	"cmp"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func (t *tx) holdAll(guards []*corepb.Guard) bool {
	for _, guard := range guards {
		if !t.holds(guard) {
			return false
		}
	}
	return true
}

// holds evaluates a guard on its key, or on every key of its range. A range without keys is one absent key, as in etcd.
func (t *tx) holds(g *corepb.Guard) bool {
	if len(g.End) == 0 {
		read := t.head
		if g.Target == corepb.Guard_VALUE {
			read = t.record
		}
		rec := read(byte(g.Space), g.Key)
		if rec != nil && !g.AnyKind && rec.Kind != storage.KindBytes {
			rec = nil
		}
		return compare(g, rec)
	}
	holds, any := true, false
	t.eachRecord(byte(g.Space), g.Key, g.End, g.Target == corepb.Guard_VALUE, func(_ []byte, rec *storage.Record) bool {
		if !g.AnyKind && rec.Kind != storage.KindBytes {
			return true
		}
		any = true
		holds = compare(g, rec)
		return holds
	})
	if !any {
		return compare(g, nil)
	}
	return holds
}

func compare(g *corepb.Guard, rec *storage.Record) bool {
	if rec == nil {
		if g.Target == corepb.Guard_VALUE {
			return false
		}
		rec = &storage.Record{}
	}
	var order int
	switch g.Target {
	case corepb.Guard_VALUE:
		order = bytes.Compare(rec.Value, g.Value)
	case corepb.Guard_VERSION:
		order = cmp.Compare(rec.Version, g.Number)
	case corepb.Guard_CREATE_REVISION:
		order = cmp.Compare(rec.CreateRevision, g.Number)
	case corepb.Guard_MOD_REVISION:
		order = cmp.Compare(rec.ModRevision, g.Number)
	case corepb.Guard_LEASE:
		order = cmp.Compare(rec.Lease, g.Number)
	case corepb.Guard_DEADLINE:
		order = cmp.Compare(rec.DeadlineMillis, g.Number)
	case corepb.Guard_KIND:
		order = cmp.Compare(int64(rec.Kind), g.Number)
	default:
		return false
	}
	switch g.Comparison {
	case corepb.Guard_EQUAL:
		return order == 0
	case corepb.Guard_GREATER:
		return order > 0
	case corepb.Guard_LESS:
		return order < 0
	case corepb.Guard_NOT_EQUAL:
		return order != 0
	}
	return false
}
