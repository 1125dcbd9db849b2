package core

import (
	"errors"
	"testing"

	"github.com/triglot/triglot/core/corepb"
)

func TestValuesDoNotGrowBeyondTheLimit(t *testing.T) {
	s := openTestStore(t)
	batch := s.db.NewBatch()
	defer batch.Discard()
	do := func(op *corepb.Op) Result { return (&tx{r: batch, b: batch, now: s.now}).run(oneOp(op)).Results[0] }
	setRange := func(offset int64) Result {
		return do(&corepb.Op{Op: &corepb.Op_SetRange{SetRange: &corepb.SetRange{Key: []byte("k"), Offset: offset, Value: []byte("ab")}}})
	}
	if result := setRange(ValueBytesMax - 1); !errors.Is(result.Err, ErrTooLarge) {
		t.Errorf("one byte too long: %v", result.Err)
	}
	if result := setRange(1<<63 - 1); !errors.Is(result.Err, ErrTooLarge) {
		t.Errorf("the largest offset: %v", result.Err)
	}
	if result := setRange(ValueBytesMax - 2); result.Err != nil || result.Int != ValueBytesMax {
		t.Errorf("at the limit: %d, %v", result.Int, result.Err)
	}
	result := do(&corepb.Op{Op: &corepb.Op_Append{Append: &corepb.Append{Key: []byte("k"), Value: []byte("c")}}})
	if !errors.Is(result.Err, ErrTooLarge) || result.Err.(*Error).Number != ValueBytesMax {
		t.Errorf("appending at the limit: %v", result.Err)
	}
}
