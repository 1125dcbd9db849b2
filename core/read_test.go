package core

import "testing"

// Ranges are gathered in memory of those before, of which nothing must be left in them.
func TestWhatIsGatheredIsItsOwn(t *testing.T) {
	g := &gathering{}
	first := g.end(append(g.records, KeyRecord{Key: []byte("a")}, KeyRecord{Key: []byte("b")}))
	room := g.records[:2]
	if room[0].Key != nil || room[1].Key != nil {
		t.Errorf("what was gathered is held: %q, %q", room[0].Key, room[1].Key)
	}
	if none := g.end(g.records); none != nil {
		t.Errorf("nothing became %v", none)
	}
	second := g.end(append(g.records, KeyRecord{Key: []byte("c")}))
	if &room[0] != &g.records[:1][0] {
		t.Error("the memory was not used again")
	}
	if len(first) != 2 || string(first[0].Key) != "a" || string(first[1].Key) != "b" || len(second) != 1 || string(second[0].Key) != "c" {
		t.Errorf("gathered %v and %v", first, second)
	}
	if many := g.end(make([]KeyRecord, gatheringMax+1)); len(many) != gatheringMax+1 || g.records != nil {
		t.Error("much memory is kept")
	}
}
