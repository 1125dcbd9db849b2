package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

func TestHashesAreAsMaps(t *testing.T) {
	steps := 5000
	if testing.Short() {
		steps = 1000
	}
	s := openTestStore(t)
	r := rand.New(rand.NewPCG(3, 4))
	model := map[string]string{}
	key := []byte("h")
	for i := range steps {
		field, value := fmt.Sprint("field", r.IntN(60)), fmt.Sprint(r.IntN(1000))
		second := fmt.Sprint("field", r.IntN(60))
		_, had := model[field]
		_, hadSecond := model[second]
		var op *corepb.Op
		var want int64
		switch r.IntN(6) {
		case 0, 1:
			op = opHashSet(&corepb.HashSet{Key: key, Fields: [][]byte{[]byte(field), []byte(value), []byte(second), []byte("2")}})
			size := len(model)
			model[field], model[second] = value, "2"
			want = int64(len(model) - size)
		case 2:
			op = opHashSet(&corepb.HashSet{Key: key, Fields: [][]byte{[]byte(field), []byte(value)}, IfAbsent: true})
			if !had {
				model[field], want = value, 1
			}
		case 3, 4:
			op = opHashDelete(&corepb.HashDelete{Key: key, Fields: [][]byte{[]byte(field), []byte(second)}})
			size := len(model)
			delete(model, field)
			delete(model, second)
			want = int64(size - len(model))
		default:
			if !had {
				model[field] = "0"
			}
			var n int64
			fmt.Sscan(model[field], &n)
			want = n + 5
			model[field] = fmt.Sprint(want)
			op = &corepb.Op{Op: &corepb.Op_HashAdd{HashAdd: &corepb.HashAdd{Key: key, Field: []byte(field), Delta: 5}}}
		}
		if result := s.do(op); result.Err != nil || result.Int != want {
			t.Fatalf("step %d: %v gives %d, %v; want %d (had %v, %v)", i, op, result.Int, result.Err, want, had, hadSecond)
		}
		if i%25 == 0 {
			s.checkInvariants()
			all, _ := s.pages(key, int64(r.IntN(8)), func() {})
			if !maps.Equal(all, model) {
				t.Fatalf("step %d: holds %v, want %v", i, all, model)
			}
		}
	}
	s.checkReplica()
}

// pages reads a hash page by page and calls between after each.
func (s *testStore) pages(key []byte, limit int64, between func()) (fields map[string]string, times map[string]int) {
	s.t.Helper()
	fields, times = map[string]string{}, map[string]int{}
	var cursor uint64
	for {
		result := s.view(oneOp(opHashRange(&corepb.HashRange{Key: key, Cursor: cursor, Limit: limit}))).Results[0]
		if result.Err != nil {
			s.t.Fatal(result.Err)
		}
		for i := 0; i < len(result.Values); i += 2 {
			fields[string(result.Values[i])] = string(result.Values[i+1])
			times[string(result.Values[i])]++
		}
		if result.Cursor == 0 {
			return fields, times
		}
		if result.Cursor <= cursor {
			s.t.Fatalf("cursor %d follows %d", result.Cursor, cursor)
		}
		cursor = result.Cursor
		between()
	}
}

// Whatever comes and goes between the pages, a field that stays is found, once.
func TestAFieldThatStaysIsFoundByPages(t *testing.T) {
	s := openTestStore(t)
	r := rand.New(rand.NewPCG(5, 6))
	key := []byte("h")
	set := func(field string) {
		s.must(opHashSet(&corepb.HashSet{Key: key, Fields: [][]byte{[]byte(field), []byte("v")}}))
	}
	for i := range 300 {
		set(fmt.Sprint("stays", i))
	}
	for _, limit := range []int64{1, 3, 10, 1000} {
		fields, times := s.pages(key, limit, func() {
			set(fmt.Sprint("comes", r.IntN(1000)))
			s.must(opHashDelete(&corepb.HashDelete{Key: key, Fields: [][]byte{fmt.Append(nil, "comes", r.IntN(1000))}}))
		})
		for i := range 300 {
			if field := fmt.Sprint("stays", i); fields[field] != "v" || times[field] != 1 {
				t.Errorf("pages of %d: %s was found %d times", limit, field, times[field])
			}
		}
	}
}

// Two fields of one hash stay on one page: a cursor between them would lose or repeat one.
func TestFieldsOfOneHashAreOnOnePage(t *testing.T) {
	s := openTestStore(t)
	a, b := collidingFields(t)
	s.must(opHashSet(&corepb.HashSet{Key: []byte("h"), Fields: [][]byte{a, []byte("1"), b, []byte("2"), []byte("other"), []byte("3")}}))
	fields, times := s.pages([]byte("h"), 1, func() {})
	if len(fields) != 3 || times[string(a)] != 1 || times[string(b)] != 1 || fields[string(a)] != "1" || fields[string(b)] != "2" {
		t.Errorf("%v %v", fields, times)
	}
	s.must(opHashDelete(&corepb.HashDelete{Key: []byte("h"), Fields: [][]byte{a}}))
	fields, _ = s.pages([]byte("h"), 1, func() {})
	if len(fields) != 2 || fields[string(b)] != "2" {
		t.Errorf("%v", fields)
	}
}

// collidingFields finds two fields with one 32-bit hash: with 200000 there are about five such pairs.
func collidingFields(t *testing.T) (a, b []byte) {
	seen := make(map[uint32]int, 1<<18)
	for i := range 400_000 {
		field := fmt.Append(nil, "f", i)
		h := fieldHash(field)
		if j, ok := seen[h]; ok {
			return fmt.Append(nil, "f", j), field
		}
		seen[h] = i
	}
	t.Fatal("no two fields have one hash")
	return nil, nil
}

// The hashes are stored, the first half of XXH64: that an earlier build wrote must be found by a later one.
func TestFieldHashesNeverChange(t *testing.T) {
	for field, want := range map[string]uint32{"": 0xef46db37, "a": 0xd24ec4f1, "abc": 0x44bc2cf5} {
		if got := fieldHash([]byte(field)); got != want {
			t.Errorf("%q has the hash %#x, not %#x", field, got, want)
		}
	}
}
