package core

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

func (t *tx) get(op *corepb.Get, out *Result) {
	rec := t.record(byte(op.Space), op.Key)
	if rec == nil {
		return
	}
	if op.RequireKind != 0 && rec.Kind != storage.Kind(op.RequireKind) {
		out.Err = ErrWrongKind
		return
	}
	out.OK, out.Record = true, rec
}

// eachRecord calls visit with the living records of a range, of any kind, in key order, until it returns false. Key and
// record are valid during the call only. Without values those that are large may be left out.
func (t *tx) eachRecord(space byte, key, end []byte, values bool, visit func(key []byte, rec *storage.Record) bool) {
	lower, upper := storage.CurrentRange(space, key, end)
	iter := t.r.Scan(lower, upper)
	defer iter.Close()
	read := iter.Head
	if values {
		read = iter.Value
	}
	var rec storage.Record
	for iter.Next() {
		var err error
		if rec, err = storage.DecodeRecord(read()); err != nil {
			storage.Fail(t.r, err)
			return
		}
		if t.over(&rec) {
			continue
		}
		_, name, _ := storage.SplitCurrent(iter.Key())
		if !visit(name, &rec) {
			return
		}
	}
}

// rangeKeys answers etcd's Range. Count is of the whole range whatever limit and filters say.
//
// A target without an order sorts upwards, but, as in etcd, no more than the limit's worth of keys and one beyond it,
// unless there are filters.
func (t *tx) rangeKeys(op *corepb.Range, out *Result) {
	byKey := op.SortTarget == corepb.Range_KEY
	sorted := !byKey || op.SortOrder == corepb.Range_DESCEND
	most := op.Limit // records to collect, 0 for all
	switch {
	case sorted && (op.SortOrder != corepb.Range_NONE || filtersRevisions(op)):
		most = 0
	case sorted && most > 0:
		most++
	}
	var room pieces
	gathered := gatherings.Get().(*gathering)
	out.Records = gathered.records
	defer func() {
		out.Records = gathered.end(out.Records)
		gatherings.Put(gathered)
	}()
	collect := func(key []byte, rec *storage.Record) bool {
		if rec.Kind != storage.KindBytes {
			return true
		}
		out.Count++
		if op.CountOnly || !inRevisions(op, rec) {
			return true
		}
		if most > 0 && int64(len(out.Records)) >= most {
			out.More = true
			return !op.SkipCount
		}
		out.Records = append(out.Records, KeyRecord{Key: room.copy(key), Record: *rec})
		found := &out.Records[len(out.Records)-1]
		if op.KeysOnly && op.SortTarget != corepb.Range_BY_VALUE {
			found.Value = nil
		} else {
			found.Value = room.copy(rec.Value)
		}
		return true
	}
	if out.Err = t.visitRange(op, collect); out.Err != nil {
		return
	}
	if sorted {
		SortRecords(out.Records, op.SortTarget, op.SortOrder)
		if op.Limit > 0 && int64(len(out.Records)) > op.Limit {
			clear(out.Records[op.Limit:])
			out.Records, out.More = out.Records[:op.Limit], true
		}
	}
	if op.KeysOnly {
		for i := range out.Records {
			out.Records[i].Value = nil
		}
	}
}

// gathering is memory in which the records of a range are gathered, while nobody knows how many they will be.
type gathering struct{ records []KeyRecord }

var gatherings = sync.Pool{New: func() any { return &gathering{} }}

// gatheringMax is how many records' memory is used again.
const gatheringMax = 1 << 10

// end gives what was gathered memory of its own. Many records keep what they have.
func (g *gathering) end(records []KeyRecord) []KeyRecord {
	if cap(records) > gatheringMax {
		g.records = nil
		return records
	}
	g.records = records[:0]
	if len(records) == 0 {
		return nil
	}
	own := slices.Clone(records)
	clear(records)
	return own
}

// pieces copies small things that live and end together into few pieces of memory.
type pieces struct{ rest []byte }

// The first piece of memory is for a few keys; each further one is twice as large, up to a bound.
const (
	pieceBytesFirst = 512
	pieceBytesMax   = 32 << 10
)

func (p *pieces) copy(b []byte) []byte {
	if p.rest == nil || len(b) > cap(p.rest)-len(p.rest) {
		size := min(max(pieceBytesFirst, 2*cap(p.rest)), pieceBytesMax)
		p.rest = make([]byte, 0, max(size, len(b)))
	}
	from := len(p.rest)
	p.rest = append(p.rest, b...)
	return p.rest[from:len(p.rest):len(p.rest)]
}

// visitRange finds the records of a range, now or at an earlier revision.
func (t *tx) visitRange(op *corepb.Range, visit func(key []byte, rec *storage.Record) bool) error {
	if err := t.readable(op.Revision); err != nil {
		return err
	}
	if op.Revision == 0 || op.Revision == t.r.State().Revision {
		if len(op.End) == 0 {
			if rec := t.record(byte(op.Space), op.Key); rec != nil {
				visit(op.Key, rec)
			}
			return nil
		}
		values := !op.CountOnly && (!op.KeysOnly || op.SortTarget == corepb.Range_BY_VALUE)
		t.eachRecord(byte(op.Space), op.Key, op.End, values, visit)
		return nil
	}
	if len(op.End) == 0 {
		if rec, ok := t.r.RecordAt(op.Key, op.Revision); ok {
			visit(op.Key, &rec)
		}
		return nil
	}
	lower, upper := storage.KeyRange(op.Key, op.End)
	iter := t.r.ScanAt(lower, upper, op.Revision)
	defer iter.Close()
	for iter.Next() {
		rec, ok := iter.Record()
		if !ok || !visit(iter.Key(), &rec) {
			break
		}
	}
	return nil
}

// readable says whether the keyspace can be read as it was at a revision; 0 means now.
func (t *tx) readable(revision int64) error {
	state := t.r.State()
	switch {
	case revision == 0:
		return nil
	case revision > state.Revision:
		return ErrFutureRevision
	case revision < state.Compacted:
		return &Error{Code: CodeCompacted, Number: state.Compacted}
	}
	return nil
}

func filtersRevisions(op *corepb.Range) bool {
	return op.MinModRevision != 0 || op.MaxModRevision != 0 || op.MinCreateRevision != 0 || op.MaxCreateRevision != 0
}

func inRevisions(op *corepb.Range, rec *storage.Record) bool {
	return (op.MinModRevision == 0 || rec.ModRevision >= op.MinModRevision) &&
		(op.MaxModRevision == 0 || rec.ModRevision <= op.MaxModRevision) &&
		(op.MinCreateRevision == 0 || rec.CreateRevision >= op.MinCreateRevision) &&
		(op.MaxCreateRevision == 0 || rec.CreateRevision <= op.MaxCreateRevision)
}

// SortRecords sorts by a property of the records; those that are equal in it stay as they are. NONE is ascending.
func SortRecords(records []KeyRecord, target corepb.Range_SortTarget, order corepb.Range_SortOrder) {
	slices.SortStableFunc(records, func(a, b KeyRecord) int {
		var c int
		switch target {
		case corepb.Range_BY_VERSION:
			c = cmp.Compare(a.Version, b.Version)
		case corepb.Range_BY_CREATE:
			c = cmp.Compare(a.CreateRevision, b.CreateRevision)
		case corepb.Range_BY_MOD:
			c = cmp.Compare(a.ModRevision, b.ModRevision)
		case corepb.Range_BY_VALUE:
			c = bytes.Compare(a.Value, b.Value)
		default:
			c = bytes.Compare(a.Key, b.Key)
		}
		if order == corepb.Range_DESCEND {
			return -c
		}
		return c
	})
}

// scanLimitDefault is how many keys a Scan without a limit looks at.
const scanLimitDefault = 1000

// scan lists keys in order of creation. A cursor is a create revision: the first that was not looked at.
func (t *tx) scan(op *corepb.Scan, out *Result) {
	space := byte(op.Space)
	limit := op.Limit
	if limit <= 0 {
		limit = scanLimitDefault
	}
	iter := t.r.Scan(storage.ScanBounds(space, int64(op.Cursor)))
	defer iter.Close()
	var looked, previous int64
	for iter.Next() {
		_, created, key, _ := storage.SplitScan(iter.Key())
		if looked >= limit && created != previous {
			out.Cursor = uint64(created)
			return
		}
		looked, previous = looked+1, created
		if rec := t.head(space, key); rec != nil {
			found := KeyRecord{Key: bytes.Clone(key), Record: *rec}
			found.Value, found.Apart = nil, 0
			out.Records = append(out.Records, found)
		}
	}
}

// randomKey looks from a random point of the order of creation on, and from the start when there is nothing behind it.
func (t *tx) randomKey(op *corepb.RandomKey, out *Result) {
	space := byte(op.Space)
	point := int64(op.Seed % uint64(t.r.State().Revision+1))
	for _, from := range []int64{point, 0} {
		iter := t.r.Scan(storage.ScanBounds(space, from))
		for iter.Next() {
			_, _, key, _ := storage.SplitScan(iter.Key())
			if t.head(space, key) != nil {
				out.OK, out.Key = true, bytes.Clone(key)
				iter.Close()
				return
			}
		}
		iter.Close()
	}
}
