package core

import "github.com/triglot/triglot/storage"

// A collection is a header record under its key, which counts its elements and carries its life, and a row for each
// element under an id that belongs to this collection alone. A change of one element therefore costs the header and that
// row, however large the collection is. A collection without elements is no key.

// look reads a collection in order to answer a read, nil when there is none.
func (t *tx) look(space byte, key []byte, kind storage.Kind) (*storage.Record, error) {
	return ofKind(t.record(space, key), kind)
}

// open reads a collection in order to change it, nil when there is none.
func (t *tx) open(space byte, key []byte, kind storage.Kind) (*storage.Record, error) {
	return ofKind(t.load(space, key), kind)
}

func ofKind(rec *storage.Record, kind storage.Kind) (*storage.Record, error) {
	if rec != nil && rec.Kind != kind {
		return nil, ErrWrongKind
	}
	return rec, nil
}

// next gives the header that follows another; a collection that begins gets its id here. Collections keep their life
// through every change of their elements.
func (t *tx) next(space byte, before *storage.Record, kind storage.Kind) *storage.Record {
	after := succeed(before, kind)
	keepLife(after, before)
	if before == nil {
		after.Collection = t.newCollection(space)
	}
	return after
}

// settle stores a header after its elements were changed, or removes the key with its last element.
func (t *tx) settle(space byte, key []byte, before, after *storage.Record, verb string) {
	if after.Count > 0 {
		t.change(space, key, before, after, verb)
		return
	}
	// The elements are deleted already. Without its id, change does not look for them again: a queue that is emptied again
	// and again would pay for that each time.
	emptied := *before
	emptied.Collection = 0
	t.change(space, key, &emptied, nil, verb)
}

// own gives a value that may be kept: reads of a batch are the batch's, those of a view the caller's. Never nil.
func (t *tx) own(value []byte) []byte {
	if t.b != nil || value == nil {
		return append([]byte{}, value...)
	}
	return value
}
