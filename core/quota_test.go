package core

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

// fill puts until that is refused, and answers how many puts were not.
func (s *Store) fill(t *testing.T) (puts int) {
	t.Helper()
	value := strings.Repeat("x", 10_000)
	for puts < 1000 {
		result, err := s.Do(t.Context(), oneOp(putOp("big", value)))
		if err != nil {
			t.Fatal(err)
		}
		if result.Err != nil {
			if !errors.Is(result.Err, ErrNoSpace) {
				t.Fatal(result.Err)
			}
			return puts
		}
		puts++
	}
	t.Fatalf("%d bytes are beyond no quota of %d", s.db.Size(), s.cfg.QuotaBytes)
	return 0
}

// wantPut carries out a put of a short value.
func (s *Store) wantPut(t *testing.T, want error) {
	t.Helper()
	result, err := s.Do(t.Context(), oneOp(putOp("small", "v")))
	if err != nil {
		t.Fatal(err)
	}
	if !errors.Is(result.Err, want) {
		t.Errorf("a put: %v, want %v", result.Err, want)
	}
}

func TestBeyondTheQuotaNothingGrowsUntilThereIsRoom(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, Name: "test", QuotaBytes: 300_000}
	s := openStoreWith(t, cfg)
	if puts := s.fill(t); puts < 5 || puts > 30 {
		t.Errorf("%d puts of 10,000 bytes found room in %d", puts, cfg.QuotaBytes)
	}
	want := []Alarm{{AlarmNoSpace, s.MemberID()}}
	if got := s.Alarms(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the alarms are %v", got)
	}
	s.wantPut(t, ErrNoSpace)

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStoreWith(t, cfg)
	s.wantPut(t, ErrNoSpace) // a restart makes no room

	// A group answers each of its commands.
	results, err := s.Submit(t.Context(), oneOp(putOp("a", "v")), oneOp(opDelete(&corepb.Delete{Key: []byte("big")})), oneOp(putOp("b", "v"))).Wait(t.Context())
	if err != nil || len(results) != 3 || !errors.Is(results[0].Err, ErrNoSpace) || results[1].Err != nil || !errors.Is(results[2].Err, ErrNoSpace) {
		t.Errorf("a group: %v, %v", results, err)
	}
	revision := s.Revision()
	compact := &corepb.Op{Op: &corepb.Op_Compact{Compact: &corepb.Compact{Revision: revision}}}
	if result, err := s.Do(t.Context(), oneOp(compact)); err != nil || result.Err != nil {
		t.Fatal(err, result)
	}
	if err := s.WaitPurged(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	if err := s.Defragment(t.Context()); err != nil {
		t.Fatal(err)
	}
	if size := s.db.Size(); size > 100_000 {
		t.Errorf("an empty store has %d bytes", size)
	}
	s.wantPut(t, ErrNoSpace) // room is no reason to go on without an operator
	if err := s.ClearAlarm(t.Context(), AlarmNoSpace, s.MemberID()); err != nil {
		t.Fatal(err)
	}
	s.wantPut(t, nil)
}

// The group that finds no room raises the alarm ahead of itself: none of it is carried out that could grow.
func TestAGroupThatFindsNoRoomIsRefusedAsItWere(t *testing.T) {
	s := openStoreWith(t, Config{Dir: t.TempDir(), Name: "test", QuotaBytes: 1 << 20})
	s.wantPut(t, nil)
	large := oneOp(putOp("large", strings.Repeat("x", 1<<20)))
	results, err := s.Submit(t.Context(), oneOp(opDelete(&corepb.Delete{Key: []byte("small")})), large).Wait(t.Context())
	if err != nil || len(results) != 2 || results[0].Results[0].Int != 1 || !errors.Is(results[1].Err, ErrNoSpace) {
		t.Errorf("%+v, %v", results, err)
	}
}
