package resp

import (
	"context"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// leasedKey makes a key as an etcd client would: attached to a lease.
func (n *node) leasedKey(key string, ttlMillis int64) {
	n.t.Helper()
	id := n.store.NewLeaseID()
	result, err := n.store.Do(context.Background(), &corepb.Txn{Then: []*corepb.Op{
		{Op: &corepb.Op_LeaseGrant{LeaseGrant: &corepb.LeaseGrant{Id: id, TtlMillis: ttlMillis}}},
		{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte(key), Value: []byte("v"), Lease: id}}},
	}})
	if err != nil || result.Err != nil {
		n.t.Fatal(err, result)
	}
}

func TestTTLOfALeasedKeyIsTheLeasesTime(t *testing.T) {
	n := startNode(t, Options{})
	c := n.dial()
	n.leasedKey("k", 1_000_000)
	c.script([]exchange{
		{"get k", "$1 v"}, {"ttl k", ":1000"}, {"expire k 100", ":1"}, {"ttl k", ":100"}, {"expire k 5000", ":1"},
		{"ttl k", ":1000"}, {"persist k", ":1"}, {"ttl k", ":-1"},
	})
	n.leasedKey("k", 1_000_000)
	c.script([]exchange{{"ttl k", ":1000"}, {"set k w keepttl", "+OK"}, {"ttl k", ":1000"}, {"set k w", "+OK"}, {"ttl k", ":-1"}})
	n.leasedKey("k", 1_000_000)
	c.script([]exchange{
		{"watch k", "+OK"}, {"persist k", ":1"}, {"multi", "+OK"}, {"set k x", "+QUEUED"}, {"exec", "*-1"},
	})
}
