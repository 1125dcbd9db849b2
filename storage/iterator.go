package storage

import (
	"bytes"
	"errors"
	"strings"
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
	opened  lookup           // what base is of
	reader  latch
	pinned  *pinned
	apart   apartReader
	lower   []byte
	upper   []byte
	reverse bool
	started bool

	// What lies over the base: a Batch's writes, then the layers, the newest first. at says which of all these stand on the
	// current key; top is the first of them, whose value counts.
	batch     *Batch // nil for a View
	overlay   btree.MapIter[string, *entry]
	overlayOK bool
	layers    []cursor // of layers and of history rows below them
	baseOK    bool
	at        [5]bool // overlay, layers, base
	top       int
}

// Places in at.
const (
	atOverlay = 0
	atLayers  = 1
	atBase    = 4
)

// cursor goes over what lies over the base, within the bounds of a scan and in its direction.
type cursor interface {
	// seek goes to the first row at or above a key, downwards to the last one below it, nil for the end.
	seek(key []byte)
	step()
	current() (key string, value []byte, deleted, ok bool)
}

// begin sets the iterator on what a view shows.
func (it *Iterator) begin(p *pinned) error {
	opened, err := p.ground.scan(it.lower, it.upper)
	if err != nil {
		return err
	}
	it.opened, it.base, it.pinned = opened, opened.rows, p
	for _, l := range p.layers {
		it.put(newLayerCursor(l, p.commit, it.lower, it.upper, it.reverse))
	}
	if len(p.gathered) > 0 && reaches(it.lower, it.upper, tableHistory, tableHistory) {
		it.put(newRunsCursor(p.gathered, it.lower, it.upper, it.reverse))
	}
	return nil
}

// put puts a cursor over the base and what is over it already, unless it has nothing.
func (it *Iterator) put(c cursor) {
	c.seek(it.first())
	if _, _, _, ok := c.current(); ok {
		it.layers = append(it.layers, c)
	}
}

// reaches says whether an interval of keys may hold rows of tables.
func reaches(lower, upper []byte, first, last byte) bool {
	return bytesString(lower) < string([]byte{last + 1}) && (upper == nil || bytesString(upper) > string([]byte{first}))
}

// first is where the scan starts, for seek.
func (it *Iterator) first() []byte {
	if it.reverse {
		return it.upper
	}
	return it.lower
}

// plain says that there is nothing over the base.
func (it *Iterator) plain() bool { return it.batch == nil && len(it.layers) == 0 }

// Next moves to the next key, the first one at the first call. It returns false at the end.
func (it *Iterator) Next() bool {
	if it.base == nil {
		return false
	}
	if !it.started {
		it.started = true
		if it.reverse {
			it.baseOK = it.base.Last()
		} else {
			it.baseOK = it.base.First()
		}
		if it.plain() {
			return it.checkBase()
		}
		it.seekOverlay(it.first()) // the layers are there already
		return it.merge()
	}
	if it.plain() {
		it.stepBase()
		return it.checkBase()
	}
	it.step()
	return it.merge()
}

// SeekGE moves an ascending iterator to the first key at or above key, in either direction from where it stands. It
// returns false when there is none; Next goes on from there.
func (it *Iterator) SeekGE(key []byte) bool {
	if it.reverse {
		panic("storage: SeekGE on a descending iterator")
	}
	return it.seek(key)
}

// SeekLT moves a descending iterator to the last key below key, in either direction from where it stands. It returns
// false when there is none; Next goes on downwards from there.
func (it *Iterator) SeekLT(key []byte) bool {
	if !it.reverse {
		panic("storage: SeekLT on an ascending iterator")
	}
	return it.seek(key)
}

func (it *Iterator) seek(key []byte) bool {
	if it.base == nil {
		return false
	}
	it.started = true
	key = it.clamp(key)
	it.seekBase(key)
	if it.plain() {
		return it.checkBase()
	}
	for _, c := range it.layers {
		c.seek(key)
	}
	it.seekOverlay(key)
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
	if it.plain() || it.top == atBase {
		return it.base.Key()
	}
	key, _, _, _ := it.over(it.top)
	return stringBytes(key)
}

// Value is the current value. It holds until the iterator moves and must not be modified.
func (it *Iterator) Value() []byte {
	value := it.Head()
	if !isApart(it.Key(), value) {
		return value
	}
	value, err := it.apart.whole(it, value)
	if err != nil {
		it.reader.fail(err)
		return nil
	}
	return value
}

// Head is Value without one that is apart, as a Reader's Head.
func (it *Iterator) Head() []byte {
	if !it.plain() && it.top != atBase {
		_, value, _, _ := it.over(it.top)
		return value
	}
	value, err := it.base.ValueAndErr()
	if err != nil {
		it.reader.fail(err)
		return nil
	}
	return value
}

// over gives where something over the base stands; ok is false when it has ended, or is not there.
func (it *Iterator) over(place int) (key string, value []byte, deleted, ok bool) {
	switch i := place - atLayers; {
	case place == atOverlay:
		if !it.overlayOK {
			return "", nil, false, false
		}
		e := it.overlay.Value()
		return e.key, e.value, e.write == writeDelete, true
	case i < len(it.layers):
		return it.layers[i].current()
	}
	return "", nil, false, false
}

// Close ends the iterator. It may be called more than once.
func (it *Iterator) Close() {
	if it.base == nil {
		return
	}
	if err := errors.Join(it.apart.close(), it.pinned.ground.leave(it.opened)); err != nil {
		it.reader.fail(err)
	}
	it.base = nil
}

// checkBase tells the end of the base from a failure in it.
func (it *Iterator) checkBase() bool {
	if it.baseOK {
		return true
	}
	if err := it.base.Error(); err != nil {
		it.reader.fail(err)
	}
	return false
}

func (it *Iterator) stepBase() {
	switch {
	case !it.baseOK:
	case it.reverse:
		it.baseOK = it.base.Prev()
	default:
		it.baseOK = it.base.Next()
	}
}

func (it *Iterator) seekBase(key []byte) {
	if it.reverse {
		it.baseOK = it.base.SeekLT(key)
	} else {
		it.baseOK = it.base.SeekGE(key)
	}
}

// seekOverlay finds the first of the batch's writes at or above a key or, downwards, below it.
func (it *Iterator) seekOverlay(key []byte) {
	switch {
	case it.batch == nil:
		return
	case !it.reverse:
		it.overlayOK = it.overlay.Seek(bytesString(key))
	case key != nil && it.overlay.Seek(bytesString(key)):
		it.overlayOK = it.overlay.Prev()
	default:
		it.overlayOK = it.overlay.Last()
	}
	it.boundOverlay()
}

// boundOverlay ends the overlay where the scan ends; base and layers know their bounds themselves.
func (it *Iterator) boundOverlay() {
	if !it.overlayOK {
		return
	}
	if it.reverse {
		it.overlayOK = it.overlay.Key() >= bytesString(it.lower)
	} else {
		it.overlayOK = it.upper == nil || it.overlay.Key() < bytesString(it.upper)
	}
}

// step moves everything that stands on the current key.
func (it *Iterator) step() {
	if it.at[atOverlay] {
		if it.reverse {
			it.overlayOK = it.overlay.Prev()
		} else {
			it.overlayOK = it.overlay.Next()
		}
		it.boundOverlay()
	}
	for i, c := range it.layers {
		if it.at[atLayers+i] {
			c.step()
		}
	}
	if it.at[atBase] {
		it.stepBase()
	}
}

// merge settles on the nearest key, passing by what was deleted.
func (it *Iterator) merge() bool {
	for {
		if !it.checkBase() && it.reader.failed() {
			it.at = [5]bool{}
			return false
		}
		if !it.nearest() {
			return false
		}
		if it.top != atOverlay && it.batch != nil {
			if hidden := it.batch.covering(it.Key()); hidden != nil {
				it.pass(hidden)
				continue
			}
		}
		if it.top == atBase {
			return true
		}
		if _, _, deleted, _ := it.over(it.top); !deleted {
			return true
		}
		it.step()
	}
}

// nearest finds out what stands on the nearest key, and whether anything does.
func (it *Iterator) nearest() bool {
	it.at = [5]bool{}
	it.top = -1
	var best string
	consider := func(place int, key string) {
		order := -1
		if it.top >= 0 {
			order = strings.Compare(key, best)
			if it.reverse {
				order = -order
			}
		}
		switch {
		case order < 0:
			it.at = [5]bool{}
			it.at[place], it.top, best = true, place, key
		case order == 0:
			it.at[place] = true
		}
	}
	for place := atOverlay; place < atLayers+len(it.layers); place++ {
		if key, _, _, ok := it.over(place); ok {
			consider(place, key)
		}
	}
	if it.baseOK {
		consider(atBase, bytesString(it.base.Key()))
	}
	return it.top >= 0
}

// pass moves base and layers past an interval that the batch has deleted.
func (it *Iterator) pass(hidden *interval) {
	to := stringBytes(hidden.upper)
	if it.reverse {
		to = stringBytes(hidden.lower)
	}
	to = it.clamp(to)
	if it.baseOK {
		it.seekBase(to)
	}
	for _, c := range it.layers {
		c.seek(to)
	}
}

// Keys are ordered as strings in the overlay. Both conversions share the bytes, which nobody modifies: the batch owns
// the keys it stores, and a probe lasts for one call.

func bytesString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func stringBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
