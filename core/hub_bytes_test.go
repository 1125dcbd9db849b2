package core

import (
	"bytes"
	"context"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// A slow watcher of large values is given them in portions.
func TestAReplayIsBoundedInBytes(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Name: "test", RingEvents: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const puts, size = 24, 1 << 20
	value := bytes.Repeat([]byte("x"), size)
	for range puts {
		put := &corepb.Put{Key: []byte("big"), Value: value}
		if _, err := s.Do(context.Background(), oneOp(&corepb.Op{Op: &corepb.Op_Put{Put: put}})); err != nil {
			t.Fatal(err)
		}
	}
	feed := s.Hub().NewFeed()
	defer feed.Close()
	if err := feed.Add(1, Watch{Match: MatchKey, Key: []byte("big"), From: 2}); err != nil {
		t.Fatal(err)
	}
	got := int64(0)
	for got < puts {
		<-feed.Ready()
		for _, notice := range feed.Next(1000) {
			held := 0
			for _, e := range notice.Events {
				held += len(e.Record.Value)
				if e.Revision != got+2 {
					t.Fatalf("event at revision %d after %d events", e.Revision, got)
				}
				got++
			}
			if held > replayBytesMax+4*size {
				t.Fatalf("one notice holds %d bytes", held)
			}
		}
	}
}
