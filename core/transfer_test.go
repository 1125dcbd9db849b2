package core

import (
	"fmt"
	"testing"

	"github.com/triglot/triglot/core/corepb"
	"github.com/triglot/triglot/storage"
)

// Every kind moved and copied over every kind, within a space and to another.
func TestAnyKindMovesOverAnyKind(t *testing.T) {
	const deadline = 2_000_000
	put := map[storage.Kind]func(s *testStore, space uint32, key, mark string){
		storage.KindNone: func(*testStore, uint32, string, string) {},
		storage.KindBytes: func(s *testStore, space uint32, key, mark string) {
			s.must(opPut(&corepb.Put{Space: space, Key: []byte(key), Value: []byte(mark)}))
		},
		storage.KindList: func(s *testStore, space uint32, key, mark string) {
			s.must(opListPush(&corepb.ListPush{Space: space, Key: []byte(key), Values: [][]byte{[]byte(mark), []byte("2")}}))
		},
		storage.KindHash: func(s *testStore, space uint32, key, mark string) {
			s.must(opHashSet(&corepb.HashSet{Space: space, Key: []byte(key), Fields: [][]byte{[]byte("f"), []byte(mark)}}))
		},
	}
	content := func(s *testStore, space uint32, key string) string {
		read := func(op *corepb.Op) Result { return s.view(oneOp(op)).Results[0] }
		found := read(opGet(&corepb.Get{Space: space, Key: []byte(key)}))
		switch {
		case found.Record == nil:
			return "none"
		case found.Record.Kind == storage.KindBytes:
			return fmt.Sprint("string ", string(found.Record.Value), " ", found.Record.DeadlineMillis)
		case found.Record.Kind == storage.KindList:
			return fmt.Sprint("list ", texts(read(opListRange(&corepb.ListRange{Space: space, Key: []byte(key), Stop: -1})).Values), " ", found.Record.DeadlineMillis)
		default:
			return fmt.Sprint("hash ", texts(read(opHashRange(&corepb.HashRange{Space: space, Key: []byte(key)})).Values), " ", found.Record.DeadlineMillis)
		}
	}
	s := openTestStore(t)
	kinds := []storage.Kind{storage.KindNone, storage.KindBytes, storage.KindList, storage.KindHash}
	n := 0
	for _, from := range kinds[1:] {
		for _, to := range kinds {
			for _, spaces := range [][2]uint32{{0, 0}, {0, 2}, {2, 0}, {2, 2}} {
				for _, copied := range []bool{false, true} {
					for _, ifAbsent := range []bool{false, true} {
						n++
						source, target := fmt.Sprint("source", n), fmt.Sprint("target", n)
						put[from](s, spaces[0], source, "moved")
						s.must(opExpire(&corepb.Expire{Space: spaces[0], Key: []byte(source), DeadlineMillis: deadline}))
						put[to](s, spaces[1], target, "there")
						wantSource, wantTarget := content(s, spaces[0], source), content(s, spaces[1], target)
						ok := !ifAbsent || to == storage.KindNone
						if ok {
							wantTarget = wantSource
							if !copied {
								wantSource = "none"
							}
						}
						op := &corepb.Transfer{FromSpace: spaces[0], From: []byte(source), ToSpace: spaces[1], To: []byte(target), Copy: copied, IfAbsent: ifAbsent}
						s.checkUndo(oneOp(opTransfer(op)))
						result := s.must(opTransfer(op))
						gotSource, gotTarget := content(s, spaces[0], source), content(s, spaces[1], target)
						if result.OK != ok || gotSource != wantSource || gotTarget != wantTarget {
							t.Errorf("%v over %v, %v: ok %v, the source holds %s, not %s, the target %s, not %s",
								from, to, op, result.OK, gotSource, wantSource, gotTarget, wantTarget)
						}
						s.checkInvariants()
					}
				}
			}
		}
	}
	s.checkReplica()
}

// A copy is another key: what happens to one is not seen in the other.
func TestACopyIsAKeyOfItsOwn(t *testing.T) {
	s := openTestStore(t)
	s.must(opListPush(&corepb.ListPush{Key: []byte("l"), Values: [][]byte{[]byte("1"), []byte("2"), []byte("3")}}))
	s.must(opTransfer(&corepb.Transfer{From: []byte("l"), To: []byte("copy"), Copy: true}))
	s.must(opListPop(&corepb.ListPop{Keys: [][]byte{[]byte("l")}, Count: 3}))
	s.checkList("copy", []string{"1", "2", "3"})
	s.checkInvariants()
}
