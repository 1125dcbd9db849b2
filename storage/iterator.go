package storage

import (
	"bytes"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
	"github.com/tidwall/btree"
)

// Iterator goes over an interval of keys in one direction. It starts before the first key:
//
//	it := r.Scan(lower, upper)
//	defer it.Close()
//	for it.Next() {
//		use(it.Key(), it.Value())
//	}
//
// A failure ends it and latches on the reader it came from. It belongs to one goroutine.
type Iterator struct {
	base    *pebble.Iterator // nil when the reader has failed: nothing to go over
	reader  latch
	lower   []byte
	upper   []byte
	reverse bool
	started bool

	// A Batch's writes lie over the base. atBase and atOverlay say which of the two stand on the current key.
	batch        *Batch // nil for a View
	overlay      btree.MapIter[string, *entry]
	baseValid    bool
	overlayValid bool
	atBase       bool
	atOverlay    bool
}

// Next moves to the next key, the first one at the first call. It returns false at the end.
func (it *Iterator) Next() bool {
	if it.base == nil {
		return false
	}
	if !it.started {
		it.started = true
		if it.reverse {
			it.baseValid = it.base.Last()
		} else {
			it.baseValid = it.base.First()
		}
		if it.batch == nil {
			return it.checkBase()
		}
		if it.reverse {
			it.overlayBefore(it.upper)
		} else {
			it.overlayFrom(it.lower)
		}
		return it.merge()
	}
	if it.batch == nil {
		it.stepBase()
		return it.checkBase()
	}
	if it.atBase {
		it.stepBase()
	}
	if it.atOverlay {
		it.stepOverlay()
	}
	return it.merge()
}

// SeekGE moves an ascending iterator to the first key at or above key, in either direction from where it stands. It
// returns false when there is none; Next goes on from there.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.reverse {
		panic("storage: SeekGE on a descending iterator")
	}
	if it.base == nil {
		return false
	}
	it.started = true
	key = it.clamp(key)
	it.baseValid = it.base.SeekGE(key)
	if it.batch == nil {
		return it.checkBase()
	}
	it.overlayFrom(key)
	return it.merge()
}

// SeekLT moves a descending iterator to the last key below key, in either direction from where it stands. It returns
// false when there is none; Next goes on downwards from there.
func (it *Iterator) SeekLT(key []byte) bool {
	if !it.reverse {
		panic("storage: SeekLT on an ascending iterator")
	}
	if it.base == nil {
		return false
	}
	it.started = true
	key = it.clamp(key)
	it.baseValid = it.base.SeekLT(key)
	if it.batch == nil {
		return it.checkBase()
	}
	it.overlayBefore(key)
	return it.merge()
}

// isEmpty says whether bounds hold nothing whatever is stored. Pebble must not be given such.
func isEmpty(lower, upper []byte) bool { return upper != nil && bytes.Compare(lower, upper) >= 0 }

// clamp brings what is sought within the bounds. Pebble does so for the base, the overlay has none.
func (it *Iterator) clamp(key []byte) []byte {
	if bytes.Compare(key, it.lower) < 0 {
		return it.lower
	}
	if it.upper != nil && bytes.Compare(key, it.upper) > 0 {
		return it.upper
	}
	return key
}

// Key is the current key. It holds until the iterator moves and must not be modified.
func (it *Iterator) Key() []byte {
	if it.atOverlay {
		return stringBytes(it.overlay.Key())
	}
	return it.base.Key()
}

// Value is the current value. It holds until the iterator moves and must not be modified.
func (it *Iterator) Value() []byte {
	if it.atOverlay {
		return it.overlay.Value().value
	}
	value, err := it.base.ValueAndErr()
	if err != nil {
		it.reader.fail(err)
		return nil
	}
	return value
}

// Close ends the iterator. It may be called more than once.
func (it *Iterator) Close() {
	if it.base == nil {
		return
	}
	if err := it.base.Close(); err != nil {
		it.reader.fail(err)
	}
	it.base = nil
}

// checkBase tells the end of the base from a failure in it.
func (it *Iterator) checkBase() bool {
	if it.baseValid {
		return true
	}
	if err := it.base.Error(); err != nil {
		it.reader.fail(err)
	}
	return false
}

func (it *Iterator) stepBase() {
	if !it.baseValid {
		return
	}
	if it.reverse {
		it.baseValid = it.base.Prev()
	} else {
		it.baseValid = it.base.Next()
	}
}

func (it *Iterator) stepOverlay() {
	if it.reverse {
		it.overlayValid = it.overlay.Prev()
	} else {
		it.overlayValid = it.overlay.Next()
	}
	it.boundOverlay()
}

func (it *Iterator) overlayFrom(key []byte) {
	it.overlayValid = it.overlay.Seek(bytesString(key))
	it.boundOverlay()
}

func (it *Iterator) overlayBefore(key []byte) {
	if key != nil && it.overlay.Seek(bytesString(key)) {
		it.overlayValid = it.overlay.Prev()
	} else {
		it.overlayValid = it.overlay.Last()
	}
	it.boundOverlay()
}

// boundOverlay ends the overlay where the scan ends; the base knows its bounds itself.
func (it *Iterator) boundOverlay() {
	if !it.overlayValid {
		return
	}
	if it.reverse {
		it.overlayValid = it.overlay.Key() >= bytesString(it.lower)
	} else {
		it.overlayValid = it.upper == nil || it.overlay.Key() < bytesString(it.upper)
	}
}

// merge settles on the nearer of base and overlay, passing by what the batch has deleted.
func (it *Iterator) merge() bool {
	for {
		it.passHidden()
		if !it.checkBase() && it.reader.failed() {
			return it.settle(false, false)
		}
		if !it.overlayValid {
			return it.settle(it.baseValid, false)
		}
		order := 1 // of the base, as seen in the direction of travel; beyond the overlay when it has ended
		if it.baseValid {
			order = bytes.Compare(it.base.Key(), stringBytes(it.overlay.Key()))
			if it.reverse {
				order = -order
			}
		}
		if order < 0 {
			return it.settle(true, false)
		}
		if it.overlay.Value().write == writeSet {
			return it.settle(order == 0, true)
		}
		if order == 0 {
			it.stepBase()
		}
		it.stepOverlay()
	}
}

func (it *Iterator) settle(atBase, atOverlay bool) bool {
	it.atBase, it.atOverlay = atBase, atOverlay
	return atBase || atOverlay
}

// passHidden moves the base past the intervals that the batch has deleted.
func (it *Iterator) passHidden() {
	for it.baseValid {
		hidden := it.batch.covering(it.base.Key())
		if hidden == nil {
			return
		}
		if it.reverse {
			it.baseValid = it.base.SeekLT(stringBytes(hidden.lower))
		} else {
			it.baseValid = it.base.SeekGE(stringBytes(hidden.upper))
		}
	}
}

// Keys are ordered as strings in the overlay. Both conversions share the bytes, which nobody modifies: the batch owns
// the keys it stores, and a probe lasts for one call.

func bytesString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
