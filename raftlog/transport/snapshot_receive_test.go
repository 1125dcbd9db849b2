package transport

import (
	"testing"

	"github.com/triglot/triglot/raftlog/transport/peerpb"
)

func TestTheSnapshotOfALaterLeaderIsTaken(t *testing.T) {
	for _, c := range []struct {
		name         string
		first, other uint64 // terms
		taken        bool
	}{{"of a later one", 7, 8, true}, {"of an earlier one", 8, 7, false}} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, newNode(2), Options{})
			b.identity.member = 2
			place := &staging{}
			b.node.receiveSnapshot = place.receive
			first, err := b.receive(1, &peerpb.SnapshotOffer{Message: snap(1, 2, c.first)})
			if err != nil {
				t.Fatal(err)
			}
			other, err := b.receive(3, &peerpb.SnapshotOffer{Message: snap(3, 2, c.other)})
			if (err == nil) != c.taken {
				t.Fatalf("the other one: %v", err)
			}
			if _, err = first.state(""); (err == nil) == c.taken {
				t.Errorf("the first one: %v", err)
			}
			b.inbound.snapshots.leave(first)
			if c.taken {
				if _, err = other.state(""); err != nil {
					t.Error(err)
				}
				b.inbound.snapshots.leave(other)
			}
			if place.opened != place.closed {
				t.Errorf("opened %d times, closed %d times", place.opened, place.closed)
			}
		})
	}
}

func TestOffersAreChecked(t *testing.T) {
	b := start(t, newNode(2), Options{})
	b.node.receiveSnapshot = (&staging{}).receive
	file := func(name string, bytes int64) *peerpb.SnapshotFile {
		return &peerpb.SnapshotFile{Name: name, Bytes: bytes}
	}
	for name, offer := range map[string]*peerpb.SnapshotOffer{
		"no offer":        nil,
		"no message":      {},
		"another message": {Message: app(1, 2, 1)},
		"another sender":  {Message: snap(3, 2, 7)},
		"another target":  {Message: snap(1, 3, 7)},
		"a path":          {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("../x", 1)}},
		"another path":    {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file(`c:\x`, 1)}},
		"the directory":   {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("..", 1)}},
		"no name":         {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("", 1)}},
		"below nothing":   {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("a", -1)}},
		"one name twice":  {Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("a", 1), file("b", 1), file("a", 2)}},
	} {
		if r, err := b.receive(1, offer); err == nil {
			t.Errorf("%s was taken", name)
			b.inbound.snapshots.leave(r)
		}
	}
	r, err := b.receive(1, &peerpb.SnapshotOffer{Message: snap(1, 2, 7), Files: []*peerpb.SnapshotFile{file("a", 3)}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.inbound.snapshots.leave(r)
	for name, chunk := range map[string]*peerpb.SnapshotChunk{
		"of no file":    {File: 1, Data: []byte("x")},
		"with a gap":    {Offset: 1, Data: []byte("x")},
		"that is large": {Data: []byte("long")},
	} {
		if r.write(chunk) == nil {
			t.Errorf("a chunk %s was taken", name)
		}
	}
	if err := r.write(&peerpb.SnapshotChunk{Data: []byte("all")}); err != nil {
		t.Error(err)
	}
}
