package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// What a delete of a range gives back, and what watchers are told was there, is each key's own value.
func TestWhatARangeDeletedIsKept(t *testing.T) {
	s := openTestStore(t)
	value := func(i int) string { return fmt.Sprint(i, strings.Repeat("v", 500)) }
	for i := range 300 {
		s.must(opPut(&corepb.Put{Key: fmt.Appendf(nil, "key%03d", i), Value: []byte(value(i))}))
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	result := s.must(opDelete(&corepb.Delete{Key: []byte("key"), End: []byte{0}, WantPrev: true}))
	if len(result.Records) != 300 || len(s.events) != 300 {
		t.Fatal(len(result.Records), len(s.events))
	}
	for i := range 300 {
		if got := string(result.Records[i].Value); got != value(i) {
			t.Fatalf("record %d: %.20q", i, got)
		}
		if got := string(s.events[i].Prev.Value); got != value(i) {
			t.Fatalf("event %d: %.20q", i, got)
		}
	}
}
