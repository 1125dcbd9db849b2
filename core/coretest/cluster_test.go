package coretest

import (
	"context"
	"testing"

	"github.com/triglot/triglot/core"
	"github.com/triglot/triglot/core/corepb"
)

func TestAClusterLosesAndFindsMembers(t *testing.T) {
	c := Start(t, 3)
	put := &corepb.Txn{Then: []*corepb.Op{{Op: &corepb.Op_Put{Put: &corepb.Put{Key: []byte("k"), Value: []byte("v")}}}}}
	old := c.Leader()
	c.Cut(old)
	others := []int{(old + 1) % 3, (old + 2) % 3}
	next := c.Leader(others...)
	if _, err := c.Stores[next].Do(context.Background(), put); err != nil {
		t.Fatal(err)
	}
	c.Heal()
	c.Leader()
	c.Stop(old)
	c.Restart(old)
	view, err := c.Stores[old].View(context.Background(), core.Linearizable)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if view.Get(0, []byte("k")) == nil {
		t.Error("the write is not there")
	}
}
