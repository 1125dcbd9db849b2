package grpcsvc

import (
	"bytes"

	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/storage"
)

// fillKeyValue words a record as etcd shows it. Key and value are shared, not copied: records that core hands out, and
// those of events, are never modified.
func fillKeyValue(kv *mvccpb.KeyValue, key []byte, record *storage.Record) {
	kv.Key = key
	kv.CreateRevision = record.CreateRevision
	kv.ModRevision = record.ModRevision
	kv.Version = record.Version
	kv.Value = record.Value
	kv.Lease = record.Lease
}

func keyValue(key []byte, record *storage.Record) *mvccpb.KeyValue {
	kv := &mvccpb.KeyValue{}
	fillKeyValue(kv, key, record)
	return kv
}

// keyValues words many records, with two allocations for all of them.
func keyValues(records []core.KeyRecord) []*mvccpb.KeyValue {
	if len(records) == 0 {
		return nil
	}
	backing := make([]mvccpb.KeyValue, len(records))
	kvs := make([]*mvccpb.KeyValue, len(records))
	for i := range records {
		fillKeyValue(&backing[i], records[i].Key, &records[i].Record)
		kvs[i] = &backing[i]
	}
	return kvs
}

// toEnd is the range end that means "every key from the first on".
var toEnd = []byte{0}

func isToEnd(end []byte) bool { return bytes.Equal(end, toEnd) }
